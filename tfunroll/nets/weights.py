"""A network's trainable weights as one vector, and the network as a function of that vector."""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.nets.lanes import apart


class Weights:
    """The trainable weights of a Keras model in one vector, in the order of its variables.

    Attributes:
      net: the model, built.
      size: number of weights, P.
      dtype: of the weights, by name.
    Raises:
      InputError: for a model that is not built, has no trainable weights, has them in several
        dtypes, or keeps a state of its own that changes while it trains.
    """

    def __init__(self, net: keras.Model):
        _check(net)
        self.net = net
        self._variables = list(net.trainable_variables)
        self._sizes = [math.prod(v.shape) for v in self._variables]
        self.size = sum(self._sizes)
        self.dtype = self._variables[0].dtype

    @property
    def layout(self) -> str:
        """Names and shapes in the order of the vector, for files: "kernel 6x26; bias 26; …"."""
        return "; ".join(f"{v.name} {'x'.join(map(str, v.shape))}" for v in self._variables)

    def part(self, flat: tf.Tensor | None = None) -> dict[str, np.ndarray]:
        """What a file keeps of the network: its layout, and the weights of ``flat`` or its own."""
        flat = self.read() if flat is None else flat
        return {"layout": np.array(self.layout), "flat": np.asarray(flat)}

    def read(self) -> tf.Tensor:
        """The model's weights now, [P]."""
        return tf.concat([tf.reshape(v.value, [-1]) for v in self._variables], 0)

    def write(self, flat: tf.Tensor | np.ndarray) -> None:
        """Gives the model the weights of a vector, [P]."""
        for variable, value in zip(self._variables, self._split(flat), strict=True):
            variable.assign(value)

    def at(self, flat: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """The model with the weights of a vector, which it is differentiable by.

        Networks of ours compute K seeds together, a user's own model one after the other.

        Args:
          flat: [P], or [K, P] of K seeds.
        Returns: x -> model(x); the model's own weights play no part. For K seeds x is
          [K · batch, *space, in], the first ``batch`` samples those of the first seed, and so is
          the result.
        Raises:
          InputError: for a vector of another length, or samples that K does not divide.
        """
        flat = tf.convert_to_tensor(flat)
        if flat.shape.rank not in (1, 2) or flat.shape[-1] != self.size or flat.shape[0] is None:
            raise InputError(
                f"flat has shape {tuple(flat.shape)}; needed: ({self.size},) or (K, {self.size}), "
                "K seeds, of known K"
            )
        if flat.shape.rank == 1:
            return self._with(self._split(flat))
        count, together = flat.shape[0], getattr(self.net, "takes_seeds", False)
        nets = [self._with(self._split(one)) for one in ([flat] if together else tf.unstack(flat))]

        def side_by_side(x):
            if x.shape[0] is not None and x.shape[0] % count:
                raise InputError(f"{x.shape[0]} samples are no multiple of {count} seeds")
            if together:
                return nets[0](x)
            fields = tf.unstack(apart(x, count))
            return tf.concat([net(one) for net, one in zip(nets, fields, strict=True)], 0)

        return side_by_side

    def _with(self, values):
        def net(x):
            scope = keras.StatelessScope()
            for variable, value in zip(self._variables, values, strict=True):
                scope.add_update((variable, value))  # its constructor refuses an axis of seeds
            with scope:
                return self.net(x, training=False)

        return net

    def _split(self, flat):
        flat = tf.cast(flat, self._variables[0].dtype)
        parts = tf.split(flat, self._sizes, axis=-1)
        shapes = [[*flat.shape[:-1], *v.shape] for v in self._variables]
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def side_by_side(nets: Sequence[keras.Model]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Networks of one architecture as one function, with the weights that they have now.

    Args: nets: K models.
    Returns: [K · batch, *space, in] -> [K · batch, *space, out], network after network.
    """
    weights = [Weights(net) for net in nets]
    return weights[0].at(tf.stack([one.read() for one in weights]))


def _check(net) -> None:
    if not isinstance(net, keras.Model):
        raise InputError(f"net is a {type(net).__name__}; needed: a keras.Model")
    if not net.built or not net.trainable_variables:
        raise InputError(
            f"net={net.name!r} is not built or has no trainable weights; call it once on an input "
            "of its shape, or build it by build_for(system)"
        )
    dtypes = {v.dtype for v in net.trainable_variables}
    if len(dtypes) > 1:
        raise InputError(f"net={net.name!r} has weights of several dtypes: {sorted(dtypes)}")
    for layer in net._flatten_layers(include_self=False):
        # An unrolled step would update it once per step, and a loop backwards would do so again.
        random = any(isinstance(g, keras.random.SeedGenerator) for g in vars(layer).values())
        if random or (isinstance(layer, keras.layers.BatchNormalization) and layer.trainable):
            raise InputError(
                f"net={net.name!r}: layer {layer.name!r} ({type(layer).__name__}) changes a state "
                "of its own while training, which unrolled training does not carry; use "
                "LayerNormalization or GroupNormalization, input noise of the Trainer, or freeze "
                "it (trainable=False)"
            )
