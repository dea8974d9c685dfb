"""unroll against hand-written loops: loss, gradients and probes, for every horizon and cut."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import nets, systems
from tfunroll.core import InputError
from tfunroll.stepping.losses import PhysicsResidual, Supervised, mean_squared_error
from tfunroll.stepping.unrolling import (
    NOG,
    ONE,
    WIG,
    Unrolling,
    of_modality,
    repeat,
    rollout,
    unroll,
)

PLANS = [
    Unrolling(m, cut, push)
    for m in range(1, 6)
    for cut in (None, *range(1, m + 1))
    for push in range(m)
]
BATCH, POINTS = 2, 3


def quadratic(weights):
    """u -> A u + b u²: a stepper with two weights."""
    a, b = weights
    return lambda u: tf.einsum("ij,bjc->bic", a, u) + b * u * u


def problem(steps, seed=0):
    rng = np.random.default_rng(seed)
    weights = [tf.Variable(rng.normal(size=s) * 0.5) for s in ((POINTS, POINTS), ())]
    state = tf.constant(rng.normal(size=(BATCH, POINTS, 1)))
    return weights, state, tf.constant(rng.normal(size=(BATCH, steps, POINTS, 1)))


SUPERVISED = Supervised().bind({})


def square_residual(k, before, after, target):
    """A loss that depends on all of its arguments."""
    factor = 1 + 0.2 * tf.cast(k, after.dtype)
    return factor * mean_squared_error(after, target) + 0.3 * tf.reduce_mean(before * after, [1, 2])


def by_hand(step, state, targets, level_loss, plan, weights):
    """Back-propagation written out: loss, weight gradients, gradient by entering state.

    It uses no stop_gradient: each step is differentiated on its own, and whether the gradient
    travels on to the step before is an if.
    """
    before, counted = [state], []
    for k in range(plan.steps):
        before.append(step(before[-1]))
        if k >= plan.pushforward:
            level = level_loss(k, before[-2], before[-1], targets[:, k])
            counted.append(tf.reduce_mean(level))
    loss = sum(float(level) for level in counted) / len(counted)

    gradients = [np.zeros(w.shape) for w in weights]
    entering = [None] * plan.steps
    later = tf.zeros_like(state)  # the loss by the state after step k
    for k in reversed(range(plan.steps)):
        pushing = k < plan.pushforward
        if pushing or (plan.cut_every and (k + 1) % plan.cut_every == 0):
            later = tf.zeros_like(state)
        with tf.GradientTape() as tape:
            tape.watch(before[k])
            after = step(before[k])
            value = tf.reduce_sum(later * after)
            if not pushing:
                level = level_loss(k, before[k], after, targets[:, k])
                value += tf.reduce_mean(level) / len(counted)
        later, *by_weights = tape.gradient(value, [before[k], *weights])
        entering[k] = later.numpy()
        gradients = [g + d.numpy() for g, d in zip(gradients, by_weights, strict=True)]
    return loss, gradients, np.stack(entering)


def function_of(make_step, weights, level_loss, plan, graph=True, jit=False, **options):
    """(state, targets) -> loss, weight gradients, probe gradients."""

    def both(state, targets):
        with tf.GradientTape() as tape:
            probes = tf.zeros([plan.steps, *state.shape], state.dtype)
            tape.watch(probes)
            given = make_step(), state, targets, level_loss, plan, probes
            loss = tf.reduce_mean(unroll(*given, **options).loss)
        return loss, *tape.gradient(loss, [*weights, probes])

    if not graph:
        return both
    return tf.function(both, jit_compile=jit, autograph=False)  # autograph only takes time


def check(got, wanted, rtol=1e-10, atol=1e-13):
    loss, *gradients, entering = got
    wanted_loss, wanted_gradients, wanted_entering = wanted
    np.testing.assert_allclose(loss, wanted_loss, rtol=rtol)
    np.testing.assert_allclose(entering, wanted_entering, rtol=rtol, atol=atol)
    for a, b in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("loop", [False, True], ids=["static", "looped"])
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_loss_and_gradients_equal_a_hand_written_loop(plan, loop):
    weights, state, targets = problem(plan.steps)
    graph = plan.steps == 3  # the others eagerly, by the same code: tracing takes time
    function = function_of(
        lambda: quadratic(weights), weights, square_residual, plan, graph=graph, loop=loop
    )
    wanted = by_hand(quadratic(weights), state, targets, square_residual, plan, weights)
    check(function(state, targets), wanted)


@pytest.mark.parametrize("loop", [False, True], ids=["static", "looped"])
@pytest.mark.parametrize(
    ("plan", "jit", "rematerialise"),
    [
        (NOG(3), False, True),
        (WIG(3), False, True),
        (Unrolling(4, 2, 1), False, False),
        (Unrolling(4, 2, 1), False, True),
        (Unrolling(3, 2, 1), True, False),
        (Unrolling(3, 2, 1), True, True),
        pytest.param(NOG(5), True, False, marks=pytest.mark.slow),
        pytest.param(WIG(5), True, True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_compiled_and_rematerialised(plan, loop, jit, rematerialise):
    weights, state, targets = problem(plan.steps)
    options = {"loop": loop, "jit": jit, "rematerialise": rematerialise}
    function = function_of(lambda: quadratic(weights), weights, square_residual, plan, **options)
    wanted = by_hand(quadratic(weights), state, targets, square_residual, plan, weights)
    check(function(state, targets), wanted)


KS = systems.get("ks")


@pytest.mark.parametrize(
    ("plan", "physics", "options"),
    [
        (NOG(3), False, {"loop": False}),
        (WIG(3), True, {"loop": True}),
        (WIG(3, None, 1), False, {"loop": True, "rematerialise": True}),
        (WIG(2), True, {"loop": False, "rematerialise": True}),
        (WIG(2), False, {"loop": True, "rematerialise": True, "jit": True}),
        pytest.param(WIG(3), True, {"loop": False, "jit": True}, marks=pytest.mark.slow),
        pytest.param(WIG(3, 2), False, {"loop": True, "jit": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_ks_correction_equals_a_hand_written_loop(plan, physics, options):
    net = nets.build(
        "resnet", KS.domain, 2, 1, width=4, depth=1, seed=3, dtype="float64", initial="glorot"
    )
    weights = [v.value for v in net.trainable_variables]
    stepper = KS.stepper(net, KS.features("correction"), "correction", "parallel", "etd1")
    params = {"domain_size": tf.constant([7.2, 9.6], tf.float64)}
    state = tf.constant(KS.initial_state(params, 0))
    targets = rollout(KS.reference().bind(params), state, plan.steps)
    loss = PhysicsResidual(KS.reference()).bind(params) if physics else SUPERVISED

    function = function_of(lambda: stepper.bind(params), weights, loss, plan, **options)
    wanted = by_hand(stepper.bind(params), state, targets, loss, plan, weights)
    check(function(state, targets), wanted, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(("plan", "wanted"), [(WIG(3), 17.0), (NOG(3), 7.0)])
def test_closed_form(plan, wanted, loop):
    """u -> w u, w = 2, u0 = 1, three steps, plain sum of outputs: 1 + 2w + 3w² and 1 + w + w²."""
    w = tf.Variable(2.0, dtype=tf.float64)
    with tf.GradientTape() as tape:
        loss, *_ = unroll(
            lambda u: w * u,
            tf.ones([1, 1, 1], tf.float64),
            tf.zeros([1, 3, 1, 1], tf.float64),
            lambda k, before, after, target: tf.reduce_sum(after, [1, 2]),
            plan,
            loop=loop,
        )
    assert 3 * loss == 14
    assert 3 * tape.gradient(loss, w) == wanted


def test_final_state_is_returned_and_long_horizons_loop():
    weights, state, targets = problem(7)
    step = quadratic([0.3 * w for w in weights])
    wanted = state
    for _ in range(7):
        wanted = step(wanted)
    calls = []

    def counted(state):
        calls.append(1)
        return step(state)

    @tf.function
    def run():
        return unroll(counted, state, targets, SUPERVISED, WIG(7))[1]

    np.testing.assert_allclose(run(), wanted, rtol=1e-12)
    assert len(calls) < 4  # a loop in the graph, not seven copies


def test_eager_loops_work():
    weights, state, targets = problem(3)
    losses = [
        unroll(quadratic(weights), state, targets, SUPERVISED, WIG(3), loop=loop)[0]
        for loop in (False, True)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-14)


@pytest.mark.parametrize("options", [{}, {"rematerialise": True}])
def test_one_trace_per_configuration(options):
    weights, *_ = problem(1)
    traces = []

    def make_step():
        traces.append(1)
        return quadratic(weights)

    function = function_of(make_step, weights, SUPERVISED, WIG(5), **options)
    results = [function(*problem(5, seed)[1:])[0] for seed in range(3)]
    assert len({float(r) for r in results}) == 3
    assert len(traces) == 1


def test_targets_must_fit():
    weights, state, targets = problem(3)
    with pytest.raises(ValueError, match="3 frames"):
        unroll(quadratic(weights), state, targets, SUPERVISED, WIG(4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "steps=0"),
        ((-2,), "steps=-2"),
        ((3, 0), "cut_every=0"),
        ((3, 4), "cut_every=4"),
        ((3, None, 3), "pushforward=3"),
        ((3, None, -1), "pushforward=-1"),
        ((1, 1, 1), "pushforward=1"),
    ],
)
def test_impossible_unrollings(arguments, message):
    with pytest.raises(InputError, match=message):
        Unrolling(*arguments)


def test_modalities_are_values():
    assert Unrolling(1) == ONE
    assert NOG(4) == Unrolling(4, cut_every=1)
    assert WIG(4) == Unrolling(4)
    assert of_modality("ONE", 4, 2, 1) == ONE
    assert of_modality("NOG", 4, 2, 1) == NOG(4, 1)
    assert of_modality("WIG", 4, 2, 1) == WIG(4, 2, 1)
    assert of_modality("WIG", 2, 3, 5) == WIG(2, 2, 1)
    assert of_modality("WIG", 1) == of_modality("NOG", 1) == ONE


@pytest.mark.parametrize("jit", [False, True])
def test_rollout_and_repeat_equal_a_python_loop(jit):
    weights, state, _ = problem(1)
    step = quadratic([0.4 * w for w in weights])
    frames = [step(state)]
    for _ in range(4):
        frames.append(step(frames[-1]))
    rolled = tf.function(lambda u: rollout(step, u, 5), jit_compile=jit)(state)
    assert rolled.shape == (BATCH, 5, POINTS, 1)
    np.testing.assert_allclose(rolled, np.stack(frames, 1), rtol=1e-13)
    repeated = tf.function(repeat(step, 5), jit_compile=jit)(state)
    np.testing.assert_allclose(repeated, frames[-1], rtol=1e-13)
    np.testing.assert_array_equal(repeat(step, 0)(state), state)
    np.testing.assert_allclose(rollout(step, state, 5), rolled, rtol=1e-13)  # eager
