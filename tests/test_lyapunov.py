"""Growth rates against closed forms; the Kuramoto-Sivashinsky equation's known exponents."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.metrics.lyapunov import growth_rates, lyapunov_exponent, windowed_mean
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems import ks


def test_linear_step_grows_at_its_rate():
    factors = tf.constant([2.0, 0.5], tf.float64)[:, None, None]
    states = tf.zeros([2, 6, 4, 1], tf.float64)
    rates = growth_rates(lambda u: factors * u, states, frame_time=0.5)
    assert rates.shape == (2, 5)
    np.testing.assert_allclose(rates, np.log([[2.0] * 5, [0.5] * 5]) / 0.5, rtol=1e-12)


def test_logistic_map_has_exponent_ln_2():
    step = lambda u: 4 * u * (1 - u)  # noqa: E731
    start = tf.constant([[[0.3]], [[0.7123]]], tf.float64)
    exponent = tf.function(lambda u: lyapunov_exponent(step, u, 4000, skip=10), autograph=False)
    np.testing.assert_allclose(exponent(start), np.log(2), atol=0.02)


def test_float32_is_refused():
    with pytest.raises(ValueError, match="float64"):
        growth_rates(lambda u: u, tf.zeros([1, 3, 4, 1]))


def test_windowed_mean_is_clipped_to_the_ends():
    rates = np.arange(10.0)[None]
    np.testing.assert_allclose(windowed_mean(rates, 4, 5), [[1.5, 6.5]])
    np.testing.assert_allclose(windowed_mean(rates, 100, 4), [[4.5] * 3])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "points", "low", "high"), [(22, 48, 0.040, 0.054), (60, 96, 0.078, 0.096)]
)
def test_kuramoto_sivashinsky_exponent(length, points, low, high):
    """λ1 of the literature: about 0.048 at L = 22 (Edson et al. 2019) and 0.09 for large L."""
    solver = KuramotoSivashinsky(points, "etdrk2", 0.25, 4)
    params = {"domain_size": np.full(8, length / (2 * np.pi))}
    start = ks.initial_state(params, seed=1, points=points)

    @tf.function(jit_compile=True, autograph=False)
    def exponent(state, domain_size):
        step = solver.bind({"domain_size": domain_size})
        return lyapunov_exponent(step, rollout(step, state, 300)[:, -1], 4000)

    found = exponent(tf.constant(start), tf.constant(params["domain_size"])).numpy().mean()
    assert low < found < high
