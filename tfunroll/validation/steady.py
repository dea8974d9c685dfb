"""Steady flows: the compressible solver marched with a time step of its own in every cell."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfunroll.core import InputError
from tfunroll.ops.gas import conservative, primitive
from tfunroll.solvers.compressible import Compressible

CHUNK = 200  # iterations per call of the compiled loop, with one set of time steps


def steady(
    solver: Compressible,
    state: np.ndarray,
    params: Mapping[str, np.ndarray],
    tolerance: float = 2e-5,
    iterations: int = 40000,
    courant: float = 0.8,
) -> tuple[np.ndarray, np.ndarray]:
    """The steady flow that ``state`` settles to, and its forces.

    Stops when drag and lift coefficients have changed by less than ``tolerance`` over the last
    tenth of the iterations (at least 2000).

    Args:
      state: [batch, j, i, 4]. params: each [batch]. courant: share of the stable sub-step.
    Returns:
      the state; drag and lift coefficients every CHUNK iterations, [batch, count, 2].
    Raises:
      InputError: if the flow blows up or does not settle.
    """
    dtype = state.dtype
    given = {name: tf.constant(value, dtype) for name, value in params.items()}
    operands = solver.operands(given)

    @tf.function(jit_compile=True, autograph=False)
    def advance(state, dt):
        q = conservative(tf.transpose(state, [3, 0, 1, 2]))
        state = tf.transpose(primitive(solver.advance(q, dt, operands, CHUNK)), [1, 2, 3, 0])
        return state, solver.forces(state, given)

    history = []
    bar = tqdm(range(0, iterations, CHUNK), desc="steady flow", unit=f"{CHUNK} iterations")
    for _ in bar:
        dt = courant * solver.stable_dt(state, params)
        state, forces = advance(tf.constant(state), tf.constant(dt, dtype))
        state = state.numpy()
        history.append(forces.numpy())
        bar.set_postfix_str(f"Cd, Cl = {np.round(history[-1], 5).tolist()}", refresh=False)
        if not np.isfinite(state).all():
            bad = int(np.argmin(np.isfinite(state).all((1, 2, 3))))
            raise InputError(f"the flow at mach={params['mach'][bad]:g} blew up on its way to rest")
        last = np.array(history[-max(10, len(history) // 10) :])
        if len(last) < len(history) and np.ptp(last, 0).max() < tolerance:
            return state, np.stack(history, 1)
    raise InputError(
        f"the flow did not settle within {iterations} iterations: its force coefficients still "
        f"change by {np.ptp(last, 0).max():.2g}"
    )
