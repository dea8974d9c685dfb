"""The ResNet's weight counts and formula, the convolution against TensorFlow's, the backend."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from contracts import shaken

from tfunroll import nets
from tfunroll.core import Domain, InputError, check_keras_backend
from tfunroll.nets.layers import Conv, convolve_2d, leaky_relu
from tfunroll.ops.boundary import pad

KS = Domain((48,), (("periodic", "periodic"),))
PLANE = Domain((6, 8), (("periodic", "periodic"), ("periodic", "periodic")))


def random_input(domain=KS, dtype=tf.float64, batch=3):
    return tf.constant(np.random.default_rng(1).normal(size=(batch, *domain.shape, 2)), dtype)


def test_weight_count_of_the_study():
    assert nets.build("resnet", KS, 2, 1, width=26, depth=8).count_params() == 33_125
    assert nets.build("resnet", KS, 2, 1, size="32k").count_params() == 33_125


@pytest.mark.parametrize("kind", ["periodic", "zero", "replicate"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_conv_equals_conv1d(kind, kernel_size):
    conv = Conv(4, ((kind, kind),), kernel_size, dtype="float64")
    conv.build((None, 48, 2))
    shaken(conv)
    x = random_input()
    weights = tf.reshape(conv.kernel.value, [kernel_size, 2, 4])
    padded = pad(x, kernel_size // 2, conv.boundary)
    wanted = tf.nn.conv1d(padded, weights, 1, "VALID") + conv.bias.value
    np.testing.assert_allclose(conv(x), wanted, atol=1e-14)


def test_conv_equals_conv2d():
    conv = Conv(4, (("zero", "replicate"), ("periodic", "periodic")), dtype="float64")
    conv.build((None, 6, 8, 2))
    shaken(conv)
    x = random_input(PLANE)
    weights = tf.reshape(conv.kernel.value, [3, 3, 2, 4])
    wanted = tf.nn.conv2d(pad(x, 1, conv.boundary), weights, 1, "VALID") + conv.bias.value
    np.testing.assert_allclose(conv(x), wanted, atol=1e-14)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_gradient_of_conv_2d_is_that_of_tensorflow(size):
    """Also inside a compiled loop, for which it is written."""
    x, kernel = (tf.random.stateless_normal(s, [1, size], dtype=tf.float64)
                 for s in ([3, 8, 9, 2], [size * size * 2, 4]))  # fmt: skip

    def native(x, kernel):
        return tf.nn.conv2d(x, tf.reshape(kernel, [size, size, 2, 4]), 1, "VALID")

    def gradients(convolve, x, kernel):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            loss = tf.reduce_sum(tf.sin(convolve(x, kernel)))
        return tape.gradient(loss, [x, kernel])

    @tf.function(jit_compile=True, autograph=False)
    def twice():
        start = (tf.constant(0), tf.zeros_like(x), tf.zeros_like(kernel))

        def body(k, to_x, to_kernel):
            ours = gradients(convolve_2d, x, kernel)
            return k + 1, to_x + ours[0], to_kernel + ours[1]

        return tf.while_loop(lambda k, *_: k < 2, body, start)[1:]

    for ours, wanted in zip(twice(), gradients(native, x, kernel), strict=True):
        np.testing.assert_allclose(ours, 2 * wanted, atol=1e-13)


@pytest.mark.parametrize("kind", ["periodic", "replicate"])
def test_ones_kernel_keeps_a_constant_field_constant(kind):
    conv = Conv(1, ((kind, kind), (kind, kind)), dtype="float64")
    conv.build((None, 6, 8, 1))
    conv.kernel.assign(tf.ones_like(conv.kernel.value))
    np.testing.assert_allclose(conv(2 * tf.ones([1, 6, 8, 1], tf.float64)), 18, rtol=1e-15)


def test_conv_refuses_an_even_kernel():
    with pytest.raises(ValueError, match="kernel_size=2"):
        Conv(1, (("zero", "zero"),), 2)


def test_resnet_equals_its_formula():
    net = shaken(nets.build("resnet", KS, 2, 1, width=5, depth=2, dtype="float64"))
    x = random_input()
    h = net.first(x)
    for conv1, conv2 in net.blocks:
        h = leaky_relu(conv2(leaky_relu(conv1(h))) + h)
    np.testing.assert_allclose(net(x), net.last(h), atol=1e-14)
    np.testing.assert_allclose(leaky_relu(tf.constant([-2.0, 3.0])), [-0.02, 3.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnat"}, "net='resnat'"),
        ({"size": "33k"}, "size='33k'"),
        ({"width": 0}, "width=0"),
        ({"depth": -1}, "depth=-1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        nets.build(
            **{"name": "resnet", "domain": KS, "in_channels": 2, "out_channels": 1, **options}
        )


def test_wrong_backend_is_an_input_error(monkeypatch):
    with pytest.raises(InputError, match=r"KERAS_BACKEND='torch'.*tensorflow"):
        check_keras_backend("torch")
    monkeypatch.setenv("KERAS_BACKEND", "")
    check_keras_backend()


def test_wrong_backend_is_one_clear_error_even_if_it_is_not_installed():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    code = "import tfunroll.nets"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError" in last
    assert "KERAS_BACKEND='jax'" in last
    assert "tensorflow" in last
    assert "ModuleNotFoundError" not in done.stderr
