"""Routes of the gradient through time, against loops and closed forms written by hand."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from trainings import KS, SOLVER, dataset, small_net, small_trainer

from tfunroll import nets
from tfunroll.core import InputError, Solver
from tfunroll.stepping.features import Features
from tfunroll.stepping.losses import Supervised
from tfunroll.stepping.steppers import (
    IndirectCorrection,
    ParallelCorrection,
    Prediction,
    SequentialCorrection,
    bind,
)
from tfunroll.stepping.unrolling import (
    NOG,
    ONE,
    ROUTES,
    SOLVERLESS,
    WIG,
    Unrolling,
    of_modality,
    unroll,
)
from tfunroll.training.emulation import emulate
from tfunroll.training.schedule import Stage
from tfunroll.training.trainer import Trainer, Updates

POINTS, BATCH = 3, 2
FEATURES = Features({}, 1, 1)
rng = np.random.default_rng(0)
MIX, LEARNT, PUSH, NEAR = (rng.normal(size=(POINTS, POINTS)) * 0.4 for _ in range(4))
STATE = rng.normal(size=(BATCH, POINTS, 1))
TARGETS = rng.normal(size=(BATCH, 4, POINTS, 1))


class Mixed(Solver):
    """u -> A u + 0.1 u³ (+ B s + 0.05 s²), with or without a gradient by u."""

    dt = frame_time = 1.0
    channels = 1
    takes_source = True

    def __init__(self, differentiable=True):
        self.differentiable = differentiable

    def forced(self, params):
        @tf.custom_gradient
        def refused(value):
            def gradient(_):
                raise AssertionError("the solver was asked for a gradient")

            return tf.identity(value), gradient

        def step(u, source=None):
            u = u if self.differentiable else refused(u)
            solved = tf.einsum("ij,bjc->bic", tf.constant(MIX), u) + 0.1 * u**3
            if source is None:
                return solved
            return solved + tf.einsum("ij,bjc->bic", tf.constant(PUSH), source) + 0.05 * source**2

        return step

    bind = forced


def learnt(w):
    """u -> W u − 0.2 u², a network of one matrix."""
    return lambda u: tf.einsum("ij,bjc->bic", w, u[..., :1]) - 0.2 * u[..., :1] ** 2


def jacobians(kind, state, w, scale):
    """Of one sample in NumPy: the step's Jacobians by the state, of S and of scale · N.

    And by scale · N; what comes out, and what the network sees.
    """
    solved = MIX @ state + 0.1 * state**3
    by_solver = MIX + np.diag(0.3 * state**2)
    seen = solved if kind is SequentialCorrection else state
    change, by_change = scale * (w @ seen - 0.2 * seen**2), np.eye(POINTS)
    if kind is IndirectCorrection:
        by_change = PUSH + np.diag(0.1 * change)
        change = PUSH @ change + 0.05 * change**2
    by_net = by_change @ (scale * (w - np.diag(0.4 * seen)))
    return by_solver, by_net, by_change, solved + change, seen


def passed(kind, route, by_solver, by_net, by_emulator):
    """What a step passes on: the table of the steppers' module."""
    one = np.eye(POINTS)

    def whole(jacobian):
        one_after_the_other = kind is SequentialCorrection
        return (one + by_net) @ jacobian if one_after_the_other else jacobian + by_net

    found = {"all": whole(by_solver), "solver": by_solver, "network": by_net}
    return (found | {"identity": one + by_net, "emulator": whole(by_emulator)})[route]


class Emulator:
    """u -> E u + 0.05 u²."""

    def bind(self, params):
        return lambda u: tf.einsum("ij,bjc->bic", tf.constant(NEAR), u) + 0.05 * u**2


def by_hand(kind, plan, scale=0.5, w=LEARNT):
    """Loss, its gradient by W and by the state entering each step: NumPy, sample by sample."""
    loss, gradient = 0.0, np.zeros_like(w)
    entering = np.zeros((plan.steps, BATCH, POINTS))
    counted = plan.steps - plan.pushforward
    for b in range(BATCH):
        state, steps = STATE[b, :, 0], []
        for k in range(plan.steps):
            by_emulator = NEAR + np.diag(0.1 * state)
            by_solver, by_net, by_change, state, seen = jacobians(kind, state, w, scale)
            jacobian = passed(kind, plan.through, by_solver, by_net, by_emulator)
            steps.append((seen, by_change, jacobian))
            off = (state - TARGETS[b, k, :, 0]) * (k >= plan.pushforward)
            loss += off @ off / POINTS / counted / BATCH
            steps[k] += (2 * off / POINTS / counted / BATCH,)
        later = np.zeros(POINTS)
        for k in reversed(range(plan.steps)):
            seen, by_change, jacobian, by_level = steps[k]
            cut = k < plan.pushforward or (plan.cut_every and (k + 1) % plan.cut_every == 0)
            by_state = (0 if cut else later) + by_level
            gradient += scale * np.outer(by_change.T @ by_state, seen)
            later = jacobian.T @ by_state
            entering[k, b] = later
    return loss, gradient, entering


def by_tape(kind, plan, solver=None, scale=0.5, graph=False, jit=False, **options):
    """The same by ``unroll``."""
    w = tf.Variable(LEARNT)
    stepper = kind(solver or Mixed(), learnt(w), FEATURES, scale, Emulator())
    targets = tf.constant(TARGETS[:, : plan.steps])

    def run():
        probes = tf.zeros([plan.steps, *STATE.shape], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(probes)
            step = bind(stepper, {}, plan.through)
            loss, *_ = unroll(
                *(step, tf.constant(STATE), targets, Supervised().bind({}), plan, probes), **options
            )
            loss = tf.reduce_mean(loss)
        return loss, *tape.gradient(loss, [w, probes])

    if graph:
        run = tf.function(run, autograph=False, jit_compile=jit)
    loss, gradient, entering = run()
    return loss.numpy(), gradient.numpy(), entering.numpy()[..., 0]


BOUND = [route for route in ROUTES if route != "combined"]  # those that a step binds
KINDS = [ParallelCorrection, SequentialCorrection, IndirectCorrection]


def same(got, wanted):
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", BOUND)
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_gradients_equal_a_loop_by_hand(kind, route, steps):
    plan = WIG(steps, through=route)
    same(by_tape(kind, plan, loop=False), by_hand(kind, plan))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", BOUND)
@pytest.mark.parametrize("plan", [WIG(4, 2), WIG(3, None, 1), NOG(3)], ids=str)
def test_routes_with_cuts_and_push_forward(kind, route, plan):
    plan = replace(plan, through=route)
    same(by_tape(kind, plan, loop=True), by_hand(kind, plan))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", BOUND)
@pytest.mark.parametrize(("jit", "rematerialise"), [(False, True), (True, True), (True, False)])
def test_compiled_and_rematerialised_gradients_are_the_same(kind, route, jit, rematerialise):
    plan = WIG(3, through=route)
    got = by_tape(kind, plan, graph=True, jit=jit, rematerialise=rematerialise)
    same(got, by_hand(kind, plan))


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_alone_is_not_nog(kind):
    network, nog = by_tape(kind, WIG(2, through="network")), by_tape(kind, NOG(2))
    np.testing.assert_array_equal(network[0], nog[0])
    assert np.abs(network[1] - nog[1]).max() > 1e-3


@pytest.mark.parametrize("options", [{"loop": False}, {"loop": True, "graph": True}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", SOLVERLESS)
def test_two_routes_ask_no_solver_for_a_gradient(kind, route, options):
    plan = WIG(3, through=route)
    solver = Mixed(differentiable=False)
    if options.get("graph"):  # which builds gradients that nothing uses
        solver = Mixed()
    same(by_tape(kind, plan, solver, **options), by_hand(kind, plan))


class Linear(Solver):
    dt = frame_time = 1.0
    channels = 1

    def bind(self, params):
        return lambda u: 0.7 * u


class Half:
    """An emulator."""

    def bind(self, params):
        return lambda u: 0.5 * u


@pytest.mark.parametrize("route", BOUND)
def test_closed_form(route):
    """S(u) = s u, N(u) = w u in parallel, p = s + w, two steps from 1, target a²:

    d/dw (p² − a²)² = 2 (p² − a²) (p + J), with J = p, s, w, 1 + w, e + w for E(u) = e u.
    """
    s, w, a = 0.7, tf.Variable(0.4, dtype=tf.float64), 0.9
    p, start = s + 0.4, tf.ones([1, 1, 1], tf.float64)
    targets = tf.constant(np.reshape([a, a**2], [1, 2, 1, 1]))
    stepper = ParallelCorrection(Linear(), lambda u: w * u, FEATURES, 1.0, Half())

    def last(k, before, after, target):
        return k * tf.square(after - target)[:, 0, 0]

    plan = WIG(2, through=route)
    with tf.GradientTape() as tape:
        loss, *_ = unroll(bind(stepper, {}, route), start, targets, last, plan, loop=False)
    jacobian = {"all": p, "solver": s, "network": 0.4, "identity": 1.4, "emulator": 0.9}[route]
    wanted = 2 * (p**2 - a**2) * (p + jacobian)
    np.testing.assert_allclose(2 * tape.gradient(loss, w), wanted, rtol=1e-14)


# ---------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def data():
    return dataset()


class Before(ParallelCorrection):
    """As it was without routes."""

    routes = ("all",)

    def bind(self, params):
        inputs, solve = self.features.bind(params), self.solver.bind(params)
        return lambda state: solve(state) + self.scale * self._change(inputs, state)


@pytest.mark.parametrize(
    ("unrolling", "jit"), [(ONE, False), (NOG(3), False), (WIG(3), False), (WIG(3), True)], ids=str
)
def test_without_a_route_training_is_what_it_was(data, unrolling, jit):
    found = []
    for kind in (ParallelCorrection, Before):
        stepper = kind(SOLVER, small_net(), KS.features("correction"))
        stage = Stage(unrolling, 10, 1e-2, batch_size=4)
        updates = Updates(
            Trainer(stepper, data.splits["train"], stage, callbacks=[], jit=jit), stage
        )
        updates(5)
        found.append(updates.carry["flat"].numpy())
    np.testing.assert_array_equal(*found)


def test_a_route_is_wigs_alone():
    assert of_modality("WIG", 4, 2, 1, "solver") == WIG(4, 2, 1, "solver")
    assert of_modality("NOG", 4, 2, 1, "solver") == NOG(4, 1)
    for modality, steps in (("ONE", 4), ("WIG", 1)):
        assert of_modality(modality, steps, through="solver") == ONE
    asking = [
        plan for plan in (ONE, NOG(3), *(WIG(3, through=r) for r in ROUTES)) if plan.asks_solver
    ]
    assert asking == [WIG(3, through=route) for route in ("all", "solver", "combined")]


def test_what_has_no_such_route_is_refused(data):
    stage = Stage(WIG(3, through="network"), 10)
    with pytest.raises(InputError, match="through='half' is unknown; allowed: all, combined"):
        Unrolling(3, through="half")
    small_trainer(data, stage)
    net, features = small_net(), KS.features("correction")
    for stepper, name in (
        (Prediction(net, features), "Prediction"),
        (Before(SOLVER, net, features), "Before"),
    ):
        message = f"through='network' is no route of a {name}.*; allowed: all"
        with pytest.raises(InputError, match=message) as error:
            Trainer(stepper, data.splits["train"], stage, callbacks=[])
        assert "\n" not in str(error.value)
    external = ParallelCorrection(Mixed(differentiable=False), net, features)
    for route, message in (
        ("solver", "WIG with through=network, through=identity or through=emulator"),
        ("combined", "WIG with through=network"),
        ("emulator", "through='emulator' needs an emulator of the solver"),
    ):
        with pytest.raises(InputError, match=message):
            Trainer(external, data.splits["train"], Stage(WIG(3, through=route), 10), callbacks=[])
    with pytest.raises(ValueError, match="'combined' is of two gradients"):
        bind(external, {}, "combined")


# ---------------------------------------------------------------------- emulator and combined


@pytest.mark.parametrize("seeds", [0, (0, 1)])
def test_combined_is_the_solvers_gradient_where_its_sign_is_the_full_ones(data, seeds):
    trainer = small_trainer(data, Stage(WIG(3), 10, batch_size=4), "float64", jit=False)
    each = [seeds] if seeds == 0 else list(seeds)
    flat = np.stack([trainer._initial(seed) for seed in each])
    flat = tf.constant(flat if seeds else flat[0])
    drawn = trainer.windows.draw(0, tf.constant(0, tf.int64), 4 * len(each), 3)
    batch = trainer._sample(drawn, tf.constant(0, tf.int64), tf.constant(0, tf.int64), 3)
    full, solver, combined = (
        trainer.objective.gradient(flat, batch, WIG(3, through=route))
        for route in ("all", "solver", "combined")
    )
    agree = np.sign(full.vector) == np.sign(solver.vector)
    assert 0 < agree.mean() < 1
    np.testing.assert_array_equal(combined.vector, np.where(agree, solver.vector, 0))
    np.testing.assert_allclose(combined.norm, np.linalg.norm(combined.vector, axis=-1), rtol=1e-13)
    np.testing.assert_array_equal(combined.loss, full.loss)


def test_an_emulator_is_fitted_once_and_near_the_solver(data, tmp_path):
    """A network of a linear solver: its Jacobian is the solver's to a few per cent."""

    class Damped(Solver):
        channels, dt, frame_time, differentiable = 1, 1.0, 1.0, False

        def bind(self, params):
            return lambda u: tf.stop_gradient(0.9 * u + 0.1 * tf.roll(u, 1, 1))

    train, file = data.splits["train"], tmp_path / "emulator.npz"
    net = nets.build("resnet", KS.domain, 2, 1, width=8, depth=1, initial="glorot_zero")
    prediction = Prediction(net, KS.features("prediction"), True)
    stage = Stage(ONE, 400, 1e-2, batch_size=16)
    emulator = emulate(Damped(), prediction, train, stage, jit=False, kept=file)
    params = {name: tf.constant(v) for name, v in train.params.items()}
    u = tf.constant(train.states[:, 5])
    direction = tf.constant(rng.normal(size=u.shape), tf.float32)
    step, h = emulator.bind(params), 0.02
    after = step(u)
    got = (step(u + h * direction) - step(u - h * direction)) / (2 * h)
    wanted = 0.9 * direction + 0.1 * tf.roll(direction, 1, 1)
    error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted - direction)
    assert error < 0.3  # of what the identity would be off by
    again = emulate(Damped(), prediction, train, stage, kept=file)
    np.testing.assert_array_equal(again.bind(params)(u), after)

    stepper = ParallelCorrection(Damped(), small_net(), KS.features("correction"), 0.5, emulator)
    stage = Stage(WIG(3, through="emulator"), 5, 1e-3, batch_size=4)
    trained = Trainer(stepper, train, stage, callbacks=[], jit=False).fit(0)
    assert trained.skipped == 0

    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"emulator.npz is damaged .*; delete it"):
        emulate(Damped(), prediction, train, stage, kept=file)
    np.savez(file, flat=np.zeros(3))
    with pytest.raises(InputError, match=r"holds 3 weights, needed: \d+; delete it"):
        emulate(Damped(), prediction, train, stage, kept=file)
