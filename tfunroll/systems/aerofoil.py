"""AERO: compressible flow around a NACA0012 aerofoil, unsteady behind the trailing edge."""

import functools
from collections.abc import Mapping

import numpy as np

from tfunroll.core import Domain, InputError
from tfunroll.ops.gas import GAMMA
from tfunroll.ops.meshes import Mesh
from tfunroll.ops.ogrid import naca, o_grid
from tfunroll.solvers.compressible import Compressible
from tfunroll.steppers import SequentialCorrection
from tfunroll.systems.base import ParamRange, System

CODE = "0012"
INCIDENCE, REYNOLDS = 8.0, 1e4
FRAME_TIME = 0.05  # chord / free-stream velocity
REFINEMENT = 4  # cells of the reference per cell of the networks' grid, per axis
CELLS, LAYERS = 128, 48  # of the reference, around the body and away from it
FIRST, RADIUS = 4e-3, 15.0  # height of its first cell, distance of the far field, in chords
SUBSTEPS = {1: 10, 2: 32, 4: 92}  # per frame, by cells per cell of the networks' grid
KICK = 0.2  # of the free-stream velocity
TRAIN, VALIDATION = (0.50, 0.55, 0.65, 0.70), (0.55, 0.65)


@functools.cache
def mesh(
    cells: int = CELLS,
    layers: int = LAYERS,
    first: float = FIRST,
    radius: float = RADIUS,
    code: str = CODE,
) -> Mesh:
    """The O-grid around a NACA section; any other body: ops.ogrid.o_grid(ops.ogrid.body(curve))."""
    return o_grid(naca(code, cells), layers, first, radius)


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
    slowest = {"mach": [MACH.low], "reynolds": [REYNOLDS], "incidence": [INCIDENCE]}
    made.check_stable(free_stream(slowest, grid), slowest)
    return made


@functools.cache
def refined(factor: int) -> Compressible:
    """The scheme on blocks of the reference's mesh, ``factor`` per cell of the networks' grid.

    1: the coarse solver; 2: in between; 4: the reference itself.
    """
    if factor not in SUBSTEPS:
        raise InputError(
            f"refined={factor}: the mesh can be refined by {', '.join(map(str, SUBSTEPS))}"
        )
    return solver(SUBSTEPS[factor], mesh().coarsen(REFINEMENT // factor), factor)


def initial_state(
    params: Mapping[str, np.ndarray], seed: int, grid: Mesh | None = None
) -> np.ndarray:
    """The free stream with a kick behind the trailing edge, which breaks the symmetry.

        v += a exp(−|x − x_k|² / 0.05),   a of ±KICK/2 to ±KICK, x_k around (1.3, 0)

    drawn from ``seed`` alone, the same for every sample and mesh; by default on the averaged one.

    Returns: (ρ, u, v, p), [batch, j, i, 4], float64.
    """
    grid = grid or AVERAGED
    rng = np.random.default_rng(seed)
    place = np.array([1.3, 0.0]) + rng.uniform(-0.15, 0.15, 2)
    size = KICK * rng.choice([-1, 1]) * rng.uniform(0.5, 1)
    state = free_stream(params, grid)
    state[..., 2] += size * np.exp(-((grid.centres - place) ** 2).sum(-1) / 0.05)
    return state


def free_stream(params: Mapping[str, np.ndarray], grid: Mesh | None = None) -> np.ndarray:
    """(1, cos α, sin α, 1/(γ M²)) everywhere: [batch, j, i, 4], float64."""
    grid = grid or AVERAGED
    mach, angle = (np.asarray(params[n], np.float64)[:, None, None] for n in ("mach", "incidence"))
    angle, one = np.radians(angle), np.ones((len(mach), *grid.shape))
    fields = one, np.cos(angle) * one, np.sin(angle) * one, one / (GAMMA * mach**2)
    return np.stack(fields, -1)


def _coarse(coarse: str, solver_fraction: float) -> Compressible:
    if solver_fraction != 1:
        raise InputError(f"solver_fraction={solver_fraction} is for system=ks; allowed here: 1")
    return refined(1)


def _static(grid: Mesh) -> np.ndarray:
    """(x, y, log J) of the cells, each divided by its spread so that all are of order one."""
    channels = np.concatenate([grid.centres, np.log(grid.volumes)[..., None]], -1)
    return channels / channels.std((0, 1))


MACH = ParamRange(0.4, 0.9, 1.0)
AVERAGED = mesh().coarsen(REFINEMENT)

SYSTEM = System(
    name="aerofoil",
    title="flow around an aerofoil",
    dataset="transonic_aerofoil",
    domain=Domain(
        AVERAGED.shape,
        (("zero", "replicate"), ("periodic", "periodic")),
        static=_static(AVERAGED),
        centres=AVERAGED.centres,
    ),
    channels=("density", "u", "v", "p"),
    params={
        "mach": MACH,
        "reynolds": ParamRange(1e3, 2e4, 1e-4),
        "incidence": ParamRange(-10.0, 20.0, 0.1, "degrees"),
    },
    splits={
        "train": TRAIN,
        "validation": VALIDATION,
        "test_interpolation": (0.60,),
        "test_extrapolation": (0.45, 0.75),
    },
    frame_time=FRAME_TIME,
    reference=functools.partial(refined, REFINEMENT),
    coarse=_coarse,
    coarse_kinds=("averaged",),
    refined=refined,
    refined_limit=2,
    initial_state=initial_state,
    spin_up_frames=240,
    corrections={
        # The frame time makes the network's output a rate of change, which is of order one.
        "sequential": lambda solver, net, features, c: SequentialCorrection(
            solver, net, features, FRAME_TIME
        ),
    },
    correction_channels=4,
    prediction_channels=4,
    prediction_scale=FRAME_TIME,
    metrics=("relative_error", "rollout_mse", "mse", "nrmse", "correlation_time"),
    horizon=60,
    long_horizon=200,
)
