"""Objects of a user's own Python file, named as in flags: "path/to/module.py:NAME".

A name may end in "#sha256=…", the first 16 hexadecimal digits of the hash of the file's text; it
then means the object of that text alone.
"""

import contextlib
import hashlib
import importlib.util
import pathlib
import sys
from types import ModuleType

from tfunroll.core import InputError
from tfunroll.files import why

HASH = "#sha256="
DIGITS = 16

_running: dict[tuple[pathlib.Path, str], ModuleType] = {}  # by file and hash; "": the latest


def is_path(name: str) -> bool:
    """Whether a name is that of a file's object, not of one of tfunroll's."""
    return ".py" in name


def full_name(field: str, name: str, attribute: str, hashed: bool = False) -> str:
    """The name that means the same object in every folder.

    Args:
      field: for messages, such as "system". attribute: what is meant where the name has none.
      hashed: with the hash of the file's text now.
    Raises:
      InputError: hashed, and the file cannot be read, or is another text than the name says.
    """
    path, found, digest = _split(name, attribute)
    if hashed and (not digest or (path, digest) not in _running):
        digest = _digest(_text(field, name, path, attribute, digest))
    return f"{path}:{found}" + f"{HASH}{digest}" * bool(digest)


def short_name(name: str) -> str:
    """For tables: a file's object without folder and hash, "module.py:NAME"; others as they are."""
    if not is_path(name):
        return name
    path, attribute, _ = _split(name, "")
    return f"{path.name}:{attribute}".removesuffix(":")


def relative_to(folder: pathlib.Path, name: str) -> str:
    """A name in a file of ``folder`` as one that holds everywhere: relative to it, or else to the
    working directory."""
    path = pathlib.Path(name.partition(".py")[0] + ".py").expanduser()
    return str(folder.resolve() / name) if (folder / path).is_file() else name


def get(field: str, name: str, attribute: str):
    """The object. Its module runs once per process, and modules beside it can be imported.

    What runs already goes on as it is when the file is edited meanwhile.

    Raises:
      InputError: no such file, one that raises, has no such object, or is another text than the
        name says.
    """
    path, found, digest = _split(name, attribute)
    module = _running.get((path, digest))
    text = b"" if module else _text(field, name, path, attribute, digest)
    try:
        module = module or _run(path, text)
    except InputError as error:
        raise InputError(f"{field}={name!r}: {error}") from None
    except (Exception, SystemExit) as error:
        raise InputError(f"{field}={name!r}: {type(error).__name__}: {why(error)}") from None
    if not hasattr(module, found):
        raise InputError(f"{field}={name!r}: the module has no {found}")
    return getattr(module, found)


def _split(name: str, attribute: str) -> tuple[pathlib.Path, str, str]:
    """Path, name of the object and hash."""
    text, _, digest = name.partition(HASH)
    path, _, found = text.rpartition(":") if not text.endswith(".py") else (text, "", "")
    path = pathlib.Path(path or text)
    with contextlib.suppress(RuntimeError):  # "~nobody" is a name like others
        path = path.expanduser()
    return path.resolve(), found or attribute, digest


def _text(field, name, path, attribute, digest) -> bytes:
    """The file's text, which must be that of the hash, if there is one."""
    if not path.is_file():
        raise InputError(f"{field}={name!r}: no such file; expected path/to/module.py:{attribute}")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{field}={name!r} cannot be read: {why(error)}") from None
    if digest and digest != (now := _digest(text)):
        raise InputError(
            f"{field}={name!r}: the file has changed (sha256 was {digest}, is {now}): put the old "
            f"text back, or leave {HASH}{digest} out to take it as it is"
        )
    return text


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:DIGITS]


def _run(path: pathlib.Path, text: bytes) -> ModuleType:
    """Runs a file's text as a module.

    It stands in sys.modules while and after it runs, as dataclasses with postponed annotations
    need, under a name that hides no other module.
    """
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    key = hashlib.sha256(str(path).encode() + text).hexdigest()[:8]
    name = f"{path.stem}_{key}"
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, path))
    sys.modules[name] = module
    try:
        exec(compile(text, str(path), "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    _running[path, ""] = _running[path, _digest(text)] = module
    return module
