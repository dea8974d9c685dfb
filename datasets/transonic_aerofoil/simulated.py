"""Flows around the aerofoil made by the reference solver, in parts that survive a kill."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tfunroll.datasets.generation import SPLIT_SEEDS, Arrays
from tfunroll.datasets.simulation import Simulation

from tfunroll.ops.averaging import volume_average
from tfunroll.ops.meshes import Mesh
from tfunroll.solvers.compressible import Compressible
from tfunroll.solvers.positivity import find_failure, positive
from tfunroll.systems import aerofoil

UNIT = round(1 / aerofoil.FRAME_TIME)  # frames per c/U: one call of the compiled solver
STEADY = 2e-3  # rms of the lift coefficient below which a kept flow counts as steady


@dataclasses.dataclass(frozen=True)
class Grid:
    """The reference's mesh (see systems.aerofoil.mesh) and its sub-steps per frame."""

    cells: int = aerofoil.CELLS
    layers: int = aerofoil.LAYERS
    first: float = aerofoil.FIRST
    substeps: int = aerofoil.SUBSTEPS[aerofoil.REFINEMENT]
    refinement: int = aerofoil.REFINEMENT  # cells per stored cell and axis

    def mesh(self) -> Mesh:
        return aerofoil.mesh(self.cells, self.layers, self.first)


@dataclasses.dataclass(frozen=True)
class SimulatedGroup(Simulation):
    """Flows at one or several Mach numbers, stepped together; see Simulation.

    Attributes:
      mach: Mach numbers. incidence: in degrees.
      grid: of the solver.
      on_cpu: the same numbers on every machine of a kind; False: on whatever device there is.
    """

    split: str
    mach: tuple[float, ...]
    incidence: float
    trajectory: int
    frames: int
    spin_up: int
    grid: Grid
    on_cpu: bool = True

    unit = UNIT
    part = 1
    velocity = slice(1, 3)
    time_axis = 1

    @property
    def label(self):
        return f"mach={'+'.join(f'{m:g}' for m in self.mach)}-{self.trajectory}"

    @property
    def params(self) -> dict[str, np.ndarray]:
        mach = np.array(self.mach, np.float32)
        fixed = {"reynolds": aerofoil.REYNOLDS, "incidence": self.incidence}
        return {"mach": mach, **{n: np.full_like(mach, v) for n, v in fixed.items()}}

    def initial_state(self) -> np.ndarray:
        seed = 10**6 * SPLIT_SEEDS[self.split] + self.trajectory
        return aerofoil.initial_state(self.params, seed, self.grid.mesh()).astype(np.float32)

    def time_unit(self, state, unit) -> Arrays:
        solver, advance = _compiled(self.grid)
        solver.check_stable(state, self.params)
        given = {name: tf.constant(values) for name, values in self.params.items()}
        with tf.device("CPU:0") if self.on_cpu else contextlib.nullcontext():
            last, frames, forces = (x.numpy() for x in advance(tf.constant(state), given))
        good = positive(frames).all((2, 3))  # [sample, frame]
        good[:, -1] &= positive(last).all((1, 2))
        if not good.all():
            frame = int(np.argmin(good.all(0)))
            self._fail(solver, state, unit, frame, int(np.argmin(good[:, frame])))
        return {"last": last, "state": frames, "forces": forces}

    def diagnostics(self, records) -> Arrays:
        forces = self.of_frames("forces", records["forces"])
        return {**forces, "steady": forces["forces"][..., 1].std(1) < STEADY}

    def _fail(self, solver, state, unit, frame, sample):
        """The error of the sample whose flow failed within that frame."""
        one = slice(sample, sample + 1)
        params = {name: values[one] for name, values in self.params.items()}
        failure = find_failure(solver, state[one], params, frame + 1)
        time, where = unit + (frame + 1) / UNIT, ""
        if failure:  # else another rounding of the same numbers has just escaped
            (j, i), (x, y), time = failure.cell, failure.centre, unit + failure.time
            where = f" in cell j={j}, i={i} at x={x:.3f}, y={y:.3f}"
        raise self.failed(
            f"mach={self.mach[sample]:g}: density or pressure is not positive at time "
            f"{time:.4f} (spin-up included){where}"
        )


@functools.cache
def _compiled(grid: Grid) -> tuple[Compressible, Callable]:
    """The solver, and (state, params) -> last state, averaged frames, forces of a time unit."""
    mesh = grid.mesh()
    solver = aerofoil.solver(grid.substeps, mesh)

    @tf.function(jit_compile=True, autograph=False)
    def advance(state, params):
        step = solver.bind(params)

        def body(k, state, frames, forces):
            state = step(state)
            frames = frames.write(k, volume_average(state, mesh, grid.refinement))
            return k + 1, state, frames, forces.write(k, solver.forces(state, params))

        kept = [tf.TensorArray(state.dtype, size=UNIT) for _ in range(2)]
        _, state, frames, forces = tf.while_loop(
            lambda k, *_: k < UNIT, body, (0, state, *kept), maximum_iterations=UNIT
        )
        by_sample = [
            tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
            for x in (frames.stack(), forces.stack())
        ]
        return state, *by_sample

    return solver, advance
