"""The paper's own arrays, read from TFDS's manual directory."""

import dataclasses
import pathlib
import zipfile
from typing import ClassVar

import numpy as np
import tensorflow as tf
from tfunroll.datasets.generation import Arrays, Group
from tfunroll.datasets.kuramoto_sivashinsky.simulated import as_arrays, chaotic_flags

from tfunroll.core import InputError
from tfunroll.metrics.lyapunov import growth_rates
from tfunroll.systems import ks

INSTRUCTIONS = """Put the paper's arrays ks-dataset-0.npz to ks-dataset-5.npz and
ks-testdata0_85.npz, ks-testdata0_93.npz, ks-testdata1_15.npz, ks-testdata1_40.npz there."""

TRAIN_FILES = {f"ks-dataset-{i}.npz": size for i, size in enumerate(ks.TRAIN)}
TEST_FILES = {
    split: {f"ks-testdata{size / 8:.2f}.npz".replace(".", "_", 1): size for size in sizes}
    for split, sizes in ks.SYSTEM.splits.items()
    if split.startswith("test")
}
TRAIN_TRAJECTORIES, TEST_TRAJECTORIES = 6, 20
VALIDATION_PART = 10  # the last tenth of the frames of each training trajectory
LEAST_FRAMES = 2 * VALIDATION_PART  # two frames for validation, the least that has a step


@dataclasses.dataclass(frozen=True)
class PublishedGroup(Group):
    """What one file gives to one split.

    Attributes:
      path_in: the file.
      domain_size: of all its trajectories.
      trajectories: how many it has to hold.
    """

    cached: ClassVar[bool] = False
    split: str
    path_in: pathlib.Path
    domain_size: float
    trajectories: int

    @property
    def label(self):
        return self.path_in.stem

    def generate(self) -> Arrays:
        states = _read(self.path_in, self.trajectories)
        frames = states.shape[1]
        last = frames - frames // VALIDATION_PART
        start = 0
        if self.split == "train":
            states = states[:, :last]
        elif self.split == "validation":
            start, states = last, states[:, last:]
        arrays = as_arrays(states, self.domain_size, start * ks.SYSTEM.frame_time)
        with tf.device("CPU:0"):
            sizes = tf.fill([len(states)], tf.constant(self.domain_size, tf.float64))
            rates = _rates(tf.constant(states, tf.float64), sizes)
        arrays["diagnostics/chaotic"] = chaotic_flags(rates.numpy())
        return arrays


def groups(manual_dir: pathlib.Path) -> list[PublishedGroup]:
    """The groups of all splits; InputError for the first file that is missing or broken."""
    made = [
        PublishedGroup(split, manual_dir / name, size, TRAIN_TRAJECTORIES)
        for split in ("train", "validation")
        for name, size in TRAIN_FILES.items()
    ]
    made += [
        PublishedGroup(split, manual_dir / name, size, TEST_TRAJECTORIES)
        for split, files in TEST_FILES.items()
        for name, size in files.items()
    ]
    for group in made:  # all mistakes before any work
        _read(group.path_in, group.trajectories)
    return made


def _read(path: pathlib.Path, trajectories: int) -> np.ndarray:
    """The array of a file, with a channel axis: [trajectory, frame, 48, 1]."""
    if not path.is_file():
        raise InputError(f"{path.name} is missing; put the paper's file into {path.parent}")
    try:
        with np.load(path) as arrays:
            states = arrays["arr_0"]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read ({error}); put the paper's file, with the key arr_0, "
            f"into {path.parent}"
        ) from None
    if (
        states.ndim != 3
        or (states.shape[0], states.shape[2]) != (trajectories, ks.POINTS)
        or states.shape[1] < LEAST_FRAMES
    ):
        raise InputError(
            f"{path} has shape {states.shape}, expected [{trajectories}, at least {LEAST_FRAMES} "
            f"frames, {ks.POINTS}]; put the paper's file into {path.parent}"
        )
    if states.dtype.kind != "f":
        raise InputError(f"{path} holds {states.dtype}, expected real numbers")
    if not np.isfinite(states).all():
        raise InputError(f"{path} holds NaN or infinity; put the paper's file into {path.parent}")
    return states[..., None]


@tf.function(jit_compile=True, autograph=False)
def _rates(states, sizes):
    solver = ks.SYSTEM.reference()
    return growth_rates(solver.bind({"domain_size": sizes}), states, solver.frame_time)
