"""What training records, above all across a stop."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.training.records import (
    EVENTS,
    HISTORY,
    HistoryFile,
    TensorBoardFiles,
    read_history,
)

STATES = np.zeros((3, 8, 1), np.float32)


def record(folder, start, updates):
    files = HistoryFile(folder), TensorBoardFiles(folder / EVENTS)
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
    for path in sorted((folder / EVENTS).iterdir()):
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
    (tmp_path / EVENTS / "notes.txt").write_text("mine")
    (tmp_path / EVENTS / "plugins").mkdir()
    record(tmp_path, 10, [20])
    assert (tmp_path / EVENTS / "notes.txt").read_text() == "mine"


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
    for path in (tmp_path / HISTORY, *(tmp_path / EVENTS).iterdir()):
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
