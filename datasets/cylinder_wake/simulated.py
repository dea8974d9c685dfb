"""Trajectories made by the reference solver, in parts that survive a kill."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from tfunroll.datasets.generation import Arrays
from tfunroll.datasets.simulation import IncompressibleSimulation

from tfunroll.stepping.unrolling import rollout
from tfunroll.systems import wake

UNIT = round(1 / wake.FRAME_TIME)  # frames per time unit: one call of the compiled solver


@dataclasses.dataclass(frozen=True)
class SimulatedGroup(IncompressibleSimulation):
    """One trajectory; see Simulation.

    Attributes:
      refinement, dt: of the solver. stored_refinement: of the stored states.
      networks_points: cells of the networks' grid across the channel. It is part of the label, not
        of the repr, so that cache files of the registered grid keep their names.
    """

    refinement: int
    dt: float
    stored_refinement: int
    networks_points: int = dataclasses.field(default=wake.POINTS, repr=False)

    unit = UNIT

    @property
    def factor(self):
        return self.refinement // self.stored_refinement

    def initial_state(self) -> np.ndarray:
        grid = self.refinement, self.networks_points
        return wake.initial_state(self.params, self.seed, *grid).astype(np.float32)

    @property
    def label(self):
        other = "" if self.networks_points == wake.POINTS else f"-points={self.networks_points}"
        return super().label + other

    def compiled(self):
        return _compiled(self.refinement, self.dt, self.networks_points)[:2]

    def stored(self, frames, solver):
        return super().stored(frames, solver) * active(self.stored_refinement, self.networks_points)

    def record(self, frames):
        measure = _compiled(self.refinement, self.dt, self.networks_points)[2]
        reynolds = tf.fill([len(frames)], tf.constant(self.reynolds, tf.float32))
        return {"forces": measure(frames, reynolds)}

    def diagnostics(self, records) -> Arrays:
        return self.of_frames("forces", records["forces"])


@functools.cache
def active(refinement: int, points: int = wake.POINTS) -> np.ndarray:
    """Where u, v and p live, [y, x, 3] float32: zero on closed faces and in the body."""
    grid = wake.solver(refinement, points=points).grid
    return np.stack([*(grid.open > 0), grid.fluid], -1).astype(np.float32)


@functools.cache
def _compiled(refinement: int, dt: float, points: int):
    """The solver, (state, reynolds) -> its frames of the next time unit, and of frames the (drag,
    lift) coefficients."""
    solver = wake.solver(refinement, dt, points=points)

    @tf.function(jit_compile=True, autograph=False)
    def advance(state, reynolds):
        return rollout(solver.bind({"reynolds": reynolds}), state, UNIT)

    @tf.function(jit_compile=True, autograph=False)
    def measure(frames, reynolds):
        return wake.coefficients(solver.forces({"reynolds": reynolds})(frames))

    return solver, advance, measure
