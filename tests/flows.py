"""Incompressible flows that several test files run and check."""

import functools

import numpy as np
import tensorflow as tf

from tfunroll.solvers.incompressible import Incompressible
from tfunroll.stepping.unrolling import repeat
from tfunroll.systems import kolmogorov

REYNOLDS = [300.0, 1000.0]


def box(n, dt, **options):
    """The solver of n x n cells of the periodic box [0, 2π)²."""
    return Incompressible((n, n), 2 * np.pi / n, dt, **options)


UNFORCED = box(32, 0.01)


@functools.cache
def compiled(solver, steps):
    @tf.function(jit_compile=True, autograph=False)
    def compiled(state, reynolds):
        return repeat(solver.bind({"reynolds": reynolds}), steps)(state)

    return compiled


def run(solver, state, reynolds, steps):
    """[batch, y, x, 3], float64, after so many frames; compiled."""
    return compiled(solver, steps)(tf.constant(state), tf.constant(reynolds, tf.float64)).numpy()


def turbulent(batch=2, n=32, seed=0, steps=20):
    """States of a developed Kolmogorov flow, float64."""
    reynolds = np.resize(REYNOLDS, batch)
    start = kolmogorov.initial_state({"reynolds": reynolds}, seed, n)
    return run(kolmogorov.solver(n, 0.64 / n / 2), start, reynolds, steps)


def check_gradients(value, point, rng, rtol):
    """Gradients of ``value(*point)`` against central differences, along a random direction of each.

    Args: point: float64 arrays.
    """
    point = [tf.constant(x) for x in point]
    with tf.GradientTape() as tape:
        tape.watch(point)
        out = value(*point)
    gradients = tape.gradient(out, point)
    h = 1e-6
    for i, gradient in enumerate(gradients):
        direction = tf.constant(rng.normal(size=point[i].shape))
        moved = [
            value(*point[:i], point[i] + sign * h * direction, *point[i + 1 :]) for sign in (1, -1)
        ]
        difference = (moved[0] - moved[1]) / (2 * h)
        np.testing.assert_allclose(tf.reduce_sum(gradient * direction), difference, rtol=rtol)
