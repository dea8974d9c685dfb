"""What training records, above all across a stop."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import systems
from tfunroll.data import Trajectories
from tfunroll.plots.fields import fields
from tfunroll.training.callbacks import Validation
from tfunroll.training.records import (
    DPI,
    EVENTS,
    HISTORY,
    HistoryFile,
    TensorBoardFiles,
    describe,
    read_history,
)

STATES = np.zeros((3, 8, 1), np.float32)


def record(folder, start, updates):
    files = HistoryFile(folder), TensorBoardFiles(folder)
    for file in files:
        file.start(start)
    for update in updates:
        for file in files:
            file.scalars(update, {"training/loss": update / 3, "gradient_by_step/01": 1.0})
            file.scalars(update, {"validation/relative_error": 0.5})
        files[1].picture(update, "validation/rollout", STATES, STATES)
    files[1].close()


def events(folder):
    """(step, tag) of everything that TensorBoard finds."""
    from tensorboard.compat.proto import event_pb2

    found = []
    for path in sorted(folder.glob(EVENTS)):
        for raw in tf.data.TFRecordDataset(str(path)):
            event = event_pb2.Event.FromString(raw.numpy())
            found += [(event.step, value.tag) for value in event.summary.value]
    return found


def test_a_resumed_training_records_nothing_twice(tmp_path):
    record(tmp_path / "whole", 0, [10, 20, 30, 40])
    record(tmp_path / "part", 0, [10, 20, 30])  # killed here; its last checkpoint is of update 20
    record(tmp_path / "part", 20, [30, 40])
    whole, part = (read_history(tmp_path / name) for name in ("whole", "part"))
    assert whole.equals(part)
    assert sorted(events(tmp_path / "part")) == sorted(events(tmp_path / "whole"))


def test_other_files_beside_the_events_stay(tmp_path):
    record(tmp_path, 0, [10])
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "plugins").mkdir()
    record(tmp_path, 10, [20])
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_history_holds_what_was_recorded(tmp_path):
    record(tmp_path, 0, [10, 20])
    history = read_history(tmp_path)
    losses = history[history["quantity"] == "training/loss"]
    assert list(losses["update"]) == [10, 20]
    np.testing.assert_allclose(losses["value"], [10 / 3, 20 / 3], rtol=1e-8)
    assert set(history["quantity"]) == {
        "training/loss",
        "gradient_by_step/01",
        "validation/relative_error",
    }


@pytest.mark.parametrize("lost", [1, 5, 30])
def test_a_line_or_an_event_that_a_kill_cut_short_is_dropped(tmp_path, lost):
    record(tmp_path, 0, [10, 20])
    for path in (tmp_path / HISTORY, *tmp_path.glob(EVENTS)):
        path.write_bytes(path.read_bytes()[:-lost])
    record(tmp_path, 10, [20])
    record(tmp_path / "whole", 0, [10, 20])
    assert read_history(tmp_path).equals(read_history(tmp_path / "whole"))
    assert sorted(events(tmp_path)) == sorted(events(tmp_path / "whole"))


def test_values_that_are_no_numbers_survive_a_stop(tmp_path):
    """As of a validation that diverged."""
    file = HistoryFile(tmp_path)
    file.start(0)
    file.scalars(10, {"validation/relative_error": np.nan, "training/loss": np.inf})
    for _ in range(2):
        file.start(10)
    assert np.isnan(read_history(tmp_path)["value"][0])
    assert np.isposinf(read_history(tmp_path)["value"][1])


def test_no_history_yet(tmp_path):
    assert len(read_history(tmp_path)) == 0


def test_curves_begin_with_the_stages_that_were_trained_before(tmp_path):
    record(tmp_path / "shared", 0, [10, 20])
    for _ in range(2):  # begun, and begun again
        files = TensorBoardFiles(tmp_path / "WIG")
        files.start(20, tmp_path / "shared")
        files.scalars(30, {"training/loss": 1.0})
        files.close()
    losses = [step for step, tag in events(tmp_path / "WIG") if tag == "training/loss"]
    assert sorted(losses) == [10, 20, 30]
    assert read_history(tmp_path / "WIG").empty


def accumulated(folder):
    from tensorboard.backend.event_processing import event_accumulator

    return event_accumulator.EventAccumulator(str(folder), {"tensors": 0}).Reload()


@pytest.mark.parametrize("name", ["ks", "wake:points=16", None])
def test_pictures_are_those_of_a_run(name, tmp_path):
    """Of the size of the figure, whose texts are tested with the pictures; no stripes of pixels."""
    system = name and systems.get(name)
    shape = (4, 16, 8, 2) if system is None else (4, *system.domain.shape, len(system.channels))
    states = np.random.default_rng(0).normal(size=shape)
    files = TensorBoardFiles(tmp_path, system)
    files.start(0)
    files.picture(5, "validation/rollout", states, states + 1)
    files.close()
    (event,) = accumulated(tmp_path).Tensors("validation/rollout")
    width, height, png = tf.make_ndarray(event.tensor_proto)
    wanted = fields({"reference": states + 1, "network": states}, system).get_size_inches() * DPI
    np.testing.assert_allclose([int(width), int(height)], wanted, atol=1)
    assert 0.4 < int(width) / int(height) < 4
    image = tf.io.decode_png(png).numpy()
    assert image.shape == (int(height), int(width), 3)
    assert (image == 255).all(-1).mean() > 0.1  # paper around the panels
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50


def test_what_is_recorded_is_explained(tmp_path):
    record(tmp_path, 0, [10])
    files = TensorBoardFiles(tmp_path)
    files.hyperparameters({"net": "resnet", "widths": (3, 4)}, {"mse/test_interpolation": 0.5})
    found = accumulated(tmp_path)
    for tag in found.Tags()["tensors"]:
        text = found.SummaryMetadata(tag).summary_description
        assert text or tag.startswith("_hparams_"), tag
    assert describe("gradient_by_step/07").endswith("unroll step 7")
    assert "mse of the trained network on test_interpolation" in describe(
        "final/mse/test_interpolation"
    )


def test_validation_gives_few_pictures_and_the_last():
    """Of the first, second, fourth … turn, and of the end, also where that is no turn."""

    class Fit:
        averaged, validation = None, np.nan

        def record(self, scalars):
            recorded.append(self.update)

        def picture(self, name, rollout, reference):
            pictured.append((self.update, float(rollout.sum())))

    for updates, wanted in ((80, [10, 20, 40, 80]), (95, [10, 20, 40, 80, 95])):
        fit, recorded, pictured = Fit(), [], []
        states = np.zeros((1, 12, 48, 1), np.float32)
        split = Trajectories(states, {"domain_size": np.ones(1)}, ("a",), np.zeros(1), {})
        validation = Validation(split, every=10)
        validation.validate = lambda _, fit=fit: (tf.constant(0.5), *[tf.fill([1], fit.update)] * 2)
        fit.update = 0
        validation.begin(fit)
        for fit.update in range(10, updates + 1, 10):
            validation.turn(fit)
        fit.update = updates
        validation.end(fit)
        assert pictured == [(update, update) for update in wanted]
        assert recorded == [*range(10, 81, 10), *([90, 95] if updates == 95 else [])]
