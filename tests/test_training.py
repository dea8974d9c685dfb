"""The Trainer on a few short trajectories: small enough for seconds, real in every part."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from trainings import KS, SOLVER, Recorder, dataset, small_net, small_trainer

from tfunroll.core import InputError
from tfunroll.stepping.losses import Loss, PhysicsResidual, Supervised
from tfunroll.stepping.steppers import ParallelCorrection, Prediction
from tfunroll.stepping.unrolling import NOG, ONE, WIG
from tfunroll.training import guard
from tfunroll.training.callbacks import Callback, Checkpoint, Every, Validation
from tfunroll.training.fit import TrainingDivergedError, TrainingStoppedError
from tfunroll.training.schedule import Schedule, Stage
from tfunroll.training.trainer import Trainer, Updates


class Loose(Loss):
    """A mean over all samples."""

    def bind(self, params):
        return lambda k, before, after, target: tf.reduce_mean(after)


class Undefined(Loss):
    """NaN, whatever the states."""

    def bind(self, params):
        return lambda k, before, after, target: tf.reduce_mean(after, [1, 2]) * np.nan


FIRST, SECOND = Stage(ONE, 40, 1e-2, batch_size=4), Stage(WIG(3), 20, 1e-2, batch_size=4)


@pytest.fixture(scope="module")
def data():
    return dataset()


@pytest.fixture(scope="module")
def trainer(data):
    callbacks = [Validation(data.splits["validation"], 20, 5), Checkpoint(20)]
    return small_trainer(data, [FIRST, SECOND], callbacks=callbacks)


def eager(data, schedule, **more):
    return small_trainer(data, schedule, jit=False, **more)


def test_training_lowers_the_loss_and_reports_all_states(data):
    recorder = Recorder()
    callbacks = [Validation(data.splits["validation"], 20, 5), recorder]
    done = eager(data, [FIRST, SECOND], callbacks=callbacks).fit()
    losses = list(recorder.of("training/loss").values())
    assert done.updates == 60
    assert losses[-1] < 0.7 * losses[0]
    assert sum(recorder.reported) == 40 * 4 + 20 * 4 * 3
    assert list(recorder.of("validation/relative_error")) == [20, 40, 60]
    assert [n for n in recorder.rows[60] if n.startswith("gradient")] == [
        f"gradient_by_step/0{k}" for k in (1, 2, 3)
    ]
    history = done.history[done.history["quantity"] == "training/loss"]
    assert dict(zip(history["update"], history["value"], strict=True)) == recorder.of(
        "training/loss"
    )


def test_one_trace_for_all_seeds(trainer):
    for seed in (0, 1):
        trainer.fit(seed)
    counts = [call.experimental_get_tracing_count() for call in trainer._calls.values()]
    assert counts == [1] * 2
    assert trainer.callbacks[0].validate.experimental_get_tracing_count() == 1


def test_same_seed_same_weights_and_other_seed_others(data):
    trainer = eager(data, FIRST)
    first = trainer.fit(0).weights
    assert (first != trainer.fit(1).weights).any()
    again = eager(data, FIRST).fit(0)
    np.testing.assert_array_equal(first, again.weights)


def test_the_network_has_the_weights_afterwards(trainer):
    done = trainer.fit(3)
    np.testing.assert_array_equal(trainer.weights.read(), done.weights)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_resume_equals_the_uninterrupted_run(trainer, tmp_path, stop_after):
    expected = trainer.fit(0)

    class Kill(Callback):
        calls = 0

        def called(self, fit):
            self.calls += 1
            if self.calls > stop_after:
                raise KilledError

    killed = trainer.with_schedule([FIRST, SECOND])
    killed.callbacks = [*trainer.callbacks, Kill()]
    with pytest.raises(KilledError):
        killed.fit(0, tmp_path)
    done = trainer.fit(0, tmp_path)
    np.testing.assert_array_equal(expected.weights, done.weights)
    assert done.training_loss == expected.training_loss
    assert done.validation_error == expected.validation_error


def test_later_stages_go_on_from_shared_ones(trainer, tmp_path):
    expected = trainer.fit(0)
    trainer.with_schedule(FIRST).fit(0, tmp_path / "shared")
    done = trainer.fit(0, tmp_path / "wig", start=tmp_path / "shared")
    np.testing.assert_array_equal(expected.weights, done.weights)
    with pytest.raises(InputError, match="start: no checkpoint in .*none"):
        trainer.fit(0, start=tmp_path / "none")
    other = trainer.with_schedule([Stage(ONE, 30), SECOND])
    with pytest.raises(InputError, match="at update 40, where no stage .* allowed: 30, 50"):
        other.fit(0, start=tmp_path / "shared")


def test_a_training_may_begin_with_given_weights(trainer):
    given = trainer.fit(7).weights
    begun = []
    trainer = trainer.with_schedule(Stage(ONE, 1, 1e-9))
    trainer.callbacks = [Every(1, lambda fit: begun.append(fit.flat.numpy()))]
    trainer.fit(0, weights=given)
    np.testing.assert_allclose(begun[0], given, atol=1e-8)
    with pytest.raises(InputError, match=r"initial gives weights of shape .3,., the network has"):
        trainer.fit(0, weights=np.zeros(3))


def test_gradient_norm_by_step_is_the_gradient_of_the_entering_state(trainer):
    drawn = trainer.windows.draw(0, tf.constant(0, tf.int64), 4, 2)
    windows, params = trainer.windows.read(*drawn, 2)
    batch = trainer._sample(drawn, tf.constant(0, tf.int64), tf.constant(0, tf.int64), 2)
    flat = trainer.weights.read()
    by_step = trainer.objective.gradient(flat, batch, WIG(2)).by_step
    step = trainer.objective.stepper.bind(params)
    with tf.GradientTape(persistent=True) as tape:
        u0 = tf.identity(windows[:, 0])
        tape.watch(u0)
        u1 = step(u0)
        entering = tf.identity(u1)  # what enters step 2, apart from the loss of step 1
        u2 = step(entering)
        loss = (
            tf.reduce_mean((u1 - windows[:, 1]) ** 2) + tf.reduce_mean((u2 - windows[:, 2]) ** 2)
        ) / 2
    hand = [tf.norm(tape.gradient(loss, u)) for u in (u0, entering)]
    np.testing.assert_allclose(by_step, hand, rtol=1e-4)


@pytest.mark.parametrize("unrolling", [ONE, NOG(3), WIG(3)], ids=["ONE", "NOG", "WIG"])
def test_updates_equal_a_loop_written_by_hand(data, unrolling):
    """Keras's own network, Adam as in the paper by Kingma and Ba, windows read by NumPy."""
    steps, rate, batch, count = unrolling.steps, 1e-3, 4, 40
    stage = Stage(unrolling, count, rate, batch_size=batch)
    updates = Updates(trainer := small_trainer(data, stage, "float64"), stage, seeds=2)
    net = small_net("float64", seed=2)
    weights = [v.value for v in net.trainable_variables]
    m = [np.zeros(v.shape) for v in weights]
    v = [np.zeros(v.shape) for v in weights]
    features, states = KS.features("correction"), data.splits["train"].states
    solver = SOLVER
    losses, expected = [], []
    for n in range(count):
        position = tf.constant(n * batch, tf.int64)
        drawn = [part.numpy() for part in trainer.windows.draw(2, position, batch, steps)]
        frames = np.stack([states[t, s : s + steps + 1] for t, s in zip(*drawn, strict=True)])
        params = {"domain_size": tf.constant(data.splits["train"].params["domain_size"][drawn[0]])}
        params = {name: tf.cast(value, tf.float64) for name, value in params.items()}
        frames = tf.constant(frames, tf.float64)
        solve, see = solver.bind(params), features.bind(params)
        with tf.GradientTape() as tape:
            u, loss = frames[:, 0], 0.0
            for k in range(steps):
                entering = tf.stop_gradient(u) if unrolling.cut_every == 1 else u
                u = solve(entering) + net(see(entering))
                loss += tf.reduce_mean((u - frames[:, k + 1]) ** 2) / steps
        for i, g in enumerate(tape.gradient(loss, weights)):
            m[i] = 0.9 * m[i] + 0.1 * g.numpy()
            v[i] = 0.999 * v[i] + 0.001 * g.numpy() ** 2
            alpha = float(np.float32(rate)) * np.sqrt(1 - 0.999 ** (n + 1)) / (1 - 0.9 ** (n + 1))
            weights[i].assign_sub(alpha * m[i] / (np.sqrt(v[i]) + 1e-7))
        losses.append(updates(1)["loss"])
        expected.append(float(loss))
    np.testing.assert_allclose(losses, expected, rtol=1e-8)
    by_hand = np.concatenate([np.ravel(v) for v in net.trainable_variables])
    np.testing.assert_allclose(updates.carry["flat"], by_hand, rtol=0, atol=1e-9)


# ---------------------------------------------------------------------- rates


def rates(data, *stages, every=20, **schedule):
    """The learning rate of every recorded update."""
    recorder = Recorder()
    callbacks = [Validation(data.splits["validation"], every, 5), recorder]
    eager(data, Schedule(stages, **schedule), callbacks=callbacks).fit()
    return recorder.of("training/learning_rate")


def test_learning_rate_warms_up_and_decays(data):
    warming = Stage(ONE, 40, 1e-3, 20, 4)
    found = rates(data, warming, decay_every=30, decay_rate=0.5)
    assert (found[20], found[40]) == pytest.approx((1e-3, 0.5e-3))
    found = rates(data, Stage(ONE, 20, 1e-3, 20, 4), every=10)
    assert found[10] == pytest.approx(0.5e-3)


def test_a_stage_starts_with_the_rate_that_it_states(data):
    """Decay and plateau of the stages before it do not reach it."""
    stages = Stage(ONE, 6, 1e-9), Stage(WIG(2), 3, 1e-10), Stage(WIG(2), 2, 1e-9)
    found = rates(data, *stages, every=1, decay_every=1, decay_rate=0.5, plateau=1)
    assert found[1] == pytest.approx(1e-9)
    assert found[2] == pytest.approx(0.5e-9)
    assert found[6] <= 1e-9 * 0.5**5
    assert (found[7], found[10]) == pytest.approx((1e-10, 1e-9))


def test_plateau_halves_the_rate(data, tmp_path):
    found = rates(data, Stage(ONE, 80, 1e-12), plateau=1, decay_every=0)
    assert found[80] == pytest.approx(1e-12 / 4)  # after two of three without gain
    with pytest.raises(InputError, match="plateau=1 needs a Validation among the callbacks"):
        eager(data, Schedule((FIRST,), plateau=1))


def test_a_checkpoint_by_the_clock_holds_the_turns_before_it(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tfunroll.training.callbacks.SECONDS_PER_CHECKPOINT", 0.0)
    schedule = Schedule((Stage(ONE, 80, 1e-12),), decay_every=0, plateau=1)

    class Kill(Callback):
        def called(self, fit):
            if fit.update > 40:
                raise KilledError

    def rate(*more):
        callbacks = [Validation(data.validation, 20, 5), Checkpoint(1000), *more]
        return eager(data, schedule, callbacks=callbacks).fit(0, tmp_path).history

    with pytest.raises(KilledError):
        rate(Kill())
    found = rate()
    assert found[found["quantity"] == "training/learning_rate"]["value"].iloc[-1] == pytest.approx(
        1e-12 / 4  # after two of three validations without gain, one of them before the kill
    )


def test_stages_of_one_horizon_share_a_stream_of_windows(data):
    """Three stages of one rate are one long stage: the same windows, so the same weights."""
    cut = [Stage(WIG(2), n, 1e-2, batch_size=4) for n in (4, 5, 3)]
    whole = Stage(WIG(2), 12, 1e-2, batch_size=4)
    ends = [eager(data, Schedule.of(s)).fit().weights for s in (cut, whole)]
    np.testing.assert_array_equal(*ends)


def test_a_training_ends_with_a_validation(data):
    recorder = Recorder()
    validation = Validation(data.splits["validation"], 20, 5)
    trainer = eager(data, Stage(ONE, 25), callbacks=[validation, recorder])
    done = trainer.fit()
    assert list(recorder.of("validation/relative_error")) == [20, 25]
    again = validation.validate(tf.constant(done.weights))[0]
    assert done.validation_error == pytest.approx(float(again))


# ---------------------------------------------------------------------- options


@pytest.mark.slow
def test_noise_and_physics_loss_train(data):
    stage = Stage(WIG(2), 20, 1e-2, batch_size=4)
    plain = eager(data, stage).fit()
    residual = PhysicsResidual(KS.reference())
    for more in ({"noise": 0.1}, {"loss": residual}, {"loss": Supervised() + 0.1 * residual}):
        done = eager(data, stage, **more).fit()
        assert np.isfinite(done.training_loss)
        assert (done.weights != plain.weights).any()


def test_rematerialised_steps_give_the_same_weights(data):
    stage = Stage(WIG(3), 10, 1e-2, batch_size=4)
    plain, again = (
        small_trainer(data, stage, "float64", rematerialise=choice).fit().weights
        for choice in (False, True)
    )
    np.testing.assert_allclose(again, plain, atol=1e-12)


def test_long_stages_write_short_horizons_out(data, monkeypatch):
    """The same numbers, by another graph."""
    stage, found = Stage(WIG(3), 10, 1e-2, batch_size=4), []
    for long in (5, 5000):
        monkeypatch.setattr("tfunroll.training.trainer.LONG_STAGE", long)
        trainer = small_trainer(data, stage, "float64", jit=False)
        found.append(trainer.fit().weights)
        assert [key[3] for key in trainer._calls] == [long > 10]
    np.testing.assert_allclose(*found, rtol=0, atol=1e-12)


# ---------------------------------------------------------------------- guard


def test_non_finite_gradients_are_skipped_then_stop_the_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tfunroll.training.fit.GUARD_PATIENCE", 20)
    trainer = eager(data, FIRST, initial=lambda seed: np.full(small_net().count_params(), np.nan))
    expected = "ks WIG seed 0: 20 .* non-finite at unroll step 1 of 1 .trajectory [abc], frame"
    with pytest.raises(TrainingDivergedError, match=expected):
        trainer.fit(0, tmp_path, name="ks WIG seed 0")
    assert (tmp_path / "checkpoints" / "ckpt-20.npz").exists()


def test_one_bad_update_is_skipped_named_and_survived(data):
    states = data.splits["train"].states.copy()
    states[1, 17] = np.nan
    poisoned = type(data.splits["train"])(**{**vars(data.splits["train"]), "states": states})
    recorder = Recorder()
    stage = Stage(WIG(2), 30, 1e-2, batch_size=4)
    trainer = Trainer(
        *(eager(data, stage).objective.stepper, poisoned, stage), callbacks=[recorder], jit=False
    )
    done = trainer.fit()
    assert np.isfinite(done.training_loss)
    assert np.isfinite(done.weights).all()
    assert 0 < done.skipped < 30
    named = [reason for reason in recorder.reasons if "trajectory b, frame 18" in reason]
    assert named, recorder.reasons  # the step from frame 17


def test_a_loss_that_is_not_finite_is_named(data, monkeypatch):
    monkeypatch.setattr("tfunroll.training.fit.GUARD_PATIENCE", 5)
    with pytest.raises(TrainingDivergedError, match="the loss is not finite, though all states"):
        eager(data, FIRST, loss=Undefined()).fit()


def test_a_jump_of_the_gradient_is_skipped_but_not_for_ever():
    state, one = guard.start(), tf.constant(1.0)

    def judge(norm):
        nonlocal state
        good, state = guard.judge(state, one, tf.constant(norm))
        return bool(good)

    assert all(judge(1.0) for _ in range(30))
    assert not judge(1e3)
    assert not judge(np.nan)
    assert judge(1.0)
    answers = [judge(1e3) for _ in range(200)]
    assert not answers[0]
    assert answers[-1]
    assert int(state["skipped"]) == 2 + answers.count(False)


def test_asked_to_stop_saves_and_goes_on_later(trainer, tmp_path):
    expected = trainer.fit(0)

    class Stop(Callback):
        def called(self, fit):
            fit.stop()

    stopped = trainer.with_schedule([FIRST, SECOND])
    stopped.callbacks = [*trainer.callbacks, Stop()]
    with pytest.raises(TrainingStoppedError, match="WIG seed 0, update 10"):
        stopped.fit(0, tmp_path, name="WIG seed 0")
    assert (tmp_path / "checkpoints" / "ckpt-10.npz").exists()
    np.testing.assert_array_equal(trainer.fit(0, tmp_path).weights, expected.weights)


# ---------------------------------------------------------------------- mistakes


def test_parts_that_do_not_fit_are_refused_in_one_line(data):
    train, features = data.splits["train"], KS.features("correction")
    small = Stage(ONE, 10)

    def keras_net(channels, seen=2):
        return keras.Sequential([keras.Input((48, seen)), keras.layers.Conv1D(channels, 3)])

    def correction(net):
        return ParallelCorrection(SOLVER, net, features)

    cases = [
        (lambda: Trainer(SOLVER, train, small), "without a network"),
        (lambda: Trainer(correction(lambda x: x), train, small), "needed: a keras.Model"),
        (lambda: Trainer(Prediction(keras_net(1)), train, small), "build_for"),
        (
            lambda: Trainer(correction(keras_net(1)), train, small),
            r"maps \[1, 48, 2\] to \[1, 46, 1\], needed is \[1, 48, 1\]",
        ),
        (lambda: Trainer(correction(keras_net(1, 3)), train, small), "does not take inputs"),
        (lambda: eager(data, Stage(WIG(40), 10)), "steps=40 does not fit trajectories of 40 fra"),
        (lambda: eager(data, []), "needs at least one Stage"),
        (lambda: Trainer(correction(keras_net(1)), data, small), "data is a Dataset; needed: a sp"),
        (lambda: Validation(data), "split is a Dataset; needed: a split of a Dataset"),
        (lambda: eager(data, small, loss=len), "loss is a builtin.*; needed: one of tfunroll.los"),
        (lambda: eager(data, small, loss=Loose()).fit(), r"loss=Loose gives .*\(\) .* \(16,\)"),
        (lambda: eager(data, ONE), "stages holds a Unrolling; needed: Stage"),
        (lambda: Stage(ONE, 1e3), "updates=1000.0 must be at least 1, a whole number"),
        (lambda: eager(data, small).fit_together([1, 2], [None]), "folders holds 1, but .* 2 seed"),
        (lambda: eager(data, [ONE]), "stages holds a Unrolling; needed: Stage"),
        (lambda: Stage("WIG", 10), "must be ONE, NOG"),
        (lambda: Stage(ONE, 0), "updates=0 must be at least 1"),
        (lambda: eager(data, small, noise=-1), "noise=-1 must be at least 0"),
        (lambda: eager(data, small).fit_together([1, 1]), "must be different"),
    ]
    for make, message in cases:
        with pytest.raises(InputError, match=message) as error:
            make()
        assert "\n" not in str(error.value)
