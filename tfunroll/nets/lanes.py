"""Layers' products with the weights of one network, or of K networks side by side.

Beside the weights of one network, [...], a layer may find those of K seeds, [K, ...], put there by
``weights.Weights.at``. Samples then come seed after seed, [K · batch, ...], and each meets the
weights of its own seed. With the weights of one network nothing is added to the graph.
"""

from collections.abc import Callable

import keras
import tensorflow as tf


def seeds(weight: keras.Variable) -> tuple[int, ...]:
    """The leading axis that a layer's weight has now: () of one network, (K,) of K."""
    shape = tf.convert_to_tensor(weight).shape
    return tuple(shape[: shape.rank - len(weight.shape)])


def apart(x: tf.Tensor, count: int) -> tf.Tensor:
    """[count · batch, ...] -> [count, batch, ...]."""
    return tf.reshape(x, [count, -1, *x.shape[1:]])


def together(x: tf.Tensor) -> tf.Tensor:
    """[count, batch, ...] -> [count · batch, ...]."""
    return tf.reshape(x, [-1, *x.shape[2:]])


def matrix(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """A matrix over the channels, y = x W: [..., in], W [in, out] or [K, in, out] to [..., out]."""
    rows = [*weight.shape[:-2], -1, x.shape[-1]]
    return tf.reshape(
        tf.matmul(tf.reshape(x, rows), weight), [-1, *x.shape[1:-1], weight.shape[-1]]
    )


def each(
    operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    weight: tf.Tensor,
    rank: int = 1,
) -> tf.Tensor:
    """``operation`` of x, [batch, ...], and a weight that it broadcasts over the samples.

    Args:
      weight: of ``rank`` axes, the last ones of x, or with K in front for K · batch samples.
    """
    if weight.shape.rank == rank:
        return operation(x, weight)
    count = weight.shape[0]
    between = [1] * (x.shape.rank - rank)  # the batch, and axes that the weight lacks
    weight = tf.reshape(weight, [count, *between, *weight.shape[1:]])
    return together(operation(apart(x, count), weight))


@keras.saving.register_keras_serializable("tfunroll")
class Dense(keras.layers.Dense):
    """Keras's matrix over the channels, without activation, for K seeds too."""

    def call(self, inputs, training=None):
        if not seeds(self.kernel):
            return super().call(inputs, training=training)
        y = matrix(inputs, tf.convert_to_tensor(self.kernel))
        return y if self.bias is None else each(tf.add, y, tf.convert_to_tensor(self.bias))


@keras.saving.register_keras_serializable("tfunroll")
class LayerNormalization(keras.layers.LayerNormalization):
    """Keras's normalisation over the channels, for K seeds too."""

    def call(self, inputs):
        if not seeds(self.gamma):
            return super().call(inputs)
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        y = tf.cast(inputs, gamma.dtype)  # Keras keeps this layer's weights in their own dtype
        y = keras.ops.layer_normalization(y, None, None, axis=-1, epsilon=self.epsilon)
        return tf.cast(each(tf.add, each(tf.multiply, y, gamma), beta), inputs.dtype)
