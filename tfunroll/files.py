"""Files that are whole or absent, written beside their place, then renamed; typed readers; locks.

Whatever stands in a file that tfunroll reads, the only error is InputError.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfunroll.core import InputError

LONGEST_NAME = 255  # bytes, on all common file systems
WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new path in the same folder, of the same suffix; renames it to ``path`` at the end.

    A block that raises leaves ``path`` as it was; so does a kill, which may leave the hidden new
    file. Two writers of one path do not mix: the last one wins. The folder is made if missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write_json(path: pathlib.Path, values) -> None:
    """Writes a JSON file, whole or not at all."""
    with replacing(path) as new:
        new.write_text(json.dumps(values, indent=1), encoding="utf-8")


def read_json(path: pathlib.Path, of: Any) -> Any:
    """What a JSON file holds, in the type ``of``.

    Args: of: a TypedDict, a dataclass, or a type such as dict[str, str]. A list is read as a tuple
      where ``of`` says so, a whole number where it says float; nothing else is converted.
    Raises: InputError: if the file cannot be read or is no JSON; if it holds something else, naming
      the first field that does.
    """
    return typed(read_bytes(path), of, str(path))


def read_bytes(path: pathlib.Path) -> bytes:
    """The content of a regular file. A pipe would wait for ever, a device may have no end.

    Raises: InputError: if it is none, or cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a regular file")
        return path.read_bytes()
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"{path} cannot be read ({why(error)})") from None


def typed(content: bytes | str, of: Any, where: str) -> Any:
    """JSON text in the type ``of``, as in ``read_json``.

    Args: where: begins the line of an error.
    """
    from pydantic import ValidationError  # only those who read files wait for it

    try:
        return _reader(of).validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        said = first["msg"].replace("Input should be", "must be")
        if first["type"] in ("missing", "json_invalid"):
            text = f"{field} is missing" if field else said
        else:
            text = f"{field}={short(first['input'])}: {said}"
        raise InputError(f"{where}: {text}") from None


@functools.cache
def _reader(of):
    from pydantic import TypeAdapter

    return TypeAdapter(of)


def short(value, most: int = 80) -> str:
    """A value as Python writes it, on one line, cut to so many characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name.

    Raises: InputError: if it cannot be read. Each array has a checksum there.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError("it is not a regular file")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # whatever the bytes hold; NumPy and zipfile raise a dozen kinds
        raise InputError(f"{path} cannot be read ({why(error)})") from None


def write_checksum(path: pathlib.Path, content: bytes) -> None:
    """Writes ``path``.sha256 for a file that is to hold ``content``; `sha256sum -c` reads it."""
    line = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    with replacing(_checksum(path)) as new:
        new.write_text(line, encoding="utf-8")


def check_checksum(path: pathlib.Path) -> None:
    """InputError if ``path`` differs from its .sha256 file; nothing where there is none."""
    if not _checksum(path).exists():
        return
    wanted = read_bytes(_checksum(path)).split()[:1]
    if wanted != [hashlib.sha256(read_bytes(path)).hexdigest().encode()]:
        raise InputError(f"it is not what was written: {_checksum(path).name} says otherwise")


def _checksum(path):
    return path.with_name(f"{path.name}.sha256")


def expand(name: str, text: str) -> str:
    """The path that a flag or field names, with the home folder in place of a leading ~.

    Raises: InputError: for a path that no file system or shell script can be trusted with.
    """
    if any(character in text for character in "\n\r\0"):
        raise InputError(f"{name}={text!r} must be a path without line breaks and zero bytes")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in pathlib.Path(text).parts):
        raise InputError(f"{name}={short(text)}: a name in it is longer than {LONGEST_NAME} bytes")
    try:
        return os.fspath(pathlib.Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise InputError(f"{name}={text!r}: there is no home folder of that user") from None


def check_writable(out: str) -> pathlib.Path:
    """Makes the folder; InputError if nothing can be written there."""
    folder = pathlib.Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"out={out!r} cannot be written: {error.strerror}") from None
    return folder


def why(error: Exception) -> str:
    """What the system or a reader says of a file that it cannot read, on one line."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text or type(error).__name__


def lock(file, shared: bool = False, wait: bool = True) -> None:
    """Locks an open file for this process (flock), until it closes it or ends.

    Some file systems of clusters have no locks. Work goes on there without, with a warning.

    Args:
      shared: with others that share it. wait: until it is free.
    Raises:
      BlockingIOError: if it is held and ``wait`` is False.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        warnings.warn(
            f"{os.path.dirname(file.name)!r} is on a file system without locks (flock: "
            f"{error.strerror}): see to it that no two processes work there"
        )


def unlock(file) -> None:
    """Gives back what ``lock`` took."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
