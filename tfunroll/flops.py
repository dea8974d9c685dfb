"""Floating point operations per frame, counted from the graph: deterministic, no clock."""

import logging
import math

import tensorflow as tf

from tfunroll.core import Solver, Stepper

# Operations of one complex transform of n points over n log2 n; real ones take half.
FFT_COSTS = {"FFT": 5.0, "IFFT": 5.0, "RFFT": 2.5, "IRFFT": 2.5}


def flops_per_frame(stepper: Stepper, params: dict, state: tf.Tensor) -> int:
    """Floating point operations of one step of one sample.

    What ``bind`` computes is not counted: it is done once per batch, not per frame. Products and
    sums count as TensorFlow's profiler counts them; FFTs, which it leaves out, as 5 n log2 n
    (2.5 for real ones). Layouts, gathers and look-ups are free.

    Args:
      params: {name: [1]}, eager tensors. state: [1, *space, channel].
    """
    step = stepper.bind(params)
    graph = tf.function(step).get_concrete_function(tf.TensorSpec(state.shape, state.dtype)).graph
    return _profiled(graph) + sum(_fft(op) for op in graph.get_operations())


def _profiled(graph) -> int:
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # the profiler warns of its own deprecated helpers
    try:
        profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    finally:
        logger.setLevel(level)
    return profile.total_float_ops


def _fft(op) -> int:
    """Operations of one FFT node, over all its lines."""
    if op.type not in FFT_COSTS:
        return 0
    source, result = op.inputs[0].shape, op.outputs[0].shape
    points = max(source[-1], result[-1])
    lines = math.prod(source[:-1])
    return round(FFT_COSTS[op.type] * lines * points * math.log2(points))


def largest_substeps(refined, budget: int, params: dict, state: tf.Tensor, cap: int) -> int:
    """The most sub-steps per frame, up to ``cap``, whose operations fit into ``budget``; or 0.

    ``refined`` maps a number of sub-steps to a Solver whose cost grows by a constant per sub-step,
    so two counts give all others.
    """

    def count(substeps: int) -> int:
        solver: Solver = refined(substeps)
        return flops_per_frame(solver, params, state)

    one, two = count(1), count(2)
    return 0 if one > budget else min(cap, 1 + (budget - one) // max(1, two - one))
