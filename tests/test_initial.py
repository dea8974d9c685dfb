"""Initial weights: their sizes, what an untrained network does, and how chains grow."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfunroll import nets, systems
from tfunroll.core import Domain, InputError
from tfunroll.nets import INITIAL, NETS
from tfunroll.nets.fno import SpectralConv
from tfunroll.runs.config import RunConfig

RING = Domain((16,), (("periodic", "periodic"),))


def build(name="resnet", initial="glorot", seed=0, domain=RING, **size):
    size = size or {"size": "1k"}
    return nets.build(name, domain, 2, 1, initial=initial, seed=seed, dtype="float64", **size)


def matrices(net):
    """(matrix, bias or None, fan in, fan out) of every layer that has a matrix but the last."""
    for layer in net.layers:
        weights = {w.name: w.numpy() for w in layer.trainable_variables}
        kernel, bias = weights.get("kernel"), weights.get("bias")
        if kernel is None or layer is net.last_layer or isinstance(layer, SpectralConv):
            continue
        taps = getattr(layer, "kernel_size", 1) ** len(RING.shape)
        for k in np.ndindex(kernel.shape[:-2]):  # of a stack all
            one = kernel[k]
            yield one, None if bias is None else bias[k], one.shape[0], taps * one.shape[1]


def test_a_stack_starts_as_single_layers_did():
    """Keras's generator per convolution, in their order; and ours, by their number."""
    net = build(width=3, depth=2, seed=2)
    limit = (6 / 18) ** 0.5
    for number, kernel in enumerate(net.stack.kernel.numpy().reshape(4, 9, 3)):
        draw = keras.initializers.RandomUniform(-limit, limit, seed=2001 + number)
        np.testing.assert_array_equal(kernel, draw((9, 3), "float64"))
    net = build(width=3, depth=2, seed=2, initial="fan_in")
    biases = net.stack.bias.numpy().reshape(4, 3)
    for number, kernel in enumerate(net.stack.kernel.numpy().reshape(4, 9, 3)):
        rng = np.random.default_rng([2, 1 + number])
        np.testing.assert_array_equal(kernel, rng.uniform(-1 / 3, 1 / 3, (9, 3)))
        np.testing.assert_array_equal(biases[number], rng.uniform(-1 / 3, 1 / 3, 3))
    last = np.random.default_rng([2, 5]).uniform(-1 / 3, 1 / 3, (9, 1))
    np.testing.assert_array_equal(net.last.kernel, last)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("initial", INITIAL)
def test_sizes_of_the_weights(name, initial):
    """The largest of many uniform numbers is just below their bound."""
    for kernel, bias, fan_in, fan_out in matrices(build(name, initial)):
        limits = {"fan_in": 1 / fan_in, "zero": 1 / fan_in}
        limit = np.sqrt(limits.get(initial, 6 / (fan_in + fan_out)))
        largest = np.abs(kernel).max()
        assert largest <= limit
        assert largest > 0.8 * limit or kernel.size < 30
        if bias is not None:
            assert (np.abs(bias).max() > 0) == (initial in ("fan_in", "zero"))
            assert np.abs(bias).max() <= limit


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("initial", ["zero", "glorot_zero"])
def test_an_untrained_correction_with_a_last_layer_of_zero_is_its_solver(name, initial):
    system = systems.get("ks")
    features = system.features("correction")
    net = nets.build(name, system.domain, 2, 1, size="1k", initial=initial, dtype="float64")
    params = {"domain_size": tf.constant([7.2, 8.0], tf.float64)}
    u = tf.constant(system.initial_state({"domain_size": np.array([7.2, 8.0])}, 0))
    stepper = system.stepper(net, features, "correction", "parallel", "etd1")
    alone = system.coarse("etd1").bind(params)(u)
    np.testing.assert_array_equal(stepper.bind(params)(u), alone)
    with tf.GradientTape() as tape:  # and it can learn: the last layer has a gradient
        loss = tf.reduce_sum(stepper.bind(params)(u) ** 2)
    gradients = tape.gradient(loss, [w.value for w in net.last_layer.trainable_variables])
    assert all(np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize("name", NETS)
def test_the_seed_decides_the_weights(name):
    a, b, other = (build(name, "fan_in", seed) for seed in (3, 3, 4))
    for x, y, z in zip(a.weights, b.weights, other.weights, strict=True):
        np.testing.assert_array_equal(x, y)
        if x.name in ("kernel", "qkv", "mix"):
            assert (x.numpy() != z.numpy()).any()


def growth(initial, depth):
    """Size of the last block's output over that of the first's input, depth blocks."""
    x = tf.constant(np.random.default_rng(0).normal(size=(8, 16, 2)))
    sizes = []
    for blocks in (1, depth):
        net = build(initial=initial, width=32, depth=blocks)
        for weight, eye in zip(net.last.trainable_variables, (1.0, 0.0), strict=True):
            weight.assign(np.full(weight.shape, eye / 96))
        sizes.append(float(tf.math.reduce_std(net(x))))
    return sizes[1] / sizes[0]


def test_a_residual_chain_grows_with_its_depth_from_glorot_and_not_from_fan_in():
    assert growth("glorot", 16) > 4
    assert 0.5 < growth("fan_in", 16) < 2


def test_an_unknown_start_is_refused():
    for make in (
        lambda: build(initial="orthogonal"),
        lambda: RunConfig(initial="orthogonal").resolved(),
    ):
        with pytest.raises(InputError, match="initial='orthogonal' is unknown; allowed: fan_in, "):
            make()
