"""Atomic checkpoints of everything a training run is made of, and nothing that runs code."""

import pathlib
import shutil
from collections.abc import Sequence

import tensorflow as tf

KEPT = 2  # the newest, and the one before in case the newest is damaged
PREFIX = "ckpt"


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; the one before stands."""


class Checkpoints:
    """Saves and restores a list of variables in ``folder``, newest first.

    TensorFlow writes a checkpoint's data under another name, renames it, and writes the index last,
    so that a kill or a full disk at any moment leaves the one before as it was. Each tensor has a
    checksum, so that damage is found on reading.
    """

    def __init__(self, folder: pathlib.Path, variables: Sequence[tf.Variable]):
        self._folder = pathlib.Path(folder)
        self._checkpoint = tf.train.Checkpoint(variables=list(variables))
        for leftover in self._folder.glob("*_temp*"):  # of a save that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self._folder), KEPT, checkpoint_name=PREFIX
        )

    def save(self, number: int) -> None:
        """Writes checkpoint ``number`` and drops the oldest.

        Raises: CheckpointError: if it cannot be written, for example because the disk is full.
        """
        try:
            self._manager.save(checkpoint_number=number)
        except (tf.errors.OpError, OSError) as error:
            reason = str(getattr(error, "message", error)).splitlines()[0]
            raise CheckpointError(
                f"checkpoint {number} cannot be written to {self._folder} ({reason}); "
                "the one before stands"
            ) from None

    def restore(self) -> bool:
        """Restores the newest undamaged checkpoint; False if there is none.

        A damaged one may have restored a part of the variables, so False leaves them undefined.
        """
        return _restore_newest(self._folder, self._checkpoint, lambda s: s.assert_consumed())


def restore_weights(folder: pathlib.Path, variables: Sequence[tf.Variable]) -> bool:
    """Restores the leading variables only, a network's weights; False if there is no checkpoint."""
    checkpoint = tf.train.Checkpoint(variables=list(variables))

    def check(status):
        status.expect_partial()
        status.assert_existing_objects_matched()

    return _restore_newest(pathlib.Path(folder), checkpoint, check)


def _restore_newest(folder, checkpoint, check) -> bool:
    def number(index):
        return int(index.stem.removeprefix(f"{PREFIX}-"))

    # The files themselves are asked, not the small file that names the newest: it may be damaged.
    for index in sorted(folder.glob(f"{PREFIX}-*.index"), key=number, reverse=True):
        try:
            check(checkpoint.restore(str(index.with_suffix(""))))
            return True
        except Exception as error:  # TensorFlow's reader raises half a dozen kinds for damage
            reason = str(getattr(error, "message", error)).splitlines()[0]
            print(f"warning: checkpoint {index} is damaged ({reason}); trying the one before")
    return False
