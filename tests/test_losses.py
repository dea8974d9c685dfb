"""Losses of one time level."""

import numpy as np
import tensorflow as tf

from tfunroll import systems
from tfunroll.losses import mean_squared_error, physics_residual, supervised

KS = systems.get("ks")


def states(count):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=(2, 48, 1))) for _ in range(count)]


def test_mean_squared_error_is_the_mean_over_everything():
    a, b = states(2)
    wanted = np.mean((a.numpy() - b.numpy()) ** 2)
    np.testing.assert_allclose(mean_squared_error(a, b), wanted, rtol=1e-14)
    assert mean_squared_error(a, a) == 0


def test_supervised_compares_the_new_state_with_the_target():
    before, after, target = states(3)
    assert supervised()(before, after, target) == mean_squared_error(after, target)
    assert supervised()(before, target, target) == 0


def test_physics_residual_is_zero_for_the_reference_alone():
    params = {"domain_size": tf.constant([7.2, 9.0], tf.float64)}
    residual = physics_residual(KS.reference(), params)
    before, wrong, target = states(3)
    right = KS.reference().bind(params)(before)
    assert residual(before, right, target) == 0
    np.testing.assert_allclose(
        residual(before, wrong, target), mean_squared_error(wrong, right), rtol=1e-14
    )


def test_physics_residual_has_gradients_to_both_states():
    params = {"domain_size": tf.constant([7.2, 9.0], tf.float64)}
    residual = physics_residual(KS.reference(), params)
    before, after, target = states(3)
    with tf.GradientTape() as tape:
        tape.watch([before, after, target])
        loss = residual(before, after, target)
    to_before, to_after, to_target = tape.gradient(loss, [before, after, target])
    assert np.abs(to_before).max() > 0
    assert np.abs(to_after).max() > 0
    assert to_target is None
