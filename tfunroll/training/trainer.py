"""The Trainer: takes the network of a stepper through a schedule, one seed or several at once."""

import copy
import pathlib
import random
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, Stepper
from tfunroll.data import Trajectories
from tfunroll.data.windows import windows_of
from tfunroll.nets.weights import Weights
from tfunroll.solvers.external import solver_errors
from tfunroll.stepping.losses import Loss, Supervised
from tfunroll.stepping.steppers import check_route
from tfunroll.stepping.unrolling import Unrolling
from tfunroll.training import averages, core, guard
from tfunroll.training.callbacks import Callback, Progress
from tfunroll.training.fit import (
    UPDATES_PER_CALL,
    Fit,
    Run,
    Trained,
    TrainingDivergedError,
    together,
)
from tfunroll.training.ladders import Horizons, Ladder, validates_every
from tfunroll.training.optimizers import Adam
from tfunroll.training.schedule import Schedule, Stage
from tfunroll.training.subspaces import Subspace

# Up to so many steps are written out one after the other in a stage of so many updates: faster by
# up to 19 %, and for most networks slower to compile by seconds, than the loop of other stages.
WRITTEN_OUT, LONG_STAGE = 4, 5000
END = 10_007  # between the seeds of the ends of a subspace


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
      average: a mean of the weights, averages.EMA or SWA, that is validated and comes out in place
        of the weights themselves; a number is an EMA's decay, such as 0.999.
      subspace: subspaces.Line, Simplex or Modalities, whose middle comes out; None for one network.
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
        average: float | averages.Average | None = None,
        subspace: Subspace | None = None,
        initial: Callable[[int], np.ndarray] | None = None,
    ):
        if not hasattr(stepper, "net"):
            raise InputError(
                f"stepper is a {type(stepper).__name__} without a network (no attribute net); "
                "needed: a Prediction or a correction"
            )
        if not noise >= 0:
            raise InputError(f"noise={noise} must be at least 0")
        self.average = averages.of(average)
        self.weights = Weights(stepper.net)
        self.dtype = self.weights.dtype
        loss = Supervised() if loss is None else loss
        if not isinstance(loss, Loss):
            raise InputError(
                f"loss is a {type(loss).__name__}; needed: one of tfunroll.losses, or a subclass "
                "of losses.Loss with bind"
            )
        loss = loss.fitted(stepper)
        if hasattr(stepper, "keyed") and loss.members < 2:
            raise InputError(
                f"loss={type(loss).__name__} does not judge the members of a stochastic stepper, "
                "whose noise would vanish; needed: losses.CRPS"
            )
        if subspace is not None and subspace.spans and loss.members > 1:
            raise InputError("subspace=modalities has no CRPS; allowed: line, simplex")
        self.objective = core.Objective(stepper, self.weights, loss, rematerialise, jit, subspace)
        self.windows = windows_of(data, self.dtype)
        self.system = getattr(getattr(data, "dataset", None), "system", None)  # if it knows it
        active = getattr(getattr(stepper, "features", None), "active", None)
        self._noise = noise * self.windows.rms(active) if noise else None
        self.optimizer = Adam() if optimizer is None else optimizer
        self._of_seed = initial or (lambda seed: redrawn(stepper.net, seed))
        self.callbacks = [Progress()] if callbacks is None else list(callbacks)
        self._calls: dict[tuple, tf.types.experimental.GenericFunction] = {}
        self._check_step()
        for callback in self.callbacks:
            callback.prepare(self)
        self._follow(Schedule.of(schedule))
        self._check_ladder()

    def with_schedule(self, schedule: Schedule | Stage | Sequence[Stage]) -> "Trainer":
        """The same with another schedule; the two share data and compiled graphs."""
        other = copy.copy(self)
        other._follow(Schedule.of(schedule))
        other._check_automatic()
        return other

    def at(self, flat: tf.Tensor) -> Stepper:
        """The stepper with these weights, [P], or of a subspace's ends that in their middle."""
        return self.objective.at(flat)

    def _initial(self, seed: int) -> np.ndarray:
        """The weights of a seed at the start; of a subspace those of independent ends."""
        if self.objective.subspace is None:
            return self._of_seed(seed)
        ends = range(self.objective.subspace.ends)
        return np.concatenate([self._of_seed(seed + END * i) for i in ends])

    def objective_at(self, rung: int | tf.Tensor | None) -> core.Objective:
        """The objective on a rung of the ladder; None: with the stepper as it is."""
        return self.objective if rung is None else self.ladder.on(self.objective, rung)

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
          weights: [P], to begin with in place of the seed's own, at all ends of a subspace.
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
        if count > 1 and (self.ladder is not None or self.schedule.automatic):
            raise InputError(
                f"seeds={list(seeds)} climb a ladder each at its own time: they train one by one"
            )
        if len(set(seeds)) < count or not count:
            raise InputError(f"seeds={list(seeds)} must be different, and at least one")
        none = [None] * count
        lists = folders or none, starts or none, weights or none, names or [""] * count
        for name, of in zip(("folders", "starts", "weights", "names"), lists, strict=True):
            if len(of) != count:
                raise InputError(f"{name} holds {len(of)}, but there are {count} seeds")
        fits = [Fit(self, seed, *of) for seed, *of in zip(seeds, *lists, strict=True)]
        outcomes = {}
        for group in together(fits):
            outcomes |= zip(group, Run(self, group).run(), strict=True)
        return [outcomes[fit] for fit in fits]

    def _follow(self, schedule):
        self.schedule, of_level = schedule, self.objective.of_level
        stepper = self.objective.stepper
        for stage in schedule.stages:
            self.windows.check(stage.unrolling.steps)
            of_level.unrolled(stage.unrolling)  # its own checks
            check_route(stepper, stage.unrolling.through)
            solver = getattr(stepper, "solver", None)
            if stage.unrolling.asks_solver and not getattr(solver, "differentiable", True):
                raise InputError(solver.without_gradient)
            if stage.unrolling.carries and not of_level.differentiable:
                raise InputError(
                    f"loss={type(of_level).__name__} has no gradient by the state, which WIG "
                    "needs; allowed: ONE, NOG"
                )
        if schedule.plateau and not self._validates_every:
            raise InputError(f"plateau={schedule.plateau} needs a Validation among the callbacks")

    def _check_ladder(self):
        ladders = [c for c in self.callbacks if isinstance(c, Ladder)]
        if len(ladders) > 1:
            raise InputError("callbacks hold more than one Ladder; a training has one at most")
        self.ladder = next(iter(ladders), None)
        if self.ladder is not None and hasattr(self.objective.stepper, "keyed"):
            raise InputError(f"ladder={self.ladder}: a stochastic stepper has none; leave one out")
        if self.ladder is not None:
            updates, every = self.ladder.updates or self.schedule.updates, self._validates_every
            self.ladder.check(self.ladder.solver(self.objective), updates, every)
        self._check_automatic()

    def _check_automatic(self):
        if not self.schedule.automatic:
            return
        if self.ladder is not None:
            raise InputError(
                f"{self.ladder} and an automatic curriculum: a training has one ladder"
            )
        horizons = self.horizons()
        horizons.check_validations(self.schedule.updates, self._validates_every)

    def horizons(self) -> Horizons | None:
        """What ends the stages of an automatic schedule; None for another."""
        if not self.schedule.automatic:
            return None
        horizons = Horizons(len(self.schedule.stages), self.schedule.automatic)
        horizons.prepare(self)
        return horizons

    @property
    def _validates_every(self):
        return validates_every(self.callbacks)

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
        channels = getattr(stepper, "net_channels", features.out_channels)
        wanted = (1, *space, channels)
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
        schedule, steps = self.schedule, unrolling.steps
        dtype = tf.as_dtype(self.dtype)

        def one_update(carry, drawn, seeds, before, numbers, objective):
            update = carry["update"]
            batch = self._sample(drawn, seeds, update, steps)
            gradient = objective.gradient(carry["flat"], batch, unrolling, loop)
            rate, warmup, factor = numbers
            rate = schedule.rate(update - before, rate, warmup) * factor
            out = {"loss": gradient.loss, "gradient_norm": gradient.norm}
            out |= {"by_step": gradient.by_step, "rate": rate}
            return core.apply(carry, gradient, rate, self.optimizer, self.average), out

        # One graph for all updates of a call, optimizer included: no host round trip between them.
        @tf.function(jit_compile=self.jit, autograph=False)
        def run(windows, seeds, carry, before, stop, numbers, rung):
            objective = self.objective_at(rung)
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
                return one_update(carry, drawn, seeds, before, numbers, objective)

            return tf.while_loop(goes_on, body, (carry, empty))

        most = self.updates_per_call(steps, batch, lanes)

        def call(seeds, carry, before, drawn, stop, numbers, rung):
            # XLA has no shuffle, so the windows of a whole call are drawn outside it; their number
            # is always the same, for another would be another graph.
            position = drawn + (carry["update"] - before) * batch
            windows = self._draw(seeds, position, most * batch, steps)
            shape, rank = [*lanes, most, batch], len(lanes) + 2
            if self.windows.streamed:
                needed = int(stop - carry["update"]) * batch
                windows = self.windows.fetch(*windows, steps, needed)
            order = [1, 0, 2] if lanes else [0, 1]

            def by_update(part):
                part = tf.reshape(part, [*shape, *part.shape[rank - 1 :]])
                return tf.transpose(part, [*order, *range(rank, part.shape.rank)])

            windows = [by_update(part) for part in windows]
            return run(windows, seeds, carry, before, stop, numbers, rung)

        return call if self.windows.streamed else tf.function(call, autograph=False)

    def updates_per_call(self, steps: int, batch: int, lanes: tuple[int, ...] = ()) -> int:
        """How many a compiled call makes at most; fewer where their windows are read from files."""
        held = self.windows.most(batch * int(np.prod(lanes)), steps)
        return int(min(max(held, 1), UPDATES_PER_CALL))

    def _draw(self, seeds, position, size, steps):
        """Trajectories and start frames, each [size], or [K, size]."""
        if not seeds.shape.rank:
            return self.windows.draw(seeds, position, size, steps)
        each = [self.windows.draw(seed, position, size, steps) for seed in tf.unstack(seeds)]
        return [tf.stack(parts) for parts in zip(*each, strict=True)]

    def _sample(self, drawn, seeds, update, steps) -> core.Batch:
        keys = tf.stack([seeds, tf.broadcast_to(update, seeds.shape)], -1)
        members = self.objective.of_level.members
        return core.sample(self.windows, drawn, steps, self._noise, keys, members)

    def diagnose(self, fit: "Fit", stage: int) -> str:
        """Why the update that was just skipped went bad, in words."""
        schedule = fit.schedule
        before, drawn = schedule.before(stage), schedule.drawn(stage)
        unrolling, size = schedule.stages[stage].unrolling, schedule.stages[stage].batch_size
        steps, update = unrolling.steps, fit.update - 1
        seed = tf.constant(fit.seed, tf.int64)
        windows = self.windows.draw(seed, drawn + (update - before) * size, size, steps)
        fetched = self.windows.fetch(*windows, steps)
        batch = self._sample(fetched, seed, tf.constant(update, tf.int64), steps)
        objective = self.objective_at(fit.rung)
        step, state = objective.at(fit.flat).bind(batch.params), batch.start
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
        gradient = objective.gradient(fit.flat, batch, unrolling)
        if not np.isfinite(gradient.loss.numpy()):
            return "the loss is not finite, though all states are"
        by_step = gradient.by_step
        bad = np.flatnonzero(~np.isfinite(by_step.numpy()))
        if bad.size:  # going back in time, the last step is the first to meet it
            return f"the gradient became non-finite at unroll step {bad[-1] + 1} of {steps}"
        if not np.isfinite(gradient.norm.numpy()):
            return "the gradient by the weights is not finite"
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


class Updates:
    """Updates by hand, without callbacks, files and stages: for timing and tests.

        updates = Updates(trainer, Stage(WIG(4), 1000, rate=1e-4))
        updates(50)["gradient_norm"]          # of the last of 50 updates

    Args:
      stage: as of a schedule with the decay of the trainer's. seeds: one or several side by side.
    Attributes:
      carry: weights, optimizer, guard and update counter, as in core.
    """

    def __init__(self, trainer: Trainer, stage: Stage, seeds: int | Sequence[int] = 0):
        whole = trainer.schedule
        trainer = trainer.with_schedule(Schedule((stage,), whole.decay_rate, whole.decay_every))
        each = [seeds] if isinstance(seeds, int) else list(seeds)
        lanes = () if isinstance(seeds, int) else (len(each),)
        weights = tf.constant(np.stack([trainer._initial(seed) for seed in each]), trainer.dtype)
        first = weights if lanes else weights[0]
        self.carry = core.start(first, trainer.optimizer, trainer.average)
        self._call = trainer._call(stage, lanes)
        self._seeds = tf.constant(each if lanes else each[0], tf.int64)
        numbers = (stage.rate, float(stage.warmup), [1.0] * len(each) if lanes else 1.0)
        self._numbers = [tf.constant(n, tf.float32) for n in numbers]

    def __call__(self, count: int, rung: int | None = None) -> dict[str, np.ndarray]:
        """Makes ``count`` updates, at most updates_per_call, fewer if one is skipped.

        Args: rung: of the trainer's ladder; None: the stepper as it is.
        Returns: "loss", "gradient_norm", "by_step" and "rate" of the last one.
        """
        zero, rung = tf.constant(0, tf.int64), None if rung is None else tf.constant(rung)
        stop = self.carry["update"] + count
        with solver_errors():
            self.carry, out = self._call(
                *(self._seeds, self.carry, zero, zero, stop, self._numbers, rung)
            )
        return {name: value.numpy() for name, value in out.items()}
