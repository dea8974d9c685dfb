"""What a training run records while it goes on: history.csv, and the same for TensorBoard."""

import pathlib
import shutil
from collections.abc import Mapping

import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tfunroll.core import InputError
from tfunroll.files import read_bytes, replacing, why
from tfunroll.systems.base import System

HISTORY, EVENTS = "history.csv", "events.out.tfevents.*"  # in a network's folder
COLUMNS = ("update", "quantity", "value")
FINAL = ".final"  # ends the name of TensorBoard's file of a network's results
DPI = 80  # of TensorBoard's pictures
DESCRIPTIONS = {
    "training/loss": "running mean of the loss, which has no weights of levels",
    "training/gradient_norm": "norm of the gradient by all weights, before the guard",
    "training/learning_rate": "of Adam, after warm-up, decay and plateaus",
    "training/horizon": "steps that are unrolled",
    "training/skipped": "updates that were not applied so far, as loss or gradient were not sound",
    "validation/relative_error": "mean(u − r)² / max(r²) of rollouts over validation states",
    "validation/rollout": "a validation rollout of the network beside its reference",
}


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
    """The same scalars, pictures, notes and hyperparameters for TensorBoard, in ``folder``.

    TensorBoard names a network by its folder, such as "WIG/0". Its curves begin at update 0, also
    where its first stages were trained for several networks together.

    Args:
      system: what pictures show; None: the first channel, on an axis without units.
    """

    def __init__(self, folder: str | pathlib.Path, system: System | None = None):
        self._folder, self._system = pathlib.Path(folder), system
        self._writer = None

    def start(self, update: int, before: pathlib.Path | None = None) -> None:
        """Begins, or goes on after ``update``: forgets later events, of a run that was killed.

        Args: before: folder of the training that this one began from, whose events are its own too.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in () if before is None else sorted(before.glob(EVENTS)):
            if not (self._folder / path.name).exists():
                with replacing(self._folder / path.name) as new:
                    shutil.copyfile(path, new)
        for path in self._folder.glob(EVENTS):
            _forget_events(path, update)
        self._writer = tf.summary.create_file_writer(str(self._folder))

    def scalars(self, update: int, values: Mapping[str, float]) -> None:
        """Values by name."""
        with self._writer.as_default(step=update):
            for name, value in values.items():
                tf.summary.scalar(name, value, description=describe(name))

    def picture(self, update: int, name: str, rollout: np.ndarray, reference: np.ndarray) -> None:
        """One rollout beside its reference, [frame, *space, channel], as pictures of a run show it.

        What is beyond ten times the reference's largest value is grey.
        """
        from tfunroll.plots.fields import fields

        rows = {"reference": reference, "network": rollout}
        figure = fields(rows, self._system, limit=10 * np.abs(reference).max())
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        image = np.asarray(canvas.buffer_rgba())[None, ..., :3]
        with self._writer.as_default(step=update):
            tf.summary.image(name, image, description=describe(name))

    def text(self, update: int, name: str, text: str) -> None:
        """A note."""
        with self._writer.as_default(step=update):
            tf.summary.text(name, text, description=describe(name))

    def hyperparameters(self, settings: Mapping, metrics: Mapping[str, float]) -> None:
        """One row of TensorBoard's HParams page, in place of the one before.

        Args: settings: numbers, texts and truth values by name; of all else the text.
        """
        from tensorboard.plugins.hparams import api

        for path in self._folder.glob(f"*{FINAL}"):
            path.unlink()
        plain = {
            k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in settings.items()
        }
        writer = tf.summary.create_file_writer(str(self._folder), filename_suffix=FINAL)
        with writer.as_default(step=0):
            api.hparams(plain)
            for name, value in metrics.items():
                name = f"final/{name}"
                tf.summary.scalar(name, value, description=describe(name))
        writer.close()

    def close(self) -> None:
        """Writes what is not written yet."""
        if self._writer is not None:
            self._writer.close()


def describe(name: str) -> str:
    """What a recorded quantity is, in words."""
    kind, _, rest = name.partition("/")
    if kind == "gradient_by_step":
        return f"norm of ∂loss/∂state at the state that enters unroll step {int(rest)}"
    if kind == "final":
        metric, _, test_set = rest.partition("/")
        return f"{metric} of the trained network on {test_set}, mean over test cases"
    return DESCRIPTIONS.get(name, "")


def read_history(folder: pathlib.Path) -> pd.DataFrame:
    """The scalars of a network's training with COLUMNS; empty if it has none yet.

    A last line that a kill cut short is left out; of two values of one update the later counts.

    Raises: InputError: for a file that holds anything else.
    """
    path = pathlib.Path(folder) / HISTORY
    text = read_bytes(path) if path.exists() else b""
    try:
        lines = text.decode().split("\n")[1:-1]
        rows = [line.rstrip().split(",") for line in lines]
        if any(len(row) != len(COLUMNS) for row in rows):
            raise ValueError(f"a line does not hold {','.join(COLUMNS)}")
        table = pd.DataFrame(rows, columns=COLUMNS).replace({"value": {"": "nan"}})
        table = table.drop_duplicates(["update", "quantity"], keep="last", ignore_index=True)
        return table.astype({"update": int, "quantity": str, "value": float})
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path} is damaged ({why(error)}); it holds curves alone and may be deleted"
        ) from None


def _forget_events(path: pathlib.Path, update: int) -> None:
    """Rewrites a file of TensorBoard's events without those after ``update``."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto import event_pb2

    kept, dropped = [], False
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            later = event_pb2.Event.FromString(record.numpy()).step > update
            dropped = dropped or later
            if not later:
                kept.append(record.numpy())
    except (tf.errors.DataLossError, DecodeError):  # a kill cut the last record short, or damage
        dropped = True
    if dropped:
        with replacing(path) as new, tf.io.TFRecordWriter(str(new)) as writer:
            for record in kept:
                writer.write(record)
