"""The physical systems, by name. A new system is one module here and one line in MODULES.

Each module has ``make(points=…)``, which makes its System on any grid, and SYSTEM, that of the
registered one. "ks:points=64" names ``ks.make(points=64)``. A description of own data
names the System that is these data alone (``described``).
"""

import importlib
import pathlib

from tfunroll import options, user_modules
from tfunroll.arrays import is_description
from tfunroll.core import InputError, check_choice
from tfunroll.systems import described
from tfunroll.systems.base import ParamRange, SolverKind, System

MODULES = {
    "ks": "tfunroll.systems.ks",
    "kolmogorov": "tfunroll.systems.kolmogorov",
    "wake": "tfunroll.systems.wake",
    "aerofoil": "tfunroll.systems.aerofoil",
}

__all__ = ["MODULES", "ParamRange", "SolverKind", "System", "full_name", "get"]


def __getattr__(name: str):
    """``systems.ks`` and the other modules, imported when they are first asked for."""
    if name in MODULES:
        return importlib.import_module(MODULES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get(name: str) -> System:
    """The System called ``name``.

    Args: name: such as "ks" or "ks:points=64", or "path/to/module.py:SYSTEM", or "own.json".
    Raises: InputError: if there is none, or not with these options.
    """
    if is_description(name):
        return described.of_file(name)
    if user_modules.is_path(name):
        return _of_file(name)
    module, resolution = _resolution(name)
    return module.make(**vars(resolution))


def is_registered(name: str) -> bool:
    """Whether a name is, but for its options, one of MODULES."""
    if is_description(name) or user_modules.is_path(name):
        return False
    return name.partition(":")[0] in MODULES


def _resolution(name: str):
    """The module of a system's name, and the grid that its options say."""
    word = name.partition(":")[0]
    check_choice("system", word, (*MODULES, "path/to/module.py:SYSTEM"))
    module = importlib.import_module(MODULES[word])
    return module, options.read("system", name, {word: module.Resolution})[1]


def full_name(name: str) -> str:
    """The name that means the same System in every folder, and to whatever compares names.

    A user's own has its whole path, a registered one no options that are its defaults.
    """
    if is_description(name):
        return str(pathlib.Path(name).expanduser().resolve())
    if user_modules.is_path(name):
        return user_modules.full_name("system", name, "SYSTEM")
    return options.write(name.partition(":")[0], _resolution(name)[1])


def _of_file(name: str) -> System:
    system = user_modules.get("system", name, "SYSTEM")
    if not isinstance(system, System):
        raise InputError(
            f"system={name!r} is a {type(system).__name__}; it needs a tfunroll.System"
        )
    return system
