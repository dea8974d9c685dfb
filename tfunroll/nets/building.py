"""Networks by name: architecture, size, start and seed to a built Keras model."""

from collections.abc import Iterable
from numbers import Integral

from tfunroll.core import Domain, InputError, check_choice
from tfunroll.nets import fno, graph, resnet, sizes, transformer, unet
from tfunroll.nets.base import Net
from tfunroll.nets.initial import INITIAL, best

# Name -> (domain, options) -> network; options are its size, common arguments and dtype.
_MAKE = {
    "resnet": lambda domain, options: resnet.ResNet(**options),
    "unet": lambda domain, options: unet.UNet(**options),
    "attention_unet": lambda domain, options: unet.UNet(attention=True, **options),
    "fno": lambda domain, options: fno.FNO(**options),
    "graph": lambda domain, options: graph.GraphNet(
        spacing=domain.spacing, centres=domain.centres, mask=domain.mask, **options
    ),
    "transformer": lambda domain, options: transformer.Transformer(shape=domain.shape, **options),
}
NETS = tuple(_MAKE)
SIZES = tuple(sizes.TARGETS)
DTYPES = ("float32", "float64", "mixed_bfloat16")


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
    initial: str | None = None,
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
      dtype: of DTYPES.
      initial: how the weights are drawn, of INITIAL; see initial.set_initial. The architecture's
        own, initial.best, if None.
    Raises:
      InputError: for an unknown name, size, dtype or initial, a size that no width meets, or a
        width, depth or modes that is no whole number, below 1 or beyond what the grid carries.
    """
    check_choice("net", name, NETS)
    check_choice("size", size or "demo", SIZES)
    given = {"width": width, "depth": depth, "modes": modes}
    given = {key: value for key, value in given.items() if value is not None}
    initial = best(name) if initial is None else initial
    check_choice("initial", initial, INITIAL)
    check_choice("dtype", dtype, DTYPES)
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed={seed!r} must be a whole number, at least 0")
    if not isinstance(widths, Iterable):
        raise InputError(f"widths={widths!r} must be a list of whole numbers")
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
        if not isinstance(value, Integral):
            raise InputError(f"{field}={value!r} must be a whole number")
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
