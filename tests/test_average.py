"""Means of the weights: their values, what sees them, and that resuming keeps them."""

import numpy as np
import pytest
import tensorflow as tf
from trainings import dataset, small_trainer

import tfunroll as tu
from tfunroll.core import InputError
from tfunroll.runs.config import RunConfig
from tfunroll.stepping.unrolling import NOG, ONE, WIG
from tfunroll.training import averages
from tfunroll.training.averages import EMA, SWA
from tfunroll.training.checkpoints import Checkpoints
from tfunroll.training.schedule import Stage
from tfunroll.training.trainer import Updates

STAGES = [Stage(ONE, 30, 1e-2, batch_size=4), Stage(WIG(3), 20, 1e-2, batch_size=4)]


@pytest.fixture(scope="module")
def data():
    return dataset()


@pytest.mark.parametrize("unrolling", [ONE, NOG(2), WIG(2)], ids=["ONE", "NOG", "WIG"])
@pytest.mark.parametrize("seeds", [0, (0, 1)])
def test_it_is_the_average_of_the_weights_that_were(data, unrolling, seeds):
    stage = Stage(unrolling, 40, 1e-2, batch_size=2)
    trainer = small_trainer(data, stage, "float64", average=0.5, jit=False)
    updates = Updates(trainer, stage, seeds)
    wanted = updates.carry["flat"].numpy()
    for t in range(12):  # (1 + t) / (10 + t) is below 0.5 up to t = 7
        updates(1)
        keep = min(0.5, (1 + t) / (10 + t))
        wanted = keep * wanted + (1 - keep) * updates.carry["flat"].numpy()
    np.testing.assert_allclose(updates.carry["average"], wanted, rtol=1e-13)
    plain = Updates(small_trainer(data, stage, "float64", jit=False), stage, seeds)
    plain(12)
    np.testing.assert_array_equal(plain.carry["flat"], updates.carry["flat"])
    assert "average" not in plain.carry


@pytest.mark.parametrize("unrolling", [ONE, NOG(2), WIG(2)], ids=["ONE", "NOG", "WIG"])
def test_swa_is_the_mean_of_all_weights_from_one_on(data, unrolling):
    stage = Stage(unrolling, 40, 1e-2, batch_size=2)
    trainer = small_trainer(data, stage, "float64", average=SWA(4), jit=False)
    updates, met = Updates(trainer, stage), []
    for done in range(1, 10):
        updates(1)
        flat = updates.carry["flat"].numpy()
        met += [flat] if done > 4 else []
        wanted = np.mean(met, 0) if met else flat
        np.testing.assert_allclose(updates.carry["average"], wanted, rtol=0, atol=1e-15)
    plain = Updates(small_trainer(data, stage, "float64", jit=False), stage)
    plain(9)
    np.testing.assert_array_equal(plain.carry["flat"], updates.carry["flat"])


def test_an_update_that_is_skipped_leaves_it(data):
    stage = Stage(ONE, 40, 1e-2, batch_size=2)
    updates = Updates(small_trainer(data, stage, average=0.9), stage)
    updates(3)
    before = updates.carry["average"].numpy()
    updates.carry["flat"] = updates.carry["flat"] * tf.constant(np.nan)
    updates(1)
    np.testing.assert_array_equal(updates.carry["average"], before)


def test_it_is_what_is_validated_returned_and_loaded(data, tmp_path):
    more = {"callbacks": [tu.callbacks.Validation(data.validation, 50, 5)], "jit": False}
    trainer = small_trainer(data, STAGES, average=0.9, **more)
    raw = small_trainer(data, STAGES, **more)
    found, plain = trainer.fit(0, tmp_path / "a"), raw.fit(0)
    assert found.validation_error != plain.validation_error
    assert np.abs(found.weights - plain.weights).max() > 0
    checkpoints = Checkpoints(tmp_path / "a" / "checkpoints")
    parts = checkpoints.read(50)
    np.testing.assert_array_equal(parts["net"]["flat"], plain.weights)
    np.testing.assert_array_equal(parts["average"]["flat"], found.weights)
    np.testing.assert_array_equal(checkpoints.weights(trainer.weights.part()), found.weights)
    np.testing.assert_array_equal(trainer.weights.read(), found.weights)
    validated = trainer.callbacks[0].validate(tf.constant(found.weights))[0]
    assert float(validated) == pytest.approx(found.validation_error, rel=1e-6)


@pytest.mark.parametrize("average", [0.95, SWA(33)], ids=["ema", "swa"])
def test_resuming_gives_the_same(data, tmp_path, average):
    trainer = small_trainer(data, STAGES, average=average, jit=False)
    whole = trainer.fit(0)
    trainer.with_schedule([STAGES[0], Stage(WIG(3), 7, 1e-2, batch_size=4)]).fit(0, tmp_path)
    np.testing.assert_array_equal(trainer.fit(0, tmp_path).weights, whole.weights)


def test_side_by_side_each_has_its_own(data):
    trainer = small_trainer(data, STAGES, "float64", average=0.95, jit=False)
    for seed, found in zip([2, 5], trainer.fit_together([2, 5]), strict=True):
        np.testing.assert_allclose(found.weights, trainer.fit(seed).weights, rtol=0, atol=1e-9)


def test_a_training_without_one_does_not_go_on_with_one(data, tmp_path):
    small_trainer(data, STAGES[0]).fit(0, tmp_path)
    with pytest.raises(InputError, match="part average: missing"):
        small_trainer(data, STAGES, average=0.9).fit(0, tmp_path)


@pytest.mark.parametrize("average", [-0.1, 1.0, float("nan")])
def test_other_values_are_refused(data, average):
    with pytest.raises(InputError, match=r"average=.*must (lie in \[0, 1\)|be at least 0)"):
        small_trainer(data, STAGES, average=average)
    with pytest.raises(InputError, match="average"):
        RunConfig(average=average).resolved()


@pytest.mark.parametrize(
    ("text", "means", "written"),
    [
        ("0", None, "0"),
        ("0.0", None, "0"),
        ("0.999", EMA(0.999), "0.999"),
        ("swa", SWA(75), "swa"),
        ("swa:part=0.25", SWA(75), "swa"),
        ("swa:part=0.5", SWA(50), "swa:part=0.5"),
        (0.9, EMA(0.9), "0.9"),
    ],
)
def test_settings_name_them(text, means, written):
    config = RunConfig(average=text, curriculum="1:60,2:40").resolved()
    assert config.average == written
    assert averages.read(config.average, 100) == means
    old = RunConfig.from_json({"average": 0.9}, "config.json")
    assert old.average == "0.9"
    assert RunConfig.from_json({"average": 0.0}, "x") == RunConfig.from_json({}, "x")


@pytest.mark.parametrize("text", ["ema", "swa:part=0", "swa:part=2", "swa:start=3", "half"])
def test_settings_that_name_none(text):
    with pytest.raises(InputError, match="average="):
        RunConfig(average=text).resolved()
    with pytest.raises(InputError, match="start=-1 of SWA must be a whole number"):
        SWA(-1)
