"""Weights of the levels of an unrolling: closed forms, what is reported, mistakes."""

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
from trainings import KS, SOLVER, Recorder, dataset, small_net, small_trainer, trainer_of

from tfunroll.core import InputError
from tfunroll.data import Trajectories
from tfunroll.runs.config import RunConfig
from tfunroll.runs.plan import Plan
from tfunroll.stepping.levels import (
    UNIFORM,
    Balanced,
    Discount,
    Last,
    Levels,
    Lyapunov,
    normalised,
    read,
    relative,
    str_of,
)
from tfunroll.stepping.losses import PhysicsResidual, Supervised
from tfunroll.stepping.steppers import ParallelCorrection
from tfunroll.stepping.unrolling import NOG, ONE, WIG, unroll
from tfunroll.training.callbacks import Balance, Every
from tfunroll.training.fit import Fit, TrainingStoppedError
from tfunroll.training.schedule import Schedule, Stage
from tfunroll.training.trainer import Trainer

W, A = 1.1, 0.8


def linear(plan, levels, **options):
    """Loss and its gradient by w of u -> w u from 1, with targets a^k."""
    w = tf.Variable(W, dtype=tf.float64)
    powers = A ** np.arange(1.0, plan.steps + 1)
    targets = tf.constant(powers.reshape(1, -1, 1, 1))
    level_loss = Supervised(levels=levels).unrolled(plan).bind({})

    @tf.function(autograph=False)
    def run():
        with tf.GradientTape() as tape:
            start = tf.ones([1, 1, 1], tf.float64)
            loss, *_ = unroll(lambda u: w * u, start, targets, level_loss, plan, **options)
        return loss[0], tape.gradient(loss, w)

    return [float(value) for value in run()]


@pytest.mark.parametrize("options", [{"loop": False}, {}, {"rematerialise": True}], ids=str)
@pytest.mark.parametrize("levels", [UNIFORM, Last(), Discount(0.6), Lyapunov(4.0)], ids=str_of)
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("modality", [NOG, WIG])
def test_closed_forms(modality, steps, levels, options):
    """dℓ_k/dw = 2 (w^k − a^k) w^(k−1), in WIG k times that."""
    k = np.arange(1, steps + 1)
    each = 2 * (W**k - A**k) * W ** (k - 1.0) * (k if modality is WIG else 1)
    weights = {"uniform": k**0, "last": k == steps, "discount": 0.6**k, "lyapunov": np.exp(-k / 2)}
    weights = weights[str_of(levels).split(":")[0]]
    loss, gradient = linear(modality(steps), levels, **options)
    np.testing.assert_allclose(gradient, np.sum(weights * each) / np.sum(weights), rtol=1e-13)
    np.testing.assert_allclose(loss, np.mean((W**k - A**k) ** 2), rtol=1e-13)


def test_without_discount_levels_are_uniform_and_one_step_has_no_weights():
    for levels, steps in ((Discount(1.0), 4), (Last(), 1), (Discount(0.1), 1)):
        assert linear(WIG(steps), levels) == linear(WIG(steps), UNIFORM)
        loss = Supervised(levels=levels)
        assert loss.unrolled(WIG(steps)) is loss


def test_the_last_level_alone_is_push_forward_for_nog():
    np.testing.assert_allclose(linear(NOG(4), Last())[1], linear(NOG(4, 3), UNIFORM)[1], rtol=1e-14)
    assert linear(WIG(4, None, 3), Last()) == linear(WIG(4, None, 3), UNIFORM)
    np.testing.assert_allclose(relative(Discount(0.5), WIG(3, None, 1)), [8 / 3, 4 / 3, 2 / 3])


@pytest.fixture(scope="module")
def data():
    return dataset()


def trainer(data, loss, stage):
    stepper = ParallelCorrection(SOLVER, small_net("float64"), KS.features("correction"))
    return Trainer(stepper, data.splits["train"], stage, loss=loss, callbacks=[], jit=False)


def test_training_reports_the_plain_loss_and_follows_the_weighted_gradient(data):
    stage = Stage(WIG(3), 10, batch_size=4)
    found = []
    for loss in (Supervised(), Supervised(levels=Last()), [0.0, 0.0, 3.0] * Supervised()):
        made = trainer(data, loss, stage)
        zero = tf.constant(0, tf.int64)
        batch = made._sample(made.windows.draw(zero, zero, 4, 3), zero, zero, 3)
        found.append(made.objective.gradient(tf.constant(made._initial(0)), batch, WIG(3)))
    plain, last, scaled = found
    assert last.loss == plain.loss
    assert last.loss != scaled.loss
    for name in ("vector", "norm", "by_step"):  # the guard sees this norm
        np.testing.assert_allclose(getattr(last, name), getattr(scaled, name), rtol=1e-10)
    assert abs(last.norm - plain.norm) > 1e-3 * plain.norm


def test_weights_are_in_sums_and_factors_too():
    plan, before = WIG(2), tf.zeros([1, 3, 1], tf.float64)
    loss = (0.5 * Supervised(levels=Last()) + Supervised()).unrolled(plan).bind({})
    for k, weight in ((0, 1.0), (1, 2.0)):
        after = before + 1
        with tf.GradientTape() as tape:
            tape.watch(after)
            value = loss(k, before, after, before)
        np.testing.assert_array_equal(value, [1.5])
        by_level = np.full([1, 3, 1], weight * 2 / 3)
        np.testing.assert_allclose(tape.gradient(value, after), by_level, rtol=1e-15)


def test_a_configuration_names_them(data):
    config = RunConfig(curriculum="3:3:1e-4", level_weights="discount:factor=0.5", width=4, depth=1)
    assert Plan(config.resolved()).loss.levels == Discount(0.5)
    assert read("last") == Last()
    assert str_of(read("discount:factor=0.5")) == "discount:factor=0.5"
    config = RunConfig(
        curriculum="3:3:1e-4",
        level_weights="last",
        width=4,
        depth=1,
        jit="off",
        modalities=("WIG",),
    )
    assert trainer_of(config, data).fit(0).updates == 3


def test_a_chaotic_system_has_a_time_and_another_must_be_given_one():
    def resolved(system, text):
        config = RunConfig(system=system, steps=3, level_weights=text, dataset_config="tiny")
        return config.resolved().level_weights

    assert resolved("ks", "lyapunov") == "lyapunov:time=12.0"
    assert resolved("wake", "lyapunov:time=30") == "lyapunov:time=30.0"
    with pytest.raises(InputError, match="lyapunov' needs a time, such as lyapunov:time=12"):
        resolved("wake", "lyapunov")


# ---------------------------------------------------------------------- balanced


class Measured:
    """A training whose levels have these gradient norms."""

    seed = update = 0

    def __init__(self, norms, plan):
        self.trainer = self
        self.schedule = Schedule((Stage(plan, 10),))
        self.norms = np.array(norms, float)

    def level_norms(self, fit):
        return self.norms


def test_balanced_levels_have_gradients_of_one_size():
    balance, fit = Balance(), Measured([0.0, 1.0, 2.0, 400.0], WIG(4, None, 1))
    balance.begin(fit)
    balance.turn(fit)
    np.testing.assert_allclose(fit.level_weights[1:4], [1, 0.5, 0.1])  # a tenth at most at once
    balance.turn(fit)
    balance.turn(fit)
    weights = normalised(fit.level_weights[:4], WIG(4, None, 1))
    np.testing.assert_allclose((weights * fit.norms)[1:] / weights[1], 1, rtol=1e-12)
    assert weights[1:].sum() == pytest.approx(3)
    fit.norms = np.array([0.0, 1.0, 1.0, 400.0])
    balance.turn(fit)  # a mean that spans 50 measurements
    np.testing.assert_allclose(fit.level_weights[2], 0.5 + (1 - 0.5) * 2 / 51)
    for bad in ([0.0, 1.0, np.nan, 1.0], [0.0, 0.0, 1.0, 1.0]):
        before, fit.norms = fit.level_weights, np.array(bad)
        balance.turn(fit)
        assert fit.level_weights is before


@dataclass(frozen=True)
class Given(Levels):
    """A user's."""

    values: tuple[float, ...]

    def weights(self, steps):
        return np.array(self.values)


@pytest.mark.slow
@pytest.mark.parametrize("rest", [0.0, 0.5])
def test_norms_of_levels_are_those_of_their_own_losses(data, rest):
    """Also beside a term without levels."""
    stage = Stage(WIG(3), 10, batch_size=8)
    made = trainer(data, Supervised(levels=Balanced()) + rest * PhysicsResidual(SOLVER), stage)
    fit = Fit(made, 3, None, None, None, "")
    fit.at_start()
    batch = made._batch(fit, made.schedule.part(3, 0), 2)[1]
    wanted = [
        trainer(data, Supervised(levels=Given(tuple(one))), stage).objective.gradient(
            fit.flat, batch, WIG(3)
        )
        for one in np.eye(3)
    ]
    np.testing.assert_allclose(made.level_norms(fit), [g.norm for g in wanted], rtol=1e-9)
    np.testing.assert_allclose(tf.reduce_mean(wanted[0].levels), wanted[0].loss, rtol=1e-12)


@pytest.mark.slow
def test_balanced_training_resumes_and_reports_the_plain_loss(data, tmp_path):
    def made(*callbacks):
        stages = [Stage(ONE, 20, 1e-3, batch_size=4), Stage(WIG(3), 60, 1e-3, batch_size=4)]
        loss = Supervised(levels=Balanced())
        return small_trainer(data, stages, loss=loss, callbacks=callbacks, jit=False)

    recorder = Recorder()
    whole = made(recorder).fit(0)
    weights = [recorder.rows[80][f"level_weights/{k:02d}"] for k in (1, 2, 3)]
    assert np.mean(weights) == pytest.approx(1)
    assert weights[0] > weights[1] > weights[2]
    horizon = recorder.rows[80]["training/effective_horizon"]
    assert horizon == pytest.approx(np.dot([1, 2, 3], weights) / 3)
    levels = [recorder.rows[80][f"levels/{k:02d}"] for k in (1, 2, 3)]
    assert np.isfinite(levels).all()

    stopping = made(Every(47, lambda fit: fit.stop() if fit.update == 47 else None))
    with pytest.raises(TrainingStoppedError):
        stopping.fit(0, tmp_path)
    np.testing.assert_array_equal(stopping.fit(0, tmp_path).weights, whole.weights)
    alone = [made().fit(seed).weights for seed in (0, 1)]
    for one, together in zip(alone, made().fit_together([0, 1]), strict=True):
        np.testing.assert_allclose(together.weights, one, rtol=0, atol=2e-5)


def test_too_many_levels_to_balance(data):
    size = {"domain_size": np.ones(1)}
    long = Trajectories(np.zeros((1, 140, 48, 1)), size, ("a",), np.zeros(1), {})
    stepper = ParallelCorrection(SOLVER, small_net(), KS.features("correction"))
    with pytest.raises(InputError, match="steps=129: level_weights='balanced' serves horizons up"):
        Trainer(stepper, long, Stage(WIG(129), 5), loss=Supervised(levels=Balanced()))


@pytest.mark.parametrize(
    ("values", "pushforward", "message"),
    [
        ((0.0, 0.0, 0.0), 0, "sum to zero over steps=3 with pushforward=0"),
        ((1.0, 0.0, 0.0), 1, "sum to zero over steps=3 with pushforward=1"),
        ((1.0, -1.0, 1.0), 0, "must be 3 finite numbers of at least 0"),
        ((1.0, np.nan, 1.0), 0, "must be 3 finite numbers of at least 0"),
        ((1.0, 1.0), 0, "must be 3 finite numbers of at least 0"),
    ],
)
def test_impossible_weights(data, values, pushforward, message):
    stage = Stage(WIG(3, None, pushforward), 10)
    with pytest.raises(InputError, match=f"level_weights='Given' {message}") as error:
        trainer(data, Supervised(levels=Given(values)), stage)
    assert "\n" not in str(error.value)


def test_a_residual_has_no_levels():
    loss = PhysicsResidual(KS.reference())
    assert loss.unrolled(WIG(3)) is loss
