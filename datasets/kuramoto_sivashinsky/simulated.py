"""Trajectories made by our own solver, and the flag that says where they are chaotic."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tfunroll.datasets.base import energy
from tfunroll.datasets.generation import SPLIT_SEEDS, Arrays, Group

from tfunroll.metrics.lyapunov import growth_rates, windowed_mean
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems import ks

STRIDE = 100  # frames per chaotic flag
WINDOW = 300  # frames over which the local λ1 is averaged
THRESHOLD = 0.02  # local λ1 above which a stretch is chaotic; chaos here has 0.05 to 0.09


@dataclasses.dataclass(frozen=True)
class SimulatedGroup(Group):
    """The trajectories of one split and one domain size.

    Attributes:
      domain_size: D, the domain's length over 2π.
      trajectories, frames, spin_up: how many; frames kept; frames dropped before.
      points, dt, substeps: of the solver.
      stored_points: of the stored states. It is part of the label, not of the repr, so that cache
        files of the registered grid keep their names.
    """

    split: str
    domain_size: float
    trajectories: int
    frames: int
    spin_up: int
    points: int
    dt: float
    substeps: int
    stored_points: int = dataclasses.field(default=ks.POINTS, repr=False)

    @property
    def label(self):
        other = "" if self.stored_points == ks.POINTS else f"-points={self.stored_points}"
        return f"domain_size={self.domain_size:g}{other}"

    def initial_states(self) -> np.ndarray:
        """[trajectory, points, 1]: the study's six for training, random ones elsewhere."""
        if self.split == "train":
            return ks.study_initial_states(self.domain_size, self.points)[: self.trajectories]
        seed = 10**6 * SPLIT_SEEDS[self.split] + round(1000 * self.domain_size)
        params = {"domain_size": np.full(self.trajectories, self.domain_size)}
        return ks.initial_state(params, seed, points=self.points)

    def generate(self) -> Arrays:
        run = _compiled_run(self.points, self.dt, self.substeps, self.spin_up + self.frames)
        sizes = np.full(self.trajectories, self.domain_size)
        with tf.device("CPU:0"):  # the same numbers on every machine
            states, rates = run(tf.constant(self.initial_states()), tf.constant(sizes))
        states = states.numpy()[:, self.spin_up :]
        start = np.float32((self.spin_up + 1) * self.dt * self.substeps)
        arrays = as_arrays(truncate(states, self.stored_points), self.domain_size, start)
        arrays["diagnostics/chaotic"] = chaotic_flags(rates.numpy()[:, self.spin_up :])
        return arrays


def as_arrays(states: np.ndarray, domain_size: float, start: float) -> Arrays:
    """What every group of this dataset holds, without the chaotic flags."""
    count = len(states)
    return {
        "state": states.astype(np.float32),
        "start_time": np.full(count, start, np.float32),
        "params/domain_size": np.full(count, domain_size, np.float32),
        "diagnostics/energy": energy(states),
    }


@functools.cache
def _compiled_run(points: int, dt: float, substeps: int, frames: int) -> Callable:
    solver = KuramotoSivashinsky(points, "etdrk2", dt, substeps)

    @tf.function(jit_compile=True, autograph=False)
    def run(state, domain_size):
        """Frames 1 to ``frames`` and the growth rates between them, float64."""
        step = solver.bind({"domain_size": domain_size})
        states = rollout(step, state, frames)
        return states, growth_rates(step, states, solver.frame_time)

    return run


def chaotic_flags(rates: np.ndarray) -> np.ndarray:
    """Whether the local λ1 exceeds THRESHOLD, per STRIDE frames.

    Args: rates: growth rates between frames, [trajectory, frame − 1].
    Returns: [trajectory, ceil(frame / STRIDE)] bool.
    """
    per_frame = np.pad(rates, ((0, 0), (0, 1)), "edge")
    return windowed_mean(per_frame, WINDOW, STRIDE) > THRESHOLD


def truncate(states: np.ndarray, points: int) -> np.ndarray:
    """States on a coarser grid: Fourier modes it cannot hold are dropped, its Nyquist mode too.

    Args: states: [..., x, channel].
    """
    fine = states.shape[-2]
    if fine == points:
        return states
    u_hat = np.fft.rfft(states, axis=-2)[..., : points // 2, :]
    return np.fft.irfft(u_hat, points, axis=-2) * (points / fine)
