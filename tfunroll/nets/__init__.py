"""Network architectures: described, ``ResNet(width=16, depth=4).build_for(system)``, or by name.

The descriptions use ``build(name, domain, in_channels, out_channels, ...)`` too.
"""

from tfunroll.core import check_keras_backend

check_keras_backend()  # before Keras imports a backend that may not even be installed

import keras  # noqa: E402

check_keras_backend(keras.backend.backend())  # the backend may also stand in ~/.keras/keras.json

from tfunroll.nets.base import Net  # noqa: E402
from tfunroll.nets.building import DTYPES, NETS, OWN, SIZES, build, full_name  # noqa: E402
from tfunroll.nets.descriptions import (  # noqa: E402
    FNO,
    AttentionUNet,
    GraphNet,
    ResNet,
    Transformer,
    UNet,
)
from tfunroll.nets.initial import INITIAL  # noqa: E402

__all__ = [
    "DTYPES",
    "FNO",
    "INITIAL",
    "NETS",
    "OWN",
    "SIZES",
    "AttentionUNet",
    "GraphNet",
    "Net",
    "ResNet",
    "Transformer",
    "UNet",
    "build",
    "full_name",
    "keras",
]
