"""Trajectories made by the reference solver, in parts that survive a kill."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tfunroll.datasets.base import energy
from tfunroll.datasets.generation import Arrays
from tfunroll.datasets.simulation import IncompressibleSimulation

from tfunroll.stepping.unrolling import rollout
from tfunroll.systems import kolmogorov

UNIT = round(1 / kolmogorov.FRAME_TIME)  # frames per time unit: one call of the compiled solver


def time_units(frames: int) -> int:
    """Whole time units that cover so many frames."""
    return -(-frames // UNIT)


@dataclasses.dataclass(frozen=True)
class SimulatedGroup(IncompressibleSimulation):
    """One trajectory; see Simulation.

    Attributes:
      points, dt: of the solver. stored_points: cells per axis of the stored states.
    """

    points: int
    dt: float
    stored_points: int

    unit = UNIT

    @property
    def factor(self):
        return self.points // self.stored_points

    def initial_state(self) -> np.ndarray:
        return kolmogorov.initial_state(self.params, self.seed, self.points).astype(np.float32)

    def compiled(self):
        return _compiled(self.points, self.dt)

    def record(self, frames):
        return {"energy": energy(frames[None, -1:, ..., self.velocity].numpy())[0]}

    def diagnostics(self, records) -> Arrays:
        return {"spin_up_energy": records["energy"][:, : self.spin_up]}


@functools.cache
def _compiled(points: int, dt: float) -> tuple[kolmogorov.Incompressible, Callable]:
    """The solver, and (state, reynolds) -> its frames of the next time unit."""
    solver = kolmogorov.solver(points, dt, kolmogorov.REFERENCE_SWEEPS)

    @tf.function(jit_compile=True, autograph=False)
    def advance(state, reynolds):
        return rollout(solver.bind({"reynolds": reynolds}), state, UNIT)

    return solver, advance
