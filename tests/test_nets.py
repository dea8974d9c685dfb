"""Networks: weight counts, the convolution against TensorFlow's, saving, seeds, gradients."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfunroll import nets
from tfunroll.core import Domain, InputError, check_keras_backend
from tfunroll.nets.layers import Conv, convolve_2d, leaky_relu
from tfunroll.ops.boundary import pad

KS = Domain((48,), (("periodic", "periodic"),))
PLANE = Domain((6, 8), (("periodic", "periodic"), ("periodic", "periodic")))


def build(domain=KS, width=5, depth=2, seed=0, dtype="float64", **options):
    return nets.build("resnet", domain, 2, 1, width=width, depth=depth, seed=seed, dtype=dtype)


def shaken(net, seed=0):
    """Random weights, biases too, so that nothing hides behind initial zeros."""
    rng = np.random.default_rng(seed)
    for variable in net.variables:
        variable.assign(variable + 0.1 * rng.normal(size=variable.shape))
    return net


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
    net, x = shaken(build()), random_input()
    h = net.first(x)
    for conv1, conv2 in net.blocks:
        h = leaky_relu(conv2(leaky_relu(conv1(h))) + h)
    np.testing.assert_allclose(net(x), net.last(h), atol=1e-14)
    np.testing.assert_allclose(leaky_relu(tf.constant([-2.0, 3.0])), [-0.02, 3.0])


@pytest.mark.parametrize("domain", [KS, PLANE])
def test_translation_equivariance(domain):
    net, x = shaken(build(domain)), random_input(domain)
    axes = list(range(1, 1 + len(domain.shape)))
    shift = [3] * len(axes)
    got, wanted = net(tf.roll(x, shift, axes)), tf.roll(net(x), shift, axes)
    np.testing.assert_allclose(got, wanted, atol=1e-13)
    assert np.abs(wanted - net(x)).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saved_network_gives_the_same_output(tmp_path, dtype):
    net, x = shaken(build(dtype=dtype)), random_input(dtype=dtype)
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded(x), net(x))
    assert loaded(x).dtype == dtype
    assert len(loaded.trainable_variables) == len(net.trainable_variables) == 2 * (2 + 2 * 2)


def test_config_round_trip():
    net = build(seed=7)
    again = type(net).from_config(net.get_config())
    again.build((None, 48, 2))
    assert again.get_config() == net.get_config()
    np.testing.assert_array_equal(again(random_input()), net(random_input()))  # same seed
    layer = Conv(3, (("zero", "periodic"),), 5, seed=4)
    assert Conv.from_config(layer.get_config()).get_config() == layer.get_config()


def test_seeds():
    x = random_input()
    np.testing.assert_array_equal(build(seed=1)(x), build(seed=1)(x))
    assert np.abs(build(seed=1)(x) - build(seed=2)(x)).max() > 1e-3
    kernels = [v.numpy() for v in build().trainable_variables if v.ndim == 2]
    equal = [a.shape == b.shape and (a == b).all() for a in kernels for b in kernels]
    assert sum(equal) == len(kernels)  # each equals only itself: no two layers start alike


def test_every_variable_has_a_gradient():
    net = build()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(net(random_input()) ** 2)
    for variable, gradient in zip(
        net.trainable_variables,
        tape.gradient(loss, [v.value for v in net.trainable_variables]),
        strict=True,
    ):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path


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
