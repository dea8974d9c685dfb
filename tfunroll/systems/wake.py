"""WAKE: flow around a cylinder, from steady to shedding, in a channel of slip walls."""

import functools

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.ops import immersed
from tfunroll.ops.grid import stretched
from tfunroll.solvers.incompressible import Incompressible

HEIGHT, LENGTH = 5.0, 10.0  # of the domain, in diameters
CENTRE, RADIUS = (2.5, 2.5), 0.5  # (x, y) of the cylinder
POINTS = (32, 64)  # of the networks' grid
FRAME_TIME = 0.05
REFINEMENT = 4  # cells of the reference per cell of the networks' grid, and its sub-steps per frame
COARSE_SWEEPS, REFERENCE_SWEEPS = 4, 8
CFL_SPEED = 2.4  # what |u| + |v| reaches; dt is checked against it
SIDES = (("slip", "slip"), ("inflow", "outflow"))
CYLINDER = immersed.circle(*CENTRE, RADIUS)


def solver(
    refinement: int = 1, dt: float | None = None, sweeps: int | None = None, **options
) -> Incompressible:
    """The PISO solver of the channel, with ``refinement`` cells per cell of the networks' grid.

    Args:
      refinement: 6.4 cells per diameter times this.
      dt: sub-step, FRAME_TIME over a whole number; by default over ``refinement``.
      sweeps: Jacobi sweeps of the predictor. options: of the solver, such as ``body``.
    Raises:
      InputError: a dt that does not divide the frame or is beyond the stable limit.
    """
    if refinement < 1:
        raise InputError(f"refinement={refinement} must be at least 1")
    dt = FRAME_TIME / refinement if dt is None else dt
    shape, h = tuple(n * refinement for n in POINTS), LENGTH / POINTS[1] / refinement
    if not dt > 0:
        raise InputError(f"dt={dt} must be positive")
    if dt * CFL_SPEED > 2 * h:
        raise InputError(
            f"dt={dt:g} is beyond the stable limit: the largest stable dt on {shape[0]} x "
            f"{shape[1]} cells is {2 * h / CFL_SPEED:.3g}"
        )
    substeps = round(FRAME_TIME / dt)
    if abs(substeps * dt - FRAME_TIME) > 1e-6 * FRAME_TIME:
        raise InputError(
            f"dt={dt:g} must divide the frame of {FRAME_TIME:g}; near: {FRAME_TIME / substeps:g}"
        )
    if sweeps is None:
        sweeps = COARSE_SWEEPS if refinement == 1 else REFERENCE_SWEEPS
    options = {"body": CYLINDER, "sides": SIDES} | options
    return Incompressible(shape, h, dt, substeps, sweeps, refinement=refinement, **options)


def unconfined(
    cells: int = 32, dt: float = 0.0125, reach: float = 20.0, substeps: int = 1
) -> Incompressible:
    """The solver of a cylinder far from all sides, on a stretched grid.

    Args:
      cells: per diameter, around the cylinder and 2 diameters downstream; beyond, they widen by
        one ratio.
      dt: sub-step. reach: diameters from the cylinder's centre to every side.
    """
    x = stretched(1 / cells, (-0.75, 2.0), (-reach, reach), round(6.75 * cells))
    y = stretched(1 / cells, (-0.75, 0.75), (-reach, reach), round(5 * cells))
    body = immersed.circle(reach, reach, RADIUS)
    return Incompressible(
        (len(y), len(x)), (y, x), dt, substeps, REFERENCE_SWEEPS, sides=SIDES, body=body
    )


def started(solver: Incompressible, batch: int, kick: float = 0.3) -> np.ndarray:
    """Uniform flow with a gust across it behind the cylinder, which starts the shedding.

        u = 1,   v = kick · exp(−((x − x_c − 1)² + (y − y_c)²) / 0.5)

    Returns: [batch, y, x, 3], float64; the solver's first step makes it solenoidal.
    """
    grid = solver.grid
    (_, x), (y, _) = grid.centres, grid.faces
    at = _body_centre(grid)
    gust = kick * np.exp(-((x - at[0] - 1) ** 2 + (y[:, None] - at[1]) ** 2) / 0.5)
    state = np.stack([np.ones(grid.shape), gust, np.zeros(grid.shape)], -1)
    state[..., :2] *= np.moveaxis(grid.open, 0, -1)
    return np.repeat(state[None], batch, 0)


def _body_centre(grid) -> tuple[float, float]:
    (y, x), shut = grid.centres, ~grid.fluid
    return x[shut.any(0)].mean(), y[shut.any(1)].mean()


def history(
    solver: Incompressible, state, reynolds: np.ndarray, time: float, call: int = 400
) -> tuple[np.ndarray, np.ndarray]:
    """(drag, lift) coefficients after every sub-step, [batch, step, 2], and the last state.

    Args: state: [batch, y, x, 3] tensor. time: in diameters over velocity.
    """
    advance = _advance(solver, call)
    reynolds = tf.constant(reynolds, state.dtype)
    found = []
    for _ in range(-(-round(time / solver.frame_time) // call)):
        state, forces = advance(state, reynolds)
        found.append(forces.numpy())
    return np.concatenate(found).swapaxes(0, 1), state.numpy()


@functools.cache
def _advance(solver, steps):
    @tf.function(jit_compile=True, autograph=False)
    def advance(state, reynolds):
        params = {"reynolds": reynolds}
        step, force = solver.bind(params), solver.forces(params)

        def body(k, state, kept):
            state = step(state)
            return k + 1, state, kept.write(k, 2 * force(state))  # F / (ρU²D/2)

        kept = tf.TensorArray(state.dtype, steps, element_shape=(state.shape[0], 2))
        start = (tf.constant(0), state, kept)
        _, state, kept = tf.while_loop(
            lambda k, *_: k < steps, body, start, maximum_iterations=steps
        )
        return state, kept.stack()

    return advance


def bubble(solver: Incompressible, state: np.ndarray) -> float:
    """Length of the recirculation behind the cylinder on its axis, in diameters from its rear."""
    (y, _), (_, x) = solver.grid.centres, solver.grid.faces
    at = _body_centre(solver.grid)
    rows = np.argsort(np.abs(y - at[1]))[:2]
    u = state[rows, :, 0].mean(0)
    behind = np.flatnonzero((x > at[0] + RADIUS) & (x < at[0] + 15))
    turns = [i for i in behind[:-1] if u[i] < 0 <= u[i + 1]]
    if not turns:
        return 0.0
    i = turns[0]
    return x[i] - u[i] * (x[i + 1] - x[i]) / (u[i + 1] - u[i]) - at[0] - RADIUS


def characteristics(times, forces, measured=0.3):
    """(Strouhal number, mean drag, amplitude and rms of the lift) of the last part of a history."""
    chosen = times > (1 - measured) * times[-1]
    t, (drag, lift) = times[chosen], forces[chosen].T
    c = lift - lift.mean()
    up = np.flatnonzero((c[:-1] < 0) & (c[1:] >= 0))
    crossings = t[up] - c[up] * (t[up + 1] - t[up]) / (c[up + 1] - c[up])
    steady = len(up) < 3 or np.ptp(lift) < 1e-2
    frequency = np.nan if steady else (len(up) - 1) / (crossings[-1] - crossings[0])
    return frequency, drag.mean(), np.ptp(lift) / 2, c.std()


def growth_rate(times, lift):
    """Of the lift's oscillation between the second and the last quarter of a history."""
    half = len(lift) // 2
    parts = lift[half : half + half // 2], lift[half + half // 2 :]
    return np.log(np.std(parts[1]) / np.std(parts[0])) / (times[half // 2] - times[0])
