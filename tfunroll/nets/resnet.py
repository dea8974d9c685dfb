"""The convolutional ResNet, of one width or with a width per block."""

import keras

from tfunroll.nets.base import Net
from tfunroll.nets.lanes import seeds
from tfunroll.nets.layers import channels_first, channels_last, leaky_relu
from tfunroll.nets.stack import ResidualStack


@keras.saving.register_keras_serializable("tfunroll")
class ResNet(Net):
    """Residual blocks of two convolutions of kernel 3, with bias and without normalisation.

        x ← σ(conv(x));  x ← σ(conv(x) + skip(x_before))    σ leaky ReLU of slope 0.01

    Of one ``width`` (the form of the Kuramoto-Sivashinsky task): conv(in -> width), ``depth``
    blocks whose skip is the identity, conv(width -> out). Width 26 and depth 8 have 33,125 weights.

    Of a list ``widths`` (the form of the Kolmogorov task): one block per entry, straight from the
    input, whose skip is a convolution of kernel 1, then conv(-> out). [8, 20, 30, 20, 8] has 32,376
    weights for 4 input and 2 output channels.

    Args:
      width: channels inside.
      depth: blocks.
      widths: channels of each block, in place of width and depth.
      out_channels, boundary, seed, initial: see Net.
    Reference: He et al. (2016), doi:10.1109/CVPR.2016.90; List et al. (2025).
    """

    ARGUMENTS = ("width", "depth", "widths", *Net.ARGUMENTS)

    def __init__(self, width=None, depth=None, widths=(), **kwargs):
        super().__init__(**kwargs)
        self.width, self.depth, self.widths = width, depth, tuple(widths)
        if widths:
            self.blocks = [(self.conv(size), self.conv(size)) for size in widths]
        else:
            self.first = self.conv(width)
            drawn = [next(self._seeds) for _ in range(2 * depth)]
            policy = self.dtype_policy
            self.stack = ResidualStack(depth, self.boundary, seeds=drawn, dtype=policy)
        self.last = self.conv(self.out_channels, dtype=self.variable_dtype)
        self.skips = [self.conv(size, 1) for size in self.widths]

    def call(self, x):
        # In one dimension channels come first all the way through, but for what only Keras's own
        # call of a layer does: building it and, in mixed precision, casting its weights.
        plain = self.built and self.compute_dtype == self.variable_dtype
        if len(self.boundary) == 1 and plain:
            lines = channels_first(x, seeds(self.last.kernel))
            return channels_last(self._chain(lines, lambda layer, x: layer.lines(x)))
        return self._chain(x, lambda layer, x: layer(x))

    def _chain(self, x, apply):
        if not self.widths:
            return apply(self.last, apply(self.stack, apply(self.first, x)))
        for (conv1, conv2), skip in zip(self.blocks, self.skips, strict=True):
            x = leaky_relu(apply(conv2, leaky_relu(apply(conv1, x))) + apply(skip, x))
        return apply(self.last, x)
