"""The Trainer: takes the network of a stepper through a schedule, one seed or several at once."""

import copy
import pathlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tfunroll.core import InputError, Stepper
from tfunroll.data import Trajectories
from tfunroll.data.windows import Windows
from tfunroll.nets.weights import Weights
from tfunroll.solvers.external import solver_errors
from tfunroll.stepping.losses import Loss, Supervised
from tfunroll.stepping.unrolling import Unrolling
from tfunroll.training import core, guard
from tfunroll.training.callbacks import Callback, Checkpoint, Plateau, Progress, Validation
from tfunroll.training.checkpoints import Checkpoints, DamagedError, finished_at
from tfunroll.training.optimizers import Adam
from tfunroll.training.records import COLUMNS
from tfunroll.training.schedule import Schedule, Stage

UPDATES_PER_CALL = 100  # at most; one host round trip for this many updates
GUARD_PATIENCE = 200  # skipped updates in a row that stop a training
DIAGNOSES = 10  # of skipped updates, per network
FIRST_CALLS = 10  # updates per call while their speed is unknown
SECONDS_PER_CALL = 2.0  # about; a stop waits no longer
RECORD_EVERY = 100  # updates between records, besides those at turns and stages' ends
# Up to so many steps are written out one after the other in a stage of so many updates: faster by 7
# to 19 %, and slower to compile by seconds, than the loop over steps that other stages have.
WRITTEN_OUT, LONG_STAGE = 4, 5000
CHECKPOINTS = "checkpoints"  # in a training's folder


class TrainingDivergedError(RuntimeError):
    """So many updates in a row were skipped that going on is pointless."""


class TrainingStoppedError(RuntimeError):
    """Training was asked to stop; its state is saved where it has a folder."""


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
      weights: [P], of the last update.
      training_loss: running mean over applied updates. validation_error: of the last validation.
      updates: done. skipped: of them, with reasons, of the first ones.
      seconds, processor_seconds: of this call; the latter, of all threads, does not depend on what
        else runs.
      history: what was recorded in this call, with columns update, quantity, value.
    """

    weights: np.ndarray
    training_loss: float
    validation_error: float
    updates: int
    skipped: int
    reasons: tuple[str, ...]
    seconds: float
    processor_seconds: float
    history: pd.DataFrame

    def summary(self) -> dict[str, object]:
        """All but weights and history, as plain values."""
        values = {k: v for k, v in vars(self).items() if k not in ("weights", "history")}
        return values | {"reasons": list(self.reasons)}


class Trainer:
    """Trains the network of a stepper; nothing here knows of flags or registries.

        trainer = Trainer(stepper, data.train, [Stage(ONE, 2000), Stage(WIG(4), 1500, rate=1e-4)])
        trained = trainer.fit(seed=0, folder="runs/mine")

    Its compiled graphs serve all seeds, and other schedules by ``with_schedule``.

    Args:
      stepper: a Prediction, a correction, or your own with ``net``, a built Keras model, and
        ``bind``.
      data: the training split.
      schedule: a Schedule, a Stage, or several.
      loss: of losses, or your own; Supervised if None.
      optimizer: Adam() if None.
      noise: on the initial states, as a fraction of each channel's root mean square.
      callbacks: in the order of their turns; checkpoints come last. None: a progress bar.
      jit: compile by XLA: updates whole, or the network alone beside a solver that XLA cannot.
      rematerialise: recompute each step in the backward pass: less memory, more time.
      initial: seed -> weights [P] at the start; by default the network's own, drawn anew.
    Raises:
      InputError: for parts that do not fit each other.
    """

    def __init__(
        self,
        stepper: Stepper,
        data: Trajectories,
        schedule: Schedule | Stage | Sequence[Stage],
        *,
        loss: Loss | None = None,
        optimizer: Adam | None = None,
        noise: float = 0.0,
        callbacks: Sequence[Callback] | None = None,
        jit: bool = True,
        rematerialise: bool = False,
        initial: Callable[[int], np.ndarray] | None = None,
    ):
        if not hasattr(stepper, "net"):
            raise InputError(
                f"stepper is a {type(stepper).__name__} without a network (no attribute net); "
                "needed: a Prediction or a correction"
            )
        if not noise >= 0:
            raise InputError(f"noise={noise} must be at least 0")
        self.weights = Weights(stepper.net)
        self.dtype = self.weights.dtype
        loss = (Supervised() if loss is None else loss).fitted(stepper)
        self.objective = core.Objective(stepper, self.weights, loss, rematerialise, jit)
        self.windows = Windows(data, self.dtype)
        active = getattr(getattr(stepper, "features", None), "active", None)
        self._noise = noise * self.windows.rms(active) if noise else None
        self.optimizer = Adam() if optimizer is None else optimizer
        self._initial = initial or (lambda seed: redrawn(stepper.net, seed))
        self.callbacks = [Progress()] if callbacks is None else list(callbacks)
        self._calls: dict[tuple, tf.types.experimental.GenericFunction] = {}
        self._check_step()
        for callback in self.callbacks:
            callback.prepare(self)
        self._follow(Schedule.of(schedule))

    def with_schedule(self, schedule: Schedule | Stage | Sequence[Stage]) -> "Trainer":
        """The same with another schedule; the two share data and compiled graphs."""
        other = copy.copy(self)
        other._follow(Schedule.of(schedule))
        return other

    def at(self, flat: tf.Tensor) -> Stepper:
        """The stepper with these weights, [P]."""
        return self.objective.at(flat)

    @property
    def jit(self) -> bool:
        """Whether updates are compiled whole."""
        return self.objective.jit

    def fit(
        self,
        seed: int = 0,
        folder: str | pathlib.Path | None = None,
        *,
        start: str | pathlib.Path | None = None,
        weights: np.ndarray | None = None,
        name: str = "",
    ) -> Trained:
        """Trains to the end of the schedule, or on from the newest checkpoint in ``folder``.

        The stepper's network has the trained weights afterwards.

        Args:
          seed: of the initial weights, the order of the samples, and the noise.
          folder: for checkpoints, and what callbacks write; None: nothing is kept.
          start: folder of a training whose schedule is the first stages of this one; all its state
            is taken.
          weights: [P], to begin with in place of the seed's own.
          name: in messages and the progress bar.
        Raises:
          TrainingDivergedError: after GUARD_PATIENCE skipped updates in a row.
          TrainingStoppedError: if a callback asked for it.
          InputError: if a checkpoint is missing or damaged, or does not fit.
        """
        outcome = self.fit_together(
            [seed], [folder], starts=[start], weights=[weights], names=[name]
        )[0]
        if isinstance(outcome, TrainingDivergedError):
            raise outcome
        self.weights.write(outcome.weights)
        return outcome

    def fit_together(
        self,
        seeds: Sequence[int],
        folders: Sequence[str | pathlib.Path | None] | None = None,
        *,
        starts: Sequence[str | pathlib.Path | None] | None = None,
        weights: Sequence[np.ndarray | None] | None = None,
        names: Sequence[str] | None = None,
    ) -> list["Trained | TrainingDivergedError"]:
        """Trains several seeds side by side in one program, each as ``fit`` does alone.

        On a GPU, which one small network leaves idle, that takes little longer than one. Numbers
        are those of ``fit`` but for rounding. A network that diverges leaves the others alone.

        Returns: of each seed what it came to, or why it diverged.
        """
        count = len(seeds)
        if len(set(seeds)) < count or not count:
            raise InputError(f"seeds={list(seeds)} must be different, and at least one")
        none = [None] * count
        lists = folders or none, starts or none, weights or none, names or [""] * count
        fits = [Fit(self, seed, *of) for seed, *of in zip(seeds, *lists, strict=True)]
        return _Run(self, fits).run()

    def _follow(self, schedule):
        self.schedule, of_level = schedule, self.objective.of_level
        for stage in schedule.stages:
            self.windows.check(stage.unrolling.steps)
            of_level.check(stage.unrolling.steps)
            if stage.unrolling.steps > 1 and stage.unrolling.cut_every != 1:
                solver = getattr(self.objective.stepper, "solver", None)
                if solver is not None and not getattr(solver, "differentiable", True):
                    raise InputError(solver.without_gradient)
                if not of_level.differentiable:
                    raise InputError(
                        f"loss={type(of_level).__name__} has no gradient by the state, which WIG "
                        "needs; allowed: ONE, NOG"
                    )
        validated = any(isinstance(c, Validation) for c in self.callbacks)
        if schedule.plateau and not validated:
            raise InputError(f"plateau={schedule.plateau} needs a Validation among the callbacks")

    def _check_step(self):
        """InputError unless the network's output fits the state; else XLA would say so, longer."""
        stepper, dtype = self.objective.stepper, self.dtype
        features = getattr(stepper, "features", None)
        if features is None:
            return
        state, params = self.windows.example()
        space = tuple(state.shape[1:-1])
        inputs = features.bind(params)(state)
        try:
            out = stepper.net(inputs)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise InputError(
                f"net={stepper.net.name!r} does not take inputs {list(inputs.shape)}, [batch, "
                f"*space, channel] of the features: {' '.join(str(error).split())[:300]}"
            ) from None
        wanted = (1, *space, features.out_channels)
        if tuple(out.shape) != wanted:
            raise InputError(
                f"net={stepper.net.name!r} maps {list(inputs.shape)} to {list(out.shape)}, needed "
                f"is {list(wanted)}: [batch, *space, channels that the network changes]"
            )
        if state.dtype.name != dtype:
            raise InputError(f"states are {state.dtype.name}, the network's weights {dtype}")

    # ---------------------------------------------------------------- compiled

    def _call(self, stage: Stage, lanes: tuple[int, ...]):
        """The compiled function of many updates; traced once per unrolling, batch and lanes."""
        schedule, unrolling, batch = self.schedule, stage.unrolling, stage.batch_size
        loop = unrolling.steps > WRITTEN_OUT or stage.updates < LONG_STAGE
        loop = loop and unrolling.steps > 1
        key = (unrolling, batch, lanes, loop, schedule.decay_rate, schedule.decay_every)
        if key not in self._calls:
            self._calls[key] = self._build_call(unrolling, batch, lanes, loop)
        return self._calls[key]

    def _build_call(self, unrolling: Unrolling, batch: int, lanes: tuple[int, ...], loop: bool):
        objective, schedule, steps = self.objective, self.schedule, unrolling.steps
        dtype = tf.as_dtype(self.dtype)

        def one_update(carry, drawn, seeds, before, numbers):
            update = carry["update"]
            batch = self._sample(drawn, seeds, update, steps)
            gradient = objective.gradient(carry["flat"], batch, unrolling, loop)
            rate, warmup, factor = numbers
            rate = schedule.rate(update - before, rate, warmup) * factor
            out = {"loss": gradient.loss, "gradient_norm": gradient.norm}
            out |= {"by_step": gradient.by_step, "rate": rate}
            return core.apply(carry, gradient, rate, self.optimizer), out

        # One graph for all updates of a call, optimizer included: no host round trip between them.
        @tf.function(jit_compile=self.jit, autograph=False)
        def run(windows, seeds, carry, before, stop, numbers):
            probed = steps if objective.probed(unrolling) else 0
            empty = {
                "loss": tf.zeros(lanes, dtype),
                "gradient_norm": tf.zeros(lanes, dtype),
                "by_step": tf.zeros([*lanes, probed], dtype),
                "rate": tf.zeros(lanes),
            }
            entered = carry["update"]

            # A skipped update ends the call: the weights are then still those that it met, and
            # ``diagnose`` can say why.
            def goes_on(carry, _):
                fine = tf.reduce_all(carry["guard"]["skipped_in_row"] == 0)
                return (carry["update"] < stop) & (fine | (carry["update"] == entered))

            def body(carry, _):
                drawn = [tf.gather(part, carry["update"] - entered) for part in windows]
                return one_update(carry, drawn, seeds, before, numbers)

            return tf.while_loop(goes_on, body, (carry, empty))

        @tf.function(autograph=False)
        def call(seeds, carry, before, drawn, stop, numbers):
            # XLA has no shuffle, so the windows of a whole call are drawn outside it; their number
            # is always the same, for another would be another graph.
            position = drawn + (carry["update"] - before) * batch
            windows = self._draw(seeds, position, UPDATES_PER_CALL * batch, steps)
            shape = [*lanes, UPDATES_PER_CALL, batch]
            order = [1, 0, 2] if lanes else [0, 1]
            windows = [tf.transpose(tf.reshape(part, shape), order) for part in windows]
            return run(windows, seeds, carry, before, stop, numbers)

        return call

    def _draw(self, seeds, position, size, steps):
        """Trajectories and start frames, each [size], or [K, size]."""
        if not seeds.shape.rank:
            return self.windows.draw(seeds, position, size, steps)
        each = [self.windows.draw(seed, position, size, steps) for seed in tf.unstack(seeds)]
        return [tf.stack(parts) for parts in zip(*each, strict=True)]

    def _sample(self, drawn, seeds, update, steps) -> core.Batch:
        keys = tf.stack([seeds, tf.broadcast_to(update, seeds.shape)], -1)
        return core.sample(self.windows, drawn, steps, self._noise, keys)

    def diagnose(self, fit: "Fit", stage: int) -> str:
        """Why the update that was just skipped went bad, in words."""
        before, drawn = self.schedule.before(stage), self.schedule.drawn(stage)
        unrolling, size = (
            self.schedule.stages[stage].unrolling,
            self.schedule.stages[stage].batch_size,
        )
        steps, update = unrolling.steps, fit.update - 1
        seed = tf.constant(fit.seed, tf.int64)
        windows = self.windows.draw(seed, drawn + (update - before) * size, size, steps)
        batch = self._sample(windows, seed, tf.constant(update, tf.int64), steps)
        step, state = self.at(fit.flat).bind(batch.params), batch.start
        for k in range(steps):
            state = step(state)
            finite = np.isfinite(state.numpy()).reshape(size, -1).all(1)
            if not finite.all():
                sample = int(np.argmin(finite))
                trajectory, frame = self.windows.name(*(int(part[sample]) for part in windows))
                return (
                    f"the state became non-finite at unroll step {k + 1} of {steps} "
                    f"(trajectory {trajectory}, frame {frame + k + 1})"
                )
        by_step = self.objective.gradient(fit.flat, batch, unrolling).by_step
        bad = np.flatnonzero(~np.isfinite(by_step.numpy()))
        if bad.size:  # going back in time, the last step is the first to meet it
            return f"the gradient became non-finite at unroll step {bad[-1] + 1} of {steps}"
        return f"the gradient's norm is more than {guard.JUMP:g} times its running mean"


def redrawn(net: keras.Model, seed: int) -> np.ndarray:
    """The weights [P] that a network starts from with another seed.

    It is made anew from its configuration: with the argument ``seed``, if it has one, and with that
    of Keras's initializers, where they have none of their own.

    Raises: InputError: if it cannot be made anew.
    """
    state = random.getstate()
    random.seed(seed)  # where initializers get theirs
    try:
        if type(net).__module__.startswith("keras."):  # Sequential or functional
            fresh = keras.models.clone_model(net)
        else:
            config = net.get_config()
            fresh = type(net).from_config(config | ({"seed": seed} if "seed" in config else {}))
            fresh.build_from_config(net.get_build_config())
        return Weights(fresh).read().numpy()
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"net={net.name!r} cannot be made anew with another seed "
            f"({' '.join(str(error).split())[:200]}); give the Trainer initial=, a function seed "
            "-> weights"
        ) from None
    finally:
        random.setstate(state)


class Fit:
    """One network's training in progress, as callbacks see it.

    Attributes:
      trainer: its Trainer. seed, name: as given. folder: or None.
      update: updates done. stage: the one that goes on, from 0.
      flat: the weights now, [P].
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
        self.state: dict = {}  # optimizer and guard
        self._start = None if start is None else pathlib.Path(start)
        self._weights = weights
        self._records: list[tuple[int, str, float]] = []
        plateau = trainer.schedule.plateau
        own = [*trainer.callbacks, *([Plateau(plateau)] if plateau else [])]
        if folder is not None and not any(isinstance(c, Checkpoint) for c in own):
            own.append(Checkpoint())
        own.sort(key=lambda callback: isinstance(callback, Checkpoint))
        self.callbacks = [copy.copy(callback) for callback in own]

    # ------------------------------------------------------------- for callbacks

    @property
    def states_in_all(self) -> int:
        """States that the whole training processes."""
        return self.trainer.schedule.states

    @property
    def states_done(self) -> int:
        """States processed so far."""
        return self.trainer.schedule.states_at(self.update)

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
        flat = tf.constant(own, self.trainer.dtype)
        if flat.shape != (self.trainer.weights.size,):
            raise InputError(
                f"initial gives weights of shape {tuple(flat.shape)}, the network has "
                f"{self.trainer.weights.size}"
            )
        self.take(core.start(flat, self.trainer.optimizer))

    def numbers(self) -> list[int]:
        """Of the checkpoints in its folder, newest first."""
        return self._checkpoints.numbers() if self.folder is not None else []

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
        self.state = {k: tf.nest.map_structure(own, carry[k]) for k in ("optimizer", "guard")}
        of_guard = self.state["guard"]
        self.loss = float(of_guard["loss"])
        self.skipped, self.skipped_in_row = (
            int(of_guard[name]) for name in ("skipped", "skipped_in_row")
        )

    def _parts(self):
        optimizer = {"name": np.array(type(self.trainer.optimizer).__name__)}
        parts = {
            "net": self.trainer.weights.part(self.flat),
            "optimizer": optimizer | self.state["optimizer"],
            "guard": self.state["guard"],
            "counters": {
                "update": np.int64(self.update),
                "rate_factor": np.float32(self.rate_factor),
                "validation": np.float32(self.validation),
            },
        }
        for callback in self.callbacks:
            if values := callback.save():
                parts[type(callback).__name__] = values
        return {
            part: {name: np.asarray(value) for name, value in values.items()}
            for part, values in parts.items()
        }

    def _take_parts(self, parts):
        optimizer = {k: v for k, v in parts["optimizer"].items() if k != "name"}
        carry = {
            "flat": parts["net"]["flat"],
            "optimizer": optimizer,
            "guard": parts["guard"],
            "update": parts["counters"]["update"],
        }
        self.take(tf.nest.map_structure(tf.constant, carry))
        self.rate_factor = float(parts["counters"]["rate_factor"])
        self.validation = float(parts["counters"]["validation"])
        for callback in self.callbacks:
            if type(callback).__name__ in parts:
                callback.restore(parts[type(callback).__name__])

    def diverged(self) -> TrainingDivergedError:
        """Why the training cannot go on, in words."""
        return TrainingDivergedError(
            f"{self.name}: {self.skipped_in_row} updates in a row were skipped, the last one "
            f"{self.reasons[-1]}; try a smaller learning rate or a shorter horizon"
        )

    def result(self, began: float, worked: float) -> Trained:
        """What it came to."""
        return Trained(
            weights=self.flat.numpy(),
            training_loss=self.loss,
            validation_error=self.validation,
            updates=self.update,
            skipped=self.skipped,
            reasons=tuple(self.reasons),
            seconds=time.monotonic() - began,
            processor_seconds=time.process_time() - worked,
            history=pd.DataFrame(self._records, columns=COLUMNS),
        )


class _Run:
    """The loop over stages and compiled calls, for one seed or for several side by side."""

    def __init__(self, trainer: Trainer, fits: list[Fit]):
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
            schedule = self.trainer.schedule
            for number in range(len(schedule.stages)):
                if self.fits and self.fits[0].update < schedule.before(number + 1):
                    self._stage(number)
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
            common = set.intersection(*(set(fit.numbers()) for fit in self.all))
            for number in sorted(common, reverse=True):
                try:
                    for fit in self.all:
                        fit.restore(number)
                    break
                except DamagedError as error:
                    print(f"warning: {error}; trying the one before", flush=True)
            else:
                for fit in self.all:
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
        trainer, schedule = self.trainer, self.trainer.schedule
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
        length, compiling = FIRST_CALLS, True
        while self.fits and (update := self.fits[0].update) < end:
            stop = min(end, update + length, *(update - update % n + n for n in events))
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
                )
            self._read()
            done = self.fits[0].update
            if not compiling:
                seconds = (time.monotonic() - began) / (done - update)
                length = int(min(max(SECONDS_PER_CALL / seconds, 1), UPDATES_PER_CALL))
            compiling = False
            lost = [fit for fit in self.fits if self._after_call(fit, number, out, done == end)]
            if any(fit.stopping for fit in self.fits):
                for fit in self.fits:
                    fit.save()
                names = ", ".join(fit.name for fit in self.fits)
                raise TrainingStoppedError(f"{names}, update {done}")
            if lost:
                self._stack([fit for fit in self.fits if fit not in lost])

    def _read(self):
        for lane, fit in enumerate(self.fits):
            fit.take(self.carry, lane if self.lanes else None)

    def _after_call(self, fit: Fit, number: int, out, ended: bool) -> bool:
        """The turns of a network's callbacks; True if it cannot go on."""
        fit.tell("called")
        if fit.skipped_in_row:
            stopping = fit.skipped_in_row >= GUARD_PATIENCE
            if len(fit.reasons) < DIAGNOSES or stopping:
                reason = self.trainer.diagnose(fit, number)
                fit.reasons.append(f"update {fit.update}: {reason}")
                fit.tell("skipped", reason)
            if stopping:
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
                "training/horizon": self.trainer.schedule.stages[number].unrolling.steps,
            }
            norms = enumerate(own["by_step"].numpy(), start=1)
            fit.record(values | {f"gradient_by_step/{k:02d}": norm for k, norm in norms})
        for callback in turns:
            callback.turn(fit)
        return False


class Updates:
    """Updates by hand, without callbacks, files and stages: for timing and tests.

        updates = Updates(trainer, Stage(WIG(4), 1000, rate=1e-4))
        updates(50)["gradient_norm"]          # of the last of 50 updates

    Args:
      stage: its unrolling, rate, warm-up and batch size count. seeds: one or several side by side.
    Attributes:
      carry: weights, optimizer, guard and update counter, as in core.
    """

    def __init__(self, trainer: Trainer, stage: Stage, seeds: int | Sequence[int] = 0):
        trainer = trainer.with_schedule(Schedule((stage,), decay_every=0))
        each = [seeds] if isinstance(seeds, int) else list(seeds)
        lanes = () if isinstance(seeds, int) else (len(each),)
        weights = tf.constant(np.stack([trainer._initial(seed) for seed in each]), trainer.dtype)
        self.carry = core.start(weights if lanes else weights[0], trainer.optimizer)
        self._call = trainer._call(stage, lanes)
        self._seeds = tf.constant(each if lanes else each[0], tf.int64)
        numbers = (stage.rate, float(stage.warmup), [1.0] * len(each) if lanes else 1.0)
        self._numbers = [tf.constant(n, tf.float32) for n in numbers]

    def __call__(self, count: int) -> dict[str, np.ndarray]:
        """Makes ``count`` updates, at most UPDATES_PER_CALL, fewer if one is skipped.

        Returns: "loss", "gradient_norm", "by_step" and "rate" of the last one.
        """
        zero = tf.constant(0, tf.int64)
        with solver_errors():
            self.carry, out = self._call(
                *(self._seeds, self.carry, zero, zero, self.carry["update"] + count, self._numbers)
            )
        return {name: value.numpy() for name, value in out.items()}
