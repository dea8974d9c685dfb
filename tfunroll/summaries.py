"""What a training run records while it goes on: history.csv, and the same for TensorBoard."""

import pathlib

import matplotlib
import numpy as np
import pandas as pd
import tensorflow as tf

from tfunroll.files import replacing

HISTORY, EVENTS = "history.csv", "tensorboard"  # in a network's folder
COLUMNS = ("update", "quantity", "value")
FINAL = ".final"  # ends the name of TensorBoard's file of a network's results


class Summaries:
    """Writes the scalars, images and hyperparameters of one network.

    Scalars go to ``folder``/history.csv, a value a row under TensorBoard's name of the quantity
    (training/loss, training/learning_rate, validation/relative_error, gradient_by_step/01, …), and
    to TensorBoard's files in ``folder``/tensorboard.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = pathlib.Path(folder)
        self._writer = None

    def start(self, update: int) -> None:
        """Begins, or goes on after ``update``: forgets later records, of a run that was killed."""
        (self._folder / EVENTS).mkdir(parents=True, exist_ok=True)
        history = read_history(self._folder)
        with replacing(self._folder / HISTORY) as new:
            history[history["update"] <= update].to_csv(new, index=False, float_format="%.9g")
        for path in (self._folder / EVENTS).iterdir():
            _forget_events(path, update)
        self._open()

    def updates(self, update: int, values: dict[str, float], by_step: np.ndarray) -> None:
        """Scalars of the latest updates; ``by_step``: ‖∂loss/∂(state entering step k)‖."""
        scalars = {f"training/{name}": value for name, value in values.items()}
        scalars |= {f"gradient_by_step/{k:02d}": norm for k, norm in enumerate(by_step, start=1)}
        self._scalars(update, scalars)

    def validation(self, update: int, error: float, rollout: np.ndarray, reference: np.ndarray):
        """The rollout error, and an image of one rollout: reference, network, difference."""
        self._scalars(update, {"validation/relative_error": error})
        with self._writer.as_default(step=update):
            tf.summary.image("validation/rollout", _panels(rollout, reference)[None])

    def skipped(self, update: int, reason: str) -> None:
        """Why an update was not applied."""
        with self._writer.as_default(step=update):
            tf.summary.text("training/skipped", reason)

    def hyperparameters(self, settings: dict, metrics: dict[str, float]) -> None:
        """One row of TensorBoard's HParams page, in place of the one before."""
        from tensorboard.plugins.hparams import api

        for path in (self._folder / EVENTS).glob(f"*{FINAL}"):
            path.unlink()
        folder = str(self._folder / EVENTS)
        writer = tf.summary.create_file_writer(folder, filename_suffix=FINAL)
        with writer.as_default(step=0):
            api.hparams(settings)
            for name, value in metrics.items():
                tf.summary.scalar(f"final/{name}", value)
        writer.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> None:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder / EVENTS))

    def _scalars(self, update, scalars) -> None:
        lines = [f"{update},{name},{float(value):.9g}\n" for name, value in scalars.items()]
        with (self._folder / HISTORY).open("a", encoding="utf-8") as file:
            file.write("".join(lines))
        with self._writer.as_default(step=update):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)


def read_history(folder: pathlib.Path) -> pd.DataFrame:
    """The scalars of a network's training with COLUMNS; empty if it has none yet.

    A last line that a kill cut short is left out.
    """
    try:
        lines = (pathlib.Path(folder) / HISTORY).read_text(encoding="utf-8").splitlines(True)[1:]
    except FileNotFoundError:
        lines = []
    rows = [line.rstrip().split(",") for line in lines if line.endswith("\n")]
    table = pd.DataFrame(rows, columns=COLUMNS)
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
