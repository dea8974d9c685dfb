"""A Tesseract as solver, gradients included, run without a container (pip install tesseract-core).

python scripts/train.py --system=examples/ks_tesseract.py:SYSTEM
"""

import pathlib
from dataclasses import replace

import numpy as np
from tesseract_core import Tesseract

from tfunroll import systems
from tfunroll.solvers.adapters import from_tesseract
from tfunroll.solvers.external import ExternalSolver

KS = systems.get("ks")
API = pathlib.Path(__file__).with_name("tesseract_api.py")
STEP, VJP = from_tesseract(Tesseract.from_tesseract_api(API))
SIZES = {"domain_size": np.array([7.2, 10.4])}
SOLVER = ExternalSolver(
    STEP,
    VJP,
    example=(KS.initial_state(SIZES, 0), SIZES),
    name="ks_tesseract",
    per_sample=True,
)
SYSTEM = replace(KS, name="ks_tesseract", coarse_kinds={"own": SOLVER})
