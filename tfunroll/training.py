"""One Trainer for every modality, system and network."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfunroll import losses, systems
from tfunroll.checkpoints import Checkpoints, restore_weights
from tfunroll.config import RunConfig, Stage
from tfunroll.core import InputError
from tfunroll.data import Dataset
from tfunroll.models import build_net, build_stepper
from tfunroll.nets import keras
from tfunroll.training_state import TrainingState
from tfunroll.unrolling import Unrolling, rollout, unroll
from tfunroll.windows import Windows

GUARD_PATIENCE = 200  # skipped updates in a row that stop a run
UPDATES_PER_CALL = 100  # one host round trip for this many updates


class TrainingDivergedError(RuntimeError):
    """So many updates in a row were skipped that going on is pointless."""


@dataclass(frozen=True)
class Job:
    """One network to train: a modality, a seed and the stages of the curriculum it covers."""

    modality: str
    seed: int
    first_stage: int
    last_stage: int  # exclusive


class Trainer:
    """Trains networks of one configuration; its compiled graphs serve all modalities and seeds.

    Everything that changes while training is a variable in ``variables``: weights, optimizer,
    update counter (which is also data position and random state), plateau and guard. A checkpoint
    of them is the whole run.
    """

    def __init__(self, config: RunConfig, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.system = systems.get(config.system)
        self.features = self.system.features(config.mode)
        self.net = build_net(config, seed=config.seeds[0])
        self.stepper = build_stepper(config, self.net, self.features)
        self.windows = Windows(dataset.splits["train"], config.precision)
        self.stages = config.stages()
        for stage in self.stages:
            self.windows.check(stage.steps)
        self.optimizer = keras.optimizers.Adam(config.learning_rate)
        self.optimizer.build(self.net.trainable_variables)
        self._state = TrainingState()
        self.variables = [
            *(v.value for v in self.net.variables),
            *(v.value for v in self.optimizer.variables),
            *self._state.all(),
        ]
        self._calls: dict[tuple[Unrolling, int], tf.types.experimental.GenericFunction] = {}
        self._validate = self._build_validation()

    # ------------------------------------------------------------------ the host's loop

    def train(self, job: Job, folder, start=None, weights_from=None, summaries=None, report=None):
        """Trains ``job`` to its end, or on from its newest checkpoint in ``folder``.

        Args:
          folder: pathlib.Path for the checkpoints.
          start: checkpoint folder of a job that covers the stages before; all its state is taken.
          weights_from: checkpoint folder of another run; only the weights are taken.
          summaries: summaries.Summaries or None.
          report: called with the states processed, for a progress bar; may be None.
        Returns:
          {"training_loss", "validation_error", "updates", "skipped", "seconds"}.
        Raises:
          TrainingDivergedError: after GUARD_PATIENCE skipped updates in a row.
        """
        began = time.monotonic()
        self.reset(job.seed)
        checkpoints = Checkpoints(folder, self.variables)
        if not checkpoints.restore():
            if start is not None and not Checkpoints(start, self.variables).restore():
                raise InputError(f"start: no checkpoint in {start}")
            if weights_from is not None:
                self.load(weights_from)
        report = report or (lambda states: None)
        before = sum(stage.updates for stage in self.stages[: job.first_stage])
        for stage in self.stages[job.first_stage : job.last_stage]:
            self._train_stage(job, stage, before, checkpoints, summaries, report)
            before += stage.updates
        state = self._state
        checkpoints.save(int(state.update))
        return {
            "training_loss": float(state.loss),
            "validation_error": float(state.validation),
            "updates": int(state.update),
            "skipped": int(state.skipped),
            "seconds": time.monotonic() - began,
        }

    def _train_stage(self, job, stage: Stage, before: int, checkpoints, summaries, report):
        config, state = self.config, self._state
        unrolling = config.unrolling(job.modality, stage)
        batch = config.batch(job.modality, stage)
        call = self._call(unrolling, batch)
        end = before + stage.updates
        done = max(0, int(state.update) - before)
        report(min(done, stage.updates) * batch * unrolling.steps)
        if int(state.update) == before:
            state.seen.assign(0)  # another horizon has other gradients
        while (update := int(state.update)) < end:
            stop = min(
                end,
                update + UPDATES_PER_CALL,
                *(
                    update - update % n + n
                    for n in (config.validate_every, config.checkpoint_every)
                ),
            )
            out = call(
                tf.constant(job.seed, tf.int64),
                tf.constant(before, tf.int64),
                tf.constant(stop, tf.int64),
                tf.constant(stage.learning_rate, tf.float32),
                tf.constant(stage.warmup, tf.float32),
            )
            report((stop - update) * batch * unrolling.steps)
            if int(state.skipped_in_row) >= GUARD_PATIENCE:
                checkpoints.save(stop)
                raise TrainingDivergedError(
                    f"{self.system.name} {job.modality} seed {job.seed}: {GUARD_PATIENCE} updates "
                    "in a row gave a non-finite or exploding gradient, the last one update "
                    f"{stop}; try a smaller learning rate or a shorter horizon"
                )
            if summaries:
                values = {name: float(out[name]) for name in ("learning_rate", "gradient_norm")}
                values |= {"loss": float(state.loss), "skipped": float(state.skipped)}
                values["horizon"] = stage.steps
                summaries.updates(stop, values, out["by_step"].numpy())
            if stop % config.validate_every == 0:
                self._validation(stop, summaries)
            if stop % config.checkpoint_every == 0:
                checkpoints.save(stop)

    def _validation(self, update: int, summaries) -> None:
        error, sample, reference = self._validate()
        state = self._state
        state.validation.assign(error)
        if self.config.plateau:
            if float(error) < 0.999 * float(state.best):
                state.best.assign(error)
                state.waited.assign(0)
            elif int(state.waited.assign_add(1)) >= self.config.plateau:
                state.rate_factor.assign(0.5 * state.rate_factor)
                state.waited.assign(0)
        if summaries:
            summaries.validation(update, float(error), sample.numpy(), reference.numpy())

    def reset(self, seed: int) -> None:
        """Back to before the first update, with the initial weights of ``seed``."""
        fresh = build_net(self.config, seed)
        for ours, new in zip(self.net.variables, fresh.variables, strict=True):
            ours.assign(new)
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros_like(variable.value))
        self._state.reset()

    def load(self, folder) -> None:
        """Takes the weights of the newest checkpoint in ``folder``."""
        if not restore_weights(folder, [v.value for v in self.net.variables]):
            raise InputError(f"no checkpoint in {folder}")

    # ------------------------------------------------------------------ the compiled part

    @property
    def jit(self) -> bool:
        """Whether steps are compiled by XLA; "auto" does so, it is faster on every device met."""
        return self.config.jit != "off"

    def _call(self, unrolling: Unrolling, batch: int):
        """The compiled function of many updates, traced once per unrolling and batch size."""
        key = (unrolling, batch)
        if key not in self._calls:
            self._calls[key] = self._build_call(unrolling, batch)
        return self._calls[key]

    def _build_call(self, unrolling: Unrolling, batch: int):
        config, state, steps = self.config, self._state, unrolling.steps
        update = tf.function(self.update_function(unrolling), jit_compile=self.jit, autograph=False)

        def one_update(seed, before, rate, warmup):
            position = state.update - before
            windows, params = self.windows.batch(seed, position * batch, batch, steps)
            start = windows[:, 0]
            if config.noise:
                key = tf.stack([seed, state.update])
                noise = tf.random.stateless_normal(start.shape, key, dtype=start.dtype)
                start += config.noise * self.windows.rms * noise
            learning_rate = rate * state.rate_factor * self._decay(state.update)
            ramp = (tf.cast(position, tf.float32) + 1) / tf.maximum(warmup, 1.0)
            learning_rate *= tf.minimum(ramp, 1.0)
            out = update(start, windows[:, 1:], params, learning_rate)
            state.update.assign_add(1)
            return {**out, "learning_rate": learning_rate}

        @tf.function(autograph=False)
        def call(seed, before, stop, rate, warmup):
            dtype = self.net.compute_dtype
            empty = {
                "gradient_norm": tf.zeros([], dtype),
                "by_step": tf.zeros([steps], dtype),
                "learning_rate": tf.zeros([]),
            }
            return tf.while_loop(
                lambda _: state.update < stop,
                lambda _: (one_update(seed, before, rate, warmup),),
                (empty,),
            )[0]

        return call

    def update_function(self, unrolling: Unrolling) -> Callable:
        """(start, targets, params, learning rate) -> norms: one update of the weights.

        A gradient that is not finite, or whose norm jumps over its running mean, is not applied.
        """
        state, weights = self._state, self.net.trainable_variables
        # Only this part is compiled by XLA: with the optimizer inside, compilation takes twice as
        # long and an update no less.
        loss_and_gradients = tf.function(
            functools.partial(self.loss_and_gradients, unrolling=unrolling),
            jit_compile=self.jit,
            autograph=False,
        )

        def update(start, targets, params, learning_rate):
            loss, gradients, by_step = loss_and_gradients(start, targets, params)
            norm = tf.linalg.global_norm(gradients)
            good = state.judge(tf.cast(loss, tf.float32), tf.cast(norm, tf.float32))

            def apply():
                self.optimizer.learning_rate.assign(learning_rate)
                self.optimizer.apply(gradients, weights)
                return tf.constant(0)

            tf.cond(good, apply, lambda: tf.constant(0))
            return {"gradient_norm": norm, "by_step": by_step}

        return update

    def loss_and_gradients(self, start, targets, params, unrolling: Unrolling):
        """Loss, its gradient by weight, and ‖∂loss/∂(state entering step k)‖ for each step k."""
        weights = [v.value for v in self.net.trainable_variables]
        probes = tf.zeros([unrolling.steps, *start.shape], start.dtype)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            tape.watch(probes)
            level_loss = losses.supervised
            if self.config.loss == "physics":
                level_loss = losses.physics_residual(self.system.reference(), params)
            step = self.stepper.bind(params)
            loss, _ = unroll(step, start, targets, level_loss, unrolling, probes=probes)
        *gradients, by_probe = tape.gradient(loss, [*weights, probes])
        axes = list(range(1, by_probe.shape.rank))
        return loss, gradients, tf.sqrt(tf.reduce_sum(tf.square(by_probe), axes))

    def _decay(self, update: tf.Tensor) -> tf.Tensor:
        if not self.config.decay_every:
            return tf.constant(1.0)
        return self.config.decay_rate ** tf.cast(update // self.config.decay_every, tf.float32)

    def _build_validation(self):
        split = self.dataset.splits["validation"]
        horizon = min(self.config.horizon, split.states.shape[1] - 1)
        starts = np.linspace(0, split.states.shape[1] - 1 - horizon, 4).astype(int)
        dtype = self.config.precision
        windows = np.concatenate([split.states[:, s : s + horizon + 1] for s in starts])
        truth = tf.constant(windows, dtype)
        params = {k: tf.constant(np.tile(v, len(starts)), dtype) for k, v in split.params.items()}

        @tf.function(jit_compile=self.jit, autograph=False)
        def validate():
            reference = truth[:, 1:]
            states = rollout(self.stepper.bind(params), truth[:, 0], horizon)
            axes = list(range(1, states.shape.rank))
            peak = tf.reduce_max(tf.square(reference), axes)
            error = tf.reduce_mean(tf.math.squared_difference(states, reference), axes) / peak
            return tf.cast(tf.reduce_mean(error), tf.float32), states[0], reference[0]

        return validate
