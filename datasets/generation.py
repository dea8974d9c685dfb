"""Groups of trajectories: made by worker processes, kept in a cache, so a stopped build resumes.

TFDS deletes an incomplete build when anything goes wrong. Finished groups therefore go to a folder
of their own first, one file each.
"""

import abc
import concurrent.futures
import contextlib
import hashlib
import multiprocessing
import os
import pathlib
import shutil
import zipfile
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf
from tfunroll.datasets.guards import workers_lock
from tqdm import tqdm

from tfunroll import machine
from tfunroll.core import InputError
from tfunroll.files import lock, replacing
from tfunroll.workers import end_with_parent

Arrays = dict[str, np.ndarray]  # "state", "start_time", "params/NAME", "diagnostics/NAME"
SPLIT_SEEDS = {"train": 0, "validation": 1, "test_interpolation": 2, "test_extrapolation": 3}

_LOCKS = []  # in a worker: says as long as the process lives that the cache is being filled

_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Group(abc.ABC):
    """Trajectories that are made together.

    Subclasses are frozen dataclasses: pickle takes them to a worker process, and their repr, which
    holds every setting, names their cache file.

    Attributes:
      split: the split they belong to.
      cached: False for what is read from files anyway.
    """

    split: str
    cached: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """Name within the split, fit for a file name, such as "domain_size=7.2"."""

    @abc.abstractmethod
    def generate(self) -> Arrays:
        """The trajectories, each array [trajectory, ...]; the same in every call."""

    def resume(self, scratch: pathlib.Path) -> Arrays:
        """``generate`` with a folder for intermediate results, which outlive a kill."""
        return self.generate()

    def path(self, folder: pathlib.Path) -> pathlib.Path:
        """Its file in the cache: another setting is another file."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:12]
        return folder / f"{self.split}-{self.label}-{digest}.npz"

    def load(self, folder: pathlib.Path) -> Arrays:
        """The trajectories from the cache; generated if the file is missing or broken."""
        if not self.cached:
            return self.generate()
        path = self.path(folder)
        arrays = read_arrays(path)
        if arrays is None:
            scratch = path.with_suffix(".parts")
            arrays = self.resume(scratch)
            write_arrays(path, arrays)
            shutil.rmtree(scratch, ignore_errors=True)
        return arrays


def read_arrays(path: pathlib.Path) -> Arrays | None:
    """The arrays of an .npz file; None if it is missing or broken."""
    # numpy checks each array's checksum while it reads it
    with contextlib.suppress(*_BROKEN), np.load(path) as arrays:
        return dict(arrays)
    return None


def write_arrays(path: pathlib.Path, arrays: Arrays) -> None:
    """Writes an .npz file, whole or not at all."""
    with replacing(path) as new:
        np.savez(new, **arrays)


def generate_missing(
    groups: Sequence[Group], folder: pathlib.Path, workers: int | None, title: str
) -> None:
    """Fills the cache with the groups that are not in it yet; a progress bar counts them.

    Args:
      groups: of all splits.
      folder: the cache.
      workers: processes side by side; None or 0: one per core; 1: all in this process.
      title: for the progress bar.
    Raises:
      InputError: a negative number of workers.
    """
    workers = workers or machine.cores()
    if workers < 1:
        raise InputError(f"workers={workers} must be at least 0")
    missing = [group for group in groups if group.cached and not group.path(folder).exists()]
    workers = min(workers, len(missing))
    with tqdm(total=len(missing), desc=title, unit="group", disable=not missing) as bar:
        if workers <= 1:
            for group in missing:
                group.load(folder)
                bar.update()
            return
        # spawn: TensorFlow does not survive a fork
        folder.mkdir(parents=True, exist_ok=True)
        context, arguments = multiprocessing.get_context("spawn"), (os.getpid(), folder)
        with concurrent.futures.ProcessPoolExecutor(
            workers, context, _start_worker, arguments
        ) as pool:
            futures = [pool.submit(_fill, group, folder) for group in missing]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)  # what is finished stays in the cache
                raise


def _start_worker(parent: int, folder: pathlib.Path) -> None:
    """One thread per worker and no GPU, which the parent process may hold."""
    _LOCKS.append(workers_lock(folder).open("w"))
    lock(_LOCKS[-1], shared=True)
    end_with_parent(parent)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")


def _fill(group: Group, folder: pathlib.Path) -> None:
    group.load(folder)
