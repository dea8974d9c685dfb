"""Floating point operations per frame, counted from the graph: deterministic, no clock."""

import logging
import math

import tensorflow as tf

from tfunroll.core import Solver, Stepper

# Operations of one complex transform of n points over n log2 n; real ones take half.
FFT_COSTS = {"FFT": 5.0, "IFFT": 5.0, "RFFT": 2.5, "IRFFT": 2.5, "RFFT2D": 2.5, "IRFFT2D": 2.5}
LOOPS = ("While", "StatelessWhile")  # their second input is the number of iterations at most


def flops_per_frame(stepper: Stepper, params: dict, state: tf.Tensor) -> int:
    """Floating point operations of one step of one sample.

    What ``bind`` computes is not counted: it is done once per batch, not per frame. Products and
    sums count as TensorFlow's profiler counts them; FFTs, which it leaves out, as 5 n log2 n
    (2.5 for real ones). Layouts, gathers and look-ups are free.

    Args:
      params: {name: [1]}, eager tensors. state: [1, *space, channel].
    """
    step = stepper.bind(params)
    if isinstance(stepper, Solver):
        state = stepper.prolong(state)
    spec = tf.TensorSpec(state.shape, state.dtype)
    return _count(tf.function(step, autograph=False).get_concrete_function(spec).graph)


def _count(graph) -> int:
    """Operations of a graph, with those of its loops as often as they run."""
    total = _profiled(graph)
    for op in graph.get_operations():
        total += _fft(op)
        if op.type in LOOPS:
            body = graph._get_function(op.get_attr("body").name).graph
            total += int(tf.get_static_value(op.inputs[1])) * _count(body)
    return total


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
    """Operations of one FFT node: of one transform over all its axes, times the batch."""
    if op.type not in FFT_COSTS:
        return 0
    source, result = op.inputs[0].shape, op.outputs[0].shape
    axes = 2 if op.type.endswith("2D") else 1
    points = math.prod(source[-axes:-1]) * max(source[-1], result[-1])
    return round(FFT_COSTS[op.type] * math.prod(source[:-axes]) * points * math.log2(points))


def largest_substeps(refined, budget: int, params: dict, state: tf.Tensor, cap: int) -> int:
    """The most sub-steps per frame, up to ``cap``, whose operations fit into ``budget``; or 0.

    ``refined`` maps a number of sub-steps to a Solver whose cost grows by at least a constant per
    sub-step, so two counts bound all others.
    """

    def count(substeps: int) -> int:
        solver: Solver = refined(substeps)
        return flops_per_frame(solver, params, state)

    one, two = count(1), count(2)
    if one > budget:
        return 0
    best = min(cap, 1 + (budget - one) // max(1, two - one))
    while best > 2 and count(best) > budget:  # finer grids cost more than in proportion
        best -= 1
    return best
