"""Predictions and corrections: formulas, network off, dtypes, mixed domain sizes."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import nets, systems

KS = systems.get("ks")
SIZES = [7.2, 8.0, 10.4]
CORRECTIONS = [
    ("parallel", "etd1", 1.0),
    ("parallel", "etdrk2", 1.0),
    ("sequential", "etd1", 1.0),
    ("graded", "etdrk2", 0.5),
    ("graded", "etdrk2", 1.0),
]


def params(sizes=SIZES, dtype=tf.float64):
    return {"domain_size": tf.constant(sizes, dtype)}


def network(dtype="float64", off=False):
    net = nets.build("resnet", KS.domain, 2, 1, width=4, depth=1, seed=2, dtype=dtype)
    if off:
        for variable in net.last.trainable_variables:
            variable.assign(tf.zeros_like(variable.value))
    return net


def stepper(net, correction="parallel", coarse="etd1", fraction=1.0):
    return KS.stepper(net, KS.features("correction"), "correction", correction, coarse, fraction)


def states(dtype=tf.float64):
    return tf.constant(KS.initial_state({"domain_size": SIZES}, 1), dtype)


@pytest.mark.parametrize(("correction", "coarse", "fraction"), CORRECTIONS)
def test_network_off_is_the_coarse_solver(correction, coarse, fraction):
    got = stepper(network(off=True), correction, coarse, fraction).bind(params())(states())
    np.testing.assert_array_equal(got, KS.coarse(coarse, fraction).bind(params())(states()))


@pytest.mark.parametrize(("correction", "coarse", "fraction"), CORRECTIONS)
def test_corrections_equal_their_formulas(correction, coarse, fraction):
    net, u = network(), states()
    got = stepper(net, correction, coarse, fraction).bind(params())(u)
    v = KS.coarse(coarse, fraction).bind(params())(u)
    eighths = tf.constant(SIZES, tf.float64)[:, None, None] / 8 * tf.ones_like(u)
    seen = u if correction == "parallel" else v
    scale = 1 - fraction if correction == "graded" else 0.5
    np.testing.assert_allclose(got, v + scale * net(tf.concat([seen, eighths], -1)), atol=1e-14)


@pytest.mark.parametrize("residual", [False, True])
def test_prediction_equals_its_formula(residual):
    net, u = network(), states()
    prediction = KS.stepper(
        net, KS.features("prediction"), "prediction", "parallel", "etd1", residual=residual
    )
    eighths = tf.constant(SIZES, tf.float64)[:, None, None] / 8 * tf.ones_like(u)
    wanted = net(tf.concat([u, eighths], -1)) + (u if residual else 0)
    np.testing.assert_allclose(prediction.bind(params())(u), wanted, atol=1e-14)


def test_batch_permutation_and_mixed_domain_sizes():
    corrected, order = stepper(network()), [2, 0, 1]
    together = corrected.bind(params())(states())
    shuffled = corrected.bind(params([SIZES[i] for i in order]))(tf.gather(states(), order))
    np.testing.assert_allclose(shuffled, tf.gather(together, order), atol=1e-14)
    for i, size in enumerate(SIZES):
        alone = corrected.bind(params([size]))(states()[i : i + 1])
        np.testing.assert_allclose(alone, together[i : i + 1], atol=1e-14)


@pytest.mark.parametrize("net_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_the_state_keeps_its_dtype_whatever_the_network(net_dtype, dtype):
    net, exact_net = network(net_dtype), network("float64")
    exact_net.set_weights(net.get_weights())
    after = stepper(net).bind(params(dtype=dtype))(states(dtype))
    assert after.dtype == dtype
    exact = stepper(exact_net).bind(params())(states())
    np.testing.assert_allclose(after, exact, atol=1e-5)


@pytest.mark.parametrize(("correction", "coarse", "fraction"), CORRECTIONS)
def test_every_weight_has_a_gradient(correction, coarse, fraction):
    net = network()
    weights = [v.value for v in net.trainable_variables]
    with tf.GradientTape() as tape:
        after = stepper(net, correction, coarse, fraction).bind(params())(states())
        loss = tf.reduce_mean(after**2)
    largest = [np.abs(g).max() for g in tape.gradient(loss, weights)]
    if correction == "graded" and fraction == 1:  # the solver does it all
        assert max(largest) == 0
    else:
        assert min(largest) > 0
