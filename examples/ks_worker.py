"""A solver in other processes: two workers of examples/worker.py step the samples of a batch.

python scripts/train.py --system=examples/ks_worker.py:SYSTEM --modalities=ONE,NOG
"""

import pathlib
import sys
from dataclasses import replace

import numpy as np

from tfunroll import systems
from tfunroll.solvers.external import ExternalSolver
from tfunroll.solvers.worker_pool import WorkerPool

KS = systems.get("ks")
PROGRAM = pathlib.Path(__file__).with_name("worker.py")  # any program that speaks .npy would do
POOL = WorkerPool([sys.executable, PROGRAM], workers=2, timeout=60)
SIZES = {"domain_size": np.array([7.2, 10.4])}
SOLVER = ExternalSolver(
    POOL,
    example=(KS.initial_state(SIZES, 0), SIZES),
    name="ks_worker",
    per_sample=True,
    workers=2,
)
SYSTEM = replace(KS, name="ks_worker", coarse_kinds={"worker": SOLVER})
