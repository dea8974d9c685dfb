"""The system of burgers_numpy.py with its coarse solver run, and differentiated, by JAX.

python scripts/train.py --system=examples/burgers_jax.py:SYSTEM --data=data/burgers.json
"""

from dataclasses import replace
from functools import partial

import jax.numpy as jnp
from burgers_numpy import EXAMPLE, FRAME_TIME, coarse
from burgers_numpy import SYSTEM as BURGERS

from tfunroll.solvers.adapters import from_jax
from tfunroll.solvers.external import ExternalSolver

STEP, VJP = from_jax(partial(coarse, xp=jnp))
SOLVER = ExternalSolver(
    STEP, VJP, example=EXAMPLE, frame_time=FRAME_TIME, name="burgers_jax", dtype=None
)
SYSTEM = replace(BURGERS, coarse_kinds={"jax": SOLVER})
