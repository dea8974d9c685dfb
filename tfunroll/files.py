"""Files that are whole or absent: written beside their place, then renamed."""

import contextlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterator

from tfunroll.core import InputError


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
