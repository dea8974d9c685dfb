"""Losses of one time level, in the form unrolling.unroll takes them."""

import tensorflow as tf

from tfunroll.core import Params, Solver, State
from tfunroll.unrolling import LevelLoss

LOSSES = ("supervised", "physics")


def mean_squared_error(state: State, target: State, channels: int | None = None) -> tf.Tensor:
    """Mean of (state − target)² over batch, space and leading channels (None: all); a scalar."""
    difference = tf.math.squared_difference(state[..., :channels], target[..., :channels])
    return tf.reduce_mean(difference)


def supervised(channels: int | None = None) -> LevelLoss:
    """The distance of each unrolled state to the reference frame, in the leading ``channels``."""
    return lambda before, after, target: mean_squared_error(after, target, channels)


def physics_residual(reference: Solver, params: Params, channels: int | None = None) -> LevelLoss:
    """The distance of each state to one reference-solver step from the state before.

    Needs no reference frames, only a differentiable solver on the data's own grid.
    """
    step = reference.bind(params)
    return lambda before, after, target: mean_squared_error(after, step(before), channels)
