"""Initial weights by name: what an untrained network does, and how well it trains."""

import keras
import numpy as np

from tfunroll.core import check_choice

INITIAL = ("glorot", "fan_in", "zero", "glorot_zero")
MATRICES = ("kernel", "qkv", "mix")  # [in, out], by the names that layers give them
BIASES = ("bias", "mix_bias")


def set_initial(net: keras.Model, name: str) -> None:
    """Draws the weights of a network that was built with Glorot's anew.

        glorot       matrices uniform in ±√(6 / (fan_in + fan_out)), biases 0
        fan_in       matrices and biases uniform in ±1/√fan_in, the default of PyTorch's layers
        zero         as fan_in, but the last layer 0: an untrained correction is its solver
        glorot_zero  as glorot, but the last layer 0

    The variances are 1 and 1/3 over fan_in for layers of one width. Without normalisation a
    residual chain grows with its depth by the first, and hardly by the second. Kernels of Fourier
    layers and the position bias of attention keep the start that they have.

    Args:
      net: of nets.base.Net, built; its ``seed`` decides the numbers.
      name: of INITIAL.
    Raises:
      InputError: for another name.
    Reference: Glorot & Bengio (2010).
    """
    check_choice("initial", name, INITIAL)
    if name in ("fan_in", "zero"):
        number = 0  # of layers, of which a stack holds several
        for layer in net.layers:
            count = getattr(layer, "layers_in_stack", 1)
            rngs = [np.random.default_rng([net.seed, number + k]) for k in range(count)]
            _draw(layer, rngs)
            number += count
    if name.endswith("zero"):
        for weight in net.last_layer.trainable_variables:
            weight.assign(np.zeros(weight.shape))


def _draw(layer, rngs) -> None:
    """Uniform in ±1/√fan_in, matrices and biases of layers that hold a matrix.

    One generator for each layer of a stack, whose weights have two axes in front.
    """
    front = 2 if hasattr(layer, "layers_in_stack") else 0

    def named(names, rank):
        weights = layer.trainable_variables
        return [w for w in weights if w.name in names and len(w.shape) == front + rank]

    matrices = named(MATRICES, 2)
    if not matrices:
        return
    limit = matrices[0].shape[-2] ** -0.5
    weights = matrices + named(BIASES, 1)
    drawn = [[rng.uniform(-limit, limit, w.shape[front:]) for w in weights] for rng in rngs]
    for weight, values in zip(weights, zip(*drawn, strict=True), strict=True):
        weight.assign(np.reshape(values, weight.shape))
