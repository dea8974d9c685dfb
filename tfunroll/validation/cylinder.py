"""The cylinder far from all sides, where the literature has its numbers, and what is measured."""

import functools

import numpy as np
import tensorflow as tf

from tfunroll.metrics.forces import STEADY
from tfunroll.ops import immersed
from tfunroll.ops.grid import stretched
from tfunroll.solvers.incompressible import Incompressible
from tfunroll.systems.wake import RADIUS, SIDES, body_centre, coefficients

SWEEPS = 8


def unconfined(cells: int = 25, dt: float = 0.0125, reach: float = 20.0) -> Incompressible:
    """The solver of a cylinder with all sides ``reach`` diameters from its centre.

    Args:
      cells: per diameter, around the cylinder and 2 diameters downstream; beyond, they widen by
        one ratio along each axis.
      dt: time step.
    """
    x = stretched(1 / cells, (-0.75, 2.0), (-reach, reach), round(6.75 * cells))
    y = stretched(1 / cells, (-0.75, 0.75), (-reach, reach), round(5 * cells))
    body = immersed.circle(reach, reach, RADIUS)
    return Incompressible((len(y), len(x)), (y, x), dt, 1, SWEEPS, sides=SIDES, body=body)


def history(
    solver: Incompressible, state: np.ndarray, reynolds: np.ndarray, time: float, dtype="float32"
) -> tuple[np.ndarray, np.ndarray]:
    """(drag, lift) coefficients after every frame, [batch, frame, 2], and the last state.

    Args: state: [batch, y, x, 3]. reynolds: [batch]. time: in diameters over velocity.
    """
    call = 200  # frames per call of the compiled graph
    advance = _advance(solver, call)
    state, reynolds = tf.constant(state, dtype), tf.constant(reynolds, dtype)
    found = []
    for _ in range(-(-round(time / solver.frame_time) // call)):
        state, forces = advance(state, reynolds)
        found.append(forces.numpy())
    return np.concatenate(found).swapaxes(0, 1), state.numpy()


@functools.cache
def _advance(solver, frames):
    @tf.function(jit_compile=True, autograph=False)
    def advance(state, reynolds):
        params = {"reynolds": reynolds}
        step, force = solver.bind(params), solver.forces(params)

        def body(k, state, kept):
            state = step(state)
            return k + 1, state, kept.write(k, coefficients(force(state)))

        kept = tf.TensorArray(state.dtype, frames, element_shape=(state.shape[0], 2))
        start = (tf.constant(0), state, kept)
        _, state, kept = tf.while_loop(
            lambda k, *_: k < frames, body, start, maximum_iterations=frames
        )
        return state, kept.stack()

    return advance


def characteristics(
    frame_time: float, forces: np.ndarray, measured: float = 0.3
) -> tuple[float, float, float, float]:
    """(Strouhal number, mean drag, amplitude and rms of the lift) of the last part of a history.

    The Strouhal number is that of the whole periods between the lift's upward crossings of its
    mean; nan where the flow is steady.
    Args: forces: (drag, lift) [frame, 2].
    """
    drag, lift = forces[round((1 - measured) * len(forces)) :].T.astype(np.float64)
    c = lift - lift.mean()
    up = np.flatnonzero((c[:-1] < 0) & (c[1:] >= 0))
    crossings = frame_time * (up - c[up] / (c[up + 1] - c[up]))
    steady = len(up) < 3 or c.std() < STEADY
    frequency = np.nan if steady else (len(up) - 1) / (crossings[-1] - crossings[0])
    return frequency, drag.mean(), np.ptp(lift) / 2, c.std()


def growth_rate(frame_time: float, lift: np.ndarray) -> float:
    """Of the lift's oscillation between the third and the last quarter of a history [frame]."""
    quarter = len(lift) // 4
    third, last = lift[2 * quarter : 3 * quarter], lift[3 * quarter : 4 * quarter]
    return np.log(np.std(last) / np.std(third)) / (quarter * frame_time)


def bubble(solver: Incompressible, state: np.ndarray) -> float:
    """Length of the recirculation behind the cylinder along its axis, in diameters.

    Args: state: [y, x, 3].
    """
    (y, _), (_, x) = solver.grid.centres, solver.grid.faces
    at = body_centre(solver.grid)
    u = state[np.argsort(np.abs(y - at[1]))[:2], :, 0].mean(0)
    behind = np.flatnonzero((x > at[0] + RADIUS) & (x < at[0] + 15))
    turns = [i for i in behind[:-1] if u[i] < 0 <= u[i + 1]]
    if not turns:
        return 0.0
    i = turns[0]
    return x[i] - u[i] * (x[i + 1] - x[i]) / (u[i + 1] - u[i]) - at[0] - RADIUS
