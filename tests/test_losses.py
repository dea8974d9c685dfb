"""Losses of one unrolled step: known values, what they leave open, sums, factors, mistakes."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import systems
from tfunroll.core import InputError
from tfunroll.stepping.losses import Loss, PhysicsResidual, Supervised, mean_squared_error
from tfunroll.stepping.unrolling import WIG

KS = systems.get("ks")
PARAMS = {"domain_size": tf.constant([7.2, 9.0], tf.float64)}


def states(count):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=(2, 48, 1))) for _ in range(count)]


def test_mean_squared_error_is_the_mean_over_space_and_channels_of_each_sample():
    a, b = states(2)
    wanted = np.mean((a.numpy() - b.numpy()) ** 2, (1, 2))
    np.testing.assert_allclose(mean_squared_error(a, b), wanted, rtol=1e-14)
    np.testing.assert_array_equal(mean_squared_error(a, a), [0, 0])


def test_supervised_compares_the_new_state_with_the_target():
    before, after, target = states(3)
    loss = Supervised().bind({})
    np.testing.assert_array_equal(loss(0, before, after, target), mean_squared_error(after, target))
    np.testing.assert_array_equal(loss(0, before, target, target), [0, 0])


def test_physics_residual_is_zero_for_the_reference_alone():
    residual = PhysicsResidual(KS.reference()).bind(PARAMS)
    before, wrong, target = states(3)
    right = KS.reference().bind(PARAMS)(before)
    np.testing.assert_array_equal(residual(0, before, right, target), [0, 0])
    wanted = mean_squared_error(wrong, right)
    np.testing.assert_allclose(residual(0, before, wrong, target), wanted, rtol=1e-14)


def test_physics_residual_has_gradients_to_both_states():
    residual = PhysicsResidual(KS.reference()).bind(PARAMS)
    before, after, target = states(3)
    with tf.GradientTape() as tape:
        tape.watch([before, after, target])
        loss = residual(0, before, after, target)
    to_before, to_after, to_target = tape.gradient(loss, [before, after, target])
    assert np.abs(to_before).max() > 0
    assert np.abs(to_after).max() > 0
    assert to_target is None


def test_a_loss_that_is_not_one_per_sample_is_refused_in_a_sum_too():
    class Loose(Loss):
        def bind(self, params):
            return lambda k, before, after, target: tf.reduce_mean(after)

    loss = (Supervised() + Loose()).bind({})
    with pytest.raises(InputError, match=r"loss=Loose gives .* \(\) .* needed: one per sample, "):
        loss(0, *states(3))


class Mean(Loss):
    """A user's: the squared mean of the new state."""

    def bind(self, params):
        return lambda k, before, after, target: tf.square(tf.reduce_mean(after, [1, 2]))


def test_losses_add_up():
    before, after, target = states(3)
    loss = (Supervised() + 0.1 * Mean()).bind({})
    wanted = mean_squared_error(after, target) + 0.1 * np.mean(after, (1, 2)) ** 2
    np.testing.assert_allclose(loss(0, before, after, target), wanted, rtol=1e-14)


def test_a_factor_may_depend_on_the_step():
    before, after, target = states(3)
    loss, plain = ([1.0, 0.5] * Supervised()).bind({}), mean_squared_error(after, target)
    for k, factor in ((0, 1.0), (tf.constant(1), 0.5)):
        np.testing.assert_array_equal(loss(k, before, after, target), factor * plain)
    ([1.0, 0.5] * Supervised()).unrolled(WIG(2))
    with pytest.raises(InputError, match="factor of a loss has 2 levels; an unrolling has 3 steps"):
        (Mean() + [1.0, 0.5] * Supervised()).unrolled(WIG(3))


def test_what_is_open_comes_from_the_stepper():
    """The channels that the network changes, where they live."""
    wake = systems.get("wake")
    kinds = (next(iter(wake.corrections)),)
    stepper = wake.stepper(lambda x: x, wake.features("correction"), "correction", *kinds)
    fitted = (Supervised() + Mean()).fitted(stepper).terms[0]
    assert fitted.channels == wake.features("correction").out_channels
    np.testing.assert_array_equal(fitted.active, wake.active)
    assert Supervised(channels=1).fitted(stepper).channels == 1


def test_a_residual_needs_a_solver():
    with pytest.raises(InputError, match="reference=None of PhysicsResidual is no solver"):
        PhysicsResidual(None)
