"""KOLM: forced two-dimensional turbulence in a periodic box (Kolmogorov flow)."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfunroll.core import Domain, InputError
from tfunroll.metrics import StaggeredGrid
from tfunroll.options import Options, option, write
from tfunroll.solvers.incompressible import Incompressible
from tfunroll.systems.base import ParamRange, SolverKind, System
from tfunroll.systems.staggered import Pressure, count_substeps, velocity_and_pressure

LENGTH = 2 * np.pi
POINTS = 32  # of the networks' grid
FRAME_TIME = 0.02
REFINEMENT = (
    4  # cells of the reference per cell of the networks' grid, and sub-steps per coarse one
)
FORCED_WAVENUMBER = 6
COARSE_SWEEPS, REFERENCE_SWEEPS = 4, 8
CFL_SPEED = 9.0  # what |u| + |v| reaches at Re = 1000; dt is checked against it
TRAIN = (300.0, 400.0, 500.0, 700.0, 800.0, 900.0)


def solver(
    points: int = POINTS,
    dt: float = FRAME_TIME,
    sweeps: int = COARSE_SWEEPS,
    refinement: int | None = None,
    scheme: str = "piso",
    **pressure,
) -> Incompressible:
    """The solver of Kolmogorov flow, f = (sin 6y, 0), on [0, 2π)².

    Args:
      points: cells per axis. dt: sub-step, FRAME_TIME over a whole number.
      sweeps: Jacobi sweeps of the predictor.
      refinement: cells per cell of the networks' grid; by default so that this is POINTS.
      scheme: of solvers.schemes.SCHEMES. pressure: "pressure" and what it needs, of Incompressible.
    Raises:
      InputError: a grid that does not down-sample, a dt that does not divide the frame or is beyond
        the stable limit; it names the largest stable one.
    """
    if refinement is None:
        if points % POINTS:
            raise InputError(f"points={points} does not down-sample to {POINTS}; use a multiple")
        refinement = points // POINTS
    h = LENGTH / points
    substeps = count_substeps(dt, FRAME_TIME, (points, points), h, CFL_SPEED)
    forcing = np.zeros((points, 1, 2))
    forcing[:, 0, 0] = np.sin(FORCED_WAVENUMBER * h * (np.arange(points) + 0.5))
    return Incompressible(
        *((points, points), h, dt, substeps, sweeps, forcing, refinement),
        scheme=scheme,
        **pressure,
    )


def least_substeps(points: int) -> int:
    """Sub-steps per frame with which a grid is stable: 1 on the registered one."""
    return math.ceil(FRAME_TIME * CFL_SPEED * points / LENGTH)


def refined(refinement: int, points: int = POINTS) -> Incompressible:
    """The solver on a grid ``refinement`` times finer, with as many times the coarse sub-steps.

    Space carries the larger part of the coarse solver's error: sub-steps alone would not help.

    Args: points: of the networks' grid.
    """
    sweeps = COARSE_SWEEPS if refinement == 1 else REFERENCE_SWEEPS
    dt = FRAME_TIME / (refinement * least_substeps(points))
    return solver(points * refinement, dt, sweeps, refinement)


def initial_state(
    params: Mapping[str, np.ndarray], seed: int, points: int = POINTS, modes: int = 5
) -> np.ndarray:
    """Random solenoidal states: a stream function of wavenumbers 1 to ``modes`` along each axis.

        u = ∂ψ/∂y, v = −∂ψ/∂x by differences of ψ at the cells' corners, root mean square 1 each

    so the discrete divergence is zero; p is zero. A seed gives the same flow on every grid.

    Returns: [batch, points, points, 3], float64.
    """
    batch = len(params["reynolds"])
    rng = np.random.default_rng(seed)
    inside = np.arange(-modes, modes + 1)
    norm = np.hypot(*np.meshgrid(inside, inside))
    amplitude = np.where((norm > 0) & (norm <= modes), 1 / np.maximum(norm, 1) ** 2, 0)
    draws = rng.normal(size=(batch, *amplitude.shape, 2)) @ np.array([1, 1j])
    psi_hat = np.zeros((batch, points, points), complex)
    place = np.ix_(np.arange(batch), inside, inside)
    corner = np.exp(1j * LENGTH / points * (inside[:, None] + inside))  # ψ at upper right corners
    psi_hat[place] = amplitude * draws * corner
    psi = np.fft.ifft2(psi_hat).real
    h = LENGTH / points
    u, v = (psi - np.roll(psi, 1, 1)) / h, -(psi - np.roll(psi, 1, 2)) / h
    size = np.sqrt(np.mean(u**2 + v**2, (1, 2), keepdims=True) / 2)
    return np.stack([u / size, v / size, np.zeros_like(psi)], -1)


@dataclass(frozen=True)
class Resolution(Options):
    """Grid of the system."""

    points: int = option(POINTS, 16, 512, "cells per axis of the networks' grid", step=2)


@dataclass(frozen=True)
class Piso(Pressure):
    """Options of the first-order scheme."""

    sweeps: int = option(COARSE_SWEEPS, 1, 50, "Jacobi sweeps of the predictor")


@dataclass(frozen=True)
class Midpoint(Pressure):
    """Options of the second-order scheme."""

    sweeps: int = option(1, 1, 50, "evaluations of the predictor")


def make(points: int = POINTS) -> System:
    """The System whose networks and coarse solver have that many cells per axis.

    The reference has four times as many. A finer grid takes the sub-steps that its stability
    needs.

    Args: points: even, 16 to 512.
    Raises: InputError: another number of points; it names the nearest allowed one.
    """
    return _made(Resolution(points))


@functools.cache
def _made(resolution: Resolution) -> System:
    points = resolution.points

    def coarse(scheme, options):
        dt = FRAME_TIME / least_substeps(points)
        return solver(points, dt, options.sweeps, 1, scheme, **options.arguments())

    return System(
        name=write("kolmogorov", resolution),
        resolution=resolution,
        title="Kolmogorov flow",
        dataset="kolmogorov_flow",
        domain=Domain((points, points), (("periodic", "periodic"),) * 2),
        params={
            "reynolds": ParamRange(
                *(1.0, 5000.0, 1e-3),
                validated=(17.0, min(1000.0, 1000.0 * (points / POINTS) ** 2)),
                how="linear stability at 17.8 and 30, energy budget at 300 and 1000; the smallest "
                "scales of two-dimensional turbulence go as Re^-1/2",
                label="Re",
            )
        },
        splits={
            "train": TRAIN,
            "validation": TRAIN,
            "test_interpolation": (600.0,),
            "test_extrapolation": (1000.0,),
        },
        **velocity_and_pressure(FRAME_TIME),
        reference=functools.partial(refined, REFINEMENT, points),
        coarse_kinds={
            "piso": SolverKind(lambda o: coarse("piso", o), Piso),
            "midpoint": SolverKind(lambda o: coarse("midpoint", o), Midpoint),
        },
        coarse_misses=0.45,
        refined=functools.partial(refined, points=points),
        refined_limit=REFINEMENT,
        initial_state=functools.partial(initial_state, points=points),
        spin_up_frames=15000,
        metrics=(
            "relative_error",
            "rollout_mse",
            "mse",
            "nrmse",
            "relative_l2",
            "kinetic_energy",
            "energy_error",
            "enstrophy",
            "enstrophy_error",
            "vorticity_correlation",
            "vorticity_correlation_time",
            "divergence_time",
            "rms_divergence",
            "spectrum_error",
        ),
        horizon=250,
        long_horizon=250,
        flow=StaggeredGrid(LENGTH / points),
    )


SYSTEM = make()
