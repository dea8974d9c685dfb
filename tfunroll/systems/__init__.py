"""The physical systems, by name. A new system is one module here and one line in MODULES."""

import importlib

from tfunroll.core import check_choice
from tfunroll.systems.base import ParamRange, System

MODULES = {"ks": "tfunroll.systems.ks", "kolmogorov": "tfunroll.systems.kolmogorov"}

__all__ = ["MODULES", "ParamRange", "System", "get"]


def get(name: str) -> System:
    """The System called ``name``; InputError if there is none."""
    check_choice("system", name, MODULES)
    return importlib.import_module(MODULES[name]).SYSTEM
