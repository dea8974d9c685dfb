"""Trajectories made by the reference solver, in parts that survive a kill."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from tfunroll.datasets.generation import Arrays
from tfunroll.datasets.simulation import IncompressibleSimulation

from tfunroll.systems import cylinder, wake
from tfunroll.unrolling import rollout

UNIT = round(1 / wake.FRAME_TIME)  # frames per time unit: one call of the compiled solver


@dataclasses.dataclass(frozen=True)
class SimulatedGroup(IncompressibleSimulation):
    """One trajectory; see Simulation.

    Attributes:
      refinement, dt: of the solver. stored_refinement: of the stored states.
    """

    refinement: int
    dt: float
    stored_refinement: int

    unit = UNIT

    @property
    def factor(self):
        return self.refinement // self.stored_refinement

    def initial_state(self) -> np.ndarray:
        return wake.initial_state(self.params, self.seed, self.refinement).astype(np.float32)

    def compiled(self):
        return _compiled(self.refinement, self.dt)[:2]

    def stored(self, frames, solver) -> np.ndarray:
        kept = super().stored(frames, solver)
        return kept * active(self.stored_refinement)

    def record(self, frames) -> Arrays:
        measure = _compiled(self.refinement, self.dt)[2]
        reynolds = tf.fill([len(frames)], tf.constant(self.reynolds, tf.float32))
        return {"forces": measure(frames, reynolds).numpy()}

    def diagnostics(self, records) -> Arrays:
        return self.of_frames("forces", records["forces"])


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
