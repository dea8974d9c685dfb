"""WAKE: flow around a cylinder, from steady to shedding, in a channel of slip walls."""

import functools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfunroll.core import Domain, InputError
from tfunroll.metrics import StaggeredGrid
from tfunroll.ops import immersed
from tfunroll.solvers.incompressible import Incompressible
from tfunroll.systems import cylinder
from tfunroll.systems.base import ParamRange, System, refuse_fraction
from tfunroll.systems.staggered import count_substeps, velocity_and_pressure

HEIGHT, LENGTH = 5.0, 10.0  # of the domain, in diameters
CENTRE = (2.5, 2.5)  # (x, y) of the cylinder
CYLINDER = immersed.circle(*CENTRE, cylinder.RADIUS)
POINTS = (32, 64)  # cells (y, x) of the networks' grid
FRAME_TIME = 0.05
REFINEMENT = 4  # cells of the reference per cell of the networks' grid, and its sub-steps per frame
COARSE_SWEEPS, REFERENCE_SWEEPS = 4, 8
SPEED = 2.4  # what |u| + |v| reaches; dt is checked against it
RESOLVED = 20.0  # cell Reynolds number of the reference up to which its flow counts as resolved
TRAIN, VALIDATION = (100.0, 200.0, 300.0, 400.0, 600.0, 800.0), (130.0, 250.0, 700.0)
CHUNK = 256  # states whose forces are computed at once


def solver(
    refinement: int = 1,
    dt: float | None = None,
    sweeps: int | None = None,
    body: immersed.Body = CYLINDER,
    pressure: str = "direct",
) -> Incompressible:
    """The PISO solver of the channel.

    Args:
      refinement: cells per cell of the networks' grid along each axis; 6.4 times this per
        diameter.
      dt: sub-step, FRAME_TIME over a whole number; by default over ``refinement``.
      sweeps: Jacobi sweeps of the predictor.
      body, pressure: of Incompressible.
    Raises:
      InputError: a dt that does not divide the frame or is beyond the stable limit; a bad body.
    """
    if refinement < 1:
        raise InputError(f"refinement={refinement} must be at least 1")
    dt = FRAME_TIME / refinement if dt is None else dt
    shape, h = tuple(n * refinement for n in POINTS), LENGTH / POINTS[1] / refinement
    substeps = count_substeps(dt, FRAME_TIME, shape, h, SPEED)
    if sweeps is None:
        sweeps = COARSE_SWEEPS if refinement == 1 else REFERENCE_SWEEPS
    sides = cylinder.SIDES
    return Incompressible(
        shape, h, dt, substeps, sweeps, None, refinement, sides, body, pressure=pressure
    )


def initial_state(params: Mapping[str, np.ndarray], seed: int, refinement: int = 1) -> np.ndarray:
    """Uniform flow with a gust across it behind the cylinder: see cylinder.started.

    Its velocity is drawn from ±(0.1 … 0.5), one draw per sample.

    Returns: [batch, y, x, 3], float64.
    """
    rng = np.random.default_rng(seed)
    count = len(params["reynolds"])
    kicks = rng.choice([-1, 1], count) * rng.uniform(0.1, 0.5, count)
    return cylinder.started(_solver(refinement), kicks)


def forces(states: np.ndarray, params: Mapping[str, np.ndarray]) -> np.ndarray:
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
    measure, parts = _measure(), []
    for start in range(0, len(flat), CHUNK):
        part = slice(start, start + CHUNK)
        state = tf.constant(flat[part], tf.float32)
        parts.append(measure(state, tf.constant(reynolds[part], tf.float32)).numpy())
    return np.concatenate(parts)[: samples * frames].reshape(samples, frames, 2)


@functools.cache
def _solver(refinement: int) -> Incompressible:
    return solver(refinement)


@functools.cache
def _measure():
    @tf.function(jit_compile=True, autograph=False)
    def measure(state, reynolds):
        params, coarse = {"reynolds": reynolds}, _solver(1)
        after = coarse.bind(params)(state)
        return cylinder.coefficients(coarse.forces(params)(after))

    return measure


def _coarse(coarse: str, solver_fraction: float) -> Incompressible:
    refuse_fraction(solver_fraction)
    return _solver(1)


def _system() -> System:
    grid = _solver(1).grid
    (y, x), fluid = grid.centres, grid.fluid
    active = np.stack([grid.open[0] > 0, grid.open[1] > 0, fluid], -1)
    distance = grid.body(*np.meshgrid(x, y))
    behind = (x > CENTRE[0] + 3) & (np.abs(y - CENTRE[1]) < 1.5)[:, None]
    domain = Domain(
        POINTS,
        (("replicate", "replicate"),) * 2,
        static=fluid[..., None].astype(np.float32),
        spacing=(HEIGHT / POINTS[0], LENGTH / POINTS[1]),
        mask=fluid,
    )
    return System(
        name="wake",
        title="flow around a cylinder",
        dataset="cylinder_wake",
        domain=domain,
        params={
            "reynolds": ParamRange(
                *(1.0, 5000.0, 1e-3),
                validated=(20.0, RESOLVED * REFINEMENT * POINTS[1] / LENGTH),
                how="drag and Strouhal number of the literature at 40 to 200; cell Reynolds number "
                f"up to {RESOLVED:g}",
            )
        },
        splits={
            "train": TRAIN,
            "validation": VALIDATION,
            "test_interpolation": (150.0, 500.0),
            "test_extrapolation": (70.0, 1000.0),
        },
        **velocity_and_pressure(FRAME_TIME),
        reference=functools.partial(_solver, REFINEMENT),
        coarse=_coarse,
        coarse_kinds=("piso",),
        coarse_misses=0.4,
        refined=_solver,
        refined_limit=REFINEMENT,
        initial_state=initial_state,
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
        flow=StaggeredGrid(LENGTH / POINTS[1], (False, False), np.moveaxis(grid.open, 0, -1) == 1),
        active=active,
        regions={"near body": fluid & (distance < 1), "far wake": behind},
        forces=forces,
    )


SYSTEM = _system()
