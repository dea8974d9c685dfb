"""Trajectories made by the reference solver, in parts that survive a kill."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tfunroll.datasets.base import energy
from tfunroll.datasets.generation import Arrays, Group, read_arrays, write_arrays

from tfunroll.core import InputError
from tfunroll.ops.resampling import coarsen
from tfunroll.systems import kolmogorov
from tfunroll.unrolling import rollout

UNIT = round(1 / kolmogorov.FRAME_TIME)  # frames per time unit: one call of the compiled solver
PART = 20  # time units per saved part; a few seconds of work
SPLIT_SEEDS = {"train": 0, "validation": 1, "test_interpolation": 2, "test_extrapolation": 3}


def time_units(frames: int) -> int:
    """Whole time units that cover so many frames."""
    return -(-frames // UNIT)


@dataclasses.dataclass(frozen=True)
class SimulatedGroup(Group):
    """One trajectory.

    Attributes:
      reynolds: Reynolds number.
      trajectory: its number within split and Reynolds number; gives the seed.
      frames, spin_up: frames kept, time units dropped before.
      points, dt: of the solver. stored_points: cells per axis of the stored states.
    """

    split: str
    reynolds: float
    trajectory: int
    frames: int
    spin_up: int
    points: int
    dt: float
    stored_points: int

    @property
    def label(self):
        return f"reynolds={self.reynolds:g}-{self.trajectory}"

    def initial_state(self) -> np.ndarray:
        """[1, points, points, 3]: another flow for every trajectory of the dataset."""
        seed = 10**7 * SPLIT_SEEDS[self.split] + 100 * round(self.reynolds) + self.trajectory
        params = {"reynolds": np.array([self.reynolds])}
        return kolmogorov.initial_state(params, seed, self.points).astype(np.float32)

    def generate(self) -> Arrays:
        return self.resume(None)

    def resume(self, scratch: pathlib.Path | None) -> Arrays:
        """``generate``, going on from the parts in ``scratch`` and adding to them."""
        state, states, energies = self.initial_state(), [], []
        total = self.spin_up + time_units(self.frames)
        for start in range(0, total, PART):
            stop = min(start + PART, total)
            path = scratch and scratch / f"{stop:05d}.npz"
            part = path and read_arrays(path)
            if part is None:
                part = self._simulate(state, start, stop)
                if path:
                    write_arrays(path, part)
            state = part["last"]
            states.append(part["state"])
            energies.append(part["energy"])
        states = np.concatenate(states)[None, : self.frames]
        return {
            "state": states,
            "start_time": np.array([self.spin_up + kolmogorov.FRAME_TIME], np.float32),
            "params/reynolds": np.array([self.reynolds], np.float32),
            "diagnostics/energy": energy(states[..., :2]),
            "diagnostics/spin_up_energy": np.concatenate(energies)[None, : self.spin_up],
        }

    def _simulate(self, state, start, stop) -> Arrays:
        """The part between two times: last state, kept frames, energy after each time unit."""
        solver, advance = _compiled(self.points, self.dt)
        reynolds = np.array([self.reynolds], np.float32)
        kept, energies = [np.zeros((0, *(self.stored_points,) * 2, 3), np.float32)], []
        for unit in range(start, stop):
            solver.check_stable(state, reynolds)
            with tf.device("CPU:0"):  # the same numbers on every machine of a kind
                frames = advance(tf.constant(state), tf.constant(reynolds))[0]
            self._check_finite(frames.numpy(), unit)
            state = frames[-1:].numpy()
            energies.append(energy(state[None, ..., :2])[0])
            if unit >= self.spin_up:
                kept.append(coarsen(frames, self.points // self.stored_points).numpy())
        return {
            "last": state,
            "state": np.concatenate(kept),
            "energy": np.concatenate(energies),
        }

    def _check_finite(self, frames, unit):
        finite = np.isfinite(frames).all((1, 2, 3))
        if not finite.all():
            raise InputError(
                f"reynolds={self.reynolds:g}: the simulation became non-finite at frame "
                f"{unit * UNIT + int(np.argmin(finite)) + 1} (spin-up included) of {self.split}, "
                f"trajectory {self.trajectory}; what was finished is kept"
            )


@functools.cache
def _compiled(points: int, dt: float) -> tuple[kolmogorov.Incompressible, Callable]:
    """The solver, and (state, reynolds) -> its frames of the next time unit."""
    solver = kolmogorov.solver(points, dt, kolmogorov.REFERENCE_SWEEPS)

    @tf.function(jit_compile=True, autograph=False)
    def advance(state, reynolds):
        return rollout(solver.bind({"reynolds": reynolds}), state, UNIT)

    return solver, advance
