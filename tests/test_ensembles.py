"""Ensembles of steppers: linear ones in closed form, networks side by side, what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from trainings import KS, SOLVER, small_net

import tfunroll as tu
from tfunroll.core import InputError
from tfunroll.stepping.features import Features
from tfunroll.stepping.unrolling import rollout

WEIGHTS = (0.5, 0.9, 1.1)


def linear(weight):
    """u -> w u."""
    net = keras.Sequential([keras.Input((1, 1)), keras.layers.Dense(1, use_bias=False)])
    net.layers[0].kernel.assign([[weight]])
    return tu.Prediction(net, Features({}, 1, 1))


def correction(seed, net=None, features=None):
    net = net or small_net(seed=seed, dtype="float64")
    return tu.ParallelCorrection(SOLVER, net, features or KS.features("correction"), scale=0.01)


def fields():
    sizes = np.linspace(7.2, 9.6, 3)
    u = KS.initial_state({"domain_size": sizes}, 0)
    return tf.constant(u), {"domain_size": tf.constant(sizes)}


def rolled(stepper, u, params, frames):
    states = rollout(stepper.bind(params), stepper.start(u), frames)
    return stepper.members(states).numpy()


def test_linear_steppers():
    members = [linear(w) for w in WEIGHTS]
    u, powers = tf.ones([2, 1, 1]), np.arange(1, 6)
    found = rolled(tu.Ensemble(members), u, {}, 5)
    assert found.shape == (3, 2, 5, 1, 1)
    for member, w in zip(found, WEIGHTS, strict=True):
        np.testing.assert_allclose(member[0, :, 0, 0], w**powers, rtol=1e-6)
    of_means = np.mean([w**powers for w in WEIGHTS], 0)
    np.testing.assert_allclose(found.mean(0)[1, :, 0, 0], of_means, rtol=1e-6)
    steps = rollout(tu.Ensemble(members, "steps").bind({}), u, 5)
    np.testing.assert_allclose(steps[0, :, 0, 0], np.mean(WEIGHTS) ** powers, rtol=1e-6)


@pytest.mark.parametrize("net", ["resnet", "fno"])
def test_members_in_one_program_are_those_alone(net):
    size = {"width": 4, "depth": 1} | ({"modes": 3} if net == "fno" else {})
    nets = [
        tu.nets.build(net, KS.domain, 2, 1, seed=s, dtype="float64", initial="glorot", **size)
        for s in range(3)
    ]
    alone = [correction(0, net) for net in nets]
    u, params = fields()
    found = rolled(tu.Ensemble(alone), u, params, 4)
    for member, stepper in zip(found, alone, strict=True):
        np.testing.assert_allclose(member, rollout(stepper.bind(params), u, 4), atol=1e-10)
    stepped = tu.Ensemble(alone, how="steps").bind(params)(u)
    np.testing.assert_allclose(stepped, found[:, :, 0].mean(0), atol=1e-12)


@pytest.mark.parametrize("how", ["rollouts", "steps"])
def test_equal_members_are_one(how):
    one = correction(0)
    u, params = fields()
    ensemble = tu.Ensemble([one] * 3, how)
    wanted = rollout(one.bind(params), u, 5).numpy()
    if how == "steps":
        np.testing.assert_allclose(rollout(ensemble.bind(params), u, 5), wanted, atol=1e-12)
        return
    found = rolled(ensemble, u, params, 5)
    np.testing.assert_allclose(found.mean(0), wanted, atol=1e-12)
    assert tu.metrics.ensembles.spread(found).max() < 1e-12


def test_weights_are_those_of_now():
    members = [linear(w) for w in WEIGHTS]
    ensemble = tu.Ensemble(members, "steps")
    members[0].net.layers[0].kernel.assign([[2.5]])
    np.testing.assert_allclose(ensemble.bind({})(tf.ones([1, 1, 1])), 1.5, rtol=1e-6)


def test_members_that_do_not_belong_together():
    wide = tu.nets.build("resnet", KS.domain, 2, 1, width=6, depth=1, dtype="float64")
    scaled = Features({"domain_size": 0.5}, 1, 1)
    sequential = tu.SequentialCorrection(SOLVER, small_net(dtype="float64"), correction(0).features)
    other = tu.ParallelCorrection(
        KS.coarse("etdrk2"), small_net(dtype="float64"), KS.features("correction"), 0.01
    )
    for member, differs in (
        (correction(0, wide), "weights"),
        (correction(0, features=scaled), "features"),
        (sequential, "stepper"),
        (linear(1.0), "stepper"),
    ):
        with pytest.raises(
            InputError, match=f"members 0 and 1 of the Ensemble differ in {differs}"
        ):
            tu.Ensemble([correction(0), member])
    with pytest.raises(InputError, match="differ in solver"):
        tu.Ensemble([correction(0), other])


@pytest.mark.parametrize("members", [[], [linear(1.0)]], ids=["none", "one"])
def test_one_member_is_no_ensemble(members):
    with pytest.raises(InputError, match=rf"has {len(members)} member.* two at least"):
        tu.Ensemble(members)


def test_what_is_no_stepper_with_a_network():
    with pytest.raises(InputError, match="without network and features"):
        tu.Ensemble([SOLVER, SOLVER])
    with pytest.raises(InputError, match="how='sum' is unknown; allowed: rollouts, steps"):
        tu.Ensemble([linear(1.0)] * 2, how="sum")
