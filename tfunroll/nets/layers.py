"""Layers that the architectures share."""

import math

import keras
import tensorflow as tf

from tfunroll.nets.lanes import apart, each, seeds, together
from tfunroll.ops.boundary import pad


@keras.saving.register_keras_serializable("tfunroll")
class Conv(keras.layers.Layer):
    """Convolution on a bounded or periodic grid: pads by the domain's boundary, keeps the shape.

        y_i = b + Σ_s W_s x_{i+s},   s in −r … r per axis, r = kernel_size // 2

    in one dimension written as one matrix product over the gathered neighbours, see
    ``convolve_lines``; in two dimensions a convolution kernel is faster, see ``convolve_2d``.

    Args:
      filters: output channels.
      kernel_size: odd, the same in every axis.
      boundary: per space axis the kinds (lower, upper) of ops.boundary.pad.
    """

    def __init__(self, filters, boundary, kernel_size=3, seed=None, **kwargs):
        super().__init__(**kwargs)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} must be odd")
        self.filters, self.kernel_size, self.seed = filters, kernel_size, seed
        self.boundary = tuple(tuple(pair) for pair in boundary)

    def build(self, input_shape):
        taps = self.kernel_size ** len(self.boundary)
        limit = (6.0 / (taps * (input_shape[-1] + self.filters))) ** 0.5  # Glorot & Bengio (2010)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(taps * input_shape[-1], self.filters),
            initializer=keras.initializers.RandomUniform(-limit, limit, seed=self.seed),
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x):
        if len(self.boundary) == 1:
            return channels_last(self.lines(channels_first(x, seeds(self.kernel))))
        y = convolve_2d(
            pad(x, self.kernel_size // 2, self.boundary), tf.convert_to_tensor(self.kernel)
        )
        return each(tf.add, y, tf.convert_to_tensor(self.bias))

    def lines(self, x: tf.Tensor) -> tf.Tensor:
        """The same in one dimension with channels first, for fast stacks; see channels_first."""
        kernel, reach = tf.convert_to_tensor(self.kernel), (self.kernel_size // 2,) * 2
        before = x.shape.rank - 3  # axes besides that of x which ``pad`` must pass over
        padded = pad(x, [*[(0, 0)] * before, reach], self.boundary * (1 + before))
        y = convolve_lines(padded, kernel)
        return y + tf.convert_to_tensor(self.bias)[..., None, None]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "boundary": self.boundary,
            "kernel_size": self.kernel_size,
            "seed": self.seed,
        }


def channels_first(x: tf.Tensor, count: tuple[int, ...] = ()) -> tf.Tensor:
    """[batch, x, channel] -> [channel, x, batch]; of K seeds, (K,): [K, channel, x, batch]."""
    if count:
        return tf.transpose(apart(x, *count), [0, 3, 2, 1])
    return tf.transpose(x, [2, 1, 0])


def channels_last(x: tf.Tensor) -> tf.Tensor:
    """The inverse of ``channels_first``."""
    if x.shape.rank == 4:
        return together(tf.transpose(x, [0, 3, 2, 1]))
    return tf.transpose(x, [2, 1, 0])


@tf.custom_gradient
def convolve_lines(x: tf.Tensor, kernel: tf.Tensor):
    """Valid 1-D convolution as one matrix product, y_{o,i} = Σ_{s,c} W_{sc,o} x_{c,i+s}.

    Channels come first and the batch last, so that the long axis of every product is contiguous:
    on a CPU the fastest of the layouts tried, forward and backward. The gradient is written out
    because the adjoint of gathering neighbours is slower than one more gathered product.

    Args:
      x: padded, [channel, x + taps − 1, batch].
      kernel: [taps · channel, filter].
      Both may have K seeds in front, and so has the result.
    Returns:
      [filter, x, batch].
    """
    seeds, channels, filters = kernel.shape[:-2], x.shape[-3], kernel.shape[-1]
    taps = kernel.shape[-2] // channels
    front = range(len(seeds))

    def neighbours(x):
        count = x.shape[-2] - taps + 1
        gathered = tf.concat([x[..., s : s + count, :] for s in range(taps)], -3)
        return tf.reshape(gathered, [*seeds, gathered.shape[-3], -1])

    def swap(x):
        """The last three axes, [a, b, c] -> [b, a, c]."""
        first = len(seeds)
        return tf.transpose(x, [*front, first + 1, first, first + 2])

    y = tf.matmul(kernel, neighbours(x), transpose_a=True)
    y = tf.reshape(y, [*seeds, filters, x.shape[-2] - taps + 1, -1])

    def gradient(dy):
        around = [[0, 0], [taps - 1, taps - 1], [0, 0]]
        d = neighbours(tf.pad(dy, [*[[0, 0]] * len(seeds), *around]))
        by_tap = tf.reshape(kernel, [*seeds, taps, channels, filters])[..., ::-1, :, :]
        flipped = tf.linalg.matrix_transpose(by_tap)
        flipped = tf.reshape(flipped, [*seeds, taps * filters, channels])
        dx = tf.reshape(tf.matmul(flipped, d, transpose_a=True), tf.shape(x))
        d_kernel = tf.matmul(tf.reshape(x, [*seeds, channels, -1]), d, transpose_b=True)
        d_kernel = tf.reshape(d_kernel, [*seeds, channels, taps, filters])[..., ::-1, :]
        return dx, tf.reshape(swap(d_kernel), kernel.shape)

    return y, gradient


def convolve_2d(padded: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolution of a padded field, [batch, y, x, in], with a kernel [taps * in, out].

    Forward and gradient of four layers of 16 to 128 channels, float32, batch 8, one CPU thread: the
    gathered matrix product takes 1.3 to 2.4 times as long under XLA, on 32² and 128² points, and
    3.6 to 12 times as long without.

    K seeds, [K · batch, ...] and [K, taps * in, out], are convolved one by one. Processor time of a
    gradient of the ResNet (9, 4), 32² points, K = 4, batch 8 each, one thread, XLA, least of 12:
    77 ms; gathered products over all seeds 160 ms, one convolution of K groups 2,000 ms; three
    updates in a loop 223, 468 and 1,569 ms.
    """
    if kernel.shape.rank == 3:
        fields, kernels = tf.unstack(apart(padded, kernel.shape[0])), tf.unstack(kernel)
        return tf.concat([convolve_2d(*one) for one in zip(fields, kernels, strict=True)], 0)
    filters = kernel.shape[-1]
    size = math.isqrt(kernel.shape[0] // padded.shape[-1])
    kernel = tf.reshape(kernel, [size, size, padded.shape[-1], filters])
    if tf.config.list_physical_devices("GPU"):
        return tf.nn.conv2d(padded, kernel, 1, "VALID")
    return _convolve_forwards(padded, kernel)


@tf.custom_gradient
def _convolve_forwards(padded, kernel):
    """The convolution with a gradient made of forward convolutions, [batch, y, x, channel] each.

    XLA's CPU backend calls its fast kernels for that form alone. It brings gradients into it only
    outside of loops: in the loop over updates, theirs took about ten times as long.
    """
    size = kernel.shape[0]

    def gradient(dy):
        around = [[0, 0], [size - 1, size - 1], [size - 1, size - 1], [0, 0]]
        flipped = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
        to_padded = tf.nn.conv2d(tf.pad(dy, around), flipped, 1, "VALID")
        by_channel, by_filter = tf.transpose(padded, [3, 1, 2, 0]), tf.transpose(dy, [1, 2, 0, 3])
        to_kernel = tf.nn.conv2d(by_channel, by_filter, 1, "VALID")
        return to_padded, tf.transpose(to_kernel, [1, 2, 0, 3])

    return tf.nn.conv2d(padded, kernel, 1, "VALID"), gradient


def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """max(x, 0.01 x)."""
    return tf.nn.leaky_relu(x, 0.01)
