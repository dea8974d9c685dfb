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


@pytest.fixture(params=[16, 48, 96])
def points(request):
    return request.param


def bases(points):
    return MatrixFourier(points), FFTFourier(points)


def random_field(points, dtype=tf.float64):
    return tf.constant(np.random.default_rng(points).normal(size=(3, points)), dtype)


def as_complex(u_hat):
    """Coefficients of either basis as numpy complex numbers, [batch, wavenumber]."""
    if isinstance(u_hat, tuple):
        return (u_hat[0].numpy() + 1j * u_hat[1].numpy()).T
    return u_hat.numpy()


def derivative_of_square(basis, field):
    return basis.derivative_of_square(basis.forward(field))


def test_forward_and_inverse_equal_numpy(points):
    field = random_field(points)
    for basis in bases(points):
        u_hat = basis.forward(field)
        np.testing.assert_allclose(as_complex(u_hat), np.fft.rfft(field.numpy()), atol=1e-12)
        np.testing.assert_allclose(basis.inverse(u_hat), field, atol=1e-13)


def test_derivative_of_a_band_limited_square_is_exact(points):
    theta = 2 * np.pi * np.arange(points) / points
    n = points // 2 - 4  # 3 + n is the highest wave the grid tells from its mirror image
    field = tf.constant([0.3 + np.sin(3 * theta)])
    wanted = 2 * (0.3 + np.sin(3 * theta)) * 3 * np.cos(3 * theta)
    wave = tf.constant([np.sqrt(2 + np.sin(n * theta))])
    for basis in bases(points):
        got = basis.inverse(derivative_of_square(basis, field))
        np.testing.assert_allclose(got[0], wanted, atol=2e-12)
        got = basis.inverse(derivative_of_square(basis, wave))
        np.testing.assert_allclose(got[0], n * np.cos(n * theta), atol=1e-11)


def test_nyquist_mode_of_the_derivative_is_zero():
    field = random_field(48) + tf.constant((-1.0) ** np.arange(48))
    for basis in bases(48):
        coefficients = as_complex(derivative_of_square(basis, field))
        assert np.all(coefficients[:, -1] == 0)
        assert np.all(np.abs(coefficients[:, 1:-1]) > 0)


def test_times_multiplies_every_mode(points):
    field = random_field(points)
    symbol = tf.constant(np.random.default_rng(1).normal(size=(3, points // 2 + 1)))
    wanted = np.fft.irfft(symbol.numpy() * np.fft.rfft(field.numpy()), points)
    for basis in bases(points):
        got = basis.inverse(basis.times(symbol)(basis.forward(field)))
        np.testing.assert_allclose(got, wanted, atol=1e-13)


def test_parts_are_the_field_and_multiply_as_coefficients_do(points):
    field, basis = random_field(points), MatrixFourier(points)
    even, odd = parts = basis.parts(field)
    values = field.numpy()
    np.testing.assert_allclose(2 * even[1], values[:, 1] + values[:, -1], atol=1e-14)
    np.testing.assert_allclose(2 * odd[1], values[:, 1] - values[:, -1], atol=1e-14)
    np.testing.assert_allclose(basis.from_parts(parts), field, atol=1e-14)
    np.testing.assert_allclose(basis.from_parts(basis.square(parts)), values**2, atol=1e-13)
    symbol = tf.constant(np.random.default_rng(1).normal(size=(1, points // 2 + 1)))
    got = basis.times_on_parts(symbol, tf.float64)(parts)
    wanted = basis.inverse(basis.times(symbol)(basis.forward(field)))
    np.testing.assert_allclose(basis.from_parts(got), wanted, atol=1e-13)
    got = basis.times_on_parts(symbol, tf.float64, derivative=True)(basis.square(parts))
    wanted = basis.inverse(basis.times(symbol)(derivative_of_square(basis, field)))
    np.testing.assert_allclose(basis.from_parts(got), wanted, atol=1e-11)


def test_bases_have_the_same_gradient(points):
    field = random_field(points)
    symbol = tf.constant(np.random.default_rng(1).normal(size=(3, points // 2 + 1)))
    weight = random_field(points + 0) ** 3
    slopes = []
    for basis in bases(points):
        with tf.GradientTape() as tape:
            tape.watch([field, symbol])
            out = basis.inverse(basis.times(symbol)(derivative_of_square(basis, field)))
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
        assert basis.inverse(derivative_of_square(basis, field)).dtype == dtype


def test_choice_of_basis():
    assert isinstance(fourier(48), MatrixFourier)
    assert isinstance(fourier(256), FFTFourier)
