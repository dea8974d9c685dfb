"""Trajectories made by the reference solver, in parts that survive a kill."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from tfunroll.datasets.base import energy
from tfunroll.datasets.generation import Arrays
from tfunroll.datasets.simulation import Simulation

from tfunroll.systems import cylinder, wake
from tfunroll.unrolling import rollout

UNIT = round(1 / wake.FRAME_TIME)  # frames per time unit: one call of the compiled solver
PART = 20  # time units per saved part; a few seconds of work


@dataclasses.dataclass(frozen=True)
class SimulatedGroup(Simulation):
    """One trajectory; see Simulation.

    Attributes:
      refinement, dt: of the solver. stored_refinement: of the stored states.
    """

    split: str
    reynolds: float
    trajectory: int
    frames: int
    spin_up: int
    refinement: int
    dt: float
    stored_refinement: int

    unit = UNIT

    @property
    def part(self):
        return PART

    @property
    def factor(self):
        return self.refinement // self.stored_refinement

    def initial_state(self) -> np.ndarray:
        params = {"reynolds": np.array([self.reynolds])}
        return wake.initial_state(params, self.seed, self.refinement).astype(np.float32)

    def compiled(self):
        return _compiled(self.refinement, self.dt)[:2]

    def stored(self, frames, solver) -> np.ndarray:
        kept = super().stored(frames, solver)
        return kept * active(self.stored_refinement)

    def record(self, frames) -> Arrays:
        measure = _compiled(self.refinement, self.dt)[2]
        reynolds = tf.fill([len(frames)], tf.constant(self.reynolds, tf.float32))
        return {"forces": measure(frames, reynolds).numpy()}

    def arrays(self, states, records) -> Arrays:
        split = self.spin_up * UNIT
        forces = records["forces"][None]
        return {
            "state": states,
            "start_time": np.array([self.spin_up + wake.FRAME_TIME], np.float32),
            "params/reynolds": np.array([self.reynolds], np.float32),
            "diagnostics/energy": energy(states[..., :2]),
            "diagnostics/forces": forces[:, split : split + self.frames],
            "diagnostics/spin_up_forces": forces[:, :split],
        }


@functools.cache
def active(refinement: int) -> np.ndarray:
    """Where u, v and p live, [y, x, 3] float32: zero on closed faces and in the body."""
    grid = wake.solver(refinement).grid
    return np.stack([*(grid.open > 0), grid.fluid], -1).astype(np.float32)


@functools.cache
def _compiled(refinement: int, dt: float):
    """The solver, (state, reynolds) -> its frames of the next time unit, and of frames the (drag,
    lift) coefficients."""
    solver = wake.solver(refinement, dt)

    @tf.function(jit_compile=True, autograph=False)
    def advance(state, reynolds):
        return rollout(solver.bind({"reynolds": reynolds}), state, UNIT)

    @tf.function(jit_compile=True, autograph=False)
    def measure(frames, reynolds):
        return cylinder.coefficients(solver.forces({"reynolds": reynolds})(frames))

    return solver, advance, measure
