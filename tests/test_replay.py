"""Replay of the model's own states: ages, targets, what is off and what is saved."""

import numpy as np
import pytest
import tensorflow as tf
from trainings import KS, Recorder, dataset, small_net, small_trainer, trainer_of

from tfunroll.core import InputError
from tfunroll.runs.config import RunConfig
from tfunroll.stepping.steppers import ParallelCorrection
from tfunroll.stepping.unrolling import NOG, ONE, WIG
from tfunroll.training.callbacks import Every
from tfunroll.training.checkpoints import Checkpoints
from tfunroll.training.fit import TrainingStoppedError
from tfunroll.training.replay import EMPTY, HELD, LOST, Replay
from tfunroll.training.schedule import Stage
from tfunroll.training.trainer import Trainer, Updates

FRAMES = 1000


@pytest.fixture(scope="module")
def data():
    return dataset()


def run(replay, updates, batch, steps=1, seed=0, applied=lambda k: True):
    """Ages of the starts, [update, batch], of a model whose states are their own frames.

    A state is [trajectory, frame since then]: what is taken must be where its number says.
    """
    buffer, ages = replay.start(tf.zeros([1, 2], tf.float64)), []
    rng = np.random.default_rng(seed)
    for k in range(updates):
        drawn = [tf.constant(rng.integers(n, size=batch)) for n in (5, 50)]
        slots = replay.slots(seed, tf.constant(k, tf.int64), 1, batch)
        assert len(set(slots.numpy())) == batch
        (trajectory, frame), age, states = replay.take(buffer, slots, drawn, steps, FRAMES)
        used = age.numpy() > 0
        for own, of_data in ((trajectory, drawn[0]), (frame, drawn[1])):
            np.testing.assert_array_equal(own[~used], of_data[~used])
        start = np.where(used[:, None], states, np.stack([trajectory, frame], 1))
        np.testing.assert_array_equal(start, np.stack([trajectory, frame], 1))
        final = tf.constant(start + np.array([0.0, steps]))
        good = tf.constant(applied(k))
        buffer = replay.give(buffer, slots, (trajectory, frame), age, steps, final, good)
        ages.append(age.numpy())
    return np.array(ages), buffer


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_ages_are_geometric(share):
    """P(j) = (1 − p) p^j of starts, of mean p / (1 − p); of what they become 1 / (1 − p)."""
    steps = 2
    ages = run(Replay(256, share, FRAMES - 100), 160, 64, steps)[0][40:] / steps
    assert ages.mean() == pytest.approx(share / (1 - share), rel=0.06)
    assert (ages + 1).mean() == pytest.approx(1 / (1 - share), rel=0.06)
    for j in range(4):
        assert (ages == j).mean() == pytest.approx((1 - share) * share**j, abs=0.012)
    assert (ages == 0).mean() == pytest.approx(1 - share, abs=1e-12)  # exactly that share is data


def test_none_is_older_than_allowed_and_few_start_from_data_beyond_their_share():
    ages, _ = run(Replay(32, 0.75, 6), 40, 8, steps=2)
    assert set(np.unique(ages)) == {0, 2, 4}
    ages, _ = run(Replay(128, 1.0, 6), 80, 32, steps=2)
    np.testing.assert_allclose([np.mean(ages[20:] == a) for a in (0, 2, 4)], 1 / 3, atol=0.05)
    for nothing in (Replay(32, 0.0, 6), Replay(32, 1.0, 2)):
        assert not run(nothing, 20, 8, steps=2)[0].any()


def test_trajectories_end_and_what_is_not_finite_is_left():
    replay, steps = Replay(4, 1.0, 100), 3
    buffer = replay.start(tf.zeros([1, 2]))
    slots, first = replay.slots(0, tf.constant(0, tf.int64), 1, 4), tf.range(4, dtype=tf.int64)
    final = tf.constant([[1.0, 1.0], [np.nan, 1.0], [1.0, 1.0], [1.0, np.inf]])
    drawn = first, tf.constant([0, 0, 5, 0], tf.int64)
    zero = tf.zeros(4, tf.int64)
    buffer = replay.give(buffer, slots, drawn, zero, steps, final, tf.constant(True))
    for frames, wanted in ((12, [3, 0, 3, 0]), (11, [3, 0, 0, 0])):  # frame 5 + 3 + 3 = 11
        age = replay.take(buffer, slots, drawn, steps, frames)[1]
        np.testing.assert_array_equal(age, wanted)


def test_what_has_diverged_is_left():
    replay, slots = Replay(4, 1.0, 100), tf.range(4, dtype=tf.int64)
    final = tf.constant([[1.0, 3.0], [1.0, -3.1], [2.1, 0.0], [-2.0, 0.0]])
    drawn, zero = (slots, slots), tf.zeros(4, tf.int64)
    buffer = replay.start(tf.zeros([1, 2]))
    buffer = replay.give(buffer, slots, drawn, zero, 1, final, tf.constant(True), [2.0, 3.0])
    np.testing.assert_array_equal(buffer["held"], [HELD, EMPTY, EMPTY, HELD])


def test_an_update_that_is_skipped_gives_up_its_entries_but_can_be_told():
    ages, before = run(Replay(8, 1.0, 100), 20, 4)
    assert ages[-1].all()
    after = run(Replay(8, 1.0, 100), 21, 4, applied=lambda k: k < 20)[1]
    slots = Replay(8).slots(0, tf.constant(20, tf.int64), 1, 4).numpy()
    np.testing.assert_array_equal(after["held"].numpy()[slots], LOST)
    np.testing.assert_array_equal(np.delete(after["held"], slots), HELD)
    for name, values in Replay(8).before(after).items():
        np.testing.assert_array_equal(values, before[name])
    twice = run(Replay(8, 1.0, 100), 22, 4, applied=lambda k: k < 20)[1]["held"].numpy()
    slots = set(slots) & set(Replay(8).slots(0, tf.constant(21, tf.int64), 1, 4).numpy())
    assert slots
    assert all(twice[slot] == EMPTY for slot in slots)


@pytest.mark.parametrize("unrolling", [ONE, NOG(2), WIG(2)], ids=["ONE", "NOG", "WIG"])
@pytest.mark.parametrize("seeds", [0, pytest.param((0, 1), marks=pytest.mark.slow)])
def test_off_or_of_no_use_training_is_what_it_was(data, unrolling, seeds):
    stage = Stage(unrolling, 40, 1e-4, batch_size=4)
    more = {"noise": 0.01, "jit": unrolling == NOG(2) and seeds == 0}  # compiling takes long
    found = []
    for replay in (None, Replay(16, 0.0, 12), Replay(16, 0.5, unrolling.steps)):
        trainer = small_trainer(data, stage, replay=replay, **more)
        updates = Updates(trainer, stage, seeds)
        for _ in range(3):
            updates(4)
        found.append(updates.carry["flat"].numpy())
    np.testing.assert_array_equal(found[1], found[0])
    if more["jit"]:  # another graph, which XLA may round otherwise
        np.testing.assert_allclose(found[2], found[0], rtol=0, atol=1e-5)
    else:
        np.testing.assert_array_equal(found[2], found[0])
    used = Updates(small_trainer(data, stage, replay=Replay(16, 0.5, 12), **more), stage, seeds)
    ages = [used(4)["age"] for _ in range(3)]
    assert np.all(np.max(ages, 0) > 0)
    assert np.abs(used.carry["flat"] - found[0]).max() > 1e-6


def test_the_buffer_holds_what_the_model_makes_of_its_starts(data):
    """Where the data's reference is the model, entries are frames of the data, whatever their age.

    KS by its reference solver and a network of zeros, in float64: the loss stays at rounding.
    """

    stepper = ParallelCorrection(
        KS.reference(), small_net(initial="zero"), KS.features("correction"), 0.0
    )
    stage = Stage(NOG(2), 40, 1e-3, batch_size=8)
    trainer = Trainer(
        stepper, data.splits["train"], stage, callbacks=[], jit=False, replay=Replay(16, 0.5, 8)
    )
    updates = Updates(trainer, stage)
    for _ in range(10):
        out = updates(2)
        assert out["loss"] < 1e-7
    buffer = {name: value.numpy() for name, value in updates.carry["replay"].items()}
    assert {2, 4, 6} <= set(buffer["age"]) <= {2, 4, 6, 8}
    states = data.splits["train"].states
    for k in range(16):
        frame = states[buffer["trajectory"][k], buffer["frame"][k]]
        np.testing.assert_allclose(buffer["states"][k], frame, atol=2e-3)


def test_it_is_in_checkpoints_and_resuming_is_exact(data, tmp_path):
    stages = [Stage(ONE, 30, 1e-2, batch_size=8), Stage(WIG(3), 60, 1e-3, batch_size=4)]
    recorder = Recorder()

    def made(*callbacks):
        replay = Replay(32, 0.5, 12)
        return small_trainer(data, stages, replay=replay, callbacks=callbacks, jit=False)

    whole = made(recorder).fit(0)
    assert recorder.rows[90]["training/replay_age"] > 0
    stopping = made(Every(47, lambda fit: fit.stop() if fit.update == 47 else None))
    with pytest.raises(TrainingStoppedError):
        stopping.fit(0, tmp_path)
    held = Checkpoints(tmp_path / "checkpoints").read(47)["replay"]
    assert held["states"].shape == (32, 48, 1)
    assert (held["age"] > 0).any()
    np.testing.assert_array_equal(stopping.fit(0, tmp_path).weights, whole.weights)


@pytest.mark.slow
def test_side_by_side_each_has_its_own(data):
    stages = [Stage(ONE, 20, 1e-2, batch_size=4), Stage(WIG(3), 20, 1e-2, batch_size=4)]
    trainer = small_trainer(data, stages, "float64", replay=Replay(16, 0.5, 9), jit=False)
    for seed, found in zip([2, 5], trainer.fit_together([2, 5]), strict=True):
        np.testing.assert_allclose(found.weights, trainer.fit(seed).weights, rtol=0, atol=1e-9)


def test_a_configuration_names_it(data):
    small = {"width": 4, "depth": 1, "jit": "off"}
    config = RunConfig(curriculum="2:4", replay="32:0.5", modalities=("NOG",), **small)
    assert config.resolved().replay == "32:0.5:12"
    trainer = trainer_of(config, data)
    assert trainer.replay == Replay(32, 0.5, 12)
    assert trainer.fit(0).updates == 4
    assert trainer_of(RunConfig(curriculum="2:4", **small), data).replay is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("256", "is not size:share:largest age"),
        ("256:0.5:12:1", "is not size:share:largest age"),
        ("many:0.5:12", "is not size:share:largest age"),
        ("0:0.5:12", "size and age must be at least 1, the share between 0 and 1"),
        ("256:1.5:12", "the share between 0 and 1"),
        ("256:nan:12", "the share between 0 and 1"),
        ("256:0.5:0", "size and age must be at least 1"),
    ],
)
def test_impossible_texts(text, message):
    with pytest.raises(InputError, match=message) as error:
        RunConfig(curriculum="2:4", replay=text).resolved()
    assert "\n" not in str(error.value)


def test_what_does_not_fit(data):
    with pytest.raises(InputError, match="this system has no usual age"):
        RunConfig(system="wake", curriculum="2:4", replay="256:0.5").resolved()
    stage = Stage(NOG(2), 10, batch_size=8)
    with pytest.raises(InputError, match="a buffer of 7 states is smaller than a batch of 8"):
        small_trainer(data, stage, replay=Replay(7, 0.5, 12))
    with pytest.raises(InputError, match="states of 40 frames lie beyond .* allowed: 1 to 39"):
        small_trainer(data, stage, replay=Replay(8, 0.5, 40))
