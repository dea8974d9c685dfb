"""What the network sees, and what its output means."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import systems
from tfunroll.core import InputError
from tfunroll.stepping.features import Features

MASK = np.random.default_rng(0).uniform(size=(4, 5, 1))


def scaled():
    return Features(
        {"reynolds": 0.001}, 3, 2, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0), static=MASK
    )


def test_ks_input_is_the_raw_state_and_an_eighth_of_the_domain_size():
    features = systems.get("ks").features("correction")
    state = tf.constant(np.random.default_rng(0).normal(size=(2, 48, 1)))
    got = features.bind({"domain_size": tf.constant([7.2, 8.8], tf.float64)})(state).numpy()
    assert got.shape == (2, 48, features.in_channels) == (2, 48, 2)
    np.testing.assert_array_equal(got[..., :1], state)
    np.testing.assert_allclose(got[0, :, 1], 0.9, rtol=1e-15)
    np.testing.assert_allclose(got[1, :, 1], 1.1, rtol=1e-15)


def test_ks_output_is_not_scaled():
    features = systems.get("ks").features("prediction")
    output = tf.random.stateless_normal([2, 48, 1], [0, 1])
    np.testing.assert_array_equal(features.increment(output, tf.float32), output)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_scaled_input_in_two_dimensions(dtype):
    features = scaled()
    state = tf.constant(np.random.default_rng(1).normal(size=(2, 4, 5, 3)), dtype)
    got = features.bind({"reynolds": tf.constant([100, 500], dtype)})(state)
    assert got.dtype == dtype
    assert got.shape == (2, 4, 5, features.in_channels) == (2, 4, 5, 5)
    np.testing.assert_allclose(got[..., 1], (state[..., 1] - 2) / 4, rtol=1e-6)
    np.testing.assert_allclose(got[1, ..., 3], 0.5, rtol=1e-6)
    np.testing.assert_allclose(got[0, ..., 4], MASK[..., 0], rtol=1e-6)


def test_increment_scales_and_leaves_the_other_channels_alone():
    output = tf.ones([2, 4, 5, 2], tf.float32)
    got = scaled().increment(output, tf.float64)
    assert got.dtype == tf.float64
    np.testing.assert_array_equal(got[0, 0, 0], [2.0, 4.0, 0.0])
    assert got.shape == (2, 4, 5, 3)


def test_increment_refuses_another_number_of_channels():
    with pytest.raises(ValueError, match="channel"):
        scaled().increment(tf.ones([2, 4, 5, 1]), tf.float32)


@pytest.mark.parametrize("values", [{"mean": (0.0,)}, {"std": (1.0,)}, {"mean": (0.0,), "std": ()}])
def test_mean_and_std_need_one_value_per_channel(values):
    with pytest.raises(InputError, match="mean"):
        Features({}, 2, 2, **values)


@pytest.mark.parametrize("features", [scaled(), systems.get("ks").features("correction")])
def test_json_round_trip(features):
    other = Features.from_json(json.loads(json.dumps(features.to_json())))
    assert other.to_json() == features.to_json()
    params = {name: tf.constant([2.0]) for name in features.param_scales}
    shape = [1, 4, 5, 3] if features.static is not None else [1, 48, 1]
    state = tf.random.stateless_normal(shape, [0, 1])
    np.testing.assert_array_equal(other.bind(params)(state), features.bind(params)(state))
