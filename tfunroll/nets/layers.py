"""Layers that the architectures share."""

import math

import keras
import numpy as np
import tensorflow as tf

from tfunroll import machine
from tfunroll.nets.lanes import apart, each, seeds, together
from tfunroll.ops.boundary import pad

SLOPE = float(np.float32(0.01))  # of the leaky ReLU below zero; TensorFlow keeps it in float32


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
        return self.lines(x)

    def lines(self, x: tf.Tensor) -> tf.Tensor:
        """The same, in one dimension with channels first, for fast stacks; see channels_first."""
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        return convolve(x, kernel, bias, self.kernel_size, self.boundary)

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


def padded(x: tf.Tensor, reach: int, boundary) -> tf.Tensor:
    """A field with ``reach`` cells of its boundary on every side.

    Args:
      x: [batch, y, x, channel], or in one dimension [channel, x, batch], with K seeds in front.
    """
    if len(boundary) == 2:
        return pad(x, reach, boundary)
    before = x.shape.rank - 3  # axes besides that of x which ``pad`` must pass over
    return pad(x, [*[(0, 0)] * before, (reach, reach)], boundary * (1 + before))


def convolve(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, kernel_size: int, boundary
) -> tf.Tensor:
    """A field with its boundary, as ``padded`` takes it, convolved: the layer Conv."""
    x = padded(x, kernel_size // 2, boundary)
    if len(boundary) == 2:
        return each(tf.add, convolve_2d(x, kernel), bias)
    return convolve_lines(x, kernel) + bias[..., None, None]


@tf.custom_gradient
def convolve_lines(x: tf.Tensor, kernel: tf.Tensor):
    """Valid 1-D convolution as one matrix product, y_{o,i} = Σ_{s,c} W_{sc,o} x_{c,i+s}.

    Channels come first and the batch last, so that the long axis of every product is contiguous:
    on a CPU the fastest of the layouts tried, forward and backward. The gradient is written out,
    see ``slopes_of_lines``.

    Args:
      x: padded, [channel, x + taps − 1, batch].
      kernel: [taps · channel, filter].
      Both may have K seeds in front, and so has the result.
    Returns:
      [filter, x, batch].
    """
    channels, filters = x.shape[-3], kernel.shape[-1]
    taps = kernel.shape[-2] // channels

    def gradient(dy):  # arranges the kernel again: a loop over steps would keep one per step
        dx, d_kernel = slopes_of_lines(x, by_channel(kernel, channels), dy, taps)
        return dx, by_tap(d_kernel, filters)

    return lines_of(x, by_channel(kernel, channels), taps), gradient


def lines_of(x: tf.Tensor, kernel: tf.Tensor, taps: int) -> tf.Tensor:
    """The convolution with a kernel of ``by_channel``, [channel, taps · filter].

    y_{o,i} = Σ_s z_{s,o,i+s} of the product z_{so,i} = Σ_c W_{c,so} x_{c,i}. To gather neighbours
    of x and then multiply made an update of the ResNet (26, 8), ONE, take 1.13 to 1.15 times as
    long (48 points, batch 16, XLA, processor time, one thread of a busy machine).
    """
    front, width = kernel.shape[:-2], x.shape[-2]
    z = tf.matmul(kernel, tf.reshape(x, [*front, x.shape[-3], -1]), transpose_a=True)
    z = tf.reshape(z, [*front, taps, kernel.shape[-1] // taps, width, -1])
    count = width - taps + 1
    y = z[..., 0, :, :count, :]
    for s in range(1, taps):
        y += z[..., s, :, s : s + count, :]
    return y


def slopes_of_lines(
    x: tf.Tensor, kernel: tf.Tensor, dy: tf.Tensor, taps: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradient of ``lines_of`` by x and kernel: neighbours of dy serve both products."""
    front, width = kernel.shape[:-2], x.shape[-2]
    d = tf.pad(dy, [*[[0, 0]] * (1 + len(front)), [taps - 1, taps - 1], [0, 0]])
    d = tf.concat([d[..., s : s + width, :] for s in reversed(range(taps))], -3)
    d = tf.reshape(d, [*front, kernel.shape[-1], -1])
    dx = tf.reshape(tf.matmul(kernel, d), tf.shape(x))
    flat = tf.reshape(x, [*front, x.shape[-3], -1])
    return dx, tf.matmul(flat, d, transpose_b=True)


def by_channel(kernel: tf.Tensor, channels: int) -> tf.Tensor:
    """[..., taps · channel, filter] -> [..., channel, taps · filter]."""
    *front, rows, filters = kernel.shape
    kernel = tf.reshape(kernel, [*front, rows // channels, channels, filters])
    return tf.reshape(_swap(kernel), [*front, channels, -1])


def by_tap(kernel: tf.Tensor, filters: int) -> tf.Tensor:
    """The inverse of ``by_channel``."""
    *front, channels, columns = kernel.shape
    kernel = tf.reshape(kernel, [*front, channels, columns // filters, filters])
    return tf.reshape(_swap(kernel), [*front, -1, filters])


def _swap(x):
    """[..., a, b, c] -> [..., b, a, c]."""
    n = x.shape.rank - 3
    return tf.transpose(x, [*range(n), n + 1, n, n + 2])


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
    if on_gpu():
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


def on_gpu() -> bool:
    """Whether TensorFlow sees one: layers that are faster in another form there take it."""
    return bool(machine.gpus())


def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """max(x, 0.01 x)."""
    return tf.nn.leaky_relu(x, SLOPE)
