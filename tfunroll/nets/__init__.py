"""Network architectures by name: ``build(name, domain, in_channels, out_channels, ...)``."""

from tfunroll.core import Domain, InputError, check_choice, check_keras_backend

check_keras_backend()  # before Keras imports a backend that may not even be installed

import keras  # noqa: E402

check_keras_backend(keras.backend.backend())  # the backend may also stand in ~/.keras/keras.json

from tfunroll.nets import fno, sizes, transformer, unet  # noqa: E402
from tfunroll.nets.base import Net  # noqa: E402
from tfunroll.nets.fno import FNO  # noqa: E402
from tfunroll.nets.graph import GraphNet  # noqa: E402
from tfunroll.nets.initial import INITIAL  # noqa: E402
from tfunroll.nets.resnet import ResNet  # noqa: E402
from tfunroll.nets.transformer import Transformer  # noqa: E402
from tfunroll.nets.unet import UNet  # noqa: E402

# Name -> (domain, options) -> network; options are its size, common arguments and dtype.
_MAKE = {
    "resnet": lambda domain, options: ResNet(**options),
    "unet": lambda domain, options: UNet(**options),
    "attention_unet": lambda domain, options: UNet(attention=True, **options),
    "fno": lambda domain, options: FNO(**options),
    "graph": lambda domain, options: GraphNet(
        spacing=domain.spacing, centres=domain.centres, mask=domain.mask, **options
    ),
    "transformer": lambda domain, options: Transformer(shape=domain.shape, **options),
}
NETS = tuple(_MAKE)
SIZES = tuple(sizes.TARGETS)


def build(
    name: str,
    domain: Domain,
    in_channels: int,
    out_channels: int,
    size: str | None = None,
    width: int | None = None,
    depth: int | None = None,
    widths: tuple[int, ...] = (),
    modes: int | None = None,
    seed: int = 0,
    dtype: str = "float32",
    initial: str = "glorot",
) -> Net:
    """Builds a network for a domain, with its weights initialised from ``seed``.

    Args:
      name: architecture, of NETS.
      domain: grid and boundaries.
      in_channels, out_channels: as in Features.
      size: a label of SIZES; "demo" if None.
      width, depth, modes: channels, blocks or levels, and the FNO's wavenumbers per axis; where
        given, they replace the label's.
      widths: channels of each block of a ResNet, in place of size, width and depth.
      seed: of the initial weights: the same seed gives the same weights.
      dtype: "float32", "float64" or "mixed_bfloat16".
      initial: how the weights are drawn, of INITIAL; see initial.set_initial.
    Raises:
      InputError: for an unknown name, size or initial, a size that no width meets, or a width,
        depth or modes below 1 or beyond what the grid carries.
    """
    check_choice("net", name, NETS)
    check_choice("size", size or "demo", SIZES)
    given = {"width": width, "depth": depth, "modes": modes}
    given = {key: value for key, value in given.items() if value is not None}
    check_choice("initial", initial, INITIAL)
    common = {"out_channels": out_channels, "boundary": domain.boundary}
    common |= {"seed": seed, "initial": initial}
    limits = _check(name, domain, given, widths)

    def make(options):
        net = _MAKE[name](domain, {**options, **common, "dtype": dtype})
        net.build((None, *domain.shape, in_channels))
        return net

    if widths:
        if given or size:
            raise InputError("widths: give either --widths or --size, --width and --depth")
        return make({"widths": tuple(widths)})
    options = sizes.of_label(name, len(domain.shape), size or "demo", limits, study=not given)
    options |= given
    if {"width", "widths"} & options.keys():
        return make(options)
    label = size or "demo"
    allowed = transformer.WIDTHS if name == "transformer" else range(1, 4096)
    width = sizes.find_width(label, allowed, lambda w: make({**options, "width": w}).count_params())
    net = make({**options, "width": width})
    sizes.check(name, label, width, net.count_params())
    return net


def _check(name, domain, given, widths) -> dict[str, int]:
    """The largest depth or modes that the grid allows; InputError for what is beyond."""
    limits = {}
    if name in ("unet", "attention_unet"):
        limits["depth"] = unet.most_levels(domain.shape)
    if name == "fno":
        limits["modes"] = fno.most_modes(domain.shape, domain.boundary)
    for field, value in [*given.items(), *(("widths", value) for value in widths)]:
        if value < 1:
            raise InputError(f"{field}={value} must be at least 1")
        if value > limits.get(field, value):
            raise InputError(
                f"{field}={value} is too much for a grid of {domain.shape} points; "
                f"allowed: up to {limits[field]}"
            )
    if widths and name != "resnet":
        raise InputError(f"widths: only net=resnet takes a list of widths, not {name}")
    if "modes" in given and name != "fno":
        raise InputError(f"modes={given['modes']}: only net=fno has modes, not {name}")
    if name == "transformer":
        transformer.check(domain.shape, given.get("width"))
    return limits
