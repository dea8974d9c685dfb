"""Pressure solvers: exact residuals, adjoints, conjugate gradients, loops with gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.ops import poisson
from tfunroll.ops.loops import iterate
from tfunroll.ops.stencils import divergence, gradient

RNG = np.random.default_rng(0)
KINDS = (("neumann", "neumann"), ("neumann", "dirichlet"), ("dirichlet", "dirichlet"))


def zero_mean(field):
    return field - field.mean((-2, -1), keepdims=True)


def laplacian_1d(widths, sides):
    """The matrix of d²/dx² on cells, written down face by face."""
    n = len(widths)
    matrix = np.zeros((n, n))
    for i in range(n):
        for side, j, end in ((0, i - 1, 0), (1, i + 1, n - 1)):
            if i != end:
                link = 2 / (widths[i] + widths[j])
                matrix[i, j] += link / widths[i]
                matrix[i, i] -= link / widths[i]
            elif sides[side] == "dirichlet":
                matrix[i, i] -= 2 / widths[i] / widths[i]
    return matrix


def test_periodic_inverts_the_divergence_of_the_gradient():
    h = 0.3
    r = tf.constant(zero_mean(RNG.normal(size=(3, 12, 20))))
    p = poisson.periodic((12, 20), h)(r)
    np.testing.assert_allclose(divergence(gradient(p, h), h), r, atol=1e-12)
    np.testing.assert_allclose(tf.reduce_mean(p, [1, 2]), 0, atol=1e-15)
    # a mean, which no periodic p has, is ignored
    np.testing.assert_allclose(poisson.periodic((12, 20), h)(r + 5.0), p, atol=1e-12)


@pytest.mark.parametrize("along_y", KINDS)
@pytest.mark.parametrize("along_x", KINDS)
def test_fast_diagonalisation_on_stretched_grids(along_y, along_x):
    widths_y, widths_x = RNG.uniform(0.5, 1.5, 9), RNG.uniform(0.5, 1.5, 14)
    solve = poisson.fast_diagonalisation(widths_y, widths_x, (along_y, along_x))
    area = np.outer(widths_y, widths_x)
    r = RNG.normal(size=(2, 9, 14))
    if "dirichlet" not in along_y + along_x:  # only sources without a net flux have a solution
        r -= (r * area).sum((1, 2), keepdims=True) / area.sum()
    p = solve(tf.constant(r)).numpy()
    again = laplacian_1d(widths_y, along_y) @ p + p @ laplacian_1d(widths_x, along_x).T
    np.testing.assert_allclose(again, r, atol=1e-11)


def solvers():
    sides = (("neumann", "dirichlet"), ("neumann", "neumann"))
    stretched = poisson.fast_diagonalisation(np.linspace(1, 2, 8), np.linspace(0.5, 1, 10), sides)
    return {"periodic": poisson.periodic((8, 10), 0.7), "stretched": stretched}


@pytest.mark.parametrize("name", ["periodic", "stretched"])
def test_the_backward_pass_is_the_adjoint(name):
    """<g, A⁻¹ r> = <gradient of it, r>, because A⁻¹ is linear."""
    solve = solvers()[name]
    r, g = (tf.constant(RNG.normal(size=(2, 8, 10))) for _ in range(2))
    with tf.GradientTape() as tape:
        tape.watch(r)
        value = tf.reduce_sum(g * solve(r))
    to_r = tape.gradient(value, r)
    np.testing.assert_allclose(tf.reduce_sum(to_r * r), value, rtol=1e-12)
    other = tf.constant(RNG.normal(size=(2, 8, 10)))
    np.testing.assert_allclose(
        tf.reduce_sum(to_r * other), tf.reduce_sum(g * solve(other)), rtol=1e-11
    )


def test_unknown_side():
    with pytest.raises(InputError, match="sides='wall'"):
        poisson.fast_diagonalisation(np.ones(4), np.ones(4), (("wall", "neumann"),) * 2)


class Obstacle:
    """∇·(a ∇p) with faces closed at random: what fast diagonalisation alone cannot invert."""

    shape, h = (12, 16), 0.5
    widths = tuple(np.full(n, 0.5) for n in shape)
    sides = (("dirichlet", "dirichlet"),) * 2

    def __init__(self):
        self.mask = np.ones(self.shape)
        self.mask[4:7, 5:9] = 3.0

    def operator(self, p):
        """−(A0 + (mask − 1)) p on a grid with p = 0 around; symmetric and definite."""
        rows, columns = (laplacian_1d(w, s) for w, s in zip(self.widths, self.sides, strict=True))
        laplacian = tf.constant(rows, p.dtype) @ p + p @ tf.constant(columns.T, p.dtype)
        return laplacian - tf.constant(self.mask - 1, p.dtype) * p

    def matrix(self):
        n = self.mask.size
        basis = tf.constant(np.eye(n).reshape(n, *self.shape))
        return self.operator(basis).numpy().reshape(n, n)

    def solver(self, iterations, tolerance=0.0):
        direct = poisson.fast_diagonalisation(*self.widths, self.sides)
        return poisson.conjugate_gradients(self.operator, direct, iterations, tolerance)


@pytest.mark.parametrize("jit", [False, True])
def test_conjugate_gradients_against_a_dense_solve(jit):
    case = Obstacle()
    r, g = (tf.constant(RNG.normal(size=(3, *case.shape))) for _ in range(2))

    @tf.function(jit_compile=jit, autograph=False)
    def both(r):
        with tf.GradientTape() as tape:
            tape.watch(r)
            p = case.solver(20)(r)
            value = tf.reduce_sum(g * p)
        return p, tape.gradient(value, r)

    p, to_r = both(r)
    inverse = np.linalg.inv(case.matrix())
    np.testing.assert_allclose(
        np.reshape(p, (3, -1)), np.reshape(r, (3, -1)) @ inverse.T, atol=1e-10
    )
    np.testing.assert_allclose(
        np.reshape(to_r, (3, -1)), np.reshape(g, (3, -1)) @ inverse, atol=1e-10
    )


def test_more_iterations_are_more_exact_and_converged_samples_stay():
    case = Obstacle()
    r = RNG.normal(size=(2, *case.shape))
    r[1] = 0  # converged from the start
    residuals = []
    for iterations in (1, 3, 6):
        p = case.solver(iterations)(tf.constant(r))
        residuals.append(np.linalg.norm(case.operator(p)[0] - r[0]))
        assert not np.any(p[1])
    assert residuals[0] > 10 * residuals[1] > 100 * residuals[2]
    loose, few = case.solver(50, tolerance=1e-3)(tf.constant(r)), case.solver(50)(tf.constant(r))
    error = np.linalg.norm(case.operator(loose)[0] - r[0]) / np.linalg.norm(r[0])
    assert 1e-8 < error < 1e-3
    assert np.abs(loose - few).max() > 0


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("jit", [False, True])
def test_iterate_and_its_gradient_equal_the_unrolled_loop(times, jit):
    x, a, b = (tf.constant(RNG.normal(size=(2, 3))) for _ in range(3))

    def function(x, a, b):
        return tf.sin(a * x) + b * x * x / 4

    def unrolled(x, a, b):
        for _ in range(times):
            x = function(x, a, b)
        return x

    @tf.function(jit_compile=jit, autograph=False)
    def gradients(run):
        with tf.GradientTape() as tape:
            tape.watch([x, a, b])
            out = run(x, a, b)
        return out, *tape.gradient(out, [x, a, b])

    looped = gradients(lambda x, a, b: iterate(function, times, x, (a, b)))
    for ours, theirs in zip(looped, gradients(unrolled), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
