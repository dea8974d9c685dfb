"""A number of iterations as one differentiable loop that stores states alone."""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf


def iterate(
    function: Callable[..., tf.Tensor],
    times: int | tf.Tensor,
    state: tf.Tensor,
    operands: Sequence[tf.Tensor],
    counted: bool = False,
    most: int | None = None,
) -> tf.Tensor:
    """state ← function(state, *operands), ``times`` times.

    The gradient is the exact one of these iterations: a loop backwards that recomputes each from
    the state entering it. Beside an unrolled graph it is a small body to compile, and XLA on a CPU
    runs it several times faster, because it then fuses within an iteration only.

    Args:
      function: the shapes and dtypes of state and result agree. Gradients reach state and operands,
        nothing else that it closes over; other constants must be NumPy arrays.
      times: at least 1; a number, or an int32 scalar: one compiled graph then serves all numbers.
      operands: real tensors, the same in every iteration.
      counted: the function takes the number of the iteration, from 0, before the state.
      most: where ``times`` is a tensor, what it never exceeds: XLA needs a bound.
    """
    known = isinstance(times, int)
    most = times if known else most

    def at(k):
        return functools.partial(function, k) if counted else function

    if known and times == 1:
        return at(0)(state, *operands)

    @tf.custom_gradient
    def loop(state, *operands):
        kept = tf.TensorArray(state.dtype, size=most, element_shape=state.shape)
        _, final, kept = tf.while_loop(
            lambda k, *_: k < times,
            lambda k, now, kept: (k + 1, at(k)(now, *operands), kept.write(k, now)),
            (tf.constant(0), state, kept),
            maximum_iterations=most,
        )
        entering = kept.stack()

        def gradient(upstream):
            def back(k, upstream, *sums):
                before = entering[k]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch([before, *operands])
                    after = at(k)(before, *operands)
                upstream, *terms = tape.gradient(after, [before, *operands], upstream, "zero")
                return k - 1, upstream, *(s + t for s, t in zip(sums, terms, strict=True))

            _, to_state, *to_operands = tf.while_loop(
                lambda k, *_: k >= 0,
                back,
                (tf.convert_to_tensor(times - 1), upstream, *map(tf.zeros_like, operands)),
                maximum_iterations=most,
            )
            return to_state, *to_operands

        return final, gradient

    return loop(state, *operands)
