"""Losses of one time level, in the form unrolling.unroll takes them."""

import numpy as np
import tensorflow as tf

from tfunroll.core import Params, Solver, State
from tfunroll.unrolling import LevelLoss

LOSSES = ("supervised", "physics")


def mean_squared_error(
    state: State,
    target: State,
    channels: int | None = None,
    active: np.ndarray | None = None,
) -> tf.Tensor:
    """Mean of (state − target)² over batch, space and leading channels (None: all); a scalar.

    Args: active: where a channel counts, [*space, channel] bool; None: everywhere.
    """
    difference = tf.math.squared_difference(state[..., :channels], target[..., :channels])
    if active is None:
        return tf.reduce_mean(difference)
    counts = active[..., :channels]
    # tf.where, not a product: what is not finite where nothing counts has no say
    counted = tf.where(tf.constant(counts), difference, 0)
    return tf.reduce_mean(counted) / float(counts.mean())


def supervised(channels: int | None = None, active: np.ndarray | None = None) -> LevelLoss:
    """The distance of each unrolled state to the reference frame, in the leading ``channels``."""
    return lambda before, after, target: mean_squared_error(after, target, channels, active)


def physics_residual(
    reference: Solver,
    params: Params,
    channels: int | None = None,
    active: np.ndarray | None = None,
) -> LevelLoss:
    """The distance of each state to one reference-solver step from the state before.

    Needs no reference frames, only a differentiable solver on the data's own grid.
    """
    step = reference.bind(params)
    return lambda before, after, target: mean_squared_error(after, step(before), channels, active)
