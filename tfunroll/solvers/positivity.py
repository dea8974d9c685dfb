"""Where a compressible flow lost its positive density and pressure: the run, once more, slowly."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfunroll.solvers.compressible import Compressible


class Failure(NamedTuple):
    """The first sub-step after which density or pressure of a cell is not positive."""

    time: float
    sample: int
    cell: tuple[int, int]  # (j, i)
    centre: tuple[float, float]  # (x, y)


def positive(state: np.ndarray) -> np.ndarray:
    """Where all is finite and density and pressure are positive: [..., j, i]."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(state).all(-1) & (state[..., 0] > 0) & (state[..., 3] > 0)


def find_failure(
    solver: Compressible, state: np.ndarray, params: Mapping[str, np.ndarray], frames: int
) -> Failure | None:
    """The failure within so many frames from ``state``, found sub-step by sub-step; None: none."""
    single = Compressible(solver.mesh, solver.dt, 1, solver.viscous, solver.boundary, solver.sensor)
    given = {name: tf.constant(value, state.dtype) for name, value in params.items()}
    step = tf.function(single.bind(given), jit_compile=True, autograph=False)
    for k in range(frames * solver.substeps + 1):
        good = positive(state)
        if not good.all():
            sample, j, i = (int(n) for n in np.argwhere(~good)[0])
            return Failure(k * solver.dt, sample, (j, i), tuple(solver.mesh.centres[j, i]))
        state = step(tf.constant(state)).numpy()
    return None
