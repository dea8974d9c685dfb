"""Seeds trained side by side in one program are those trained alone."""

import numpy as np
import pytest
import tensorflow as tf
from trainings import KS, SOLVER, Recorder, dataset, small_trainer

import tfunroll as tu
from tfunroll.stepping.unrolling import NOG, ONE, WIG
from tfunroll.training.checkpoints import Checkpoints
from tfunroll.training.fit import Fit, TrainingDivergedError
from tfunroll.training.schedule import Schedule, Stage

STAGES = [Stage(ONE, 30, 1e-2, batch_size=4), Stage(WIG(3), 20, 1e-2, batch_size=4)]


@pytest.fixture(scope="module")
def data():
    return dataset()


def test_each_has_its_own_windows_guard_rate_and_validation(data):
    recorder = Recorder()
    callbacks = [tu.callbacks.Validation(data.validation, 10, 5), recorder]
    schedule = Schedule(tuple(STAGES), plateau=1)
    trainer = small_trainer(data, schedule, "float64", callbacks=callbacks, noise=0.01, jit=False)
    together = trainer.fit_together([3, 1, 4])
    for seed, found in zip([3, 1, 4], together, strict=True):
        alone = trainer.fit(seed)
        np.testing.assert_allclose(found.weights, alone.weights, rtol=0, atol=1e-9)
        assert found.validation_error == pytest.approx(alone.validation_error, rel=1e-6)
        assert found.training_loss == pytest.approx(alone.training_loss, rel=1e-5)
        pairs = zip(found.history["value"], alone.history["value"], strict=True)
        assert all(a == pytest.approx(b, rel=1e-4, abs=1e-12) for a, b in pairs)


@pytest.mark.parametrize("unrolling", [ONE, NOG(2)], ids=["ONE", "NOG"])
@pytest.mark.parametrize("net", ["unet", "fno", "graph", "transformer"])
def test_any_network_of_ours(data, net, unrolling):
    size = {"width": 4, "depth": 1} | ({"modes": 3} if net == "fno" else {})
    made = tu.nets.build(net, KS.domain, 2, 1, dtype="float64", **size)
    stepper = tu.ParallelCorrection(SOLVER, made, KS.features("correction"))
    stage = Stage(unrolling, 5, 1e-3, batch_size=2)
    trainer = tu.Trainer(stepper, data.train, stage, callbacks=[], jit=False)
    for seed, found in zip([0, 1], trainer.fit_together([0, 1]), strict=True):
        np.testing.assert_allclose(found.weights, trainer.fit(seed).weights, rtol=0, atol=1e-10)


def test_one_that_diverges_leaves_the_others(data, monkeypatch):
    monkeypatch.setattr("tfunroll.training.fit.GUARD_PATIENCE", 5)
    trainer = small_trainer(data, STAGES, "float64", jit=False)
    own = trainer._initial
    trainer._initial = lambda seed: own(seed) * (np.nan if seed == 1 else 1)
    first, lost, last = trainer.fit_together([0, 1, 2], names=["a", "b", "c"])
    assert isinstance(lost, TrainingDivergedError)
    assert str(lost).startswith("b: 5 updates in a row were skipped")
    for seed, found in ((0, first), (2, last)):
        # while one skips every update, a call ends at each: the streams are those of before
        np.testing.assert_allclose(found.weights, trainer.fit(seed).weights, rtol=0, atol=1e-9)


def test_a_resume_takes_the_newest_that_all_have(data, tmp_path):
    trainer = small_trainer(
        data, STAGES, "float64", callbacks=[tu.callbacks.Checkpoint(10)], jit=False
    )
    folders = [tmp_path / "a", tmp_path / "b"]
    whole = trainer.fit_together([0, 1])
    trainer.with_schedule(STAGES[0]).fit_together([0, 1], folders)
    (folders[0] / "checkpoints" / "ckpt-30.npz").unlink()  # killed between the two
    for found, wanted in zip(trainer.fit_together([0, 1], folders), whole, strict=True):
        np.testing.assert_array_equal(found.weights, wanted.weights)


def test_a_resume_keeps_what_stands_elsewhere_and_refuses_damage(data, tmp_path, capsys):
    checkpoint = tu.callbacks.Checkpoint(10)
    trainer = small_trainer(data, STAGES, "float64", callbacks=[checkpoint], jit=False)
    folders = [tmp_path / "a", tmp_path / "b"]
    first = trainer.with_schedule(STAGES[0])
    first.fit(0, folders[0])  # alone: its checkpoints are those of updates 20 and 30
    resumed = []
    restore, take_start = Fit.restore, Fit.take_start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fit, "restore", lambda *a: (restore(*a), resumed.append(a[0].update))[0])
        patch.setattr(Fit, "take_start", lambda f: (take_start(f), resumed.append(-1)))
        found = first.fit_together([0, 1], folders)
    assert resumed == [30, 0, -1]
    assert [one.updates for one in found] == [30, 30]
    np.testing.assert_array_equal(found[1].weights, first.fit(1).weights)

    newest = [folder / "checkpoints" / "ckpt-30.npz" for folder in folders]
    newest[1].write_bytes(newest[1].read_bytes()[:-200])
    first.fit_together([0, 1], folders)  # from the one before
    assert f"warning: checkpoint 30 in {folders[1]} is damaged" in capsys.readouterr().out
    assert Checkpoints(newest[1].parent).is_whole(30)
    for path in folders[1].glob("checkpoints/*.npz"):
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(tu.InputError, match="ckpt-30.npz is damaged .* delete"):
        first.fit_together([0, 1], folders)


def test_two_callbacks_of_one_class_keep_what_is_theirs(data, tmp_path):
    class Count(tu.callbacks.Callback):
        def __init__(self, every):
            self.every, self.turns = every, np.int64(0)

        def turn(self, fit):
            self.turns += 1

        def save(self):
            return {"turns": self.turns}

        def restore(self, values):
            self.turns = values["turns"]

    trainer = small_trainer(data, STAGES[0], callbacks=[Count(10), Count(15)], jit=False)
    trainer.fit(0, tmp_path)
    fit = Fit(trainer, 0, tmp_path, None, None, "")
    fit.at_start()
    assert fit.restore()
    assert [int(callback.turns) for callback in fit.callbacks[:2]] == [3, 2]


def test_a_users_keras_model_runs_seed_by_seed(data):
    inputs = tf.keras.Input((48, 2))
    x = tf.keras.layers.Conv1D(4, 3, padding="same", activation="tanh")(inputs)
    net = tf.keras.Model(inputs, tf.keras.layers.Conv1D(1, 3, padding="same")(x))
    stepper = tu.ParallelCorrection(SOLVER, net, KS.features("correction"))
    trainer = tu.Trainer(stepper, data.train, STAGES[0], callbacks=[], jit=False)
    together = trainer.fit_together([0, 1])
    assert (together[0].weights != together[1].weights).any()
    for seed, found in enumerate(together):
        np.testing.assert_allclose(found.weights, trainer.fit(seed).weights, atol=1e-5)
