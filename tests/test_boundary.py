"""Padding by boundary kind against numpy.pad."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.ops.boundary import pad

MODES = {"periodic": "wrap", "zero": "constant", "replicate": "edge"}
KINDS = list(MODES)


def field(shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("width", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_1d_equals_numpy(kind, width):
    x = field((2, 5, 3))
    got = pad(tf.constant(x), width, ((kind, kind),))
    wanted = np.pad(x, [(0, 0), (width, width), (0, 0)], mode=MODES[kind])
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("along_y", KINDS)
@pytest.mark.parametrize("along_x", KINDS)
def test_2d_equals_numpy(along_y, along_x, width):
    x = field((2, 4, 5, 2))
    got = pad(tf.constant(x), width, ((along_y,) * 2, (along_x,) * 2))
    wanted = np.pad(x, [(0, 0), (width, width), (0, 0), (0, 0)], mode=MODES[along_y])
    wanted = np.pad(wanted, [(0, 0), (0, 0), (width, width), (0, 0)], mode=MODES[along_x])
    np.testing.assert_array_equal(got, wanted)


def test_different_kinds_on_the_two_sides():
    x = tf.reshape(tf.range(1.0, 5.0), [1, 4, 1])
    got = pad(x, 2, (("zero", "replicate"),))[0, :, 0]
    np.testing.assert_array_equal(got, [0, 0, 1, 2, 3, 4, 4, 4])


def test_keeps_dtype_and_has_a_gradient():
    x = tf.ones([1, 4, 1], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        padded = pad(x, 1, (("periodic", "replicate"),))
    assert padded.dtype == tf.float64
    np.testing.assert_array_equal(tape.gradient(padded, x)[0, :, 0], [1, 1, 1, 3])
