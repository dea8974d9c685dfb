"""A network's weights as one vector: read, written, laid out, of several seeds, refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import SMALL, check_weights, shaken

from tfunroll import nets
from tfunroll.core import Domain, InputError
from tfunroll.nets.weights import Weights

RING = Domain((16,), (("periodic", "periodic"),))
PLANE = Domain((8, 6), (("periodic", "periodic"), ("zero", "replicate")))

every_net = pytest.mark.parametrize("name", nets.NETS)


def small(name="resnet", domain=RING, dtype="float64", seed=0, **options):
    options = options or SMALL[name]
    return shaken(nets.build(name, domain, 2, 1, **options, seed=seed, dtype=dtype), seed)


def random_input(domain=RING, batch=3, dtype="float64"):
    return tf.constant(np.random.default_rng(1).normal(size=(batch, *domain.shape, 2)), dtype)


def of_keras(*layers):
    return keras.Sequential([keras.Input((16, 2), dtype="float64"), *layers])


def test_the_vector_holds_the_variables_in_their_order():
    net = small(width=3, depth=1)
    weights = Weights(net)
    wanted = [v.numpy().ravel() for v in net.trainable_variables]
    np.testing.assert_array_equal(weights.read(), np.concatenate(wanted))
    assert weights.size == net.count_params() == sum(map(len, wanted))
    one = "kernel {}x{}; bias {}".format
    stack = one("1x2x9", 3, "1x2x3")
    assert weights.layout == "; ".join([one(6, 3, 3), stack, one(9, 1, 1)])


def test_writing_what_another_network_reads_makes_it_the_same():
    a, b, x = small(seed=1), small(seed=2), random_input()
    assert np.abs(a(x) - b(x)).max() > 1e-3
    Weights(b).write(Weights(a).read().numpy())
    np.testing.assert_array_equal(a(x), b(x))


def test_at_leaves_the_networks_own_weights_alone():
    a, b, x = small(seed=1), small(seed=2), random_input()
    before = a(x)
    np.testing.assert_array_equal(Weights(a).at(Weights(b).read())(x), b(x))
    np.testing.assert_array_equal(a(x), before)


def test_the_gradient_by_the_vector_is_that_by_the_variables():
    net, x = small("unet"), random_input()
    weights = Weights(net)
    flat, variables = weights.read(), [v.value for v in net.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(flat)
        ours, keras_own = (tf.reduce_sum(tf.sin(y)) for y in (weights.at(flat)(x), net(x)))
    wanted = [tf.reshape(g, [-1]) for g in tape.gradient(keras_own, variables)]
    np.testing.assert_array_equal(tape.gradient(ours, flat), tf.concat(wanted, 0))


@pytest.mark.parametrize("domain", [RING, PLANE])
def test_seeds_of_a_resnet_of_a_list_of_widths(domain):
    check_weights(small(domain=domain, widths=(3, 5)), random_input(domain))


@every_net
@pytest.mark.parametrize("domain", [RING, PLANE])
def test_seeds_in_mixed_precision(name, domain):
    """Their own networks, as near as bfloat16 gets, in the weights' dtype."""
    net, x = small(name, domain, "mixed_bfloat16"), random_input(domain, 6, "float32")
    weights = Weights(net)
    flat = tf.stack([weights.read(), 0.9 * weights.read()])
    y = weights.at(flat)(x)
    alone = tf.concat([weights.at(flat[k])(x[3 * k : 3 * k + 3]) for k in (0, 1)], 0)
    assert y.dtype == alone.dtype == tf.float32
    assert np.abs(y - alone).max() <= 0.03 * np.abs(alone).max()


def test_seeds_of_a_model_of_keras_run_one_by_one():
    net = of_keras(
        keras.layers.Conv1D(4, 3, padding="same", activation="tanh", dtype="float64"),
        keras.layers.Dense(1, dtype="float64"),
    )
    check_weights(shaken(net), random_input())


def test_seeds_of_a_batch_of_unknown_size():
    net, x = small("transformer"), random_input(batch=4)
    weights = Weights(net)
    flat = tf.stack([weights.read(), 2 * weights.read()])
    signature = [tf.TensorSpec([None, 16, 2], tf.float64)]
    of_any = tf.function(lambda x: weights.at(flat)(x), input_signature=signature)
    np.testing.assert_allclose(of_any(x), weights.at(flat)(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3), ()])
def test_a_vector_of_another_length_is_refused(shape):
    weights = Weights(small())
    with pytest.raises(InputError, match=rf"flat has shape .*needed: \({weights.size},\) or \(K, "):
        weights.at(tf.zeros(shape, tf.float64))


@pytest.mark.parametrize("net", [small("unet"), of_keras(keras.layers.Dense(1))])
def test_samples_that_the_seeds_do_not_divide_are_refused(net):
    weights = Weights(net)
    with pytest.raises(InputError, match="3 samples are no multiple of 2 seeds"):
        weights.at(tf.stack([weights.read()] * 2))(random_input(batch=3))


@every_net
@pytest.mark.parametrize("domain", [RING, PLANE])
def test_one_seed_beside_none_is_the_network_itself(name, domain):
    net, x = small(name, domain), random_input(domain)
    weights = Weights(net)
    np.testing.assert_allclose(weights.at(weights.read()[None])(x), net(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda x: x, "net is a function; needed: a keras.Model"),
        (
            keras.Sequential([keras.layers.Dense(1)], name="bare"),
            "net='bare' is not built or has no tr",
        ),
        (of_keras(keras.layers.ReLU()), "is not built or has no trainable weights"),
        (
            of_keras(keras.layers.Dense(1), keras.layers.Dropout(0.1)),
            r"'dropout.* \(Dropout\) chan",
        ),
        (of_keras(keras.layers.Dense(1), keras.layers.BatchNormalization()), "BatchNormalization"),
        (
            of_keras(keras.layers.Dense(1), keras.layers.Dense(1, dtype="float64")),
            r"weights of several dtypes: \['float32', 'float64'\]",
        ),
    ],
)
def test_what_cannot_be_a_function_of_its_weights_is_refused_in_one_line(net, message):
    with pytest.raises(InputError, match=message) as caught:
        Weights(net)
    assert "\n" not in str(caught.value)


def test_a_frozen_batch_normalisation_is_no_state_that_changes():
    frozen = keras.layers.BatchNormalization(trainable=False)
    assert Weights(of_keras(keras.layers.Dense(1), frozen)).size == 3
