"""Atomic checkpoints of everything a training run is made of, and nothing that runs code."""

import json
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError

KEPT = 2  # the newest, and the one before in case the newest is damaged
PREFIX = "ckpt"
FINISHED = "training.json"  # beside a network's checkpoints, once it is trained to its end
_KEYS = "variables/"  # of the tensors in a checkpoint; each has its place in the list of variables


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; the one before stands."""


class DamagedError(InputError):
    """A checkpoint cannot be read."""


class Checkpoints:
    """Saves and restores a list of variables in ``folder``, newest first.

    TensorFlow writes a checkpoint's data under another name, renames it, and writes the index last,
    so that a kill or a full disk at any moment leaves the one before as it was. Each tensor has a
    checksum, so that damage is found on reading. No other file says which one is the newest.
    """

    def __init__(self, folder: pathlib.Path, variables: Sequence[tf.Variable]):
        self._folder, self._variables = pathlib.Path(folder), list(variables)
        self._checkpoint = tf.train.Checkpoint(variables=self._variables)

    def save(self, number: int) -> None:
        """Writes checkpoint ``number`` and drops all but the newest up to it, and what kills left.

        Raises: CheckpointError: if it cannot be written, for example because the disk is full.
        """
        try:
            self._checkpoint.write(str(_prefix(self._folder, number)))
        except (tf.errors.OpError, OSError) as error:
            raise CheckpointError(
                f"checkpoint {number} cannot be written to {self._folder} ({_reason(error)}); "
                "the one before stands"
            ) from None
        kept = [n for n in _numbers(self._folder) if n <= number][:KEPT]
        names = {_prefix(self._folder, n).name for n in kept}
        for path in self._folder.glob(f"{PREFIX}-*"):
            if path.is_dir():  # of a save that was killed
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.split(".")[0] not in names:
                path.unlink(missing_ok=True)

    def restore(self, number: int | None = None) -> bool:
        """Restores the newest undamaged checkpoint, or ``number``; False if there is none at all.

        Raises:
          DamagedError: if there are some and all are damaged, or ``number`` is or is missing.
          InputError: if one holds other variables, naming what differs.
        """
        numbers = _numbers(self._folder)
        if number is not None and numbers:
            numbers = [number]
        for candidate in numbers:
            try:
                values = _read(_prefix(self._folder, candidate), self._variables, exact=True)
            except DamagedError as error:
                if candidate == numbers[-1]:
                    raise DamagedError(
                        f"{error}, and no other is left: delete {self._folder} to train this "
                        "network from its start"
                    ) from None
                print(f"warning: {error}; trying the one before", flush=True)
            else:
                _assign(self._variables, values)
                return True
        return False


def restore_weights(folder: pathlib.Path, variables: Sequence[tf.Variable]) -> bool:
    """Restores the leading variables only, a network's weights; False if there is no checkpoint.

    Only the newest will do, which for a finished network is that of its last update.

    Raises:
      DamagedError: if it cannot be read. InputError: if it holds other variables.
    """
    folder = pathlib.Path(folder)
    if not (numbers := _numbers(folder)):
        return False
    number = finished_at(folder.parent)
    try:
        prefix = _prefix(folder, numbers[0] if number is None else number)
        _assign(variables, _read(prefix, variables, exact=False))
    except DamagedError as error:
        raise DamagedError(
            f"{error}: scripts/train.py --resume trains this network again from the one before"
        ) from None
    return True


def finished_at(folder: pathlib.Path) -> int | None:
    """The last update of the network in ``folder``; None while it is not trained to its end."""
    try:
        return int(json.loads((folder / FINISHED).read_text(encoding="utf-8"))["updates"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_whole(folder: pathlib.Path, number: int) -> bool:
    """Whether checkpoint ``number`` in ``folder`` is there and undamaged, whatever it holds."""
    try:
        reader = _reader(_prefix(folder, number))
        for key in reader.get_variable_to_shape_map():
            reader.get_tensor(key)
    except Exception:  # see _read
        return False
    return True


def _prefix(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{PREFIX}-{number}"


def _numbers(folder: pathlib.Path) -> list[int]:
    """Of all complete checkpoints, newest first."""
    names = (path.stem.removeprefix(f"{PREFIX}-") for path in folder.glob(f"{PREFIX}-*.index"))
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def _reader(prefix: pathlib.Path):
    return tf.train.load_checkpoint(str(prefix))


def _read(prefix: pathlib.Path, variables: Sequence[tf.Variable], exact: bool) -> list[np.ndarray]:
    """The values of the variables in a checkpoint, which ``exact`` may hold no others."""
    keys = [f"{_KEYS}{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(len(variables))]
    try:  # TensorFlow's reader raises half a dozen kinds for damage
        reader = _reader(prefix)
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except Exception as error:
        raise DamagedError(f"checkpoint {prefix} is damaged ({_reason(error)})") from None
    held = sum(key.startswith(_KEYS) for key in shapes)
    if held < len(keys) or (exact and held > len(keys)):
        raise _unlike(prefix, f"it holds {held} variables, needed are {len(keys)}")
    for key, variable in zip(keys, variables, strict=True):
        theirs = f"{dtypes[key].name} {shapes[key]}"
        ours = f"{variable.dtype.name} {variable.shape.as_list()}"
        if theirs != ours:
            raise _unlike(prefix, f"its {variable.name} is {theirs}, needed is {ours}")
    try:
        return [reader.get_tensor(key) for key in keys]
    except Exception as error:
        raise DamagedError(f"checkpoint {prefix} is damaged ({_reason(error)})") from None


def _unlike(prefix: pathlib.Path, difference: str) -> InputError:
    return InputError(
        f"checkpoint {prefix} does not fit this network and optimizer: {difference}; go on with "
        "the version of tfunroll and the System that wrote it, or start a new run"
    )


def _assign(variables: Sequence[tf.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", error)).splitlines()[0]
