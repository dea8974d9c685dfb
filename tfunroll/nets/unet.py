"""The U-Net, plain or with attention gates on its skips."""

import math

import keras
import tensorflow as tf

from tfunroll.nets.base import Net
from tfunroll.nets.layers import leaky_relu
from tfunroll.ops.boundary import pad


@keras.saving.register_keras_serializable("tfunroll")
class UNet(Net):
    """Down ``depth`` levels by means over 2 cells per axis and up again, skips concatenated.

        level l:  x ← σ(conv(x)), twice, width · 2^l channels    σ leaky ReLU of slope 0.01
        down: mean over 2 cells per axis      up: each cell twice per axis

    On the way up a level sees its own result of the way down beside the coarser level's. With
    ``attention`` that result, s, is first gated by the coarser one, g:

        s ← s · sigmoid(ψ(σ(W s + V g)))      ψ to one channel

    An axis of odd length is extended by one cell of its boundary before a mean and cut after.
    Shifts of a periodic field by 2^depth cells shift the output, if no length is odd on the way.

    Args:
      width: channels of the finest level.
      depth: coarser levels; each axis needs 2^depth cells.
      attention: whether skips are gated.
      out_channels, boundary, seed, initial: see Net.
    Reference: Ronneberger et al. (2015), doi:10.1007/978-3-319-24574-4_28;
      attention: Oktay et al. (2018), arXiv:1804.03999.
    """

    ARGUMENTS = ("width", "depth", "attention", *Net.ARGUMENTS)

    def __init__(self, width, depth, attention=False, **kwargs):
        super().__init__(**kwargs)
        self.width, self.depth, self.attention = width, depth, attention
        widths = [width * 2**level for level in range(depth + 1)]
        finer = widths[-2::-1]  # of the levels on the way up
        self.down = [(self.conv(w), self.conv(w)) for w in widths]
        self.up = [(self.conv(w), self.conv(w)) for w in finer]
        gates = finer if attention else ()
        self.gates = [(self.dense(w), self.dense(w, False), self.dense(1)) for w in gates]
        self.last = self.conv(self.out_channels, dtype=self.variable_dtype)

    def call(self, x):
        levels = []
        for conv1, conv2 in self.down:
            x = halve(levels[-1], self.boundary) if levels else x
            levels.append(leaky_relu(conv2(leaky_relu(conv1(x)))))
        x = levels.pop()
        for number, (conv1, conv2) in enumerate(self.up):
            skip = levels.pop()
            x = double(x, skip.shape[1:-1])
            if self.attention:
                of_skip, of_coarse, to_one = self.gates[number]
                skip *= tf.sigmoid(to_one(leaky_relu(of_skip(skip) + of_coarse(x))))
            x = leaky_relu(conv2(leaky_relu(conv1(tf.concat([skip, x], -1)))))
        return self.last(x)


def halve(x: tf.Tensor, boundary) -> tf.Tensor:
    """Means over 2 cells per space axis; odd lengths are extended by one cell of the boundary."""
    x = pad(x, [(0, n % 2) for n in x.shape[1:-1]], boundary)
    pairs = [size for n in x.shape[1:-1] for size in (n // 2, 2)]
    axes = range(2, 2 + len(pairs), 2)
    return tf.reduce_mean(tf.reshape(x, [-1, *pairs, x.shape[-1]]), list(axes))


def double(x: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """Each cell twice per space axis, cut to ``shape``."""
    for axis in range(1, 1 + len(shape)):  # XLA cannot compile the gradient of tf.repeat in a loop
        size = [-1, *x.shape[1:axis], 2 * x.shape[axis], *x.shape[axis + 1 :]]
        x = tf.reshape(tf.stack([x, x], axis + 1), size)
    return x[(slice(None), *(slice(n) for n in shape))]


def most_levels(shape: tuple[int, ...]) -> int:
    """Times that every axis can be halved before one is a single cell."""
    return int(math.log2(min(shape)))
