"""Files that are whole or absent, written beside their place, then renamed; and locked ones."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import uuid
import warnings
from collections.abc import Iterator

from tfunroll.core import InputError

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
