"""What happens between compiled calls of a training: one protocol for all of it.

A callback says at multiples of how many updates it wants its turn (``every``), and is told what is
recorded. Those of ours: Validation, Checkpoint, History (history.csv), TensorBoard, Progress,
Every. A callback of your own is a subclass with the methods that it needs:

    class BestWeights(tfunroll.callbacks.Callback):
        every = 500
        def turn(self, fit):
            if fit.validation < self.best: ...
"""

import pathlib
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfunroll.core import InputError
from tfunroll.data.trajectories import Trajectories, check_split
from tfunroll.solvers.external import solver_errors
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems.base import System
from tfunroll.training.records import HistoryFile, TensorBoardFiles

SECONDS_PER_CHECKPOINT = 300.0  # at most, besides the interval in updates
ERROR = "validation/relative_error"  # as it is recorded


class Callback:
    """Base of all callbacks: does nothing.

    ``fit`` is the training in progress, trainer.Fit: its update, stage, flat weights, records.
    A Trainer copies its callbacks for each training, so that attributes set in ``begin`` belong to
    one network; what ``prepare`` sets is shared.

    Attributes:
      every: turns come at multiples of this many updates; 0: never.
    """

    every: int = 0

    def prepare(self, trainer) -> None:
        """Once per Trainer: checks, compiled functions."""

    def begin(self, fit) -> None:
        """Before the first update of a training, or after it was restored."""

    def called(self, fit) -> None:
        """After each compiled call, of some updates, and the turns at its end."""

    def turn(self, fit) -> None:
        """At a multiple of ``every``."""

    def recorded(self, fit, scalars: dict[str, float]) -> None:
        """Values were recorded at fit.update, by name."""

    def pictured(self, fit, name: str, rollout: np.ndarray, reference: np.ndarray) -> None:
        """A rollout, [frame, *space, channel], and its reference were recorded."""

    def skipped(self, fit, reason: str) -> None:
        """An update was not applied."""

    def enter_stage(self, fit) -> None:
        """A stage begins; not called where a training goes on within one."""

    def end(self, fit) -> None:
        """After the last update."""

    def close(self) -> None:
        """Always, also where training failed."""

    def save(self) -> dict[str, np.ndarray]:
        """What a checkpoint must keep for this callback, by name; empty: nothing.

        Asked before ``begin`` too: names, shapes and types are always the same.
        """
        return {}

    def restore(self, values: dict[str, np.ndarray]) -> None:
        """The inverse of ``save``; before ``begin``."""


class Validation(Callback):
    """The error of rollouts over states that training has not seen.

        mean over rollouts of  mean(u − r)² / max(r²),  over frames, space and measured channels

    Its first, second, fourth, eighth, … and last turn give a picture, as drawing takes time.

    Args:
      split: such as data.validation.
      every: updates between validations; there is one at the end of training in any case.
      horizon: frames; limited to the trajectories' length.
      measured: channels that count.
    """

    STARTS = 4  # start frames per trajectory

    def __init__(
        self,
        split: Trajectories,
        every: int = 500,
        horizon: int = 12,
        measured: slice = slice(None),
    ):
        if every < 1 or horizon < 1:
            raise InputError(f"every={every} and horizon={horizon} must be at least 1")
        self.every, self.horizon, self.measured = every, horizon, measured
        self.split = check_split("split", split)

    def prepare(self, trainer) -> None:
        states, dtype = self.split.states, trainer.dtype
        horizon = min(self.horizon, states.shape[1] - 1)
        starts = np.linspace(0, states.shape[1] - 1 - horizon, self.STARTS).astype(int)
        windows = np.concatenate([states[:, s : s + horizon + 1] for s in starts])
        truth = tf.constant(windows, dtype)
        params = {
            name: tf.constant(np.tile(values, len(starts)), dtype)
            for name, values in self.split.params.items()
        }

        def compiled(objective):
            @tf.function(jit_compile=trainer.jit, autograph=False)
            def validate(flat):
                reference = truth[:, 1:]
                states = rollout(objective.at(flat).bind(params), truth[:, 0], horizon)
                axes = list(range(1, states.shape.rank))
                u, r = (field[..., self.measured] for field in (states, reference))
                error = tf.reduce_mean(tf.math.squared_difference(u, r), axes)
                error /= tf.reduce_max(tf.square(r), axes)
                return tf.cast(tf.reduce_mean(error), tf.float32), states[0], reference[0]

            return validate

        self.compiled, self.validate = compiled, compiled(trainer.objective)

    def begin(self, fit) -> None:
        self._last = self._pictured = -1

    def turn(self, fit) -> None:
        with solver_errors():
            error, *self._states = self.validate(fit.averaged)
        self._last, fit.validation = fit.update, float(error)
        fit.record({ERROR: fit.validation})
        number = fit.update // self.every
        if number & (number - 1) == 0:
            self._picture(fit)

    def end(self, fit) -> None:
        if self._last != fit.update:  # else it was just validated
            self.turn(fit)
        if self._pictured != fit.update:
            self._picture(fit)

    def _picture(self, fit) -> None:
        self._pictured = fit.update
        sample, reference = self._states
        fit.picture("validation/rollout", sample.numpy(), reference.numpy())


class Checkpoint(Callback):
    """Saves the training in its folder, at least every five minutes."""

    def __init__(self, every: int = 500):
        if every < 1:
            raise InputError(f"checkpoint_every={every} must be at least 1")
        self.every = every

    def begin(self, fit) -> None:
        self._saved = time.monotonic()

    def called(self, fit) -> None:
        if time.monotonic() - self._saved > SECONDS_PER_CHECKPOINT:
            self.turn(fit)

    def turn(self, fit) -> None:
        fit.save()
        self._saved = time.monotonic()

    def end(self, fit) -> None:
        fit.save()


class History(Callback):
    """Writes what is recorded to ``folder``/history.csv; by default in the training's folder."""

    def __init__(self, folder: str | pathlib.Path | None = None):
        self._folder = folder

    def begin(self, fit) -> None:
        self._file = HistoryFile(_folder(self._folder, fit, "History"))
        self._file.start(fit.update)

    def recorded(self, fit, scalars) -> None:
        self._file.scalars(fit.update, scalars)


class TensorBoard(Callback):
    """Scalars, pictures and skipped updates for TensorBoard.

    Args:
      folder: where; by default the training's.
      system: whose states pictures show; by default that of the training data, if they know it.
    """

    def __init__(self, folder: str | pathlib.Path | None = None, system: System | None = None):
        self._folder, self._system = folder, system

    def begin(self, fit) -> None:
        folder = _folder(self._folder, fit, "TensorBoard")
        self._files = TensorBoardFiles(folder, self._system or fit.trainer.system)
        self._files.start(fit.update, fit.began_from)

    def recorded(self, fit, scalars) -> None:
        self._files.scalars(fit.update, scalars)

    def pictured(self, fit, name, rollout, reference) -> None:
        self._files.picture(fit.update, name, rollout, reference)

    def skipped(self, fit, reason) -> None:
        self._files.text(fit.update, "training/skipped", reason)

    def close(self) -> None:
        if hasattr(self, "_files"):
            self._files.close()


class Progress(Callback):
    """A progress bar with an estimate of the time left, and the loss; of states processed."""

    def begin(self, fit) -> None:
        layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
        self._bar = tqdm(total=fit.states_in_all, desc=fit.name, bar_format=layout)
        self.report(fit.states_done)

    def called(self, fit) -> None:
        self.report(fit.states_done - self._reported)
        self._bar.set_postfix_str(f"update {fit.update}, loss {fit.loss:.3g}")

    def report(self, states: int) -> None:
        """Advances the bar."""
        self._reported = getattr(self, "_reported", 0) + states
        self._bar.update(states)

    def close(self) -> None:
        if hasattr(self, "_bar"):
            self._bar.close()


class Every(Callback):
    """Calls ``function(fit)`` at multiples of ``every`` updates."""

    def __init__(self, every: int, function: Callable):
        if every < 1:
            raise InputError(f"every={every} must be at least 1")
        self.every, self._function = every, function

    def turn(self, fit) -> None:
        self._function(fit)


class Plateau(Callback):
    """Halves the rate of a stage after ``patience`` validations without gain: Schedule.plateau.

    A ladder is asked first: validations count from when it has no rung left, or going up no longer
    pays (Fit.settled).
    """

    GAIN = 0.999

    def __init__(self, patience: int):
        self.patience, self.best, self.waited = patience, np.float32(np.inf), 0

    def enter_stage(self, fit) -> None:
        self.best, self.waited = np.float32(np.inf), 0

    def recorded(self, fit, scalars) -> None:
        error = scalars.get(ERROR)
        if error is None:
            return
        if not fit.settled:
            self.best, self.waited = np.float32(np.inf), 0
            return
        if error < self.GAIN * self.best:
            self.best, self.waited = np.float32(error), 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            fit.rate_factor *= 0.5
            self.waited = 0

    def save(self):
        return {"best": np.float32(self.best), "waited": np.int64(self.waited)}

    def restore(self, values) -> None:
        self.best, self.waited = np.float32(values["best"]), int(values["waited"])


def _folder(folder, fit, name) -> pathlib.Path:
    if folder is None and fit.folder is None:
        raise InputError(f"{name}: needs a folder, its own or that of fit(folder=...)")
    return pathlib.Path(folder if folder is not None else fit.folder)
