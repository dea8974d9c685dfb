"""The exponential integrators on an ordinary differential equation with a known solution."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.solvers.etd import ORDERS, bind_substep

TIME, START = 2.0, 0.6


def bound(scheme, linear, nonlinear, dt, dtype):
    """A sub-step of an equation that needs no basis."""

    def times(symbol):
        factor = tf.cast(symbol, dtype)
        return lambda u: factor * u

    return bind_substep(scheme, linear, tf.ones_like(linear[:, :1]), dt, times, times, nonlinear)


def solve(scheme, linear, steps, nonlinear=tf.square, dtype=tf.float64):
    """u' = linear u + N(u) from START over TIME."""
    linear = tf.constant([[linear]], tf.float64)
    step = bound(scheme, linear, nonlinear, TIME / steps, dtype)
    u = tf.constant([[START]], dtype)
    for _ in range(steps):
        u = step(u)
    return u.numpy()[0, 0]


def exact(linear):
    """u' = linear u + u², by Bernoulli's substitution w = 1/u."""
    return 1 / ((1 / START + 1 / linear) * np.exp(-linear * TIME) - 1 / linear)


@pytest.mark.parametrize("scheme", sorted(ORDERS))
@pytest.mark.parametrize("linear", [-1.5, -20.0])
def test_order_of_convergence(scheme, linear):
    errors = [abs(solve(scheme, linear, n) - exact(linear)) for n in (40, 80, 160, 320)]
    if linear < -10:  # stiff: everything has decayed, what counts is that no step blew up
        assert max(errors) < 1e-12
        return
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    order = ORDERS[scheme]
    assert np.all(rates > order - 0.25)
    assert np.all(rates < order + 0.25)  # a better rate would mean a wrong problem


@pytest.mark.parametrize("scheme", sorted(ORDERS))
@pytest.mark.parametrize("linear", [-3.0, 0.0, 0.7])
def test_linear_equation_is_exact_in_one_step(scheme, linear):
    got = solve(scheme, linear, 1, tf.zeros_like)
    np.testing.assert_allclose(got, START * np.exp(linear * TIME), rtol=1e-15)


@pytest.mark.parametrize("scheme", sorted(ORDERS))
def test_constant_forcing_is_exact_in_one_step(scheme):
    got = solve(scheme, -0.8, 1, tf.ones_like)
    wanted = START * np.exp(-1.6) + (1 - np.exp(-1.6)) / 0.8
    np.testing.assert_allclose(got, wanted, rtol=1e-14)


def test_forcing_linear_in_time_is_exact_for_etdrk2_alone():
    # u' = 0, v' = −v/2 + t with t carried as a variable of its own: t' = 1
    linear = tf.constant([[0.0, -0.5]], tf.float64)

    def nonlinear(state):
        return tf.stack([tf.ones_like(state[:, 0]), state[:, 0]], 1)

    wanted = 4 * np.exp(-1.0) + 2 * 2.0 - 4  # v(0) = 0 at t = 2
    errors = {}
    for scheme in ORDERS:
        step = bound(scheme, linear, nonlinear, 2.0, tf.float64)
        errors[scheme] = abs(step(tf.zeros([1, 2], tf.float64)).numpy()[0, 1] - wanted)
    assert errors["etdrk2"] < 1e-14
    assert errors["etd1"] > 0.1


@pytest.mark.parametrize("scheme", sorted(ORDERS))
def test_float32_coefficients_have_float32_precision(scheme):
    # naive float32 coefficients would be off by 2e-3
    for linear in (-1e-3, -0.3, 1e-2):
        double = solve(scheme, linear, 4, tf.sin)
        single = solve(scheme, linear, 4, tf.sin, tf.float32)
        np.testing.assert_allclose(single, double, rtol=5e-7)
