"""A system of one's own: Burgers' equation by two NumPy/SciPy solvers, neither with gradients.

python scripts/generate_data.py --system=examples/burgers_numpy.py:SYSTEM --data_dir=data
python scripts/train.py --system=examples/burgers_numpy.py:SYSTEM --data=data/burgers.json \
    --modalities=ONE,NOG
"""

import numpy as np
from scipy.integrate import solve_ivp

from tfunroll.solvers.external import ExternalSolver
from tfunroll.systems import ParamRange
from tfunroll.systems.own import own_system

POINTS, FRAME_TIME = 48, 0.04
H = 2 * np.pi / POINTS
X = H * np.arange(POINTS)


def rate(u, viscosity, upwind=0.0, xp=np):
    """u_t = −(u²/2)_x + ν u_xx + sin(x)/2, periodic, on the last axis; ``upwind`` adds dissipation.

    The flux at a cell's side is that of central differences − upwind · max|u| · (jump of u) / 2.
    """
    ahead = xp.roll(u, -1, -1)
    speed = xp.maximum(xp.abs(u), xp.abs(ahead))
    flux = (u**2 + ahead**2) / 4 - upwind * speed * (ahead - u) / 2 - viscosity * (ahead - u) / H
    return -(flux - xp.roll(flux, 1, -1)) / H + np.sin(X) / 2


def coarse(state, params, xp=np):
    """One frame by one explicit Euler step, upwind; all samples at once, [batch, x, 1]."""
    u = state[..., 0]
    return (u + FRAME_TIME * rate(u, params["viscosity"][:, None], 1.0, xp))[..., None]


def reference(state, params):
    """One frame of one sample, [x, 1], by central differences and SciPy's Runge-Kutta method."""
    solved = solve_ivp(
        lambda t, u: rate(u, params["viscosity"]),
        (0, FRAME_TIME),
        state[:, 0],
        rtol=1e-8,
        atol=1e-8,
    )
    return solved.y[:, -1:]


def initial_state(params, seed):
    """Three random waves per sample: [batch, x, 1]."""
    rng = np.random.default_rng(seed)
    amplitude, phase = rng.uniform((-1, 0), (1, 2 * np.pi), (len(params["viscosity"]), 3, 2)).T
    waves = amplitude.T[..., None] * np.sin(np.arange(1, 4)[:, None] * X + phase.T[..., None])
    return waves.sum(1)[..., None]


PARAMS = {"viscosity": np.array([0.05, 0.1])}
EXAMPLE = (initial_state(PARAMS, 0), PARAMS)
TRAIN = (0.04, 0.06, 0.08, 0.1)
SYSTEM = own_system(
    "burgers",
    ExternalSolver(coarse, example=EXAMPLE, frame_time=FRAME_TIME),
    {"viscosity": ParamRange(0.01, 0.2, 10.0)},
    reference=ExternalSolver(reference, example=EXAMPLE, frame_time=FRAME_TIME, per_sample=True),
    initial_state=initial_state,
    splits={
        "train": TRAIN,
        "validation": TRAIN,
        "test_interpolation": (0.05, 0.07),
        "test_extrapolation": (0.03, 0.12),
    },
    channels=("u",),
    scale=FRAME_TIME,
    long_horizon=60,
)
