"""Trajectories that a solver makes from an initial state, in parts that survive a kill."""

import abc
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tfunroll.datasets.generation import Arrays, Group, read_arrays, write_arrays

from tfunroll.core import InputError
from tfunroll.ops.resampling import coarsen
from tfunroll.solvers.incompressible import Incompressible

SPLIT_SEEDS = {"train": 0, "validation": 1, "test_interpolation": 2, "test_extrapolation": 3}


class Simulation(Group):
    """One trajectory of an incompressible flow. Subclasses are frozen dataclasses.

    Attributes:
      split, reynolds, trajectory: the number within split and Reynolds number gives the seed.
      frames, spin_up: frames kept, time units dropped before.
      part: time units per saved part; a few seconds of work.
      unit: frames per time unit, which is one call of the compiled solver.
    """

    split: str
    reynolds: float
    trajectory: int
    frames: int
    spin_up: int
    unit: int

    @property
    @abc.abstractmethod
    def part(self) -> int: ...

    @property
    def label(self):
        return f"reynolds={self.reynolds:g}-{self.trajectory}"

    @property
    def seed(self) -> int:
        """Another one for every trajectory of the dataset."""
        return 10**7 * SPLIT_SEEDS[self.split] + 100 * round(self.reynolds) + self.trajectory

    @abc.abstractmethod
    def initial_state(self) -> np.ndarray:
        """[1, y, x, channel] on the solver's grid, float32."""

    @abc.abstractmethod
    def compiled(self) -> tuple[Incompressible, Callable]:
        """The solver, and (state, reynolds) -> its frames of the next time unit, compiled."""

    @property
    @abc.abstractmethod
    def factor(self) -> int:
        """By which stored states are down-sampled."""

    @abc.abstractmethod
    def record(self, frames: tf.Tensor) -> Arrays:
        """What is kept of every time unit, spin-up included, of its frames [frame, y, x, channel];
        the arrays of all units are put one behind the other."""

    @abc.abstractmethod
    def arrays(self, states: np.ndarray, records: Arrays) -> Arrays:
        """The trajectory of stored states [1, frame, ...] and the records of all time units."""

    def generate(self) -> Arrays:
        return self.resume(None)

    def resume(self, scratch: pathlib.Path | None) -> Arrays:
        """``generate``, going on from the parts in ``scratch`` and adding to them."""
        state, parts = self.initial_state(), []
        total = self.spin_up - (-self.frames // self.unit)
        for start in range(0, total, self.part):
            stop = min(start + self.part, total)
            path = scratch and scratch / f"{stop:05d}.npz"
            part = path and read_arrays(path)
            if part is None:
                part = self._simulate(state, start, stop)
                if path:
                    write_arrays(path, part)
            state = part["last"]
            parts.append(part)
        joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        del joined["last"]
        states = joined.pop("state")[None, : self.frames]
        return self.arrays(states, joined)

    def _simulate(self, state, start, stop) -> Arrays:
        """The part between two times: last state, kept frames, records."""
        solver, advance = self.compiled()
        reynolds = np.array([self.reynolds], np.float32)
        shape = [n // self.factor for n in state.shape[1:3]]
        kept, records = [np.zeros((0, *shape, state.shape[-1]), np.float32)], []
        for unit in range(start, stop):
            solver.check_stable(state, reynolds)
            with tf.device("CPU:0"):  # the same numbers on every machine of a kind
                frames = advance(tf.constant(state), tf.constant(reynolds))[0]
            self._check_finite(frames.numpy(), unit)
            state = frames[-1:].numpy()
            records.append(self.record(frames))
            if unit >= self.spin_up:
                kept.append(self.stored(frames, solver))
        joined = {name: np.concatenate([r[name] for r in records]) for name in records[0]}
        return {"last": state, "state": np.concatenate(kept), **joined}

    def stored(self, frames: tf.Tensor, solver: Incompressible) -> np.ndarray:
        """Frames as they are stored."""
        return coarsen(frames, self.factor, solver.grid.fluid).numpy()

    def _check_finite(self, frames, unit):
        finite = np.isfinite(frames).all((1, 2, 3))
        if not finite.all():
            raise InputError(
                f"reynolds={self.reynolds:g}: the simulation became non-finite at frame "
                f"{unit * self.unit + int(np.argmin(finite)) + 1} (spin-up included) of "
                f"{self.split}, trajectory {self.trajectory}; what was finished is kept"
            )
