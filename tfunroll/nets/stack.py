"""A stack of equal residual blocks: one weight per role, one loop over the blocks."""

import keras
import tensorflow as tf

from tfunroll.nets.lanes import each, seeds
from tfunroll.nets.layers import (
    SLOPE,
    by_channel,
    by_tap,
    channels_first,
    channels_last,
    convolve_2d,
    inside,
    leaky_relu,
    lines_of,
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
        each = self.seeds or [None] * 2 * self.depth

        def start(shape, dtype):
            draw = [keras.initializers.RandomUniform(-limit, limit, seed=seed) for seed in each]
            return tf.reshape(tf.stack([one(shape[2:], dtype=dtype) for one in draw]), shape)

        shape = (self.depth, 2, rows, width)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=start)
        self.bias = self.add_weight(name="bias", shape=(self.depth, 2, width), initializer="zeros")

    def call(self, x):
        if len(self.boundary) == 1:
            return channels_last(self.lines(channels_first(x, seeds(self.kernel))))
        return self.lines(x)

    def lines(self, x: tf.Tensor) -> tf.Tensor:
        """The same, in one dimension with channels first, as Conv.lines."""
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        return residual_blocks(x, kernel, bias, self.boundary)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        names = ("depth", "boundary", "kernel_size", "seeds")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def residual_blocks(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, boundary) -> tf.Tensor:
    """The blocks of ResidualStack as a loop over their convolutions, compiled once.

        x_{j+1} = σ(conv_j(x_j) + [j odd] x_{j−1}),  j = 0 … 2 depth − 1

    Its gradient is a loop of its own. All that is kept is x_j with their ghost cells.

    Args:
      x: as in layers.padded.
      kernel: [depth, 2, taps · width, width]. bias: [depth, 2, width]. With K seeds in front.
    """
    dimensions, width = len(boundary), bias.shape[-1]
    front = [*bias.shape[:-3]]  # seeds
    count = 2 * bias.shape[-3]
    taps = round((kernel.shape[-2] // width) ** (1 / dimensions))
    over_samples = -1 if dimensions == 1 else -2
    over_space = -2 if dimensions == 1 else [1, 2]

    def in_order(weight, rank):
        """Convolutions first, then seeds."""
        weight = tf.reshape(weight, [*front, count, *weight.shape[-rank:]])
        return tf.transpose(weight, [1, 0, *range(2, 2 + rank)]) if front else weight

    def arranged(kernel, bias):
        kernel = in_order(kernel, 2)
        return kernel if dimensions == 2 else by_channel(kernel, width), in_order(bias, 1)

    def as_given(weight, like):
        weight = tf.transpose(weight, [1, 0, *range(2, weight.shape.rank)]) if front else weight
        return tf.reshape(weight, like.shape)

    def wide(x):
        return padded(x, taps // 2, boundary)

    def narrow(x):
        return inside(x, taps // 2, dimensions)

    def convolve(x, kernel, bias):
        if dimensions == 2:
            return each(tf.add, convolve_2d(x, kernel), bias)
        return lines_of(x, kernel, taps) + bias[..., None, None]

    def slopes(x, kernel, dy):
        if dimensions == 1:
            return slopes_of_lines(x, kernel, dy, taps)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x, kernel])
            y = convolve_2d(x, kernel)  # not used, so no graph computes it
        return tape.gradient(y, [x, kernel], dy)

    def narrow_slope(x, dy):
        """The gradient of ``wide``."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = wide(x)
        return tape.gradient(y, x, dy)

    @tf.custom_gradient
    def stack(x, kernel, bias):
        kernels, biases = arranged(kernel, bias)

        def body(j, x, before, kept):
            p = wide(x)
            y = convolve(p, kernels[j], biases[j])
            y = leaky_relu(y + tf.where(j % 2 == 1, before, tf.zeros([], x.dtype)))
            return j + 1, y, x, kept.write(j, p)

        kept = tf.TensorArray(x.dtype, size=count + 1, element_shape=wide(x).shape)
        _, out, _, kept = tf.while_loop(
            lambda j, *_: j < count, body, (tf.constant(0), x, x, kept), maximum_iterations=count
        )
        kept = kept.write(count, wide(out)).stack()

        def gradient(dy):
            kernels, _ = arranged(kernel, bias)  # again: a loop over steps would keep them all

            def back(j, dy, later, by_kernel, by_bias):
                # σ is increasing: its slope follows from the sign of its value
                dy = tf.where(narrow(kept[j + 1]) > 0, dy, SLOPE * dy)
                dp, d_kernel = slopes(kept[j], kernels[j], dy)
                dx = narrow_slope(narrow(kept[j]), dp)
                dx += tf.where(j % 2 == 0, later, tf.zeros([], dy.dtype))
                # summed over samples once for all: XLA takes longer over both sums in one
                by_bias = by_bias.write(j, tf.reduce_sum(dy, over_space))
                return j - 1, dx, dy, by_kernel.write(j, d_kernel), by_bias

            shapes = kernels.shape[1:], tf.reduce_sum(dy, over_space).shape
            sums = [tf.TensorArray(dy.dtype, count, element_shape=shape) for shape in shapes]
            _, dx, _, by_kernel, by_bias = tf.while_loop(
                lambda j, *_: j >= 0,
                back,
                (tf.constant(count - 1), dy, tf.zeros_like(dy), *sums),
                maximum_iterations=count,
            )
            by_kernel, by_bias = by_kernel.stack(), by_bias.stack()
            if dimensions == 1:
                by_kernel = by_tap(by_kernel, width)
            else:
                by_bias = tf.reshape(by_bias, [count, *front, -1, width])
            by_bias = tf.reduce_sum(by_bias, over_samples)
            return dx, as_given(by_kernel, kernel), as_given(by_bias, bias)

        return out, gradient

    return stack(x, kernel, bias)
