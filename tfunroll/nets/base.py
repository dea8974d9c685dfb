"""Net: what all architectures have in common."""

import itertools

import keras
import tensorflow as tf

from tfunroll.nets.initial import set_initial
from tfunroll.nets.lanes import Dense
from tfunroll.nets.layers import Conv
from tfunroll.nets.weights import side_by_side


class Net(keras.Model):
    """Maps a field to a field on the same grid, [batch, *space, in] to [batch, *space, out].

    Base of the architectures, never used by itself. They make their layers in the constructor, by
    ``conv`` and ``dense``, and name their constructor's arguments in ARGUMENTS. Every layer of
    theirs that has weights also takes those of K seeds, see nets.lanes.

    Args:
      out_channels: of the output.
      boundary: per space axis the kinds (lower, upper) of ops.boundary.pad.
      seed: of the initial weights.
      initial: how they are drawn, of initial.INITIAL.
    Attributes:
      takes_seeds: that its layers do.
      features: what it sees and what its output means, where it was built for a System by
        ``build_for``, else None; not saved.
    """

    takes_seeds = True
    features = None
    ARGUMENTS: tuple[str, ...] = ("out_channels", "boundary", "seed", "initial")

    def __init__(self, out_channels, boundary, seed=0, initial="glorot", **kwargs):
        super().__init__(**kwargs)
        self.out_channels, self.seed, self.initial = out_channels, seed, initial
        self.boundary = tuple(tuple(pair) for pair in boundary)
        # One seed per layer: the same initializer seed would repeat the same numbers in each.
        self._seeds = itertools.count(1000 * seed)

    def conv(self, filters, kernel_size=3, dtype=None):
        """A new convolution with the network's boundary and its own seed."""
        dtype = dtype or self.dtype_policy
        return Conv(filters, self.boundary, kernel_size, seed=next(self._seeds), dtype=dtype)

    def dense(self, units, use_bias=True, dtype=None):
        """A new matrix over the channels of each point, with its own seed."""
        start = keras.initializers.GlorotUniform(seed=next(self._seeds))
        dtype = dtype or self.dtype_policy
        return Dense(units, use_bias=use_bias, kernel_initializer=start, dtype=dtype)

    @staticmethod
    def beside(nets):
        """Networks of one architecture as one, see weights.side_by_side."""
        return side_by_side(nets)

    def build(self, input_shape):
        self.call(tf.zeros((1, *input_shape[1:]), self.compute_dtype))  # each layer builds itself
        self.built = True
        set_initial(self, self.initial)

    @property
    def last_layer(self):
        """The layer that makes the output."""
        return self.last

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.out_channels)

    def get_config(self):
        return {**super().get_config(), **{name: getattr(self, name) for name in self.ARGUMENTS}}
