"""What a training run records while it goes on: history.csv, and the same for TensorBoard."""

import pathlib
from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
import tensorflow as tf

from tfunroll.files import replacing

HISTORY, EVENTS = "history.csv", "tensorboard"  # in a network's folder
COLUMNS = ("update", "quantity", "value")
FINAL = ".final"  # ends the name of TensorBoard's file of a network's results


class HistoryFile:
    """``folder``/history.csv: a value a row, under TensorBoard's name of the quantity.

    training/loss, training/learning_rate, validation/relative_error, gradient_by_step/01, …,
    levels/01, …
    """

    def __init__(self, folder: str | pathlib.Path):
        self._folder = pathlib.Path(folder)

    def start(self, update: int) -> None:
        """Begins, or goes on after ``update``: forgets later rows, of a run that was killed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        history = read_history(self._folder)
        with replacing(self._folder / HISTORY) as new:
            history[history["update"] <= update].to_csv(
                new, index=False, float_format="%.9g", na_rep="nan"
            )

    def scalars(self, update: int, values: Mapping[str, float]) -> None:
        """Appends values by name."""
        lines = [f"{update},{name},{float(value):.9g}\n" for name, value in values.items()]
        with (self._folder / HISTORY).open("a", encoding="utf-8") as file:
            file.write("".join(lines))


class TensorBoardFiles:
    """The same scalars, pictures, notes and hyperparameters in ``folder``, for TensorBoard."""

    def __init__(self, folder: str | pathlib.Path):
        self._folder = pathlib.Path(folder)
        self._writer = None

    def start(self, update: int) -> None:
        """Begins, or goes on after ``update``: forgets later events, of a run that was killed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            _forget_events(path, update)
        self._writer = tf.summary.create_file_writer(str(self._folder))

    def scalars(self, update: int, values: Mapping[str, float]) -> None:
        """Values by name."""
        with self._writer.as_default(step=update):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def picture(self, update: int, name: str, rollout: np.ndarray, reference: np.ndarray) -> None:
        """An image of one rollout, [frame, *space, channel]: reference, network, difference."""
        with self._writer.as_default(step=update):
            tf.summary.image(name, _panels(rollout, reference)[None])

    def text(self, update: int, name: str, text: str) -> None:
        """A note."""
        with self._writer.as_default(step=update):
            tf.summary.text(name, text)

    def hyperparameters(self, settings: Mapping, metrics: Mapping[str, float]) -> None:
        """One row of TensorBoard's HParams page, in place of the one before."""
        from tensorboard.plugins.hparams import api

        for path in self._folder.glob(f"*{FINAL}"):
            path.unlink()
        writer = tf.summary.create_file_writer(str(self._folder), filename_suffix=FINAL)
        with writer.as_default(step=0):
            api.hparams(dict(settings))
            for name, value in metrics.items():
                tf.summary.scalar(f"final/{name}", value)
        writer.close()

    def close(self) -> None:
        """Writes what is not written yet."""
        if self._writer is not None:
            self._writer.close()


def read_history(folder: pathlib.Path) -> pd.DataFrame:
    """The scalars of a network's training with COLUMNS; empty if it has none yet.

    A last line that a kill cut short is left out; of two values of one update the later counts.
    """
    try:
        lines = (pathlib.Path(folder) / HISTORY).read_text(encoding="utf-8").splitlines(True)[1:]
    except FileNotFoundError:
        lines = []
    rows = [line.rstrip().split(",") for line in lines if line.endswith("\n")]
    table = pd.DataFrame(rows, columns=COLUMNS).replace({"value": {"": "nan"}})
    table = table.drop_duplicates(["update", "quantity"], keep="last", ignore_index=True)
    return table.astype({"update": int, "quantity": str, "value": float})


def _forget_events(path: pathlib.Path, update: int) -> None:
    """Rewrites a file of TensorBoard's events without those after ``update``."""
    from tensorboard.compat.proto import event_pb2

    kept, dropped = [], False
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            later = event_pb2.Event.FromString(record.numpy()).step > update
            dropped = dropped or later
            if not later:
                kept.append(record.numpy())
    except tf.errors.DataLossError:  # a kill cut the last record short
        dropped = True
    if dropped:
        with replacing(path) as new, tf.io.TFRecordWriter(str(new)) as writer:
            for record in kept:
                writer.write(record)


def _panels(rollout: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """[frame, *space, channel] twice -> an RGB image, time to the right, 8 pixels a frame."""
    rollout, reference = (a[..., 0].reshape(len(a), -1).T for a in (rollout, reference))
    limit = np.abs(reference).max() or 1.0
    shown = [reference, rollout, rollout - reference]
    panels = [np.clip(np.nan_to_num(p) / limit, -1, 1) for p in shown]
    gap = np.zeros((2, panels[0].shape[1]))
    image = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], 0)
    colours = matplotlib.colormaps["RdBu_r"](image * 0.5 + 0.5)[..., :3]
    return np.repeat(colours, 8, axis=1).astype(np.float32)
