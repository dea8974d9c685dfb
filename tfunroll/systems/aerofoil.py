"""AERO: compressible flow around a NACA0012 aerofoil, unsteady behind the trailing edge."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfunroll.core import Domain, InputError
from tfunroll.ops.cgrid import c_grid
from tfunroll.ops.gas import GAMMA
from tfunroll.ops.meshes import Mesh
from tfunroll.ops.ogrid import naca, o_grid
from tfunroll.options import Options, option, write
from tfunroll.solvers.compressible import Compressible
from tfunroll.systems.base import ParamRange, Pictures, SolverKind, System, rates_of_change

CODE = "0012"
INCIDENCE, REYNOLDS = 8.0, 1e4
FRAME_TIME = 0.05  # chord / free-stream velocity
REFINEMENT = 4  # cells of the reference per cell of the networks' grid, per axis
POINTS = 32  # cells of the networks' grid around the body; 3/8 of them away from it
CELLS, LAYERS = 128, 48  # of the reference, around the body and away from it
FIRST, RADIUS = 4e-3, 15.0  # height of its first cell, distance of the far field, in chords
SUBSTEPS = {1: 10, 2: 32, 4: 92}  # per frame on the registered grid, by cells per networks' cell
DEVELOPED = 1.2  # by how much developed flows tighten the free stream's stable limit, with reserve
CHANNELS = ("density", "u", "v", "p")
KICK = 0.2  # of the free-stream velocity
TRAIN, VALIDATION = (0.50, 0.55, 0.65, 0.70), (0.675,)


@functools.cache
def mesh(
    cells: int = CELLS,
    layers: int = LAYERS,
    first: float = FIRST,
    radius: float = RADIUS,
    code: str = CODE,
    cut: int = 0,
    incidence: float = INCIDENCE,
) -> Mesh:
    """The O-grid around a NACA section; any other body: ops.ogrid.o_grid(ops.ogrid.body(curve)).

    Args:
      cut: where positive, a C-grid with so many cells along each side of its cut, which goes off
        at ``incidence``, degrees: see ops.cgrid.
    """
    if cut:
        return c_grid(naca(code, cells), layers, first, radius, cut, incidence)
    return o_grid(naca(code, cells), layers, first, radius)


@functools.cache
def reference_mesh(points: int = POINTS) -> Mesh:
    """That of the reference, where the networks' grid has ``points`` cells around the body.

    The first cell's height goes with the others' sizes, so that the averaged meshes of all
    resolutions are finer and coarser ones of the same family.
    """
    cells = REFINEMENT * points
    return mesh(cells, cells * LAYERS // CELLS, FIRST * POINTS / points)


@functools.cache
def averaged(points: int = POINTS) -> Mesh:
    """The networks' grid."""
    return reference_mesh(points).coarsen(REFINEMENT)


def solver(substeps: int = SUBSTEPS[REFINEMENT], grid: Mesh | None = None, refinement: int = 1):
    """The solver with so many sub-steps per frame, by default that of the reference on its mesh.

    Args: refinement: cells of its mesh per cell of the networks' grid.
    Raises:
      InputError: a sub-step beyond the stable limit of the free stream; it names the limit.
    """
    grid = grid or mesh()
    if substeps < 1:
        raise InputError(f"substeps={substeps} must be at least 1")
    made = Compressible(grid, FRAME_TIME / substeps, substeps, refinement=refinement)
    made.check_stable(free_stream(SLOWEST, grid), SLOWEST)
    return made


@functools.cache
def refined(factor: int, points: int = POINTS) -> Compressible:
    """The scheme on blocks of the reference's mesh, ``factor`` per cell of the networks' grid.

    1: the coarse solver; 2: in between; 4: the reference itself.
    """
    if factor not in SUBSTEPS:
        raise InputError(
            f"refined={factor}: the mesh can be refined by {', '.join(map(str, SUBSTEPS))}"
        )
    grid = reference_mesh(points).coarsen(REFINEMENT // factor)
    return solver(SUBSTEPS[factor] if points == POINTS else substeps(grid), grid, factor)


def substeps(grid: Mesh) -> int:
    """Sub-steps per frame that developed flows need on a mesh."""
    limit = Compressible(grid, FRAME_TIME).stable_dt(free_stream(SLOWEST, grid), SLOWEST).min()
    return math.ceil(DEVELOPED * FRAME_TIME / limit)


def initial_state(
    params: Mapping[str, np.ndarray], seed: int, grid: Mesh | None = None
) -> np.ndarray:
    """The free stream with a kick behind the trailing edge, which breaks the symmetry.

        v += a exp(−|x − x_k|² / 0.05),   a of ±KICK/2 to ±KICK, x_k around (1.3, 0)

    drawn from ``seed`` alone, the same for every sample and mesh; by default on the averaged one.

    Returns: (ρ, u, v, p), [batch, j, i, 4], float64.
    """
    grid = grid or averaged()
    rng = np.random.default_rng(seed)
    place = np.array([1.3, 0.0]) + rng.uniform(-0.15, 0.15, 2)
    size = KICK * rng.choice([-1, 1]) * rng.uniform(0.5, 1)
    state = free_stream(params, grid)
    state[..., 2] += size * np.exp(-((grid.centres - place) ** 2).sum(-1) / 0.05)
    return state


def free_stream(params: Mapping[str, np.ndarray], grid: Mesh | None = None) -> np.ndarray:
    """(1, cos α, sin α, 1/(γ M²)) everywhere: [batch, j, i, 4], float64."""
    grid = grid or averaged()
    mach, angle = (np.asarray(params[n], np.float64)[:, None, None] for n in ("mach", "incidence"))
    angle, one = np.radians(angle), np.ones((len(mach), *grid.shape))
    fields = one, np.cos(angle) * one, np.sin(angle) * one, one / (GAMMA * mach**2)
    return np.stack(fields, -1)


def forces(
    states: np.ndarray, params: Mapping[str, np.ndarray], points: int = POINTS
) -> np.ndarray:
    """(drag, lift) coefficients of states on the averaged grid: [sample, frame, 2].

    From the pressure and the friction of its first cells, which are as high as four of the
    reference's: the dataset holds the reference's own forces besides.
    """
    samples, frames = states.shape[:2]
    flat = tf.constant(states.reshape(-1, *states.shape[2:]), tf.float32)
    repeated = {n: tf.constant(np.repeat(v, frames), tf.float32) for n, v in params.items()}
    return refined(1, points).forces(flat, repeated).numpy().reshape(samples, frames, 2)


def pressure_coefficient(states: np.ndarray, params: Mapping[str, np.ndarray]) -> np.ndarray:
    """(p − p∞) / (½ ρ∞ U∞²) along the body: [sample, frame, i]."""
    free = 1 / (GAMMA * np.square(np.asarray(params["mach"], np.float64)))
    return 2 * (states[:, :, 0, :, 3] - free[:, None, None])


def shock_position(
    states: np.ndarray, params: Mapping[str, np.ndarray], grid: Mesh | None = None
) -> np.ndarray:
    """x where the flow along the upper side becomes subsonic again: [sample, frame]; 0 if it never
    is supersonic.

    By the isentropic Mach number M_s of the pressure p at the wall,

        M_s² = 2/(γ − 1) [(p₀/p)^((γ−1)/γ) − 1],   p₀ = p∞ (1 + (γ − 1)/2 M∞²)^(γ/(γ−1))

    the last fall through 1 from the leading edge to the trailing one, linear between cells.
    """
    mach = np.square(np.asarray(params["mach"], np.float64))[:, None, None]
    grid = grid or averaged()
    upper = slice(grid.shape[1] // 2, None)  # from the leading edge on
    x, p = grid.centres[0, upper, 0], states[:, :, 0, upper, 3].astype(np.float64)
    power = (GAMMA - 1) / GAMMA
    total = (1 + (GAMMA - 1) / 2 * mach) / (GAMMA * mach) ** power
    with np.errstate(invalid="ignore"):
        excess = 2 / (GAMMA - 1) * (total / p**power - 1) - 1  # M_s² − 1
    falls = (excess[..., :-1] > 0) & (excess[..., 1:] <= 0)
    last = falls.shape[-1] - 1 - falls[..., ::-1].argmax(-1)
    before, after = (np.take_along_axis(excess, (last + k)[..., None], -1)[..., 0] for k in (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        place = x[last] + (x[last + 1] - x[last]) * before / (before - after)
    place = np.where(falls.any(-1), place, 0.0)
    return np.where(np.isfinite(p).all(-1) & (p > 0).all(-1), place, np.nan)


def mach_number(states: np.ndarray) -> np.ndarray:
    """√(u² + v²) / √(γ p/ρ): [..., j, i]."""
    with np.errstate(invalid="ignore", over="ignore"):
        speed = np.square(states[..., 1]) + np.square(states[..., 2])
        return np.sqrt(speed * states[..., 0] / (GAMMA * states[..., 3]))


def _static(grid: Mesh) -> np.ndarray:
    """(x, y, log J) of the cells, each divided by its spread so that all are of order one."""
    channels = np.concatenate([grid.centres, np.log(grid.volumes)[..., None]], -1)
    return channels / channels.std((0, 1))


MACH = ParamRange(
    *(0.4, 0.9, 1.0),
    validated=(0.5, 0.8),
    how="published flows: laminar at 0.5, Euler with shocks at 0.8",
    label="Ma",
)
NEAR = 0.3  # chords from the body
SLOWEST = {"mach": [MACH.low], "reynolds": [REYNOLDS], "incidence": [INCIDENCE]}


@dataclass(frozen=True)
class Resolution(Options):
    """Grid of the system."""

    points: int = option(POINTS, 16, 256, "cells of the networks' grid around the body", step=8)


def make(points: int = POINTS) -> System:
    """The System whose networks and coarse solver have that many averaged cells around the body.

    Away from it they have 3/8 of that. The reference has four times as many along each axis.

    Args: points: a multiple of 8, 16 to 256.
    Raises: InputError: another number of points; it names the nearest allowed one.
    """
    return _made(Resolution(points))


@functools.cache
def _made(resolution: Resolution) -> System:
    points = resolution.points
    grid = averaged(points)
    x, y = np.moveaxis(grid.centres, -1, 0)

    return System(
        name=write("aerofoil", resolution),
        resolution=resolution,
        title="flow around an aerofoil",
        dataset="transonic_aerofoil",
        domain=Domain(
            grid.shape,
            (("zero", "replicate"), ("periodic", "periodic")),
            static=_static(grid),
            centres=grid.centres,
        ),
        channels=CHANNELS,
        params={
            "mach": MACH,
            "reynolds": ParamRange(
                *(1e3, 2e4, 1e-4),
                validated=(1e3, 5e3),
                how="published laminar flow at 5000; at 10,000 finer meshes have a third more lift",
                label="Re",
            ),
            "incidence": ParamRange(
                *(-10.0, 20.0, 0.1, "degrees"),
                validated=(-1.25, 1.25),
                how="published flows at 0 and 1.25 degrees",
            ),
        },
        splits={
            "train": TRAIN,
            "validation": VALIDATION,
            "test_interpolation": (0.60,),
            "test_extrapolation": (0.45, 0.75),
        },
        **rates_of_change(FRAME_TIME),
        time_unit="c/U∞",
        reference=functools.partial(refined, REFINEMENT, points),
        coarse_kinds={"averaged": SolverKind(lambda o: refined(1, points))},
        coarse_misses=np.inf,  # averaged states settle on the coarse mesh first: 5 to 8 times
        refined=functools.partial(refined, points=points),
        refined_limit=2,
        initial_state=functools.partial(initial_state, grid=grid),
        spin_up_frames=240,
        correction_channels=4,
        prediction_channels=4,
        metrics=(
            "relative_error",
            "rollout_mse",
            "mse",
            "nrmse",
            *(f"nrmse@{channel}" for channel in CHANNELS),
            "rollout_mse@near body",
            "rollout_mse@wake",
            "correlation_time",
            "divergence_time",
            "strouhal",
            "strouhal_error",
            "mean_drag",
            "drag_error",
            "lift_rms",
            "lift_rms_error",
            "observed@shock position",
            "observed_error@shock position",
        ),
        horizon=60,
        long_horizon=200,
        regions={
            "near body": np.hypot(x - np.clip(x, 0, 1), y) < NEAR,
            "wake": (x > 1) & (x < 4) & (np.abs(y) < 0.7),
        },
        forces=functools.partial(forces, points=points),
        observables={"shock position": functools.partial(shock_position, grid=grid)},
        pictures=Pictures(
            nodes=grid.nodes,
            window=((-0.5, 2.5), (-0.9, 0.9)),
            fields={"Mach number": mach_number, "density ρ/ρ∞": lambda states: states[..., 0]},
            surface=("pressure coefficient", pressure_coefficient),
            places=grid.centres[0, :, 0],
        ),
    )


SYSTEM = make()
