"""WAKE: flow around a cylinder, from steady to shedding, in a channel of slip walls."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfunroll.core import Domain, InputError
from tfunroll.metrics import StaggeredGrid
from tfunroll.ops import immersed
from tfunroll.ops.grid import Grid
from tfunroll.options import Options, option, write
from tfunroll.solvers.incompressible import Incompressible
from tfunroll.systems.base import ParamRange, SolverKind, System
from tfunroll.systems.staggered import Pressure, count_substeps, velocity_and_pressure

HEIGHT, LENGTH = 5.0, 10.0  # of the domain, in diameters; velocities are in those of the inflow
RADIUS = 0.5
SIDES = (("slip", "slip"), ("inflow", "outflow"))
CENTRE = (2.5, 2.5)  # (x, y) of the cylinder
CYLINDER = immersed.circle(*CENTRE, RADIUS)
POINTS = 32  # cells of the networks' grid across the channel; twice as many along it
FRAME_TIME = 0.05
REFINEMENT = (
    4  # cells of the reference per cell of the networks' grid, and sub-steps per coarse one
)
COARSE_SWEEPS, REFERENCE_SWEEPS = 4, 8
SPEED = 2.4  # what |u| + |v| reaches; dt is checked against it
RESOLVED = 20.0  # cell Reynolds number of the reference up to which its flow counts as resolved
TRAIN, VALIDATION = (100.0, 200.0, 300.0, 400.0, 600.0, 800.0), (130.0, 250.0, 700.0)
CHUNK = 256  # states whose forces are computed at once


def shape_of(points: int) -> tuple[int, int]:
    """Cells (y, x) of the networks' grid."""
    return points, 2 * points


def least_substeps(points: int) -> int:
    """Sub-steps per frame with which a grid is stable: 1 on the registered one."""
    return math.ceil(FRAME_TIME * SPEED * points / HEIGHT)


def solver(
    refinement: int = 1,
    dt: float | None = None,
    sweeps: int | None = None,
    body: immersed.Body = CYLINDER,
    points: int = POINTS,
    **pressure,
) -> Incompressible:
    """The PISO solver of the channel.

    Args:
      refinement: cells per cell of the networks' grid along each axis; on the registered grid
        6.4 times this per diameter.
      dt: sub-step, FRAME_TIME over a whole number; by default ``refinement`` times finer than what
        the networks' grid needs.
      sweeps: Jacobi sweeps of the predictor.
      body: of Incompressible, as are "pressure" and what it needs.
      points: cells of the networks' grid across the channel.
    Raises:
      InputError: a dt that does not divide the frame or is beyond the stable limit; a bad body.
    """
    if refinement < 1:
        raise InputError(f"refinement={refinement} must be at least 1")
    dt = FRAME_TIME / (refinement * least_substeps(points)) if dt is None else dt
    shape, h = tuple(n * refinement for n in shape_of(points)), LENGTH / (2 * points) / refinement
    substeps = count_substeps(dt, FRAME_TIME, shape, h, SPEED)
    if sweeps is None:
        sweeps = COARSE_SWEEPS if refinement == 1 else REFERENCE_SWEEPS
    return Incompressible(shape, h, dt, substeps, sweeps, None, refinement, SIDES, body, **pressure)


def initial_state(
    params: Mapping[str, np.ndarray], seed: int, refinement: int = 1, points: int = POINTS
) -> np.ndarray:
    """Uniform flow with a gust across it behind the cylinder: see ``started``.

    Its velocity is drawn from ±(0.1 … 0.5), one draw per sample.

    Returns: [batch, y, x, 3], float64.
    """
    rng = np.random.default_rng(seed)
    count = len(params["reynolds"])
    kicks = rng.choice([-1, 1], count) * rng.uniform(0.1, 0.5, count)
    return started(_solver(refinement, points), kicks)


def started(solver: Incompressible, kicks: np.ndarray) -> np.ndarray:
    """Uniform flow with a gust across it behind the body, which starts the shedding.

        u = 1,   v = kick · exp(−((x − x_c − 1)² + (y − y_c)²) / 0.5)

    Args: kicks: velocity of each sample's gust, [batch].
    Returns: [batch, y, x, 3], float64; the solver's first step makes it solenoidal.
    """
    grid = solver.grid
    (_, x), (y, _) = grid.centres, grid.faces
    at = body_centre(grid)
    gust = np.exp(-((x - at[0] - 1) ** 2 + (y[:, None] - at[1]) ** 2) / 0.5)
    state = np.zeros((len(kicks), *grid.shape, 3))
    state[..., 0] = grid.open[0]
    state[..., 1] = np.asarray(kicks)[:, None, None] * gust * grid.open[1]
    return state


def coefficients(force):
    """F / (½ ρ U² D), per unit density."""
    return 2 * force


def body_centre(grid: Grid) -> tuple[float, float]:
    """(x, y) in the middle of the cells in the body."""
    (y, x), shut = grid.centres, ~grid.fluid
    return x[shut.any(0)].mean(), y[shut.any(1)].mean()


def forces(
    states: np.ndarray, params: Mapping[str, np.ndarray], points: int = POINTS
) -> np.ndarray:
    """(drag, lift) coefficients of states on the networks' grid: [sample, frame, 2].

    Of the state one coarse step later, so that the pressure is that of the velocity, whoever made
    the state: references and rollouts are measured alike. The staircase of 6.4 cells per diameter
    makes them differ from the reference solver's own, which the dataset holds.

    Args: states: [sample, frame, y, x, 3]. params: "reynolds", [sample].
    """
    samples, frames = states.shape[:2]
    flat = states.reshape(-1, *states.shape[2:])
    reynolds = np.repeat(np.asarray(params["reynolds"]), frames)
    count = -len(flat) % CHUNK  # one shape, one trace
    flat = np.concatenate([flat, flat[:1].repeat(count, 0)])
    reynolds = np.concatenate([reynolds, reynolds[:1].repeat(count)])
    measure, parts = _measure(points), []
    for start in range(0, len(flat), CHUNK):
        part = slice(start, start + CHUNK)
        state = tf.constant(flat[part], tf.float32)
        parts.append(measure(state, tf.constant(reynolds[part], tf.float32)).numpy())
    return np.concatenate(parts)[: samples * frames].reshape(samples, frames, 2)


@functools.cache
def _solver(refinement: int, points: int = POINTS) -> Incompressible:
    return solver(refinement, points=points)


@functools.cache
def _measure(points: int):
    @tf.function(jit_compile=True, autograph=False)
    def measure(state, reynolds):
        params, coarse = {"reynolds": reynolds}, _solver(1, points)
        after = coarse.bind(params)(state)
        return coefficients(coarse.forces(params)(after))

    return measure


@dataclass(frozen=True)
class Resolution(Options):
    """Grid of the system."""

    points: int = option(POINTS, 16, 256, "cells across the channel", step=2)


@dataclass(frozen=True)
class Piso(Pressure):
    """Options of the coarse solver."""

    sweeps: int = option(COARSE_SWEEPS, 1, 50, "Jacobi sweeps of the predictor")


def make(points: int = POINTS) -> System:
    """The System whose networks and coarse solver have that many cells across the channel.

    Along it they have twice as many: points / 5 per diameter. The reference has four times as many
    per axis. A finer grid takes the sub-steps that its stability needs.

    Args: points: even, 16 to 256.
    Raises: InputError: another number of points; it names the nearest allowed one.
    """
    return _made(Resolution(points))


@functools.cache
def _made(resolution: Resolution) -> System:
    points = resolution.points
    grid = _solver(1, points).grid
    (y, x), fluid = grid.centres, grid.fluid
    active = np.stack([grid.open[0] > 0, grid.open[1] > 0, fluid], -1)
    distance = grid.body(*np.meshgrid(x, y))
    behind = (x > CENTRE[0] + 3) & (np.abs(y - CENTRE[1]) < 1.5)[:, None]
    domain = Domain(
        shape_of(points),
        (("replicate", "replicate"),) * 2,
        static=fluid[..., None].astype(np.float32),
        spacing=(HEIGHT / points, LENGTH / (2 * points)),
        mask=fluid,
    )
    return System(
        name=write("wake", resolution),
        resolution=resolution,
        title="flow around a cylinder",
        dataset="cylinder_wake",
        domain=domain,
        params={
            "reynolds": ParamRange(
                *(1.0, 5000.0, 1e-3),
                validated=(20.0, RESOLVED * REFINEMENT * points / HEIGHT),
                how="drag and Strouhal number of the literature at 40 to 200; cell Reynolds number "
                f"up to {RESOLVED:g}",
                label="Re",
            )
        },
        splits={
            "train": TRAIN,
            "validation": VALIDATION,
            "test_interpolation": (150.0, 500.0),
            "test_extrapolation": (70.0, 1000.0),
        },
        **velocity_and_pressure(FRAME_TIME),
        time_unit="D/U",
        reference=functools.partial(_solver, REFINEMENT, points),
        coarse_kinds={
            "piso": SolverKind(
                lambda o: solver(sweeps=o.sweeps, points=points, **o.arguments()), Piso
            )
        },
        coarse_misses=0.4,
        refined=functools.partial(_solver, points=points),
        refined_limit=REFINEMENT,
        initial_state=functools.partial(initial_state, points=points),
        spin_up_frames=1600,
        metrics=(
            "relative_error",
            "rollout_mse",
            "mse",
            "nrmse",
            "rollout_mse@near body",
            "rollout_mse@far wake",
            "vorticity_correlation_time",
            "divergence_time",
            "rms_divergence",
            "strouhal",
            "strouhal_error",
            "mean_drag",
            "drag_error",
            "lift_rms",
            "lift_rms_error",
            "phase_error",
        ),
        horizon=100,
        long_horizon=400,
        flow=StaggeredGrid(
            LENGTH / (2 * points), (False, False), np.moveaxis(grid.open, 0, -1) == 1
        ),
        active=active,
        regions={"near body": fluid & (distance < 1), "far wake": behind},
        body=grid.body,
        forces=functools.partial(forces, points=points),
    )


SYSTEM = make()
