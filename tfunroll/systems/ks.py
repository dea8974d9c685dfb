"""KS: the Kuramoto-Sivashinsky equation, one-dimensional and chaotic."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfunroll.core import Domain
from tfunroll.options import Options, option, write
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.stepping.steppers import (
    IndirectCorrection,
    ParallelCorrection,
    SequentialCorrection,
)
from tfunroll.systems.base import ParamRange, SolverKind, System

POINTS = 48
TRAIN = tuple(8 * d for d in (0.9, 0.95, 1.0, 1.1, 1.2, 1.3))
AMPLITUDES = ((0.1, 0.1), (-0.2, 0.3), (0.3, 0.5))  # (a, b) of the study's initial states


def initial_state(
    params: Mapping[str, np.ndarray], seed: int, base: float = 1.0, points: int = POINTS
) -> np.ndarray:
    """Random initial states of the study's test family.

        u = cos(base π x) + a cos(2πx/D) (1 − b sin(2πx/D)),   x = D i / points

    with a uniform in ±0.1 and b in ±2, one draw per sample.

    Returns: [batch, points, 1], float64.
    """
    size = np.asarray(params["domain_size"], np.float64)
    rng = np.random.default_rng(seed)
    a = rng.uniform(-0.1, 0.1, len(size))
    b = rng.uniform(-2, 2, len(size))
    return _waves(size, a, -b, base, points)


def study_initial_states(size: float, points: int = POINTS) -> np.ndarray:
    """The study's six training initial states for one domain size: [6, points, 1], float64.

    u = cos(2πx) + a cos(2πx/D) (1 ± b sin(2πx/D)) for the three AMPLITUDES and both signs.
    """
    a = np.array([a for a, _ in AMPLITUDES for _ in range(2)])
    b = np.array([sign * b for _, b in AMPLITUDES for sign in (1, -1)])
    return _waves(np.full(6, size), a, b, 2.0, points)


def _waves(size, a, b, base, points):
    size, a, b = size[:, None], a[:, None], b[:, None]
    x = size * np.arange(points) / points
    angle = 2 * np.pi * x / size
    return (np.cos(base * np.pi * x) + a * np.cos(angle) * (1 + b * np.sin(angle)))[..., None]


@dataclass(frozen=True)
class Resolution(Options):
    """Grid of the system."""

    points: int = option(POINTS, 44, 1024, "grid points, of the solvers and the networks", step=2)


@dataclass(frozen=True)
class Etd1(Options):
    """Options of the first-order solver."""

    substeps: int = option(2, 1, 200, "sub-steps per frame")


@dataclass(frozen=True)
class Etdrk2(Options):
    """Options of the second-order solver."""

    substeps: int = option(2, 1, 200, "sub-steps per frame")
    fraction: float = option(1.0, 0.0, 1.0, "part of each frame that is integrated", above=True)


def make(points: int = POINTS) -> System:
    """The System on that many grid points.

    Data, solvers and networks share one grid: what its points do not resolve, no reference knows.
    48 do for domain sizes up to 11.2, so a size D needs about 4.3 D.

    Args: points: even, 44 to 1024: on fewer, solutions of the largest domains blow up.
    Raises: InputError: another number of points; it names the nearest allowed one.
    """
    return _made(Resolution(points))


@functools.cache
def _made(resolution: Resolution) -> System:
    points = resolution.points

    def solver(scheme, substeps, fraction=1.0):
        return KuramotoSivashinsky(points, scheme, 1.0 / substeps, substeps, fraction)

    return System(
        name=write("ks", resolution),
        resolution=resolution,
        title="Kuramoto-Sivashinsky equation",
        dataset="kuramoto_sivashinsky",
        domain=Domain((points,), (("periodic", "periodic"),)),
        channels=("u",),
        params={
            "domain_size": ParamRange(
                *(1.0, points / 2, 1 / 8, "2π"),  # beyond, all modes that the points hold grow
                validated=(3.0, min(11.2, 11.2 * points / POINTS)),
                how=f"spectrum, energy and λ1 against 192 points; on {POINTS} points a frame's "
                "error grows from 5 % at 11.2 to 17 % at 13, where solutions blow up",
            )
        },
        splits={
            "train": TRAIN,
            "validation": TRAIN,
            "test_interpolation": (8 * 0.93, 8 * 1.15),
            "test_extrapolation": (8 * 0.85, 8 * 1.40),
        },
        frame_time=1.0,
        reference=lambda: solver("etdrk2", 2),
        coarse_kinds={
            "etd1": SolverKind(lambda o: solver("etd1", o.substeps), Etd1),
            "etdrk2": SolverKind(lambda o: solver("etdrk2", o.substeps, o.fraction), Etdrk2),
        },
        coarse_misses=0.4,
        refined=lambda substeps: solver("etdrk2", substeps),
        initial_state=functools.partial(initial_state, points=points),
        spin_up_frames=200,
        corrections={
            "parallel": lambda solver, net, features: ParallelCorrection(
                solver, net, features, 0.5
            ),
            "sequential": lambda solver, net, features: SequentialCorrection(
                solver, net, features, 0.5
            ),
            "graded": lambda solver, net, features: SequentialCorrection(
                solver, net, features, 1 - solver.fraction
            ),
            "indirect": lambda solver, net, features: IndirectCorrection(
                solver, net, features, 0.5
            ),
        },
        correction_channels=1,
        prediction_channels=1,
        metrics=(
            "relative_error",
            "mse",
            "nrmse",
            "correlation_time",
            "divergence_time",
            "physics_residual",
        ),
        horizon=12,
        long_horizon=200,
        lyapunov_time=12.0,
        on_reference_grid=("tiny", "study", "published"),
    )


SYSTEM = make()
