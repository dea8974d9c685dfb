"""Networks by name: architecture, size, start and seed to a built Keras model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral

import keras

from tfunroll import user_modules
from tfunroll.core import Domain, InputError, check_choice
from tfunroll.nets import fno, graph, own, resnet, sizes, transformer, unet
from tfunroll.nets.base import Net
from tfunroll.nets.initial import INITIAL


@dataclass(frozen=True)
class Architecture:
    """All that is registered of an architecture.

    Attributes:
      make: (domain, options) -> network; options are its size, common arguments and dtype.
      depths: blocks or levels of each label of SIZES; the width follows from the count.
      start: initial weights where none are named, chosen on validation data (docs/networks.md).
    """

    make: Callable[[Domain, dict], Net]
    depths: tuple[int, ...]
    start: str = "glorot"


def _graph(domain, options):
    return graph.GraphNet(
        spacing=domain.spacing, centres=domain.centres, mask=domain.mask, **options
    )


ARCHITECTURES = {
    "resnet": Architecture(
        lambda domain, options: resnet.ResNet(**options), (1, 4, 8, 10, 12, 12, 12, 16), "zero"
    ),
    "unet": Architecture(
        lambda domain, options: unet.UNet(**options), (1, 2, 3, 3, 3, 3, 3, 3), "glorot_zero"
    ),
    "attention_unet": Architecture(
        lambda domain, options: unet.UNet(attention=True, **options),
        (1, 2, 3, 3, 3, 3, 3, 3),
        "glorot_zero",
    ),
    "fno": Architecture(
        lambda domain, options: fno.FNO(**options), (2, 3, 4, 4, 4, 4, 4, 4), "zero"
    ),
    "graph": Architecture(_graph, (2, 4, 8, 10, 12, 12, 12, 16), "glorot_zero"),
    "transformer": Architecture(
        lambda domain, options: transformer.Transformer(shape=domain.shape, **options),
        (1, 2, 4, 4, 5, 6, 6, 8),
        "zero",
    ),
}
NETS = tuple(ARCHITECTURES)
SIZES = tuple(sizes.TARGETS)
DTYPES = ("float32", "float64", "mixed_bfloat16")
OWN = "own"  # the initial weights of a user's own network: what its function makes of the seed


def full_name(name: str) -> str:
    """The name that means the same network in every folder: a user's own has path and hash.

    Raises: InputError: for an unknown name, or a file that is not there or has changed.
    """
    if user_modules.is_path(name):
        return user_modules.full_name("net", name, own.ATTRIBUTE, hashed=True)
    check_choice("net", name, (*NETS, f"path/to/module.py:{own.ATTRIBUTE}"))
    return name


def best(name: str) -> str:
    """The start of a network's weights where none is asked for."""
    return OWN if user_modules.is_path(name) else ARCHITECTURES[name].start


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
) -> keras.Model:
    """Builds a network for a domain, with its weights initialised from ``seed``.

    Args:
      name: architecture, of NETS, or a user's own, "path/to/module.py:NET": see ``nets.own``. An
        own one has its size and start from its function alone.
      domain: grid and boundaries.
      in_channels, out_channels: as in Features.
      size: a label of SIZES; "demo" if None.
      width, depth, modes: channels, blocks or levels, and the FNO's wavenumbers per axis; where
        given, they replace the label's.
      widths: channels of each block of a ResNet, in place of size, width and depth.
      seed: of the initial weights: the same seed gives the same weights.
      dtype: of DTYPES.
      initial: how the weights are drawn, of INITIAL; see initial.set_initial. The architecture's
        own, ``best``, if None.
    Raises:
      InputError: for an unknown name, size, dtype or initial, a size that no width meets, or a
        width, depth or modes that is no whole number, below 1 or beyond what the grid carries.
    """
    name = full_name(name)
    check_choice("size", size or "demo", SIZES)
    given = {"width": width, "depth": depth, "modes": modes}
    given = {key: value for key, value in given.items() if value is not None}
    check_choice("dtype", dtype, DTYPES)
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed={seed!r} must be a whole number, at least 0")
    initial = best(name) if initial is None else initial
    if user_modules.is_path(name):
        check_own(name, {**given, "size": size, "widths": widths}, initial)
        return own.make(name, domain, in_channels, out_channels, int(seed), dtype)
    check_choice("initial", initial, INITIAL)
    if not isinstance(widths, Iterable):
        raise InputError(f"widths={widths!r} must be a list of whole numbers")
    common = {"out_channels": out_channels, "boundary": domain.boundary}
    common |= {"seed": seed, "initial": initial}
    limits = _check(name, domain, given, widths)

    def make(options):
        net = ARCHITECTURES[name].make(domain, {**options, **common, "dtype": dtype})
        net.build((None, *domain.shape, in_channels))
        return net

    if widths:
        if given or size:
            raise InputError("widths: give either --widths or --size, --width and --depth")
        return make({"widths": tuple(widths)})
    depths = ARCHITECTURES[name].depths
    options = sizes.of_label(
        name, len(domain.shape), size or "demo", depths, limits, study=not given
    )
    options |= given
    if {"width", "widths"} & options.keys():
        return make(options)
    label = size or "demo"
    allowed = transformer.WIDTHS if name == "transformer" else range(1, 4096)
    width = sizes.find_width(label, allowed, lambda w: make({**options, "width": w}).count_params())
    net = make({**options, "width": width})
    sizes.check(name, label, width, net.count_params())
    return net


def check_own(name: str, size: dict[str, object], initial: str) -> None:
    """InputError for a size or start of a user's own network, which has its own."""
    own_one = f"is for tfunroll's networks; net={user_modules.short_name(name)}"
    for field, value in size.items():
        if value:
            raise InputError(f"{field}={value!r} {own_one} has its own size")
    if initial != OWN:
        raise InputError(f"initial={initial!r} {own_one} draws its own; allowed: {OWN}")


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
