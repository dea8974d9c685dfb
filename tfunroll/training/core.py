"""The four functions of one vector of weights that all training rests on.

    sample(windows, …) -> batch                    a pure function of counters
    loss(flat, batch, unrolling) -> loss           the stepper with its weights as argument
    gradient(flat, batch, unrolling) -> vector     of the same length
    apply(carry, gradient, …) -> carry             optimizer, guard and averaged weights

They know nothing of flags, files, stages or callbacks. ``flat`` is [P], or [K, P] for K seeds side
by side; then a batch holds the samples of all seeds one after the other, [K · B, …], losses are
[K], and seeds have nothing in common but the program.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfunroll.core import Params, State, Stepper, compilable
from tfunroll.data.windows import Windows
from tfunroll.nets.weights import Weights
from tfunroll.stepping.losses import Loss, by_sample
from tfunroll.stepping.steppers import bind, with_net
from tfunroll.stepping.unrolling import ONE, Numbered, Unrolling, numbered, unroll
from tfunroll.training import guard
from tfunroll.training.averages import Average
from tfunroll.training.optimizers import Adam
from tfunroll.training.subspaces import Subspace

Carry = dict[str, object]  # "flat", "optimizer", "guard", "update", and "average" if there is one


class Batch(NamedTuple):
    """Samples: states [batch, *space, channel], the frames after them [batch, steps, …].

    keys: of what is drawn while they are stepped, [2], or [K, 2]; None where nothing is.
    """

    start: State
    targets: tf.Tensor
    params: Params
    keys: tf.Tensor | None = None

    def single_steps(self) -> "Batch":
        """All steps of the windows, each from a reference frame: [batch · steps, …]."""
        steps = self.targets.shape[1]
        starts = tf.concat([self.start[:, None], self.targets[:, :-1]], 1)
        flat = [tf.reshape(x, [-1, *x.shape[2:]]) for x in (starts, self.targets)]
        params = {name: tf.repeat(value, steps) for name, value in self.params.items()}
        return Batch(flat[0], flat[1][:, None], params, self.keys)


class Gradient(NamedTuple):
    """loss, vector: ∂loss/∂flat, norm: ‖vector‖, by_step: ‖∂loss/∂(state entering step k)‖.

    For one seed scalars, [P] and [steps]; for K with a leading axis. by_step has no steps where it
    alone would need gradients of an external solver.
    """

    loss: tf.Tensor
    vector: tf.Tensor
    norm: tf.Tensor
    by_step: tf.Tensor


def sample(
    windows: Windows,
    drawn: tuple[tf.Tensor, tf.Tensor],
    steps: int,
    noise: np.ndarray | None = None,
    keys: tf.Tensor | None = None,
    members: int = 1,
) -> Batch:
    """The windows that were drawn, as a batch.

    Args:
      drawn: trajectories and start frames, each [batch] or [K, batch], as Windows.fetch gives them.
      noise: standard deviation of noise on the initial states, [*space, channel]; None: none.
      keys: of the noise, [2] or [K, 2]: the same key gives the same noise.
      members: of each window so many samples, one after the other.
    """
    rank = drawn[0].shape.rank  # beyond it are the states of windows that were fetched
    trajectory, start = (tf.reshape(part, [-1, *part.shape[rank:]]) for part in drawn)
    states, params = windows.read(trajectory, start, steps)
    initial = states[:, 0]
    if noise is not None:
        seeds = tf.unstack(tf.reshape(keys, [-1, 2]))
        shape = [initial.shape[0] // len(seeds), *initial.shape[1:]]
        draws = [tf.random.stateless_normal(shape, key, dtype=initial.dtype) for key in seeds]
        initial += tf.constant(noise, initial.dtype) * tf.concat(draws, 0)
    targets = states[:, 1:]
    if members > 1:
        initial, targets = (tf.repeat(x, members, axis=0) for x in (initial, targets))
        params = {name: tf.repeat(value, members) for name, value in params.items()}
    return Batch(initial, targets, params, keys)


@dataclass(frozen=True, eq=False)
class Objective:
    """What training minimises, as a function of the weights.

    Attributes:
      stepper: around a network. weights: that network's.
      of_level: the loss, fitted to the stepper.
      rematerialise: recompute each step in the backward pass: less memory, more time.
      compiled: by XLA: whole if it can, else the network alone, in a graph that calls out to the
        solver.
      subspace: of which the weights are the ends; None: they are one network's.
    """

    stepper: Stepper
    weights: Weights
    of_level: Loss
    rematerialise: bool = False
    compiled: bool = True
    subspace: Subspace | None = None

    @property
    def size(self) -> int:
        """Length of the vector of weights."""
        return self.weights.size * (1 if self.subspace is None else self.subspace.ends)

    def network(self, flat: tf.Tensor) -> tf.Tensor:
        """The weights of the one network that training comes to, [..., P]."""
        return flat if self.subspace is None else self.subspace.middle(flat)

    @property
    def compilable(self) -> bool:
        """Whether XLA can compile it whole."""
        return compilable(self.stepper) and self.of_level.compilable

    @property
    def jit(self) -> bool:
        """Whether functions of it are to be compiled whole."""
        return self.compiled and self.compilable

    def at(self, flat: tf.Tensor) -> Stepper:
        """The stepper with the weights of one network, [P] or [K, P], or in the middle of ends."""
        if self.subspace is not None and flat.shape[-1] == self.size:
            flat = self.subspace.middle(flat)
        if self.compiled and not self.compilable:
            return with_net(self.stepper, lambda x: self._compiled_net(flat, x))
        if self.rematerialise:  # the backward pass differentiates a step by flat itself
            return with_net(self.stepper, lambda x: self.weights.at(flat)(x))
        return with_net(self.stepper, self.weights.at(flat))

    @functools.cached_property
    def _compiled_net(self):
        return tf.function(
            lambda flat, x: self.weights.at(flat)(x), jit_compile=True, autograph=False
        )

    def probed(self, unrolling: Unrolling) -> bool:
        """Whether gradients by state are at hand: ONE and NOG ask no solver for any."""
        return unrolling.carries or self.compilable

    def loss(
        self,
        flat: tf.Tensor,
        batch: Batch,
        unrolling: Unrolling,
        probes: tf.Tensor | None = None,
        loop: bool | None = None,
    ) -> tf.Tensor:
        """The mean over samples and time levels: a scalar, or [K].

        Weights of levels (losses.Supervised) and the repulsion of a subspace's ends are in its
        gradient alone.

        Args: probes, loop: as in unrolling.unroll.
        """
        subspace = self.subspace
        if subspace is None:
            return self._loss(flat, batch, unrolling, probes, loop)
        coordinates = subspace.coordinates(batch.keys, flat.dtype)
        point = subspace.point(flat, coordinates)
        loss = self._loss(point, batch, unrolling, probes, loop)
        if subspace.spans and unrolling.steps > 1:
            alone = self._loss(point, batch.single_steps(), ONE)
            loss = coordinates[..., 0] * alone + coordinates[..., 1] * loss
        pull = subspace.pull(flat) if subspace.repulsion else tf.zeros_like(loss)
        return loss + (pull - tf.stop_gradient(pull))

    def _loss(self, flat, batch, unrolling, probes=None, loop=None):
        """That of one network, [P] or [K, P]."""
        stepper = self.at(flat)
        if hasattr(stepper, "keyed") and batch.keys is not None:
            stepper = stepper.keyed(batch.keys)
        step = bind(stepper, batch.params, unrolling.through)
        level_loss = by_sample(self.of_level.unrolled(unrolling), batch.params)
        if not self.probed(unrolling):
            # a loop differentiates all that it holds: nothing by the state, then
            uncut, uncut_loss = step, level_loss
            step = Numbered(lambda k, state: numbered(uncut, k)(tf.stop_gradient(state)))
            level_loss = lambda k, before, *more: uncut_loss(  # noqa: E731
                k, tf.stop_gradient(before), *more
            )
        values, _ = unroll(
            *(step, batch.start, batch.targets, level_loss, unrolling, probes),
            loop=loop,
            rematerialise=self.rematerialise,
            sources=[flat],
        )
        return tf.reduce_mean(tf.reshape(values, [*flat.shape[:-1], -1]), -1)

    def gradient(
        self, flat: tf.Tensor, batch: Batch, unrolling: Unrolling, loop: bool | None = None
    ) -> Gradient:
        """The loss and its gradient; of K seeds each by its own weights."""
        seeds = flat.shape[:-1]
        probed, dtype = self.probed(unrolling), batch.start.dtype
        probes = tf.zeros([unrolling.steps, *batch.start.shape], dtype) if probed else None
        sources = [flat, probes] if probed else [flat]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            loss = self.loss(flat, batch, unrolling, probes, loop)
            total = tf.reduce_sum(loss)
        vector, *by_probe = tape.gradient(total, sources)
        by_step = tf.zeros([*seeds, 0], dtype)
        if probed:
            squares = tf.square(tf.reshape(by_probe[0], [unrolling.steps, *seeds, -1]))
            by_step = tf.sqrt(tf.reduce_sum(squares, -1))
            by_step = tf.transpose(by_step) if seeds else by_step
        return Gradient(loss, vector, tf.norm(vector, axis=-1), by_step)


def start(flat: tf.Tensor, optimizer: Adam, average: Average | None = None) -> Carry:
    """What the loop over updates carries, before the first one.

    Args: average: as of ``apply``.
    """
    averaged = {} if average is None else {"average": flat}
    return averaged | {
        "flat": flat,
        "optimizer": optimizer.start(flat),
        "guard": guard.start(tuple(flat.shape[:-1])),
        "update": tf.zeros([], tf.int64),
    }


def apply(
    carry: Carry,
    gradient: Gradient,
    rate: tf.Tensor,
    optimizer: Adam,
    average: Average | None = None,
) -> Carry:
    """The next weights, optimizer, guard and mean of the weights.

    A gradient that is not finite, or whose norm jumps over its running mean, is not applied.
    """
    good, judged = guard.judge(carry["guard"], gradient.loss, gradient.norm)
    flat, state = optimizer.apply(carry["flat"], carry["optimizer"], gradient.vector, rate)

    def chosen(new, old):
        return tf.where(good[..., None] if new.shape.rank > good.shape.rank else good, new, old)

    averaged = {}
    if average is not None:
        moved = average.moved(carry["average"], flat, carry["update"])
        averaged["average"] = chosen(moved, carry["average"])
    return averaged | {
        "flat": chosen(flat, carry["flat"]),
        "optimizer": tf.nest.map_structure(chosen, state, carry["optimizer"]),
        "guard": judged,
        "update": carry["update"] + 1,
    }
