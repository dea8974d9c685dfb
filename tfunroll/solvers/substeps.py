"""The sub-step of a solver whose number of sub-steps a ladder may have changed."""

import tensorflow as tf

from tfunroll.core import Solver


def sub_step(solver: Solver, dtype: tf.DType) -> float | tf.Tensor:
    """dt, its part of the frame: a number, or a scalar where ``solver.substeps`` is a tensor."""
    if isinstance(solver.substeps, int):
        return solver.dt
    return solver.frame_time / tf.cast(solver.substeps, dtype)
