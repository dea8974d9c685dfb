"""What a training run tells TensorBoard."""

import pathlib

import matplotlib
import numpy as np
import tensorflow as tf


class Summaries:
    """Writes the scalars, images and hyperparameters of one network to ``folder``."""

    def __init__(self, folder: pathlib.Path):
        self._writer = tf.summary.create_file_writer(str(folder))

    def updates(self, update: int, values: dict[str, float], by_step: np.ndarray) -> None:
        """Scalars of the latest updates; ``by_step``: ‖∂loss/∂(state entering step k)‖."""
        with self._writer.as_default(step=update):
            for name, value in values.items():
                tf.summary.scalar(f"training/{name}", value)
            for k, norm in enumerate(by_step, start=1):
                tf.summary.scalar(f"gradient_by_step/{k:02d}", norm)

    def validation(self, update: int, error: float, rollout: np.ndarray, reference: np.ndarray):
        """The rollout error, and an image of one rollout: reference, network, difference."""
        with self._writer.as_default(step=update):
            tf.summary.scalar("validation/relative_error", error)
            tf.summary.image("validation/rollout", _panels(rollout, reference)[None])

    def skipped(self, update: int, reason: str) -> None:
        """Why an update was not applied."""
        with self._writer.as_default(step=update):
            tf.summary.text("training/skipped", reason)

    def hyperparameters(self, settings: dict, metrics: dict[str, float]) -> None:
        """One row of TensorBoard's HParams page."""
        from tensorboard.plugins.hparams import api

        with self._writer.as_default(step=0):
            api.hparams(settings)
            for name, value in metrics.items():
                tf.summary.scalar(f"final/{name}", value)

    def close(self) -> None:
        self._writer.close()


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
