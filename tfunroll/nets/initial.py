"""Initial weights by name: what an untrained network does, and how well it trains."""

import keras
import numpy as np

from tfunroll.core import check_choice

INITIAL = ("glorot", "fan_in", "zero", "glorot_zero", "he_zero")
# Starts chosen on validation data, for the architectures that were measured: docs/networks.md.
BEST = {
    "resnet": "zero",
    "unet": "glorot_zero",
    "attention_unet": "glorot_zero",
    "fno": "zero",
    "graph": "glorot_zero",
    "transformer": "zero",
}
MATRICES = ("kernel", "qkv", "mix")  # [in, out], by the names that layers give them
BIASES = ("bias", "mix_bias")


def best(net: str) -> str:
    """The start of an architecture's weights where none is asked for; Glorot's if not measured."""
    return BEST.get(net, "glorot")


def set_initial(net: keras.Model, name: str) -> None:
    """Draws the weights of a network that was built with Glorot's anew.

        glorot       matrices uniform in ±√(6 / (fan_in + fan_out)), biases 0
        fan_in       matrices and biases uniform in ±1/√fan_in, the default of PyTorch's layers
        zero         as fan_in, but the last layer 0: an untrained correction is its solver
        glorot_zero  as glorot, but the last layer 0
        he_zero      matrices uniform in ±√(6 / fan_in), biases 0, the last layer 0

    The variances are 1, 1/3 and 2 over fan_in for layers of one width. Without normalisation a
    residual chain grows with its depth by the first and the last, and hardly by the second; a plain
    chain, as in a U-Net, keeps its size by the last alone. Kernels of Fourier layers and the
    position bias of attention keep the start that they have.

    Args:
      net: of nets.base.Net, built; its ``seed`` decides the numbers.
      name: of INITIAL.
    Raises:
      InputError: for another name.
    References: Glorot & Bengio (2010); He et al. (2015), arXiv:1502.01852.
    """
    check_choice("initial", name, INITIAL)
    if name in ("fan_in", "zero", "he_zero"):
        number = 0  # of layers, of which a stack holds several
        for layer in net.layers:
            count = getattr(layer, "layers_in_stack", 1)
            rngs = [np.random.default_rng([net.seed, number + k]) for k in range(count)]
            _draw(layer, rngs, *((6.0, 0.0) if name == "he_zero" else (1.0, 1.0)))
            number += count
    if name.endswith("zero"):
        for weight in net.last_layer.trainable_variables:
            weight.assign(np.zeros(weight.shape))


def _draw(layer, rngs, of_matrix: float, of_bias: float) -> None:
    """Uniform in ±√(c / fan_in), c of a matrix and of a bias; in layers that hold a matrix.

    One generator for each layer of a stack, whose weights have two axes in front.
    """
    front = 2 if hasattr(layer, "layers_in_stack") else 0

    def named(names, rank):
        weights = layer.trainable_variables
        return [w for w in weights if w.name in names and len(w.shape) == front + rank]

    matrices = named(MATRICES, 2)
    if not matrices:
        return
    limits = [(c / matrices[0].shape[-2]) ** 0.5 for c in (of_matrix, of_bias)]
    weights = [(w, limits[0]) for w in matrices] + [(w, limits[1]) for w in named(BIASES, 1)]
    drawn = [[rng.uniform(-c, c, w.shape[front:]) for w, c in weights] for rng in rngs]
    for (weight, _), values in zip(weights, zip(*drawn, strict=True), strict=True):
        weight.assign(np.reshape(values, weight.shape))
