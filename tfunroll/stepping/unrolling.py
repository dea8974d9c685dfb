"""Unrolled training and rollouts: the modalities ONE, NOG and WIG as data, and one loop for all.

Reference: List, Chen, Bali & Thuerey (2025), doi:10.1016/j.cma.2024.117441.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import tensorflow as tf

from tfunroll.core import InputError, State, Step, check_choice

# (step k from 0, state before it, state after it, reference after it) -> value per sample, [batch]
LevelLoss = Callable[[int | tf.Tensor, State, State, State], tf.Tensor]

ROUTES = ("all", "solver", "network", "identity", "emulator", "combined")
SOLVERLESS = ("network", "identity", "emulator")  # these ask no solver for a gradient


@dataclass(frozen=True)
class Unrolling:
    """How a training sample is unrolled.

    Attributes:
      steps: steps of the stepper per sample, push-forward steps included.
      cut_every: gradients through time are cut after every this many steps; None never cuts.
      pushforward: the first steps that only move the state onto the network's own distribution:
        they are cut and leave no term in the loss.
      through: what a step passes on of the gradient through time, of ROUTES: a stepper binds it
        (``steppers.bind``), so ``unroll`` is given a step that does.
    """

    steps: int
    cut_every: int | None = None
    pushforward: int = 0
    through: str = "all"

    def __post_init__(self):
        if self.steps < 1:
            raise InputError(f"steps={self.steps} must be at least 1")
        if self.cut_every is not None and not 1 <= self.cut_every <= self.steps:
            raise InputError(
                f"cut_every={self.cut_every} must lie between 1 and steps={self.steps}"
            )
        if not 0 <= self.pushforward < self.steps:
            raise InputError(
                f"pushforward={self.pushforward} must lie between 0 and steps-1={self.steps - 1}"
            )
        check_choice("through", self.through, ROUTES)

    def shortened(self, steps: int) -> "Unrolling":
        """The same with fewer steps; cuts and push-forward are limited to them, and one is ONE."""
        if steps == 1:
            return ONE
        cut_every = None if self.cut_every is None else min(self.cut_every, steps)
        pushforward = min(self.pushforward, steps - 1)
        return replace(self, steps=steps, cut_every=cut_every, pushforward=pushforward)

    @property
    def carries(self) -> bool:
        """Whether any gradient goes from one step to the one before."""
        return self.steps > 1 and self.cut_every != 1

    @property
    def asks_solver(self) -> bool:
        """Whether it asks a corrected solver for a gradient."""
        return self.carries and self.through not in SOLVERLESS


ONE = Unrolling(1)


def NOG(steps: int, pushforward: int = 0) -> Unrolling:  # noqa: N802
    """No gradient: unrolled, cut after every step."""
    return Unrolling(steps, 1, pushforward)


def WIG(  # noqa: N802
    steps: int, cut_every: int | None = None, pushforward: int = 0, through: str = "all"
) -> Unrolling:
    """With gradient: back-propagation through all steps, or through ``cut_every`` of them."""
    return Unrolling(steps, cut_every, pushforward, through)


def of_modality(
    modality: str,
    steps: int,
    cut_every: int | None = None,
    pushforward: int = 0,
    through: str = "all",
) -> Unrolling:
    """The Unrolling of a modality by name; a horizon of one step is ONE in all of them.

    ``cut_every`` and ``pushforward`` longer than a short curriculum stage are limited to it;
    ``cut_every`` and ``through`` are WIG's alone.
    """
    if modality == "ONE" or steps == 1:
        return ONE
    pushforward = min(pushforward, steps - 1)
    if modality == "NOG":
        return NOG(steps, pushforward)
    cut_every = None if cut_every is None else min(cut_every, steps)
    return WIG(steps, cut_every, pushforward, through)


class Unrolled(NamedTuple):
    """What unrolling a batch came to.

    loss: of each sample, [batch]. state: the final one. levels: loss of each level and sample,
    [steps, batch], without a gradient; zero in the push-forward.
    """

    loss: tf.Tensor
    state: State
    levels: tf.Tensor


class Numbered:
    """A step that depends on its number in a rollout, from 0, as one with noise does.

    Args: function: (k, state) -> state one frame later; k is None where a step is made by itself.
    """

    def __init__(self, function: Callable[[int | tf.Tensor | None, State], State]):
        self._function = function

    def __call__(self, state: State) -> State:
        return self._function(None, state)

    def at(self, k: int | tf.Tensor) -> Step:
        """Step number k."""
        return lambda state: self._function(k, state)


def numbered(step: Step, k: int | tf.Tensor) -> Step:
    """Step number k of a rollout: the step itself, unless it is Numbered."""
    return step.at(k) if isinstance(step, Numbered) else step


def unroll(
    step: Step,
    state: State,
    targets: tf.Tensor,
    level_loss: LevelLoss,
    unrolling: Unrolling,
    probes: tf.Tensor | None = None,
    loop: bool | None = None,
    rematerialise: bool = False,
    sources: Sequence[tf.Tensor] = (),
) -> Unrolled:
    """Unrolls a step and averages the loss over its time levels.

        u_0 = state;  u_k = step(u_{k-1});  loss = mean_k level_loss(k, u_{k-1}, u_k, target_k)

    over the levels after the push-forward. The carried state is cut (tf.stop_gradient) after the
    loss has seen it, so every level trains the step that made it.

    Args:
      step: one frame forward.
      state: [batch, *space, channel].
      targets: the frames after ``state``, [batch, steps, *space, channel].
      level_loss: (k, before, after, target) -> [batch].
      unrolling: horizon, cuts, push-forward.
      probes: zeros [steps, *state.shape], added to the state entering each step; their gradient
        is ∂loss/∂(state entering step k).
      loop: True for a tf.while_loop, False for Python unrolling; None loops over more than one: the
        graph of a step is then compiled once.
      rematerialise: recompute each step in the backward pass instead of storing its inside; always
        a loop. Gradients then reach state, probes, variables and ``sources``, nothing else.
      sources: tensors that the step closes over whose gradients are wanted, such as weights.
    """
    steps, pushforward = unrolling.steps, unrolling.pushforward
    if targets.shape[1] != steps:
        raise ValueError(f"targets hold {targets.shape[1]} frames, the unrolling needs {steps}")
    cut_every = unrolling.cut_every or steps + 1
    looped = rematerialise or (loop if loop is not None else steps > 1)

    def advance(k, before, target):
        """Step k, 0-based: the carried state and the loss term; here alone steps are cut apart."""
        after = numbered(step, k)(before)
        level = level_loss(k, before, after, target)
        warming, cut = k < pushforward, (k + 1) % cut_every == 0
        if isinstance(k, int):
            level = tf.zeros_like(level) if warming else level
            return (tf.stop_gradient(after) if warming or cut else after), level
        level = tf.where(warming, tf.zeros_like(level), level)
        return tf.where(warming | cut, tf.stop_gradient(after), after), level

    def enter(state, k):
        return state if probes is None else state + probes[k]

    if looped:
        by_frame = tf.stack(tf.unstack(targets, axis=1))  # frames first: the loop reads slices
        if rematerialise:
            total, state, levels = _recomputed_loop(
                lambda k, before: advance(k, before, by_frame[k]), state, probes, steps, sources
            )
        else:

            def body(k, state, total, levels):
                state, level = advance(k, enter(state, k), by_frame[k])
                return k + 1, state, total + level, levels.write(k, tf.stop_gradient(level))

            _, state, total, levels = tf.while_loop(
                lambda k, *_: k < steps, body, _before(state, steps), maximum_iterations=steps
            )
            levels = levels.stack()
    else:
        total, levels = tf.zeros_like(_by_sample(state)), []
        for k in range(steps):
            state, level = advance(k, enter(state, k), targets[:, k])
            total += level
            levels.append(tf.stop_gradient(level))
        levels = tf.stack(levels)
    return Unrolled(total / tf.cast(steps - pushforward, total.dtype), state, levels)


def _before(state, steps):
    """What a loop over levels starts from: its number, the state, sum and values of the levels."""
    zero = tf.zeros_like(_by_sample(state))
    levels = tf.TensorArray(zero.dtype, size=steps, element_shape=zero.shape)
    return tf.constant(0), state, zero, levels


def _by_sample(state):
    """One number of each sample, [batch]."""
    return state[(slice(None), *(0,) * (state.shape.rank - 1))]


def _recomputed_loop(advance, state, probes, steps, sources):
    """Sums the loss terms of (k, before) -> (after, level) over a loop that stores states alone.

    The backward loop recomputes each step from the state entering it (tf.recompute_grad cannot
    stand inside a tf.while_loop). Gradients reach the state, the probes, variables and ``sources``;
    not other tensors that ``advance`` closes over.
    """
    sources = list(sources)
    if probes is None:
        probes = tf.zeros(tf.concat([[steps], tf.shape(state)], 0), state.dtype)

    def states():
        return tf.TensorArray(state.dtype, size=steps, element_shape=state.shape)

    @tf.custom_gradient
    def loop(state, probes, *_sources):
        def body(k, state, total, levels, kept):
            before = state + probes[k]
            after, level = advance(k, before)
            return k + 1, after, total + level, levels.write(k, level), kept.write(k, before)

        _, final, total, levels, kept = tf.while_loop(
            lambda k, *_: k < steps,
            body,
            (*_before(state, steps), states()),
            maximum_iterations=steps,
        )
        entering = kept.stack()

        def gradient(d_total, d_final, _, variables=None):
            wanted = [*sources, *(variables or ())]

            def back(k, d_after, sums, kept):
                before = entering[k]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch([before, *wanted])
                    outputs = advance(k, before)
                d_before, *terms = tape.gradient(
                    outputs, [before, *wanted], (d_after, d_total), "zero"
                )
                sums = [s + d for s, d in zip(sums, terms, strict=True)]
                return k - 1, d_before, sums, kept.write(k, d_before)

            sums = [tf.zeros(v.shape, v.dtype) for v in wanted]
            _, d_state, sums, kept = tf.while_loop(
                lambda k, *_: k >= 0,
                back,
                (tf.constant(steps - 1), d_final, sums, states()),
                maximum_iterations=steps,
            )
            by_argument = (d_state, kept.stack(), *sums[: len(sources)])
            return (by_argument, sums[len(sources) :]) if variables else by_argument

        return (total, final, levels.stack()), gradient

    return loop(state, probes, *sources)


def rollout(
    step: Step, state: State, frames: int, view: Callable[[State], tf.Tensor] = tf.identity
) -> tf.Tensor:
    """The ``frames`` states after ``state``: [batch, frames, *space, channel], always looped.

    ``view`` of each state is what is kept, such as the state on a coarser grid.
    """

    def body(k, state, kept):
        state = numbered(step, k)(state)
        return k + 1, state, kept.write(k, view(state))

    kept = tf.TensorArray(state.dtype, size=frames, element_shape=view(state).shape)
    _, _, kept = tf.while_loop(
        lambda k, *_: k < frames, body, (0, state, kept), maximum_iterations=frames
    )
    stacked = kept.stack()
    return tf.transpose(stacked, [1, 0, *range(2, stacked.shape.rank)])


def repeat(step: Step, times: int) -> Step:
    """The step applied ``times`` times, as one step; only its last state is kept."""

    def repeated(number, state):
        def body(k, state):
            return k + 1, numbered(step, None if number is None else number * times + k)(state)

        return tf.while_loop(lambda k, _: k < times, body, (0, state), maximum_iterations=times)[1]

    return Numbered(repeated)
