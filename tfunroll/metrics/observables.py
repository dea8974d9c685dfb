"""Metrics of single numbers of a state, such as the place of a shock, in NumPy.

Values are [sample, frame], those of a rollout and of its reference. What is not finite scores inf
from there on.
"""

import numpy as np


def observed(u, r, observed: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The value itself: [sample, frame]."""
    return _checked(observed[0], observed[0])


def observed_error(u, r, observed: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """|value − reference|: [sample, frame]."""
    return _checked(np.abs(observed[0] - observed[1]), observed[0])


def _checked(values, rollout):
    return np.where(np.logical_or.accumulate(~np.isfinite(rollout), axis=1), np.inf, values)
