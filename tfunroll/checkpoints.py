"""Atomic checkpoints of everything a training run is made of, and nothing that runs code."""

import pathlib
from collections.abc import Sequence

import tensorflow as tf

KEPT = 2  # the newest, and the one before in case the newest was damaged


class Checkpoints:
    """Saves and restores a list of variables in ``folder``, newest first.

    tf.train.CheckpointManager writes the data, then the index, then the small file that names the
    newest checkpoint, so a kill at any moment leaves the one before intact.
    """

    def __init__(self, folder: pathlib.Path, variables: Sequence[tf.Variable]):
        self._checkpoint = tf.train.Checkpoint(variables=list(variables))
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), KEPT)

    def save(self, number: int) -> None:
        """Writes checkpoint ``number`` and drops the oldest."""
        self._manager.save(checkpoint_number=number)

    def restore(self) -> bool:
        """Restores the newest readable checkpoint; False if there is none."""
        for path in reversed(self._manager.checkpoints):
            try:
                self._checkpoint.restore(path).assert_consumed()
                return True
            except (tf.errors.OpError, ValueError, AssertionError) as error:
                print(f"warning: checkpoint {path} is damaged, using the one before: {error}")
        return False


def restore_weights(folder: pathlib.Path, variables: Sequence[tf.Variable]) -> bool:
    """Restores the leading variables only, a network's weights; False if there is no checkpoint."""
    path = tf.train.latest_checkpoint(str(folder))
    if path is None:
        return False
    tf.train.Checkpoint(variables=list(variables)).restore(path).expect_partial()
    return True
