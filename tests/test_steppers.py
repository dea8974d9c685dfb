"""Predictions and corrections of KS: their formulas, and dtypes of network and state."""

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


def network(dtype="float64"):
    return nets.build(
        "resnet", KS.domain, 2, 1, width=4, depth=1, seed=2, dtype=dtype, initial="glorot"
    )


def stepper(net, correction="parallel", coarse="etd1", fraction=1.0):
    coarse += f":fraction={fraction}" if fraction < 1 else ""
    return KS.stepper(net, KS.features("correction"), "correction", correction, coarse)


def states(dtype=tf.float64):
    return tf.constant(KS.initial_state({"domain_size": SIZES}, 1), dtype)


@pytest.mark.parametrize(("correction", "coarse", "fraction"), CORRECTIONS)
def test_corrections_equal_their_formulas(correction, coarse, fraction):
    net, u = network(), states()
    got = stepper(net, correction, coarse, fraction).bind(params())(u)
    v = stepper(net, correction, coarse, fraction).solver.bind(params())(u)
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


@pytest.mark.parametrize("net_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_the_state_keeps_its_dtype_whatever_the_network(net_dtype, dtype):
    net, exact_net = network(net_dtype), network("float64")
    exact_net.set_weights(net.get_weights())
    after = stepper(net).bind(params(dtype=dtype))(states(dtype))
    assert after.dtype == dtype
    exact = stepper(exact_net).bind(params())(states())
    np.testing.assert_allclose(after, exact, atol=1e-5)


def test_a_network_has_no_part_in_what_the_solver_does_all():
    net = network()
    weights = [v.value for v in net.trainable_variables]
    with tf.GradientTape() as tape:
        after = stepper(net, "graded", "etdrk2", 1.0).bind(params())(states())
        loss = tf.reduce_mean(after**2)
    assert max(np.abs(g).max() for g in tape.gradient(loss, weights)) == 0
