"""A stack of equal residual blocks: one weight per role, and on a CPU in one dimension one loop.

Times with and without: docs/design.md, "Equal blocks are one weight and one loop".
"""

import keras
import tensorflow as tf

from tfunroll.nets.lanes import seeds
from tfunroll.nets.layers import (
    SLOPE,
    by_channel,
    by_tap,
    channels_first,
    channels_last,
    convolve,
    leaky_relu,
    lines_of,
    on_gpu,
    padded,
    slopes_of_lines,
)


@keras.saving.register_keras_serializable("tfunroll")
class ResidualStack(keras.layers.Layer):
    """Residual blocks of one width, each of two convolutions over ``kernel_size`` cells per axis.

        h_k = σ(conv(x_k)),  x_{k+1} = σ(conv(h_k) + x_k),  k = 0 … depth − 1    σ leaky ReLU

    Its weights are kernel [depth, 2, taps · width, width] and bias [depth, 2, width], so that in a
    vector of weights the whole stack is two slices.

    Args:
      depth: blocks.
      boundary: per space axis the kinds (lower, upper) of ops.boundary.pad.
      kernel_size: odd, the same in every axis.
      seeds: of the initial weights, one per convolution in their order; None: of Keras's own.
    """

    def __init__(self, depth, boundary, kernel_size=3, seeds=None, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.kernel_size = depth, kernel_size
        self.seeds = None if seeds is None else tuple(seeds)
        self.boundary = tuple(tuple(pair) for pair in boundary)

    @property
    def layers_in_stack(self) -> int:
        """Convolutions, for initial.set_initial."""
        return 2 * self.depth

    def build(self, input_shape):
        width = input_shape[-1]
        rows = width * self.kernel_size ** len(self.boundary)
        limit = (6.0 / (2 * rows)) ** 0.5  # Glorot & Bengio (2010)
        numbers = self.seeds or [None] * 2 * self.depth

        def start(shape, dtype):
            draw = [keras.initializers.RandomUniform(-limit, limit, seed=seed) for seed in numbers]
            return tf.reshape(tf.stack([one(shape[2:], dtype=dtype) for one in draw]), shape)

        shape = (self.depth, 2, rows, width)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=start)
        self.bias = self.add_weight(name="bias", shape=(self.depth, 2, width), initializer="zeros")

    def call(self, x):
        if len(self.boundary) == 1:
            return channels_last(self.lines(channels_first(x, seeds(self.kernel))))
        return self._written_out(x)

    def lines(self, x: tf.Tensor) -> tf.Tensor:
        """The same in one dimension with channels first, as Conv.lines; on a CPU a loop.

        On a GPU, where each turn of a loop waits for the host, an update took 1.9 to 2 times as
        long with it (docs/design.md).
        """
        if on_gpu():
            return self._written_out(x)
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        return residual_lines(x, kernel, bias, self.boundary)

    def _written_out(self, x):
        parts = self._apart(self.kernel), self._apart(self.bias)
        layers = list(zip(*parts, strict=True))
        for first, second in zip(layers[::2], layers[1::2], strict=True):
            y = leaky_relu(convolve(x, *first, self.kernel_size, self.boundary))
            x = leaky_relu(convolve(y, *second, self.kernel_size, self.boundary) + x)
        return x

    def _apart(self, weight):
        """Of each convolution, in their order."""
        front = [*seeds(weight)]
        shape = [*front, 2 * self.depth, *weight.shape[2:]]
        return tf.unstack(tf.reshape(tf.convert_to_tensor(weight), shape), axis=len(front))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        names = ("depth", "boundary", "kernel_size", "seeds")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def residual_lines(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, boundary) -> tf.Tensor:
    """The blocks of ResidualStack in one dimension, as a loop over their convolutions.

        x_{j+1} = σ(conv_j(x_j) + [j odd] x_{j−1}),  j = 0 … 2 depth − 1

    The gradient is a loop too. All that is kept for it is x_j, with its ghost cells.

    Args:
      x: [channel, x, batch].
      kernel: [depth, 2, taps · width, width]. bias: [depth, 2, width].
      All may have K seeds in front.
    """
    front, width = [*bias.shape[:-3]], bias.shape[-1]
    count, taps = 2 * bias.shape[-3], kernel.shape[-2] // width

    def in_order(weight, rank):
        """Convolutions first, then seeds."""
        weight = tf.reshape(weight, [*front, count, *weight.shape[-rank:]])
        return _exchange(weight) if front else weight

    def as_given(weight, like):
        return tf.reshape(_exchange(weight) if front else weight, like.shape)

    def arranged(kernel):
        return by_channel(in_order(kernel, 2), width)

    def wide(x):
        return padded(x, taps // 2, boundary)

    def narrow(x):
        return x[..., taps // 2 : x.shape[-2] - taps // 2, :]

    def to_narrow(x, dy):
        """The gradient of ``wide`` at x."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = wide(x)
        return tape.gradient(y, x, dy)

    @tf.custom_gradient
    def stack(x, kernel, bias):
        kernels, biases = arranged(kernel), in_order(bias, 1)
        zero = tf.zeros([], x.dtype)

        def body(j, x, before, kept):
            p = wide(x)
            y = lines_of(p, kernels[j], taps) + biases[j][..., None, None]
            y = leaky_relu(y + tf.where(j % 2 == 1, before, zero))
            return j + 1, y, x, kept.write(j, p)

        kept = tf.TensorArray(x.dtype, size=count + 1, element_shape=wide(x).shape)
        _, out, _, kept = tf.while_loop(
            lambda j, *_: j < count, body, (tf.constant(0), x, x, kept), maximum_iterations=count
        )
        kept = kept.write(count, wide(out)).stack()

        def gradient(dy):
            kernels = arranged(kernel)  # again: a loop over steps would keep those of every step

            def back(j, dy, later, by_kernel, by_bias):
                # σ is increasing: its slope follows from the sign of its value
                dy = tf.where(narrow(kept[j + 1]) > 0, dy, SLOPE * dy)
                dp, d_kernel = slopes_of_lines(kept[j], kernels[j], dy, taps)
                dx = to_narrow(narrow(kept[j]), dp) + tf.where(j % 2 == 0, later, zero)
                # over x alone: both sums at once are slow in XLA, and samples can wait
                by_bias = by_bias.write(j, tf.reduce_sum(dy, -2))
                return j - 1, dx, dy, by_kernel.write(j, d_kernel), by_bias

            shapes = kernels.shape[1:], tf.reduce_sum(dy, -2).shape
            sums = [tf.TensorArray(dy.dtype, count, element_shape=shape) for shape in shapes]
            _, dx, _, by_kernel, by_bias = tf.while_loop(
                lambda j, *_: j >= 0,
                back,
                (tf.constant(count - 1), dy, tf.zeros_like(dy), *sums),
                maximum_iterations=count,
            )
            d_kernel = by_tap(by_kernel.stack(), width)
            d_bias = tf.reduce_sum(by_bias.stack(), -1)
            return dx, as_given(d_kernel, kernel), as_given(d_bias, bias)

        return out, gradient

    return stack(x, kernel, bias)


def _exchange(x):
    """[a, b, ...] -> [b, a, ...]."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
