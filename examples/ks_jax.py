"""A solver with gradients, in JAX: the Kuramoto-Sivashinsky equation by first-order ETD.

python scripts/train.py --system=examples/ks_jax.py:SYSTEM
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from tfunroll import systems
from tfunroll.solvers.adapters import from_jax
from tfunroll.solvers.external import ExternalSolver

KS = systems.get("ks")
POINTS, DT, SUBSTEPS = 48, 0.5, 2


def function(state, params):
    """u_t + u u_x + u_xx + u_xxxx = 0 one frame later; state [batch, x, 1], sizes / 2π [batch]."""
    waves = jnp.arange(POINTS // 2 + 1)
    q = waves / params["domain_size"][:, None]
    k = jnp.where(waves == POINTS // 2, 0, q)  # the shortest wave has no derivative on the grid
    z = DT * (q**2 - q**4)
    phi1 = jnp.where(z == 0, 1, jnp.expm1(z) / jnp.where(z == 0, 1, z))
    u_hat = jnp.fft.rfft(state[..., 0])
    for _ in range(SUBSTEPS):
        u = jnp.fft.irfft(u_hat, POINTS)
        u_hat = jnp.exp(z) * u_hat - DT * phi1 * 0.5j * k * jnp.fft.rfft(u * u)
    return jnp.fft.irfft(u_hat, POINTS)[..., None]


STEP, VJP = from_jax(function)
SIZES = {"domain_size": np.array([7.2, 10.4])}
SOLVER = ExternalSolver(
    STEP, VJP, example=(KS.initial_state(SIZES, 0), SIZES), name="ks_jax", dtype=None
)
SYSTEM = replace(KS, name="ks_jax", coarse_kinds={"jax": SOLVER})
