"""The compiled part of training: sample, unroll, differentiate, apply, many times a call."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfunroll import losses, systems
from tfunroll.checkpoints import restore_weights
from tfunroll.config import RunConfig
from tfunroll.core import InputError, compilable
from tfunroll.data import Dataset
from tfunroll.models import build_net, build_stepper
from tfunroll.nets import keras
from tfunroll.training_state import GUARD_JUMP, TrainingState
from tfunroll.unrolling import Unrolling, rollout, unroll
from tfunroll.windows import Windows

UPDATES_PER_CALL = 100  # at most; one host round trip for this many updates


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
        self.compilable = compilable(self.stepper) and (
            config.loss != "physics" or self.system.reference().compilable
        )
        if config.jit != "off" and not self.compilable:
            self.stepper = build_stepper(config, _Compiled(self.net), self.features)
        self.windows = Windows(dataset.splits["train"], config.dtype)
        self._noise_size = self.windows.rms(self.system.active)
        self.optimizer = keras.optimizers.Adam(config.learning_rate)
        # The optimizer sees all weights as one vector: a few large operations, not hundreds of
        # small ones to compile and to run. It is filled from the network at the start of a call.
        self.flat = keras.Variable(
            _flattened([v.value for v in self.net.trainable_variables]), name="weights"
        )
        self.optimizer.build([self.flat])
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
        """Whether updates are compiled by XLA; "auto" does so, it is faster on every device met.

        With a solver that XLA cannot compile the network alone is: see ``_Compiled``.
        """
        return self.config.jit != "off" and self.compilable

    def call(self, unrolling: Unrolling, batch: int):
        """The compiled function of many updates, traced once per unrolling and batch size."""
        key = (unrolling, batch)
        if key not in self.calls:
            self.calls[key] = self._build_call(unrolling, batch)
        return self.calls[key]

    def _build_call(self, unrolling: Unrolling, batch: int):
        state, steps = self.state, unrolling.steps
        update = self.update_function(unrolling)

        def one_update(windows, seed, before, rate, warmup):
            start, targets, params = self._samples(windows, seed, state.update, steps)
            learning_rate = self._rate(state.update - before, rate, warmup) * state.rate_factor
            out = update(start, targets, params, learning_rate)
            state.update.assign_add(1)
            return {**out, "learning_rate": learning_rate}

        # One graph for all updates of a call, optimizer included: no host round trip between them.
        @tf.function(jit_compile=self.jit, autograph=False)
        def run(windows, seed, before, stop, rate, warmup):
            empty = {
                "gradient_norm": tf.zeros([], self.flat.dtype),
                "by_step": tf.zeros([steps * self._probed(unrolling)], self.config.dtype),
                "learning_rate": tf.zeros([]),
            }
            self.flat.assign(_flattened([v.value for v in self.net.trainable_variables]))
            entered = tf.identity(state.update)
            # A skipped update ends the call: the weights are then still those that it met, and
            # ``diagnose`` can say why.
            return tf.while_loop(
                lambda _: (
                    (state.update < stop)
                    & ((state.skipped_in_row == 0) | (state.update == entered))
                ),
                lambda _: (
                    one_update(
                        [tf.gather(part, state.update - entered) for part in windows],
                        *(seed, before, rate, warmup),
                    ),
                ),
                (empty,),
            )[0]

        @tf.function(autograph=False)
        def call(seed, before, drawn, stop, rate, warmup):
            # XLA has no shuffle, so the windows of a whole call are drawn outside it; their number
            # is always the same, for another would be another graph.
            position = drawn + (state.update - before) * batch
            windows = self.windows.draw(seed, position, UPDATES_PER_CALL * batch, steps)
            windows = [tf.reshape(part, [UPDATES_PER_CALL, batch]) for part in windows]
            return run(windows, seed, before, stop, rate, warmup)

        return call

    def _samples(self, windows, seed, update, steps):
        """(start, targets, parameters) of an update: a function of its arguments alone."""
        states, params = self.windows.read(*windows, steps)
        start = states[:, 0]
        if self.config.noise:
            key = tf.stack([seed, update])
            noise = tf.random.stateless_normal(start.shape, key, dtype=start.dtype)
            start += tf.constant(self.config.noise * self._noise_size, start.dtype) * noise
        return start, states[:, 1:], params

    def diagnose(self, seed: int, before: int, drawn: int, unrolling: Unrolling, batch: int) -> str:
        """Why the update that was just skipped went bad, in words."""
        steps, update = unrolling.steps, self.state.update - 1
        seed = tf.constant(seed, tf.int64)
        position = drawn + (update - before) * batch
        windows = self.windows.draw(seed, position, batch, steps)
        start, targets, params = self._samples(windows, seed, update, steps)
        step, state = self.stepper.bind(params), start
        for k in range(steps):
            state = step(state)
            finite = np.isfinite(state.numpy()).reshape(batch, -1).all(1)
            if not finite.all():
                sample = int(np.argmin(finite))
                trajectory, frame = self.windows.name(*(int(part[sample]) for part in windows))
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
        state = self.state
        changed = [self.flat, *self.optimizer.variables]

        def update(start, targets, params, learning_rate):
            loss, gradients, by_step = self.loss_and_gradients(start, targets, params, unrolling)
            gradient = _flattened(gradients)
            norm = tf.norm(gradient)
            good = state.judge(tf.cast(loss, tf.float32), tf.cast(norm, tf.float32))
            before = [tf.identity(variable.value) for variable in changed]
            self.optimizer.learning_rate.assign(learning_rate)
            self.optimizer.apply([gradient], [self.flat])
            for variable, old in zip(changed, before, strict=True):
                variable.assign(tf.where(good, variable.value, old))
            weights = self.net.trainable_variables
            parts = tf.split(self.flat.value, [math.prod(w.shape) for w in weights])
            for weight, part in zip(weights, parts, strict=True):
                weight.assign(tf.reshape(part, weight.shape))
            return {"gradient_norm": norm, "by_step": by_step}

        return update

    def loss_and_gradients(self, start, targets, params, unrolling: Unrolling):
        """Loss, its gradient by weight, and ‖∂loss/∂(state entering step k)‖ for each step k.

        The latter is [0] where it alone would need gradients of an external solver.
        """
        weights = [v.value for v in self.net.trainable_variables]
        probed = self._probed(unrolling)
        probes = tf.zeros([unrolling.steps, *start.shape], start.dtype) if probed else None
        sources = [*weights, probes] if probed else weights
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            channels = self.features.out_channels  # those that the network can answer for
            level_loss = losses.supervised(channels, self.system.active)
            if self.config.loss == "physics":
                reference = self.system.reference()
                level_loss = losses.physics_residual(
                    reference, params, channels, self.system.active
                )
            step = self.stepper.bind(params)
            if not probed:  # a loop differentiates all that it holds: nothing by the state, then
                step, level_loss = _cut(step), _cut(level_loss)
            loss, _ = unroll(
                *(step, start, targets, level_loss, unrolling, probes),
                rematerialise=self.config.rematerialise,
            )
        gradients = tape.gradient(loss, sources)
        if not probed:
            return loss, gradients, tf.zeros([0], start.dtype)
        *gradients, by_probe = gradients
        axes = list(range(1, by_probe.shape.rank))
        return loss, gradients, tf.sqrt(tf.reduce_sum(tf.square(by_probe), axes))

    def _probed(self, unrolling: Unrolling) -> bool:
        """Whether gradients by state are at hand: ONE and NOG ask no solver for any."""
        through_time = unrolling.steps > 1 and unrolling.cut_every != 1
        return through_time or self.compilable

    def _rate(self, update: tf.Tensor, rate: tf.Tensor, warmup: tf.Tensor) -> tf.Tensor:
        """The learning rate of an update, counted from the beginning of its stage.

        rate · min(1, (update + 1) / warm-up) · decay_rate^⌊update / decay_every⌋
        """
        rate *= tf.minimum((tf.cast(update, tf.float32) + 1) / tf.maximum(warmup, 1.0), 1.0)
        if not self.config.decay_every:
            return rate
        decays = tf.cast(update // self.config.decay_every, tf.float32)
        return rate * self.config.decay_rate**decays

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
            u, r = (field[..., self.system.measured] for field in (states, reference))
            error = tf.reduce_mean(tf.math.squared_difference(u, r), axes)
            error /= tf.reduce_max(tf.square(r), axes)
            return tf.cast(tf.reduce_mean(error), tf.float32), states[0], reference[0]

        return validate


class _Compiled:
    """A network that XLA compiles by itself, for graphs that cannot be compiled whole."""

    def __init__(self, net):
        self._net = net
        self._call = tf.function(net, jit_compile=True, autograph=False)

    def __call__(self, inputs):
        return self._call(inputs)

    def __getattr__(self, name):
        return getattr(self._net, name)


def _cut(function):
    """The function without the gradient by its first argument."""
    return lambda first, *more: function(tf.stop_gradient(first), *more)


def _flattened(tensors) -> tf.Tensor:
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
