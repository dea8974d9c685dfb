"""A small transformer on patches."""

import math

import keras
import numpy as np
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.nets.base import Net
from tfunroll.nets.lanes import LayerNormalization, each, matrix
from tfunroll.ops.boundary import pad

PATCH = 4  # cells per axis
WIDTHS = (*range(2, 16, 2), *range(16, 4096, 4))  # for size labels: large ones have four heads


@keras.saving.register_keras_serializable("tfunroll")
class Transformer(Net):
    """Attention between patches of cells, with a bias by their relative position.

        x = E · patch;   x ← x + A(LN(x));   x ← x + MLP(LN(x))   ``depth`` times;   y = D · LN(x)

        A: softmax_j(q_i · k_j / √d + B[j − i]) v_j per head;   MLP: width -> 2 width -> width, GELU

    j − i is counted in patches, round the circle on a periodic axis, so that shifts by a patch of a
    periodic field shift the output. B is learned per head and offset; queries and keys have no bias
    (softmax would not see that of the keys). An axis that is no multiple of ``patch`` is extended
    by its boundary and cut at the end. The network belongs to the grid it was built for.

    Args:
      width: channels of a token, even; attention has four heads, two if it is no multiple of 4.
      depth: blocks.
      shape: cells per axis of the grid.
      patch: cells per axis of a patch.
      out_channels, boundary, seed, initial: see Net.
    References: Vaswani et al. (2017), arXiv:1706.03762; Liu et al. (2021), arXiv:2103.14030 (bias).
    """

    ARGUMENTS = ("width", "depth", "shape", "patch", *Net.ARGUMENTS)

    def __init__(self, width, depth, shape, patch=PATCH, **kwargs):
        super().__init__(**kwargs)
        self.width, self.depth = width, depth
        self.shape, self.patch = tuple(shape), patch
        self.tokens = tuple(-(-n // patch) for n in self.shape)  # per axis
        self.embed = self.dense(width)
        self.blocks = [self._block() for _ in range(depth)]
        self.norm = self._norm()
        cells = patch ** len(self.boundary)
        self.last = self.dense(self.out_channels * cells, dtype=self.variable_dtype)

    def _norm(self):
        return LayerNormalization(dtype=self.dtype_policy)

    def _block(self):
        periodic = [kinds == ("periodic", "periodic") for kinds in self.boundary]
        attention = Attention(
            self.width,
            4 if self.width % 4 == 0 else 2,
            self.tokens,
            periodic,
            seed=next(self._seeds),
            dtype=self.dtype_policy,
        )
        width = self.width
        return self._norm(), attention, self._norm(), self.dense(2 * width), self.dense(width)

    def call(self, x):
        space = tuple(x.shape[1:-1])
        if space != self.shape:
            raise ValueError(f"a transformer built for {self.shape} cells cannot take {space}")
        x = to_patches(pad(x, [(0, -n % self.patch) for n in space], self.boundary), self.patch)
        x = self.embed(tf.reshape(x, [-1, math.prod(self.tokens), x.shape[-1]]))
        for norm1, attention, norm2, inner, outer in self.blocks:
            x += attention(norm1(x))
            x += outer(tf.nn.gelu(inner(norm2(x)), approximate=True))
        x = self.last(self.norm(x))
        x = from_patches(tf.reshape(x, [-1, *self.tokens, x.shape[-1]]), self.patch)
        return x[(slice(None), *(slice(n) for n in space))]


@keras.saving.register_keras_serializable("tfunroll")
class Attention(keras.layers.Layer):
    """Multi-head attention on the tokens of a grid, with a learned bias by relative position.

    Called on [batch, token, width].

    Args:
      width: channels of a token, a multiple of ``heads``.
      heads: attention heads.
      tokens: per axis of the grid.
      periodic: per axis, whether offsets go round the circle.
    """

    def __init__(self, width, heads, tokens, periodic, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.width, self.heads, self.seed = width, heads, seed
        self.tokens, self.periodic = tuple(tokens), tuple(periodic)
        self._offset, self._offsets = relative_positions(self.tokens, self.periodic)

    def build(self, input_shape):
        width = self.width
        seeds = (None, None) if self.seed is None else (self.seed, self.seed + 1_000_000)
        for name, columns, seed in zip(("qkv", "mix"), (3 * width, width), seeds, strict=True):
            start = keras.initializers.GlorotUniform(seed=seed)
            weight = self.add_weight(name=name, shape=(width, columns), initializer=start)
            setattr(self, name, weight)
        shape = (self.heads, self._offsets)
        self.bias = self.add_weight(name="bias", shape=shape, initializer="zeros")
        self.mix_bias = self.add_weight(name="mix_bias", shape=(width,), initializer="zeros")

    def call(self, x):
        count, depth = x.shape[1], self.width // self.heads
        qkv = tf.reshape(
            matrix(x, tf.convert_to_tensor(self.qkv)), [-1, count, 3, self.heads, depth]
        )
        query, key, value = tf.unstack(
            tf.transpose(qkv, [2, 0, 3, 1, 4])
        )  # [batch, head, token, d]
        bias = tf.gather(tf.convert_to_tensor(self.bias), self._offset, axis=-1)
        scores = each(tf.add, tf.matmul(query, key, transpose_b=True) * depth**-0.5, bias, 3)
        mixed = tf.matmul(tf.nn.softmax(scores), value)
        mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, count, self.width])
        y = matrix(mixed, tf.convert_to_tensor(self.mix))
        return each(tf.add, y, tf.convert_to_tensor(self.mix_bias))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        names = ("width", "heads", "tokens", "periodic", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def check(shape: tuple[int, ...], width: int | None) -> None:
    """InputError if the grid is smaller than a patch, or the width is odd."""
    if min(shape) < PATCH:
        raise InputError(
            f"net=transformer needs {PATCH} points per axis, one patch; the grid has {shape}"
        )
    if width and width % 2:
        raise InputError(f"width={width} of a transformer must be even; nearest: {width + 1}")


def relative_positions(tokens, periodic) -> tuple[np.ndarray, int]:
    """Number of the offset from token i to token j, [i, j], and how many offsets there are."""
    places = np.stack(np.meshgrid(*map(np.arange, tokens), indexing="ij"), -1)
    places = places.reshape(-1, len(tokens))
    offset = places[None] - places[:, None]  # [i, j, axis]
    number, count = np.zeros(offset.shape[:2], int), 1
    for axis, (length, wraps) in enumerate(zip(tokens, periodic, strict=True)):
        size = length if wraps else 2 * length - 1
        number = number * size + offset[..., axis] % size
        count *= size
    return number, count


def to_patches(x: tf.Tensor, patch: int) -> tf.Tensor:
    """[batch, *space, channel] to [batch, *patches, patch^d · channel]."""
    dimensions = x.shape.rank - 2
    pairs = [size for n in x.shape[1:-1] for size in (n // patch, patch)]
    x = tf.reshape(x, [-1, *pairs, x.shape[-1]])
    order = [0, *range(1, 2 * dimensions, 2), *range(2, 2 * dimensions + 1, 2), 2 * dimensions + 1]
    return tf.reshape(tf.transpose(x, order), [-1, *pairs[::2], patch**dimensions * x.shape[-1]])


def from_patches(x: tf.Tensor, patch: int) -> tf.Tensor:
    """The inverse of ``to_patches``."""
    dimensions, grid = x.shape.rank - 2, x.shape[1:-1]
    channels = x.shape[-1] // patch**dimensions
    x = tf.reshape(x, [-1, *grid, *[patch] * dimensions, channels])
    order = [0, *(i for axis in range(dimensions) for i in (1 + axis, 1 + dimensions + axis))]
    x = tf.transpose(x, [*order, 2 * dimensions + 1])
    return tf.reshape(x, [-1, *(n * patch for n in grid), channels])
