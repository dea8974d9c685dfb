"""The cache of compiled programs: XLA keeps there what it compiles, for later runs and processes.

It may be deleted at any time, which costs the time to compile again and nothing else.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import time
from importlib.metadata import version

from tfunroll import machine

NEEDS = 1e9  # free bytes of the disk, below which nothing is kept
MOST = 500e6  # bytes, beyond which programs go that were not used for the longest time
IN_USE = 3600.0  # seconds: another process may be reading or writing what is younger


def keep() -> None:
    """Lets XLA keep what it compiles in the user's cache folder.

    Call it before TensorFlow is imported. The folder is named after TensorFlow's version and the
    processor's abilities, for programs run on no other. Nothing happens where TF_XLA_FLAGS names a
    folder already, and nothing is kept where there is no home, or no room.
    """
    flags_so_far = os.environ.get("TF_XLA_FLAGS", "")
    if "tf_xla_persistent_cache_directory" in flags_so_far:
        return
    key = hashlib.sha256(f"{version('tensorflow')} {machine.processor()}".encode()).hexdigest()[:16]
    try:
        root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
        folder = root / "tfunroll" / "xla" / key
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < NEEDS or not os.access(folder, os.W_OK):
            return
        tidy(folder)
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return  # compiled anew each time, then
    flag = f"--tf_xla_persistent_cache_directory={folder}"
    if any(character.isspace() for character in flag):
        return  # TensorFlow reads words
    os.environ["TF_XLA_FLAGS"] = f"{flags_so_far} {flag}".strip()


def tidy(folder: pathlib.Path) -> None:
    """Removes what a crash or a full disk cut short, and the oldest programs beyond MOST bytes.

    XLA would end a run on a program that it cannot read.
    """
    from google.protobuf.empty_pb2 import Empty
    from google.protobuf.message import DecodeError

    used: dict[pathlib.Path, os.stat_result] = {}
    kept = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process tidies up, too
            status = path.stat()
            used[path] = status
    last_used = {path: max(status.st_atime, status.st_mtime) for path, status in used.items()}
    for path in sorted(used, key=last_used.get, reverse=True):
        old, size = last_used[path] < time.time() - IN_USE, used[path].st_size
        whole = path.suffix == ".pb"
        if whole:
            try:
                Empty.FromString(path.read_bytes())  # fails where a field is longer than the file
                os.utime(path, (used[path].st_atime, used[path].st_mtime))  # this is no use of it
            except DecodeError:
                whole, old = False, True
            except FileNotFoundError:
                continue
        if old and (not whole or kept + size > MOST):
            path.unlink(missing_ok=True)
        else:
            kept += size
