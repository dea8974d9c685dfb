"""Atomic checkpoints of everything a training run is made of, by name, and nothing that runs code.

A checkpoint is one .npz file: arrays named part/name, such as net/flat or optimizer/m, and the
version of this format. NumPy's own reader opens it.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired

import numpy as np
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from tfunroll.core import InputError
from tfunroll.files import read_arrays, read_json, replacing
from tfunroll.training.subspaces import mixed

KEPT = 2  # the newest, and the one before in case the newest is damaged
VERSION = 2  # of the format; the first was TensorFlow's, a list without names
PREFIX = "ckpt"
FINISHED = "training.json"  # beside a network's checkpoints, once it is trained to its end

Parts = Mapping[str, Mapping[str, np.ndarray]]


class Outcome(TypedDict):
    """training.json: what a training came to, as fit.Trained says."""

    training_loss: float
    validation_error: float
    updates: int
    skipped: int
    reasons: tuple[str, ...]
    seconds: float
    processor_seconds: NotRequired[float]  # runs of earlier versions have none
    ladder: NotRequired[dict[str, Any]]  # of trainings with one, as Ladder.summary says


class Last(TypedDict):
    """What of training.json says that a training has come to its end, and where."""

    updates: int


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; the one before stands."""


class DamagedError(InputError):
    """A checkpoint cannot be read."""


class Checkpoints:
    """The checkpoints in a folder, numbered by updates.

    A file is written under another name and renamed, so that a kill or a full disk at any moment
    leaves the one before as it was. Each array has a checksum, so that damage is found on reading.
    No other file says which one is the newest.
    """

    def __init__(self, folder: str | pathlib.Path):
        self.folder = pathlib.Path(folder)

    def numbers(self) -> list[int]:
        """Of all complete checkpoints, newest first."""
        names = (path.stem.removeprefix(f"{PREFIX}-") for path in self._files())
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def save(self, number: int, parts: Parts) -> None:
        """Writes checkpoint ``number`` and drops all but the newest up to it, and what kills left.

        Raises: CheckpointError: if it cannot be written, for example because the disk is full.
        """
        arrays = {
            f"{p}/{n}": np.asarray(v) for p, values in parts.items() for n, v in values.items()
        }
        try:
            with replacing(self._path(number)) as new:
                np.savez(new, version=np.array(VERSION), **arrays)
        except OSError as error:
            raise CheckpointError(
                f"checkpoint {number} cannot be written to {self.folder} "
                f"({error.strerror or error}); the one before stands"
            ) from None
        kept = {self._path(n) for n in [n for n in self.numbers() if n <= number][:KEPT]}
        for path in [*self._files(), *self.folder.glob(f".*-{PREFIX}-*.npz")]:
            if path not in kept:
                path.unlink(missing_ok=True)

    def read(self, number: int) -> dict[str, dict[str, np.ndarray]]:
        """The parts of one checkpoint.

        Raises: DamagedError: if it is missing or damaged. InputError: of another version.
        """
        path, parts = self._path(number), {}
        try:
            values = read_arrays(path)
            version = int(values.pop("version"))
            for key, value in values.items():
                part, name = key.split("/", 1)
                parts.setdefault(part, {})[name] = value
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"checkpoint {path} is damaged ({error})") from None
        if version != VERSION:
            raise InputError(
                f"checkpoint {path} has version {version} of its format, needed is {VERSION}"
            )
        return parts

    def restore(self, like: Parts, number: int | None = None) -> dict | None:
        """The parts of the newest undamaged checkpoint, or of ``number``; None if there is none.

        Args: like: the parts that it must have, with arrays of the same shapes and types.
        Raises:
          DamagedError: if there are some and all are damaged, or ``number`` is or is missing.
          InputError: if one holds other parts, naming what differs.
        """
        numbers = self.numbers()
        self._refuse_old(numbers)
        if number is not None and numbers:
            numbers = [number]
        for candidate in numbers:
            try:
                parts = self.read(candidate)
            except DamagedError as error:
                if candidate == numbers[-1]:
                    raise DamagedError(
                        f"{error}, and no other is left: delete {self.folder} to train this "
                        "network from its start"
                    ) from None
                print(f"warning: {error}; trying the one before", flush=True)
            else:
                _check(self._path(candidate), parts, like)
                return parts
        return None

    def weights(
        self, like: Mapping[str, np.ndarray], alpha: float | Sequence[float] | None = None
    ) -> np.ndarray:
        """The weights of the newest checkpoint, which for a finished network is its last.

        Their average, where one was kept.

        Args:
          like: the part "net" that it must have.
          alpha: a point of a subspace, see subspaces.mixed; its middle if None.
        Raises: DamagedError: if it cannot be read. InputError: if it is missing or another net's.
        """
        numbers = self.numbers()
        self._refuse_old(numbers)
        if not numbers:
            raise InputError(f"no checkpoint in {self.folder}")
        finished = finished_at(self.folder.parent)
        number = numbers[0] if finished is None else finished
        try:
            parts = self.read(number)
        except DamagedError as error:
            raise DamagedError(
                f"{error}: scripts/train.py --resume trains this network again from the one before"
            ) from None
        _check(self._path(number), {"net": parts.get("net", {})}, {"net": like})
        flat = parts.get("average", parts.get("subspace", parts["net"]))["flat"]
        return mixed(flat.reshape(-1, like["flat"].size), alpha)

    def is_whole(self, number: int) -> bool:
        """Whether a checkpoint is there and undamaged, whatever it holds."""
        try:
            self.read(number)
        except InputError:
            return False
        return True

    def _refuse_old(self, numbers):
        if not numbers and any(self.folder.glob(f"{PREFIX}-*.index")):
            raise InputError(
                f"{self.folder} holds checkpoints of an earlier version of tfunroll, which keeps "
                "networks otherwise: train anew with the settings that it was trained "
                "with, scripts/train.py --flagfile=RUN/flagfile.txt --out=NEW"
            )

    def _path(self, number):
        return self.folder / f"{PREFIX}-{number}.npz"

    def _files(self):
        return self.folder.glob(f"{PREFIX}-*.npz")


def finished_at(folder: pathlib.Path) -> int | None:
    """The last update of the network in ``folder``; None while it is not trained to its end."""
    try:
        return read_json(folder / FINISHED, Last)["updates"]
    except InputError:  # a damaged file too: the network is then trained to its end again
        return None


def _check(path, parts: Parts, like: Parts) -> None:
    for part in dict.fromkeys((*like, *parts)):
        if part not in parts or part not in like:
            raise _unlike(path, part, "missing" if part not in parts else "unknown here")
        ours, theirs = like[part], parts[part]
        for name in dict.fromkeys((*ours, *theirs)):
            if name not in theirs or name not in ours:
                what = "missing" if name not in theirs else "unknown here"
                raise _unlike(path, part, f"{name} is {what}")
            mine, other = np.asarray(ours[name]), theirs[name]
            if mine.dtype.kind == "U":  # a description, such as the layout of the weights
                if mine != other:
                    raise _unlike(path, part, _difference(str(other), str(mine)))
            elif (mine.dtype, mine.shape) != (other.dtype, other.shape):
                raise _unlike(
                    path,
                    part,
                    f"{name} is {other.dtype} {list(other.shape)}, needed is {mine.dtype} "
                    f"{list(mine.shape)}",
                )


def _difference(theirs: str, ours: str) -> str:
    """The first of two lists of weights that is not the same."""
    pairs = zip(theirs.split("; "), ours.split("; "), strict=False)
    for number, (a, b) in enumerate(pairs, start=1):
        if a != b:
            return f"weight {number} is {a}, needed is {b}"
    return f"it holds {theirs.count(';') + 1} weights, needed are {ours.count(';') + 1}"


def _unlike(path, part, difference) -> InputError:
    return InputError(
        f"checkpoint {path} does not fit this training: part {part}: {difference}; go on with the "
        "version of tfunroll and the System that wrote it, or start a new run"
    )
