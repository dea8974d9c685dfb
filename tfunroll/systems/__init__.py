"""The physical systems, by name. A new system is one module here and one line in MODULES.

Each module has ``make(points=…)``, which makes its System on any grid, and SYSTEM, that of the
registered one. "ks:points=64" names ``ks.make(points=64)``. A description of own data
names the System that is these data alone (``described``).
"""

import functools
import importlib
import importlib.util
import pathlib
import sys

from tfunroll import options
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
    if ".py" in name:
        return _of_file(full_name(name))
    module, resolution = _resolution(name)
    return module.make(**vars(resolution))


def is_registered(name: str) -> bool:
    """Whether a name is, but for its options, one of MODULES."""
    return not is_description(name) and ".py" not in name and name.partition(":")[0] in MODULES


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
    if ".py" not in name:
        return options.write(name.partition(":")[0], _resolution(name)[1])
    path, _, attribute = name.partition(":")
    return f"{pathlib.Path(path).expanduser().resolve()}:{attribute or 'SYSTEM'}"


@functools.cache
def _of_file(name: str) -> System:
    """Runs a user's module, once per process; modules beside it can be imported."""
    text, _, attribute = name.rpartition(":")
    path = pathlib.Path(text)
    if not path.is_file():
        raise InputError(f"system={name!r}: no such file; expected path/to/module.py:SYSTEM")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except InputError as error:
        raise InputError(f"system={name!r}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"system={name!r}: {type(error).__name__}: {reason}") from None
    system = getattr(module, attribute, None)
    if not isinstance(system, System):
        kind = "no" if system is None else f"a {type(system).__name__} as"
        raise InputError(f"system={name!r}: the module has {kind} {attribute}; it needs a System")
    return system
