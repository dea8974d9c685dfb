"""Trajectories that a solver makes from an initial state, in parts that survive a kill."""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf
from tfunroll.datasets.base import energy
from tfunroll.datasets.generation import SPLIT_SEEDS, Arrays, Group, read_arrays, write_arrays

from tfunroll.core import InputError
from tfunroll.ops.resampling import coarsen
from tfunroll.solvers.incompressible import Incompressible


class Simulation(Group):
    """Flows that are stepped together. Subclasses are frozen dataclasses.

    Attributes:
      trajectory: their number within the split and parameters.
      frames, spin_up: frames kept, time units dropped before.
      unit: frames per time unit, which is one call of the compiled solver.
      part: time units per saved part; a few seconds of work.
      velocity: its channels.
      time_axis: of the arrays in a part; 0 for a single flow, which then has no axis of flows.
    """

    trajectory: int
    frames: int
    spin_up: int
    unit: ClassVar[int]
    part: ClassVar[int]
    velocity: ClassVar[slice]
    time_axis: ClassVar[int]

    @property
    @abc.abstractmethod
    def params(self) -> Mapping[str, np.ndarray]:
        """Each [flow], float32."""

    @abc.abstractmethod
    def initial_state(self) -> np.ndarray:
        """[flow, *space, channel] on the solver's grid, float32."""

    @abc.abstractmethod
    def time_unit(self, state: np.ndarray, unit: int) -> Arrays:
        """The time unit of this number, from ``state`` on.

        Returns:
          "last", the state at its end, "state", its frames as they are stored, and any records;
          "state" may be empty in the spin-up.
        Raises: InputError: see ``failed``.
        """

    @abc.abstractmethod
    def diagnostics(self, records: Arrays) -> Arrays:
        """What is kept of the records of all time units, each [flow, time, ...]."""

    def generate(self) -> Arrays:
        return self.resume(None)

    def resume(self, scratch: pathlib.Path | None) -> Arrays:
        """``generate``, going on from the parts in ``scratch`` and adding to them."""
        state, parts = self.initial_state(), []
        kept = -(-self.frames // self.unit)
        total = self.spin_up + kept
        for start in range(0, total, self.part):
            stop = min(start + self.part, total)
            path = scratch and scratch / f"{stop:05d}.npz"
            part = path and read_arrays(path)
            if part is None:
                part = self._simulate(state, start, stop)
                if path:
                    write_arrays(path, part)
            state = part.pop("last")
            parts.append(part)
        records = self._joined(parts)
        if self.time_axis == 0:
            records = {name: values[None] for name, values in records.items()}
        states = records.pop("state")[:, -kept * self.unit :][:, : self.frames]
        diagnostics = {"energy": energy(states[..., self.velocity]), **self.diagnostics(records)}
        return {
            "state": states,
            "start_time": np.full(len(states), self.spin_up + 1 / self.unit, np.float32),
            **{f"params/{name}": values for name, values in self.params.items()},
            **{f"diagnostics/{name}": values for name, values in diagnostics.items()},
        }

    def _simulate(self, state, start, stop) -> Arrays:
        """The part between two times."""
        units = []
        for unit in range(start, stop):
            units.append(self.time_unit(state, unit))
            state = units[-1].pop("last")
        return {"last": state, **self._joined(units)}

    def _joined(self, pieces: Sequence[Arrays]) -> Arrays:
        """Arrays of consecutive times, one behind the other."""
        return {n: np.concatenate([p[n] for p in pieces], self.time_axis) for n in pieces[0]}

    def of_frames(self, name: str, record: np.ndarray) -> Arrays:
        """Diagnostics of a record of every frame: of the kept ones, and of those of the spin-up."""
        start = self.spin_up * self.unit
        return {name: record[:, start : start + self.frames], f"spin_up_{name}": record[:, :start]}

    def failed(self, what: str) -> InputError:
        """The error of a flow that came to an end."""
        return InputError(
            f"{what} of {self.split}, trajectory {self.trajectory}; what was finished is kept"
        )


@dataclasses.dataclass(frozen=True)
class IncompressibleSimulation(Simulation):
    """One trajectory of an incompressible flow; see Simulation."""

    split: str
    reynolds: float
    trajectory: int
    frames: int
    spin_up: int

    part = 20
    velocity = slice(2)
    time_axis = 0

    @property
    def label(self):
        return f"reynolds={self.reynolds:g}-{self.trajectory}"

    @property
    def params(self):
        return {"reynolds": np.array([self.reynolds], np.float32)}

    @property
    def seed(self) -> int:
        """Another one for every trajectory of the dataset."""
        return 10**7 * SPLIT_SEEDS[self.split] + 100 * round(self.reynolds) + self.trajectory

    @abc.abstractmethod
    def compiled(self) -> tuple[Incompressible, Callable]:
        """The solver, and (state, reynolds) -> its frames of the next time unit, compiled."""

    @property
    @abc.abstractmethod
    def factor(self) -> int:
        """By which stored states are down-sampled."""

    @abc.abstractmethod
    def record(self, frames: tf.Tensor) -> Mapping[str, tf.Tensor | np.ndarray]:
        """The records of the frames of one time unit, [frame, y, x, channel]."""

    def time_unit(self, state, unit) -> Arrays:
        solver, advance = self.compiled()
        reynolds = self.params["reynolds"]
        solver.check_stable(state, reynolds)
        with tf.device("CPU:0"):  # the same numbers on every machine of a kind
            frames = advance(tf.constant(state), tf.constant(reynolds))[0]
            self._check_finite(frames, unit)
            stored = self.stored(frames if unit >= self.spin_up else frames[:0], solver)
            made = {"last": frames[-1:], "state": stored, **self.record(frames)}
        return {name: np.asarray(values) for name, values in made.items()}

    def stored(self, frames: tf.Tensor, solver: Incompressible) -> tf.Tensor:
        """Frames as they are stored."""
        return coarsen(frames, self.factor, solver.grid.fluid)

    def _check_finite(self, frames, unit):
        finite = tf.reduce_all(tf.math.is_finite(frames), [1, 2, 3]).numpy()
        if not finite.all():
            frame = unit * self.unit + int(np.argmin(finite)) + 1
            raise self.failed(
                f"reynolds={self.reynolds:g}: the simulation became non-finite at frame {frame} "
                "(spin-up included)"
            )
