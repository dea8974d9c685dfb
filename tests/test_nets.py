"""The ResNet's weight counts and formula, the convolution against TensorFlow's, the backend."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import shaken

from tfunroll import nets
from tfunroll.core import Domain, InputError, check_keras_backend
from tfunroll.nets.layers import Conv, convolve_2d, leaky_relu
from tfunroll.nets.stack import ResidualStack
from tfunroll.nets.weights import Weights
from tfunroll.ops.boundary import pad

KS = Domain((48,), (("periodic", "periodic"),))
PLANE = Domain((6, 8), (("periodic", "periodic"), ("periodic", "periodic")))


def random_input(domain=KS, dtype=tf.float64, batch=3):
    return tf.constant(np.random.default_rng(1).normal(size=(batch, *domain.shape, 2)), dtype)


def conv_of(kernel, bias, boundary=KS.boundary):
    """The layer Conv with these weights."""
    size = round((kernel.shape[0] / kernel.shape[1]) ** (1 / len(boundary)))
    conv = Conv(kernel.shape[1], boundary, size, dtype="float64")
    conv.build((*[None] * (1 + len(boundary)), kernel.shape[1]))
    conv.kernel.assign(kernel)
    conv.bias.assign(bias)
    return conv


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
    assert net.stack.kernel.shape == (2, 2, 15, 5)
    h = net.first(x)
    for kernels, biases in zip(net.stack.kernel.value, net.stack.bias.value, strict=True):
        one = [conv_of(kernels[k], biases[k]) for k in (0, 1)]
        h = leaky_relu(one[1](leaky_relu(one[0](h))) + h)
    np.testing.assert_allclose(net(x), net.last(h), atol=1e-14)
    np.testing.assert_allclose(leaky_relu(tf.constant([-2.0, 3.0])), [-0.02, 3.0])


def test_a_stack_is_the_same_on_a_gpu(monkeypatch):
    """There its blocks are written out: one network, and three side by side."""
    net = shaken(nets.build("resnet", KS, 2, 1, width=5, depth=2, dtype="float64"))
    weights, x = Weights(net), random_input()
    flat = tf.stack([weights.read() * k for k in (1, 2, 3)])
    looped = net(x), weights.at(flat)(tf.tile(x, [3, 1, 1]))
    monkeypatch.setattr("tfunroll.nets.stack.on_gpu", lambda: True)
    monkeypatch.setattr("tfunroll.nets.stack.residual_lines", None)
    for one, other in zip(looped, (net(x), weights.at(flat)(tf.tile(x, [3, 1, 1]))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("kinds", [("periodic", "periodic"), ("zero", "replicate")])
@pytest.mark.parametrize(("shape", "size"), [((9,), 3), ((9,), 1), ((9,), 5), ((5, 6), 3)])
def test_a_stack_and_its_gradient_are_those_of_its_blocks(shape, size, kinds, jit):
    """Values and slopes, in a loop over steps, whose gradient meets the loop over blocks."""
    boundary = (kinds,) * len(shape)
    stack = ResidualStack(3, boundary, size, seeds=range(6), dtype="float64")
    x = tf.constant(np.random.default_rng(1).normal(size=(2, *shape, 4)))
    stack.build(x.shape)
    shaken(stack)

    def by_blocks(x):
        weights = zip(stack.kernel.value, stack.bias.value, strict=True)
        for kernels, biases in weights:
            h = leaky_relu(conv_of(kernels[0], biases[0], boundary)(x))
            x = leaky_relu(conv_of(kernels[1], biases[1], boundary)(h) + x)
        return x

    wanted = by_blocks(0.5 * by_blocks(x))
    h = 1e-6
    direction = [np.random.default_rng(k).normal(size=v.shape) for k, v in enumerate(stack.weights)]

    @tf.function(jit_compile=jit, autograph=False)
    def twice(x, *weights):
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            scope = keras.StatelessScope(zip(stack.weights, weights, strict=True))

            def step(k, y):
                with scope:
                    return k + 1, stack(y * tf.where(k == 0, tf.ones([], y.dtype), 0.5))

            y = tf.while_loop(lambda k, _: k < 2, step, (0, x), maximum_iterations=2)[1]
            loss = tf.reduce_sum(tf.sin(y))
        return y, loss, tape.gradient(loss, [x, *weights])

    weights = [w.value for w in stack.weights]
    y, _, slopes = twice(x, *weights)
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
    moved = []
    for step in (h, -h):
        there = [w + step * d for w, d in zip(weights, direction, strict=True)]
        moved.append(twice(x + step * x**2, *there)[1])
    exact = sum(tf.reduce_sum(g * d) for g, d in zip(slopes, [x**2, *direction], strict=True))
    np.testing.assert_allclose((moved[0] - moved[1]) / (2 * h), exact, rtol=1e-6)


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
