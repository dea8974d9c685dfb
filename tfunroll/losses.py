"""Losses of one time level, in the form unrolling.unroll takes them."""

import tensorflow as tf

from tfunroll.core import Params, Solver, State
from tfunroll.unrolling import LevelLoss

LOSSES = ("supervised", "physics")


def mean_squared_error(state: State, target: State) -> tf.Tensor:
    """Mean of (state − target)² over batch, space and channels; a scalar."""
    return tf.reduce_mean(tf.math.squared_difference(state, target))


def supervised(before: State, after: State, target: State) -> tf.Tensor:
    """The distance of each unrolled state to the reference frame."""
    return mean_squared_error(after, target)


def physics_residual(reference: Solver, params: Params) -> LevelLoss:
    """The distance of each state to one reference-solver step from the state before.

    Needs no reference frames, only a differentiable solver on the data's own grid.
    """
    step = reference.bind(params)
    return lambda before, after, target: mean_squared_error(after, step(before))
