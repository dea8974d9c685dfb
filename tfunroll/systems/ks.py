"""KS: the Kuramoto-Sivashinsky equation, one-dimensional and chaotic."""

from collections.abc import Mapping

import numpy as np

from tfunroll.core import Domain, InputError
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.steppers import ParallelCorrection, SequentialCorrection
from tfunroll.systems.base import ParamRange, System

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


def _coarse(coarse: str, solver_fraction: float) -> KuramotoSivashinsky:
    if coarse == "etd1" and solver_fraction != 1:
        raise InputError(f"solver_fraction={solver_fraction} needs coarse=etdrk2")
    return KuramotoSivashinsky(POINTS, coarse, fraction=solver_fraction)


def _refined(substeps: int) -> KuramotoSivashinsky:
    return KuramotoSivashinsky(POINTS, "etdrk2", 1.0 / substeps, substeps)


SYSTEM = System(
    name="ks",
    title="Kuramoto-Sivashinsky equation",
    dataset="kuramoto_sivashinsky",
    domain=Domain((POINTS,), (("periodic", "periodic"),)),
    channels=("u",),
    params={
        "domain_size": ParamRange(
            *(1.0, POINTS / 2, 1 / 8, "2π"),  # beyond, all modes that the points hold grow
            validated=(3.0, 11.2),
            how=f"spectrum, energy and λ1 against 192 points; on {POINTS} points a frame's error "
            "grows from 5 % at 11.2 to 17 % at 13, where solutions blow up",
        )
    },
    splits={
        "train": TRAIN,
        "validation": TRAIN,
        "test_interpolation": (8 * 0.93, 8 * 1.15),
        "test_extrapolation": (8 * 0.85, 8 * 1.40),
    },
    frame_time=1.0,
    reference=lambda: KuramotoSivashinsky(POINTS, "etdrk2"),
    coarse=_coarse,
    coarse_kinds=("etd1", "etdrk2"),
    coarse_misses=0.4,
    refined=_refined,
    initial_state=initial_state,
    spin_up_frames=200,
    corrections={
        "parallel": lambda solver, net, features, c: ParallelCorrection(solver, net, features, 0.5),
        "sequential": lambda solver, net, features, c: SequentialCorrection(
            solver, net, features, 0.5
        ),
        "graded": lambda solver, net, features, c: SequentialCorrection(
            solver, net, features, 1 - c
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
