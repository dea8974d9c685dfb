"""The compiled part of training: sample, unroll, differentiate, apply, many times a call."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfunroll import losses, systems
from tfunroll.checkpoints import restore_weights
from tfunroll.config import RunConfig
from tfunroll.core import InputError
from tfunroll.data import Dataset
from tfunroll.models import build_net, build_stepper
from tfunroll.nets import keras
from tfunroll.training_state import GUARD_JUMP, TrainingState
from tfunroll.unrolling import Unrolling, rollout, unroll
from tfunroll.windows import Windows


class Updates:
    """Network, optimizer and data of one configuration, and the graphs that train on them.

    Everything that changes while training is a variable in ``variables``: weights, optimizer,
    update counter (which is also data position and random state), plateau and guard. A checkpoint
    of them is the whole run. The graphs serve all modalities and seeds.
    """

    def __init__(self, config: RunConfig, dataset: Dataset):
        self.config = config
        self.system = systems.get(config.system)
        self.features = self.system.features(config.mode)
        self.net = build_net(config, seed=config.seeds[0])
        self.stepper = build_stepper(config, self.net, self.features)
        self.windows = Windows(dataset.splits["train"], config.dtype)
        self.optimizer = keras.optimizers.Adam(config.learning_rate)
        self.optimizer.build(self.net.trainable_variables)
        self.state = TrainingState()
        self.variables = [
            *(v.value for v in self.net.variables),
            *(v.value for v in self.optimizer.variables),
            *self.state.all(),
        ]
        self.calls: dict[tuple[Unrolling, int], tf.types.experimental.GenericFunction] = {}
        self.validate = self._build_validation(dataset.splits["validation"])

    def reset(self, seed: int) -> None:
        """Back to before the first update, with the initial weights of ``seed``."""
        fresh = build_net(self.config, seed)
        for ours, new in zip(self.net.variables, fresh.variables, strict=True):
            ours.assign(new)
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros_like(variable.value))
        self.state.reset()

    def load(self, folder) -> None:
        """Takes the weights of the newest checkpoint in ``folder``."""
        if not restore_weights(folder, [v.value for v in self.net.variables]):
            raise InputError(f"no checkpoint in {folder}")

    @property
    def jit(self) -> bool:
        """Whether steps are compiled by XLA; "auto" does so, it is faster on every device met."""
        return self.config.jit != "off"

    def call(self, unrolling: Unrolling, batch: int):
        """The compiled function of many updates, traced once per unrolling and batch size."""
        key = (unrolling, batch)
        if key not in self.calls:
            self.calls[key] = self._build_call(unrolling, batch)
        return self.calls[key]

    def _build_call(self, unrolling: Unrolling, batch: int):
        state, steps = self.state, unrolling.steps
        update = tf.function(self.update_function(unrolling), jit_compile=self.jit, autograph=False)

        def one_update(seed, before, rate, warmup):
            start, targets, params = self._samples(seed, before, state.update, batch, steps)
            learning_rate = rate * state.rate_factor * self._decay(state.update)
            ramp = (tf.cast(state.update - before, tf.float32) + 1) / tf.maximum(warmup, 1.0)
            learning_rate *= tf.minimum(ramp, 1.0)
            out = update(start, targets, params, learning_rate)
            state.update.assign_add(1)
            return {**out, "learning_rate": learning_rate}

        @tf.function(autograph=False)
        def call(seed, before, stop, rate, warmup):
            dtype = self.config.dtype
            empty = {
                "gradient_norm": tf.zeros([], dtype),
                "by_step": tf.zeros([steps], dtype),
                "learning_rate": tf.zeros([]),
            }
            entered = tf.identity(state.update)
            # A skipped update ends the call: the weights are then still those that it met, and
            # ``diagnose`` can say why.
            return tf.while_loop(
                lambda _: (
                    (state.update < stop)
                    & ((state.skipped_in_row == 0) | (state.update == entered))
                ),
                lambda _: (one_update(seed, before, rate, warmup),),
                (empty,),
            )[0]

        return call

    def _samples(self, seed, before, update, batch, steps):
        """(start, targets, parameters) of an update: a function of its arguments alone."""
        windows, params = self.windows.batch(seed, (update - before) * batch, batch, steps)
        start = windows[:, 0]
        if self.config.noise:
            key = tf.stack([seed, update])
            noise = tf.random.stateless_normal(start.shape, key, dtype=start.dtype)
            start += self.config.noise * self.windows.rms * noise
        return start, windows[:, 1:], params

    def diagnose(self, seed: int, before: int, unrolling: Unrolling, batch: int) -> str:
        """Why the update that was just skipped went bad, in words."""
        steps, update = unrolling.steps, self.state.update - 1
        seed, before = tf.constant(seed, tf.int64), tf.constant(before, tf.int64)
        start, targets, params = self._samples(seed, before, update, batch, steps)
        step, state = self.stepper.bind(params), start
        for k in range(steps):
            state = step(state)
            finite = np.isfinite(state.numpy()).reshape(batch, -1).all(1)
            if not finite.all():
                sample = int(np.argmin(finite))
                position = (update - before) * batch + sample
                trajectory, frame = self.windows.origin(seed, position, steps)
                return (
                    f"the state became non-finite at unroll step {k + 1} of {steps} "
                    f"(trajectory {trajectory}, frame {frame + k + 1})"
                )
        _, _, by_step = self.loss_and_gradients(start, targets, params, unrolling)
        bad = np.flatnonzero(~np.isfinite(by_step.numpy()))
        if bad.size:  # going back in time, the last step is the first to meet it
            return f"the gradient became non-finite at unroll step {bad[-1] + 1} of {steps}"
        return f"the gradient's norm is more than {GUARD_JUMP:g} times its running mean"

    def update_function(self, unrolling: Unrolling) -> Callable:
        """(start, targets, params, learning rate) -> norms: one update of the weights.

        A gradient that is not finite, or whose norm jumps over its running mean, is not applied.
        """
        state, weights = self.state, self.net.trainable_variables
        # Only this part is compiled by XLA: compilation takes longer with the optimizer inside.
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

    def _build_validation(self, split):
        horizon = min(self.config.horizon, split.states.shape[1] - 1)
        starts = np.linspace(0, split.states.shape[1] - 1 - horizon, 4).astype(int)
        dtype = self.config.dtype
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
