"""What stands around TFDS: its mistakes as one line, its chatter as none."""

import contextlib
import io
import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from google.protobuf import json_format

from tfunroll import files
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


def command(builder) -> str:
    """What builds the dataset of a TrajectoryBuilder."""
    config = builder.builder_config
    system = f"{builder.SYSTEM}:{config.resolution}" if config.resolution else builder.SYSTEM
    url = " --data_url=URL" if config.hosted else ""
    name = config.base or config.name
    return f"scripts/generate_data.py --system={system} --dataset_config={name}{url}"


def refuse_outdated(builder) -> None:
    """InputError if another version of a dataset is in its folder, and the builder's own is not."""
    folder, version = pathlib.Path(builder.data_path).parent, str(builder.version)
    present = sorted(path.name for path in folder.glob("[0-9]*.*.*") if path.is_dir())
    if present and version not in present:
        raise InputError(
            f"dataset {builder.name}/{builder.builder_config.name} in {folder} is of version "
            f"{', '.join(present)}, which {version} replaces "
            f"({builder.RELEASE_NOTES[version].rstrip('.')}): build it anew with {command(builder)}"
        )


def warn_of_parameters(builder) -> None:
    """Warns of values that the reference solver of a dataset to be built was not validated for."""
    if not builder.builder_config.hosted:
        system = builder.system
        values = np.concatenate([*builder.info.metadata["parameter_values"].values()])
        for doubt in system.doubts({next(iter(system.params)): values}):
            warnings.warn(f"{builder.name}/{builder.builder_config.name}: {doubt}", stacklevel=4)


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
        files.lock(lock)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                break
        lock.close()
    try:
        with workers_lock(cache).open("w") as workers:
            files.lock(workers)
        yield
    finally:
        workers_lock(cache).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        lock.close()


def workers_lock(cache: pathlib.Path) -> pathlib.Path:
    """The file that workers which fill ``cache`` keep locked (shared) while they live."""
    return cache.parent / f".{cache.name}.workers.lock"


@contextlib.contextmanager
def quiet_logging() -> Iterator[None]:
    """Hides TFDS's warning that a config is none of the class's own."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Hides TFDS's bars and its announcement of a download of unknown size; ours says it all."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
