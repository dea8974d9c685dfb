"""What stands around TFDS: its mistakes as one line, its chatter as none."""

import contextlib
import fcntl
import io
import os
import pathlib
import tempfile
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format

from tfunroll.core import InputError


def check_writable(root: pathlib.Path) -> None:
    """Makes the folder; InputError if nothing can be written there."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=root).close()
    except OSError as error:
        raise InputError(f"data_dir={str(root)!r} cannot be written: {error.strerror}") from None


# What TFDS and TensorFlow raise for files that are missing, truncated or not theirs
_BROKEN = (tf.errors.OpError, OSError, ValueError, KeyError, AssertionError, json_format.Error)


@contextlib.contextmanager
def broken_is_input_error(folder: os.PathLike) -> Iterator[None]:
    """Makes one line of whatever reading a dataset in ``folder`` raises."""
    try:
        yield
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"dataset in {folder} is incomplete or broken: delete that folder, and it is built "
            f"anew ({type(error).__name__}: {reason})"
        ) from None


@contextlib.contextmanager
def one_at_a_time(cache: pathlib.Path) -> Iterator[None]:
    """Waits until no other process builds the dataset whose finished groups go to ``cache``.

    The lock is the operating system's (flock) on a file beside that folder; it ends with the
    process. The file goes when its holder is done, so one who waited may hold a file that is gone.
    Workers of a build that was killed end within a second or two, which is waited for.
    """
    cache.parent.mkdir(parents=True, exist_ok=True)
    path = cache.parent / f".{cache.name}.lock"
    while True:
        lock = path.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                break
        lock.close()
    try:
        with workers_lock(cache).open("w") as workers:
            fcntl.flock(workers, fcntl.LOCK_EX)
        yield
    finally:
        workers_lock(cache).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        lock.close()


def workers_lock(cache: pathlib.Path) -> pathlib.Path:
    """The file that workers which fill ``cache`` keep locked (shared) while they live."""
    return cache.parent / f".{cache.name}.workers.lock"


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Hides TFDS's bars and its announcement of a download of unknown size; ours says it all."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
