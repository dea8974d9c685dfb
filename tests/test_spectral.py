"""The phi functions against exact rational series; both Fourier bases against numpy."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.ops.spectral import FFTFourier, MatrixFourier, fourier, phi1, phi2

POINTS = [-60.0, -7.3, -1.0, -0.5, -0.49, -0.05, -1e-5, -1e-9, 0.0, 1e-9, 1e-4, 0.2, 0.5, 0.51, 2.0]


def exact(z: float, order: int) -> float:
    """phi_order(z) = sum_n z^n / (n + order)! in exact rational arithmetic."""
    z = Fraction(z)
    term, total = Fraction(1, math.factorial(order)), Fraction(0)
    n = 0
    while n < 20 or abs(term) > Fraction(1, 10**40):
        total += term
        n += 1
        term = (term * z / (n + order)).limit_denominator(10**80)
    return float(total)


@pytest.mark.parametrize(("phi", "order"), [(phi1, 1), (phi2, 2)])
def test_phi_has_full_precision(phi, order):
    got = phi(tf.constant(POINTS, tf.float64)).numpy()
    wanted = np.array([exact(z, order) for z in POINTS])
    np.testing.assert_allclose(got, wanted, rtol=1e-15, atol=0)


@pytest.mark.parametrize(("phi", "order"), [(phi1, 1), (phi2, 2)])
def test_phi_gradient(phi, order):
    z = tf.constant(POINTS, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = phi(z)
    slope = tape.gradient(value, z).numpy()
    # phi_n' = phi_n - n phi_(n+1)
    wanted = np.array([exact(z, order) - order * exact(z, order + 1) for z in POINTS])
    np.testing.assert_allclose(slope, wanted, rtol=1e-7)


@pytest.fixture(params=[16, 17, 48, 96])
def points(request):
    return request.param


def bases(points):
    return MatrixFourier(points), FFTFourier(points)


def random_field(points, dtype=tf.float64):
    return tf.constant(np.random.default_rng(points).normal(size=(3, points)), dtype)


def as_complex(u_hat):
    """Coefficients of either basis as numpy complex numbers."""
    u_hat = u_hat.numpy()
    if np.iscomplexobj(u_hat):
        return u_hat
    real, imaginary = np.split(u_hat, 2, -1)
    return real + 1j * imaginary


def test_forward_and_inverse_equal_numpy(points):
    field = random_field(points)
    for basis in bases(points):
        u_hat = basis.forward(field)
        np.testing.assert_allclose(as_complex(u_hat), np.fft.rfft(field.numpy()), atol=1e-12)
        np.testing.assert_allclose(basis.inverse(u_hat), field, atol=1e-13)


def test_derivative_of_a_band_limited_function_is_exact(points):
    theta = 2 * np.pi * np.arange(points) / points
    n = (points - 1) // 2  # the highest wave the grid tells from its mirror image
    field = tf.constant([np.sin(3 * theta) + 0.5 * np.cos(n * theta)])
    wanted = 3 * np.cos(3 * theta) - 0.5 * n * np.sin(n * theta)
    for basis in bases(points):
        np.testing.assert_allclose(basis.inverse(basis.derivative(field))[0], wanted, atol=2e-12)


def test_nyquist_mode_of_the_derivative_is_zero():
    field = random_field(48) + tf.constant((-1.0) ** np.arange(48))
    for basis in bases(48):
        coefficients = as_complex(basis.derivative(field))
        assert np.all(coefficients[:, -1] == 0)
        assert np.all(np.abs(coefficients[:, 1:-1]) > 0)


def test_spread_multiplies_every_mode(points):
    field = random_field(points)
    symbol = tf.constant(np.random.default_rng(1).normal(size=(3, points // 2 + 1)))
    wanted = np.fft.irfft(symbol.numpy() * np.fft.rfft(field.numpy()), points)
    for basis in bases(points):
        got = basis.inverse(basis.spread(symbol) * basis.forward(field))
        np.testing.assert_allclose(got, wanted, atol=1e-13)


def test_bases_have_the_same_gradient(points):
    field = random_field(points)
    symbol = tf.constant(np.random.default_rng(1).normal(size=(3, points // 2 + 1)))
    weight = random_field(points + 0) ** 3
    slopes = []
    for basis in bases(points):
        with tf.GradientTape() as tape:
            tape.watch([field, symbol])
            out = basis.inverse(basis.spread(symbol) * basis.derivative(field * field))
            loss = tf.reduce_sum(weight * out)
        slopes.append(tape.gradient(loss, [field, symbol]))
    for matrix, fft in zip(*slopes, strict=True):
        scale = np.abs(matrix).max()
        assert scale > 0.1
        np.testing.assert_allclose(fft, matrix, atol=1e-12 * scale)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_bases_keep_the_dtype(dtype):
    for basis in bases(48):
        field = random_field(48, dtype)
        assert basis.inverse(basis.derivative(field)).dtype == dtype


def test_choice_of_basis():
    assert isinstance(fourier(48), MatrixFourier)
    assert isinstance(fourier(256), FFTFourier)
