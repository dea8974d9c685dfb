"""The Trainer on a few short trajectories: small enough for seconds, real in every part."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import systems
from tfunroll.config import RunConfig
from tfunroll.core import InputError
from tfunroll.data import Dataset, Trajectories
from tfunroll.training import Job, Trainer, TrainingDivergedError, TrainingStoppedError
from tfunroll.unrolling import WIG, rollout

CONFIG = RunConfig(
    width=4,
    depth=1,
    curriculum="1:40,3:20",
    batch_size=4,
    learning_rate=1e-2,
    initial="glorot",
    horizon=5,
    checkpoint_every=20,
    validate_every=20,
    jit="off",
)


def trajectories(seed, frames=40):
    system = systems.get("ks")
    sizes = np.array([7.2, 8.0, 9.6])
    u = tf.constant(system.initial_state({"domain_size": sizes}, seed))
    states = rollout(system.reference().bind({"domain_size": tf.constant(sizes)}), u, 60 + frames)
    return Trajectories(
        states=states[:, 60:].numpy().astype(np.float32),
        params={"domain_size": sizes.astype(np.float32)},
        ids=("a", "b", "c"),
        start_times=np.zeros(3),
        diagnostics={},
    )


@pytest.fixture(scope="module")
def dataset():
    splits = {"train": trajectories(0), "validation": trajectories(1)}
    return Dataset("kuramoto_sivashinsky", "tiny", splits, 1.0, "")


@pytest.fixture(scope="module")
def trainer(dataset):
    return Trainer(replace(CONFIG, jit="on").resolved(), dataset)


def weights(trainer):
    return [v.numpy() for v in trainer.compiled.net.variables]


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def whole(trainer, modality="WIG", seed=0):
    return Job(modality, seed, 0, len(trainer.stages))


class Recorder:
    """Stands in for summaries.Summaries."""

    def __init__(self):
        self.rows, self.errors, self.reasons = {}, {}, []

    def start(self, update): ...

    def updates(self, update, values, by_step):
        self.rows[update] = (values, by_step)

    def validation(self, update, error, rollout, reference):
        self.errors[update] = error

    def skipped(self, update, reason):
        self.reasons.append(reason)


def test_training_lowers_the_loss_and_reports_all_states(trainer, tmp_path):
    seen, recorder = [], Recorder()
    done = trainer.train(whole(trainer), tmp_path, summaries=recorder, report=seen.append)
    losses = [values["loss"] for values, _ in recorder.rows.values()]
    assert done["updates"] == 60
    assert losses[-1] < 0.7 * losses[0]
    assert sum(seen) == 40 * 4 + 20 * 4 * 3
    assert len(recorder.errors) == 3
    assert recorder.rows[60][1].shape == (3,)


def test_one_trace_for_all_seeds(trainer, tmp_path):
    for seed in (0, 1):
        trainer.train(whole(trainer, seed=seed), tmp_path / str(seed))
    counts = [call.experimental_get_tracing_count() for call in trainer.compiled.calls.values()]
    assert counts == [1] * len(counts)
    assert trainer.compiled.validate.experimental_get_tracing_count() == 1


def test_same_seed_same_weights_and_other_seed_others(trainer, dataset, tmp_path):
    trainer.train(whole(trainer), tmp_path / "a")
    first = weights(trainer)
    trainer.train(whole(trainer, seed=1), tmp_path / "b")
    assert any((x != y).any() for x, y in zip(first, weights(trainer), strict=True))
    again = Trainer(trainer.config, dataset)
    again.train(whole(again), tmp_path / "c")
    assert_equal(first, weights(again))


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_resume_equals_the_uninterrupted_run(trainer, tmp_path, stop_after):
    trainer.train(whole(trainer), tmp_path / "whole")
    expected = [v.numpy() for v in trainer.compiled.variables]

    class KilledError(Exception):
        pass

    calls = []

    def kill(states):
        calls.append(states)
        if len(calls) > stop_after:
            raise KilledError

    with pytest.raises(KilledError):
        trainer.train(whole(trainer), tmp_path / "part", report=kill)
    trainer.train(whole(trainer), tmp_path / "part")
    assert_equal(expected, [v.numpy() for v in trainer.compiled.variables])


def test_later_stages_go_on_from_the_shared_one(trainer, tmp_path):
    trainer.train(whole(trainer), tmp_path / "whole")
    expected = weights(trainer)
    trainer.train(Job("ONE", 0, 0, 1), tmp_path / "shared")
    trainer.train(Job("WIG", 0, 1, 2), tmp_path / "wig", start=tmp_path / "shared")
    assert_equal(expected, weights(trainer))


def test_start_from_takes_weights_only(trainer, tmp_path):
    trainer.train(Job("ONE", 0, 0, 1), tmp_path / "one")
    trained = weights(trainer)
    trainer.compiled.reset(5)
    trainer.compiled.load(tmp_path / "one")
    assert_equal(trained, weights(trainer))
    with pytest.raises(InputError, match="no checkpoint"):
        trainer.compiled.load(tmp_path / "none")


def test_gradient_norm_by_step_is_the_gradient_of_the_entering_state(trainer):
    drawn = trainer.compiled.windows.draw(0, tf.constant(0, tf.int64), 4, 2)
    windows, params = trainer.compiled.windows.read(*drawn, 2)
    _, _, by_step = trainer.compiled.loss_and_gradients(
        windows[:, 0], windows[:, 1:], params, WIG(2)
    )
    step = trainer.compiled.stepper.bind(params)
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


def rates(dataset, folder, **changes):
    """The learning rate of every recorded update."""
    trainer, recorder = Trainer(replace(CONFIG, **changes).resolved(), dataset), Recorder()
    trainer.train(whole(trainer), folder, summaries=recorder)
    return {update: values["learning_rate"] for update, (values, _) in recorder.rows.items()}


def test_learning_rate_warms_up_and_decays(dataset, tmp_path):
    decaying = {"decay_every": 30, "decay_rate": 0.5}
    found = rates(dataset, tmp_path / "a", curriculum="1:40:1e-3:20", **decaying)
    assert (found[20], found[40]) == pytest.approx((1e-3, 0.5e-3))
    found = rates(dataset, tmp_path / "b", curriculum="1:20:1e-3:20", validate_every=10)
    assert found[10] == pytest.approx(0.5e-3)


def test_a_stage_starts_with_the_rate_that_it_states(dataset, tmp_path):
    """Decay and plateau of the stages before it do not reach it."""
    settings = {"decay_every": 1, "decay_rate": 0.5, "plateau": 1, "validate_every": 1}
    found = rates(dataset, tmp_path, curriculum="1:6:1e-9,2:3:1e-10,2:2:1e-9", **settings)
    assert found[1] == pytest.approx(1e-9)
    assert found[2] == pytest.approx(0.5e-9)
    assert found[6] <= 1e-9 * 0.5**5
    assert (found[7], found[10]) == pytest.approx((1e-10, 1e-9))


def test_stages_of_one_horizon_share_a_stream_of_windows(dataset, tmp_path):
    """Three stages of one rate are one long stage: the same windows, so the same weights."""
    ends = []
    for name, curriculum in {"cut": "2:4,2:5,2:3", "whole": "2:12"}.items():
        config = replace(CONFIG, curriculum=curriculum, decay_every=0)
        trainer = Trainer(config.resolved(), dataset)
        trainer.train(whole(trainer), tmp_path / name)
        ends.append(weights(trainer))
    assert_equal(*ends)


def test_a_training_ends_with_a_validation(dataset, tmp_path):
    config = replace(CONFIG, curriculum="1:25", validate_every=20)
    trainer, recorder = Trainer(config.resolved(), dataset), Recorder()
    done = trainer.train(whole(trainer), tmp_path, summaries=recorder)
    assert list(recorder.errors) == [20, 25]
    assert done["validation_error"] == pytest.approx(float(trainer.compiled.validate()[0]))


def test_plateau_halves_the_rate(dataset, tmp_path):
    found = rates(dataset, tmp_path, curriculum="1:80:1e-12", plateau=1, decay_every=0)
    assert found[80] == pytest.approx(1e-12 / 4)  # after two of three without gain


@pytest.mark.slow
def test_noise_and_physics_loss_train(dataset, tmp_path):
    plain = Trainer(replace(CONFIG, curriculum="2:20").resolved(), dataset)
    plain.train(whole(plain), tmp_path / "plain")
    for name, changes in {"noise": {"noise": 0.1}, "physics": {"loss": "physics"}}.items():
        other = Trainer(replace(CONFIG, curriculum="2:20", **changes).resolved(), dataset)
        done = other.train(whole(other), tmp_path / name)
        assert np.isfinite(done["training_loss"])
        assert any((x != y).any() for x, y in zip(weights(plain), weights(other), strict=True))


def test_non_finite_gradients_are_skipped_then_stop_the_run(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr("tfunroll.training.GUARD_PATIENCE", 20)

    def poisoned(seed):
        type(trainer.compiled).reset(trainer.compiled, seed)
        trainer.compiled.net.variables[0].assign(trainer.compiled.net.variables[0] * np.nan)

    monkeypatch.setattr(trainer.compiled, "reset", poisoned)
    expected = "ks WIG seed 0: 20 .* non-finite at unroll step 1 of 1 .trajectory [abc], frame"
    with pytest.raises(TrainingDivergedError, match=expected):
        trainer.train(whole(trainer), tmp_path)
    assert int(trainer.compiled.state.skipped) == 20


def test_one_bad_update_is_skipped_named_and_survived(dataset, tmp_path):
    states = dataset.splits["train"].states.copy()
    states[1, 17] = np.nan
    poisoned = replace(dataset.splits["train"], states=states)
    data = replace(dataset, splits={**dataset.splits, "train": poisoned})
    trainer, recorder = Trainer(replace(CONFIG, curriculum="2:30").resolved(), data), Recorder()
    done = trainer.train(whole(trainer), tmp_path, summaries=recorder)
    assert np.isfinite(done["training_loss"])
    assert all(np.isfinite(w).all() for w in weights(trainer))
    assert 0 < done["skipped"] < 30
    named = [reason for reason in recorder.reasons if "trajectory b, frame 18" in reason]
    assert named, recorder.reasons  # the step from frame 17


def test_a_jump_of_the_gradient_is_skipped_but_not_for_ever(trainer):
    state, one = trainer.compiled.state, tf.constant(1.0)
    state.reset()
    for _ in range(30):
        assert state.judge(one, one)
    assert not state.judge(one, 1e3 * one)
    assert state.judge(one, one)
    answers = [bool(state.judge(one, 1e3 * one)) for _ in range(200)]
    assert not answers[0]
    assert answers[-1]


def test_asked_to_stop_saves_and_goes_on_later(trainer, tmp_path):
    trainer.train(whole(trainer), tmp_path / "whole")
    expected = weights(trainer)
    with pytest.raises(TrainingStoppedError, match="WIG seed 0, update"):
        trainer.train(whole(trainer), tmp_path / "part", stop=lambda: True)
    saved = int(trainer.compiled.state.update)
    assert (tmp_path / "part" / f"ckpt-{saved}.index").exists()
    trainer.train(whole(trainer), tmp_path / "part")
    assert_equal(expected, weights(trainer))


def test_horizon_longer_than_the_data(dataset):
    with pytest.raises(InputError, match="steps=40 does not fit trajectories of 40 frames"):
        Trainer(replace(CONFIG, curriculum="40:10").resolved(), dataset)
