"""Network architectures by name: ``build(name, domain, in_channels, out_channels, ...)``."""

from tfunroll.core import Domain, InputError, check_choice, check_keras_backend

check_keras_backend()  # before Keras imports a backend that may not even be installed

import keras  # noqa: E402

check_keras_backend(keras.backend.backend())  # the backend may also stand in ~/.keras/keras.json

from tfunroll.nets.resnet import ResNet  # noqa: E402

NETS = ("resnet",)

# label of the study -> (width, depth); real counts are printed and stored
RESNET_SIZES = {"demo": (16, 4), "32k": (26, 8), "0.2M": (52, 12)}


def build(
    name: str,
    domain: Domain,
    in_channels: int,
    out_channels: int,
    size: str | None = None,
    width: int | None = None,
    depth: int | None = None,
    seed: int = 0,
    dtype: str = "float32",
) -> keras.Model:
    """Builds a network for a domain, with its weights initialised from ``seed``.

    Args:
      name: architecture, of NETS.
      domain: grid and boundaries.
      in_channels, out_channels: as in Features.
      size: a label of RESNET_SIZES; ``width`` and ``depth``, where given, replace its values.
      seed: of the initial weights: the same seed gives the same weights.
      dtype: "float32" or "float64".
    Raises:
      InputError: for an unknown name or size, or a width or depth below 1.
    """
    check_choice("net", name, NETS)
    check_choice("size", size or "demo", RESNET_SIZES)
    default_width, default_depth = RESNET_SIZES[size or "demo"]
    width = default_width if width is None else width
    depth = default_depth if depth is None else depth
    for field, value in (("width", width), ("depth", depth)):
        if value < 1:
            raise InputError(f"{field}={value} must be at least 1")
    net = ResNet(
        width=width,
        depth=depth,
        out_channels=out_channels,
        boundary=domain.boundary,
        seed=seed,
        dtype=dtype,
    )
    net.build((None, *domain.shape, in_channels))
    return net
