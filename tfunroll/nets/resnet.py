"""The convolutional ResNet of the Kuramoto-Sivashinsky task."""

import keras

from tfunroll.nets.layers import Conv, channels_first, leaky_relu


@keras.saving.register_keras_serializable("tfunroll")
class ResNet(keras.Model):
    """conv(in -> width), ``depth`` residual blocks of two convolutions, conv(width -> out).

        x ← σ(conv(x));  x ← σ(conv(x) + x_before)    σ leaky ReLU of slope 0.01

    kernel 3, bias, no normalisation. Width 26 and depth 8 have 33,125 weights for the KS task.

    Args:
      width: channels inside.
      depth: blocks.
      out_channels: of the output.
      boundary: per space axis, see nets.layers.Conv.
      seed: of the initial weights.
    """

    def __init__(self, width, depth, out_channels, boundary, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.width, self.depth, self.out_channels = width, depth, out_channels
        self.boundary, self.seed = boundary, seed
        # One seed per layer: the same initializer seed would repeat the same numbers in each.
        seeds = iter(range(1000 * seed, 1000 * seed + 2 * depth + 2))

        def conv(filters):
            return Conv(filters, boundary, seed=next(seeds), dtype=self.dtype_policy)

        self.first = conv(width)
        self.blocks = [(conv(width), conv(width)) for _ in range(depth)]
        self.last = conv(out_channels)

    def build(self, input_shape):
        inner = (*input_shape[:-1], self.width)
        self.first.build(input_shape)
        for layer in [layer for block in self.blocks for layer in block]:
            layer.build(inner)
        self.last.build(inner)
        self.built = True

    def call(self, x):
        if len(self.boundary) == 1:  # channels first all the way through
            return channels_first(self._stack(channels_first(x), Conv.lines))
        return self._stack(x, Conv.__call__)

    def _stack(self, x, apply):
        x = apply(self.first, x)
        for conv1, conv2 in self.blocks:
            x = leaky_relu(apply(conv2, leaky_relu(apply(conv1, x))) + x)
        return apply(self.last, x)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.out_channels)

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "depth": self.depth,
            "out_channels": self.out_channels,
            "boundary": self.boundary,
            "seed": self.seed,
        }
