"""One training in progress, as callbacks see it, and the loop over stages and compiled calls."""

import collections
import copy
import pathlib
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.solvers.external import solver_errors
from tfunroll.training import core, guard
from tfunroll.training.callbacks import Checkpoint, Plateau
from tfunroll.training.checkpoints import Checkpoints, Outcome, finished_at
from tfunroll.training.ladders import Climbing, Horizons, Ladder
from tfunroll.training.records import COLUMNS
from tfunroll.training.schedule import Schedule

UPDATES_PER_CALL = 100  # at most; one host round trip for this many updates
GUARD_PATIENCE = 200  # skipped updates in a row that stop a training
DIAGNOSES = 10  # of skipped updates, per network
FIRST_CALLS = 10  # updates per call while their speed is unknown
SECONDS_PER_CALL = 2.0  # about; a stop waits no longer
RECORD_EVERY = 100  # updates between records, besides those at turns and stages' ends
CHECKPOINTS = "checkpoints"  # in a training's folder


class TrainingDivergedError(RuntimeError):
    """So many updates in a row were skipped that going on is pointless."""


class TrainingStoppedError(RuntimeError):
    """Training was asked to stop; its state is saved where it has a folder."""


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
      weights: [P], of the last update; with an average, that; of a subspace, the middle.
      ends: of a subspace, [ends, P]; of one network None.
      training_loss: running mean over applied updates. validation_error: of the last validation.
      updates: done. skipped: of them, with reasons, of the first ones.
      seconds, processor_seconds: of this call; the latter, of all threads, does not depend on what
        else runs.
      history: what was recorded in this call, with columns update, quantity, value.
      ladder: rungs, and the solver's iterations, where there is one: Climbing.report.
    """

    weights: np.ndarray
    ends: np.ndarray | None
    training_loss: float
    validation_error: float
    updates: int
    skipped: int
    reasons: tuple[str, ...]
    seconds: float
    processor_seconds: float
    history: pd.DataFrame
    ladder: dict[str, object] | None = None

    def summary(self) -> Outcome:
        """All but weights and history, as plain values."""
        values = {name: getattr(self, name) for name in Outcome.__annotations__}
        return {name: value for name, value in values.items() if value is not None}


class Fit:
    """One network's training in progress, as callbacks see it.

    Attributes:
      trainer: its Trainer. seed, name: as given. folder: or None.
      update: updates done. stage: the one that goes on, from 0.
      flat: the weights now, [P]; of a subspace those of its ends, one after the other.
      loss, skipped, skipped_in_row: of the gradient guard.
      validation: error of the last validation; NaN before the first.
      rate_factor: by which a callback lowers the stage's rate; 1 again in the next stage.
      reasons: why updates were skipped.
    """

    def __init__(self, trainer, seed, folder, start, weights, name):
        self.trainer, self.seed = trainer, seed
        self.folder = None if folder is None else pathlib.Path(folder)
        self.name = name or f"seed {seed}"
        self.update = self.stage = 0
        self.loss, self.skipped, self.skipped_in_row = 0.0, 0, 0
        self.validation, self.rate_factor = float("nan"), 1.0
        self.reasons: list[str] = []
        self.stopping = False
        self.flat: tf.Tensor = None
        self.state: dict = {}  # optimizer, guard, and the average if there is one
        self._start = None if start is None else pathlib.Path(start)
        self._weights = weights
        self._records: list[tuple[int, str, float]] = []
        plateau = trainer.schedule.plateau
        own = [*trainer.callbacks, *filter(None, [trainer.horizons()])]
        own += [Plateau(plateau)] if plateau else []
        if folder is not None and not any(isinstance(c, Checkpoint) for c in own):
            own.append(Checkpoint())
        own.sort(key=lambda callback: isinstance(callback, Checkpoint))
        self.callbacks = [copy.copy(callback) for callback in own]
        self.climbing = next((c for c in self.callbacks if isinstance(c, Climbing)), None)
        self.ladder = self.climbing if isinstance(self.climbing, Ladder) else None

    # ------------------------------------------------------------- for callbacks

    @property
    def averaged(self) -> tf.Tensor:
        """The average of the weights, or the weights where none is kept, as ``flat``."""
        return self.state.get("average", self.flat)

    @property
    def rung(self) -> int | None:
        """The solver's number for the next update; None where no ladder changes it."""
        return self.ladder.rung(self) if self.ladder is not None and self.ladder.moves else None

    @property
    def settled(self) -> bool:
        """Whether no ladder has a better use for a plateau than the learning rate."""
        return self.climbing is None or self.climbing.settled or self.climbing.over(self)

    @property
    def schedule(self) -> Schedule:
        """The stages of this training; of an automatic schedule, those so far."""
        ends = self.climbing.begun[1:] if isinstance(self.climbing, Horizons) else ()
        return self.trainer.schedule.parted([end for end in ends if end >= 0])

    @property
    def states_in_all(self) -> int:
        """States that the whole training processes."""
        return self.trainer.schedule.states

    @property
    def states_done(self) -> int:
        """States processed so far."""
        return self.trainer.schedule.states_at(self.update)

    @property
    def began_from(self) -> pathlib.Path | None:
        """Folder of the training whose state this one took, if there is one."""
        return self._start

    @property
    def states_before(self) -> int:
        """States that the training processed which this one began from."""
        number = None if self._start is None else self._start_number()
        return self.trainer.schedule.states_at(number or 0)

    def record(self, scalars: dict[str, float]) -> None:
        """Tells every callback values by name, and keeps them."""
        scalars = {name: float(value) for name, value in scalars.items()}
        self._records += [(self.update, name, value) for name, value in scalars.items()]
        self.tell("recorded", scalars)

    def picture(self, name: str, rollout: np.ndarray, reference: np.ndarray) -> None:
        """Tells every callback a rollout and its reference, [frame, *space, channel]."""
        self.tell("pictured", name, rollout, reference)

    def save(self) -> None:
        """Writes a checkpoint, if the training has a folder."""
        if self.folder is not None:
            self._checkpoints.save(self.update, self._parts())

    def stop(self) -> None:
        """Asks the training to save its state and end with a TrainingStoppedError."""
        self.stopping = True

    # ------------------------------------------------------------- for the loop

    def tell(self, event: str, *args) -> None:
        """Calls a method of every callback."""
        for callback in self.callbacks:
            getattr(callback, event)(self, *args)

    @property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder / CHECKPOINTS)

    def at_start(self) -> None:
        """Before the first update, or after that of ``start``."""
        own = self.trainer._initial(self.seed) if self._weights is None else self._weights
        size = self.trainer.objective.size
        if np.shape(own) == (self.trainer.weights.size,):
            own = np.tile(own, size // self.trainer.weights.size)
        flat = tf.constant(own, self.trainer.dtype)
        if flat.shape != (size,):
            raise InputError(
                f"initial gives weights of shape {tuple(flat.shape)}, the network has "
                f"{self.trainer.weights.size}"
            )
        self.take(core.start(flat, self.trainer.optimizer, self.trainer.average))

    def numbers(self) -> list[int]:
        """Of the checkpoints in its folder, newest first."""
        return self._checkpoints.numbers() if self.folder is not None else []

    def has_whole(self, number: int) -> bool:
        """Whether a checkpoint of its folder can be read; warns of one that is damaged."""
        whole = self._checkpoints.is_whole(number)
        if not whole:
            print(f"warning: checkpoint {number} in {self.folder} is damaged", flush=True)
        return whole

    def restore(self, number: int | None = None) -> bool:
        """Takes the newest checkpoint, or ``number``; False if there is none."""
        if self.folder is None:
            return False
        parts = self._checkpoints.restore(self._parts(), number)
        if parts is None:
            return False
        self._take_parts(parts)
        return True

    def take_start(self) -> None:
        """Takes the state of the training in ``start``, if there is one."""
        if self._start is None:
            return
        checkpoints, number = Checkpoints(self._start / CHECKPOINTS), self._start_number()
        parts = None if number is None else checkpoints.restore(self._parts(), number)
        if parts is None:
            raise InputError(f"start: no checkpoint in {checkpoints.folder}")
        schedule = self.trainer.schedule
        ends = [schedule.before(n) for n in range(1, len(schedule.stages) + 1)]
        if number not in ends:
            raise InputError(
                f"start: {self._start} is at update {number}, where no stage of this schedule "
                f"ends; allowed: {', '.join(map(str, ends))}"
            )
        self._take_parts(parts)

    def _start_number(self) -> int | None:
        last = finished_at(self._start)
        newest = iter(Checkpoints(self._start / CHECKPOINTS).numbers())
        return next(newest, None) if last is None else last

    def take(self, carry: core.Carry, lane: int | None = None) -> None:
        """Reads what the loop carries, of one lane."""

        def own(tensor):
            return tensor if lane is None else tensor[lane]

        self.update = int(carry["update"])
        self.flat = own(carry["flat"])
        names = [name for name in ("optimizer", "guard", "average") if name in carry]
        self.state = {name: tf.nest.map_structure(own, carry[name]) for name in names}
        of_guard = self.state["guard"]
        self.loss = float(of_guard["loss"])
        self.skipped, self.skipped_in_row = (
            int(of_guard[name]) for name in ("skipped", "skipped_in_row")
        )

    def _parts(self):
        optimizer = {"name": np.array(type(self.trainer.optimizer).__name__)}
        parts = {
            "net": self.trainer.weights.part(self.trainer.objective.network(self.flat)),
        }
        if self.trainer.objective.subspace is not None:
            parts["subspace"] = {"flat": self.flat}
        parts |= {
            "optimizer": optimizer | self.state["optimizer"],
            "guard": self.state["guard"],
            "counters": {
                "update": np.int64(self.update),
                "rate_factor": np.float32(self.rate_factor),
                "validation": np.float32(self.validation),
            },
        }
        if "average" in self.state:
            parts["average"] = {"flat": self.state["average"]}
        for name, callback in self._named_callbacks():
            if values := callback.save():
                parts[name] = values
        return {
            part: {name: np.asarray(value) for name, value in values.items()}
            for part, values in parts.items()
        }

    def _take_parts(self, parts):
        optimizer = {k: v for k, v in parts["optimizer"].items() if k != "name"}
        carry = {
            "flat": parts.get("subspace", parts["net"])["flat"],
            "optimizer": optimizer,
            "guard": parts["guard"],
            "update": parts["counters"]["update"],
        }
        if "average" in parts:
            carry["average"] = parts["average"]["flat"]
        self.take(tf.nest.map_structure(tf.constant, carry))
        self.rate_factor = float(parts["counters"]["rate_factor"])
        self.validation = float(parts["counters"]["validation"])
        for name, callback in self._named_callbacks():
            if name in parts:
                callback.restore(parts[name])

    def _named_callbacks(self):
        """Each with its part of a checkpoint: its class's name, numbered from the second on."""
        seen = collections.Counter()
        for callback in self.callbacks:
            name = type(callback).__name__
            seen[name] += 1
            yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), callback

    def diverged(self) -> TrainingDivergedError:
        """Why the training cannot go on, in words."""
        return TrainingDivergedError(
            f"{self.name}: {self.skipped_in_row} updates in a row were skipped, the last one "
            f"{self.reasons[-1]}; try a smaller learning rate or a shorter horizon"
        )

    def result(self, began: float, worked: float) -> Trained:
        """What it came to."""
        objective = self.trainer.objective
        ends = None if objective.subspace is None else objective.subspace.apart(self.averaged)
        return Trained(
            weights=objective.network(self.averaged).numpy(),
            ends=None if ends is None else ends.numpy(),
            training_loss=self.loss,
            validation_error=self.validation,
            updates=self.update,
            skipped=self.skipped,
            reasons=tuple(self.reasons),
            seconds=time.monotonic() - began,
            processor_seconds=time.process_time() - worked,
            history=pd.DataFrame(self._records, columns=COLUMNS),
            ladder=None if self.climbing is None else self.climbing.report(self),
        )


def together(fits: list[Fit]) -> list[list[Fit]]:
    """Groups that can go on side by side: from a common checkpoint, or all from their starts.

    One that diverged, or trained alone before, may stand elsewhere than the others.
    """
    groups: list[tuple[set[int], list[Fit]]] = []
    for fit in fits:
        numbers = set(fit.numbers())
        for common, group in groups:
            if common & numbers or not common | numbers:
                common &= numbers
                group.append(fit)
                break
        else:
            groups.append((numbers, [fit]))
    return [group for _, group in groups]


class Run:
    """The loop over stages and compiled calls, for one seed or for several side by side."""

    def __init__(self, trainer, fits: list[Fit]):
        self.trainer, self.all = trainer, fits
        self.outcomes: dict[Fit, Trained | TrainingDivergedError] = {}

    def run(self) -> list[Trained | TrainingDivergedError]:
        began, worked = time.monotonic(), time.process_time()
        try:
            for fit in self.all:
                fit.at_start()
            self._restore()
            for fit in self.all:
                fit.tell("begin")
            self._stack(self.all)
            number = 0
            while self.fits and number < len(self.fits[0].schedule.stages):
                if self.fits[0].update < self.fits[0].schedule.before(number + 1):
                    self._stage(number)
                number += 1
            for fit in self.fits:
                fit.tell("end")
                self.outcomes[fit] = fit.result(began, worked)
        finally:
            for fit in self.all:
                for callback in fit.callbacks:
                    callback.close()
        return [self.outcomes[fit] for fit in self.all]

    def _restore(self):
        """All from checkpoints of the same update, or all from their starts."""
        if len(self.all) == 1:
            if not self.all[0].restore():
                self.all[0].take_start()
        else:
            common = sorted(set.intersection(*(set(fit.numbers()) for fit in self.all)))
            whole = [n for n in common if all(fit.has_whole(n) for fit in self.all)]
            for fit in self.all:
                if common:  # where all are damaged, restore says so
                    fit.restore((whole or common)[-1])
                else:
                    fit.take_start()
        if len({fit.update for fit in self.all}) > 1:
            raise InputError("start: the seeds that train together are at different updates")

    def _stack(self, fits):
        """Takes the state of these networks into what the loop carries."""
        self.fits = fits
        self.lanes = () if len(self.all) == 1 else (len(fits),)
        if not fits:
            return
        carries = [{"flat": fit.flat, **fit.state} for fit in fits]
        join = tf.nest.map_structure(lambda *of: tf.stack(of), *carries) if self.lanes else None
        self.carry = (join or carries[0]) | {"update": tf.constant(fits[0].update, tf.int64)}
        seeds = [fit.seed for fit in fits]
        self.seeds = tf.constant(seeds if self.lanes else seeds[0], tf.int64)

    def _stage(self, number: int):
        trainer, schedule = self.trainer, self.fits[0].schedule
        stage, before = schedule.stages[number], schedule.before(number)
        end, drawn = before + stage.updates, schedule.drawn(number)
        for fit in self.fits:
            fit.stage = number
        if self.fits[0].update == before:
            self.carry["guard"] = guard.enter_stage(self.carry["guard"])
            for fit in self.fits:
                fit.rate_factor = 1.0
                fit.tell("enter_stage")
        events = sorted({RECORD_EVERY, *(c.every for c in self.fits[0].callbacks if c.every)})
        most = trainer.updates_per_call(stage.unrolling.steps, stage.batch_size, self.lanes)
        length, compiling = min(FIRST_CALLS, most), True
        while self.fits and (update := self.fits[0].update) < end:
            stop = min(end, update + length, *(update - update % n + n for n in events))
            rung = None
            if len(self.fits) == 1 and (rung := self.fits[0].rung) is not None:
                full = self.fits[0].ladder.full_from(self.fits[0])
                stop = min(stop, full) if full > update else stop
            began = time.monotonic()
            factors = [fit.rate_factor for fit in self.fits]
            numbers = (stage.rate, float(stage.warmup), factors if self.lanes else factors[0])
            call = trainer._call(stage, self.lanes)
            with solver_errors():
                self.carry, out = call(
                    self.seeds,
                    self.carry,
                    *(tf.constant(n, tf.int64) for n in (before, drawn, stop)),
                    [tf.constant(n, tf.float32) for n in numbers],
                    None if rung is None else tf.constant(rung),
                )
            self._read()
            done = self.fits[0].update
            for fit in self.fits:
                if fit.ladder is not None:
                    fit.ladder.count(fit, done - update, rung)
            if not compiling:
                seconds = (time.monotonic() - began) / (done - update)
                length = int(min(max(SECONDS_PER_CALL / seconds, 1), most))
            compiling = False
            lost = [f for f in self.fits if self._after_call(f, number, out, done == end, rung)]
            if any(fit.stopping for fit in self.fits):
                for fit in self.fits:
                    fit.save()
                names = ", ".join(fit.name for fit in self.fits)
                raise TrainingStoppedError(f"{names}, update {done}")
            end = self.fits[0].schedule.before(number + 1)  # an automatic stage may be over
            if lost:
                self._stack([fit for fit in self.fits if fit not in lost])

    def _read(self):
        for lane, fit in enumerate(self.fits):
            fit.take(self.carry, lane if self.lanes else None)

    def _after_call(self, fit: Fit, number: int, out, ended: bool, rung: int | None) -> bool:
        """The turns of a network's callbacks; True if it cannot go on."""
        if fit.skipped_in_row:
            stopping = fit.skipped_in_row >= GUARD_PATIENCE
            if len(fit.reasons) < DIAGNOSES or stopping:
                reason = self.trainer.diagnose(fit, number)
                fit.reasons.append(f"update {fit.update}: {reason}")
                fit.tell("skipped", reason)
            if stopping and fit.ladder is not None and fit.ladder.go_up(fit):
                self.carry["guard"] = guard.forgive(self.carry["guard"])  # of looser physics
                self._read()
            elif stopping:
                fit.save()
                self.outcomes[fit] = fit.diverged()
                return True
        turns = [c for c in fit.callbacks if c.every and fit.update % c.every == 0]
        if ended or turns or fit.update % RECORD_EVERY == 0:
            lane = self.fits.index(fit)
            own = {k: v[lane] if self.lanes else v for k, v in out.items()}
            values = {
                "training/learning_rate": own["rate"],
                "training/gradient_norm": own["gradient_norm"],
                "training/loss": fit.loss,
                "training/skipped": fit.skipped,
                "training/horizon": fit.schedule.stages[number].unrolling.steps,
            }
            if rung is not None:
                values["training/rung"] = rung
            norms = enumerate(own["by_step"].numpy(), start=1)
            fit.record(values | {f"gradient_by_step/{k:02d}": norm for k, norm in norms})
        for callback in turns:
            callback.turn(fit)
        fit.tell("called")  # last, so that a checkpoint by the clock holds what turns have changed
        return False
