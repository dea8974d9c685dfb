"""A NumPy solver without gradients: the Kuramoto-Sivashinsky equation by first-order ETD.

python scripts/train.py --system=examples/ks_numpy.py:SYSTEM --modalities=ONE,NOG
"""

from dataclasses import replace

import numpy as np

from tfunroll import systems
from tfunroll.solvers.external import ExternalSolver

POINTS, DT, SUBSTEPS = 48, 0.5, 2
KS = systems.get("ks")


def step(state, params):
    """u_t + u u_x + u_xx + u_xxxx = 0 one frame later; state [batch, x, 1], sizes / 2π [batch]."""
    waves = np.arange(POINTS // 2 + 1)
    q = waves / params["domain_size"][:, None]
    k = np.where(waves == POINTS // 2, 0, q)  # the shortest wave has no derivative on the grid
    z = DT * (q**2 - q**4)
    phi1 = np.where(z == 0, 1, np.expm1(z) / np.where(z == 0, 1, z))
    u_hat = np.fft.rfft(state[..., 0])
    for _ in range(SUBSTEPS):
        u = np.fft.irfft(u_hat, POINTS)
        u_hat = np.exp(z) * u_hat - DT * phi1 * 0.5j * k * np.fft.rfft(u * u)
    return np.fft.irfft(u_hat, POINTS)[..., None]


SIZES = {"domain_size": np.array([7.2, 10.4])}
SOLVER = ExternalSolver(step, example=(KS.initial_state(SIZES, 0), SIZES), name="ks_numpy")
SYSTEM = replace(KS, name="ks_numpy", coarse_kinds={"numpy": SOLVER})
