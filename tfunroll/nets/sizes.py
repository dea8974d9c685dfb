"""Size labels: the number of weights a label stands for, and the network that has it."""

from collections.abc import Callable, Sequence

import numpy as np

from tfunroll.core import InputError

# Weights that a label stands for; the real count is within TOLERANCE of it.
TARGETS = {
    "1k": 1_000,
    "demo": 6_000,
    "32k": 32_000,
    "0.1M": 100_000,
    "0.2M": 200_000,
    "0.5M": 500_000,
    "1M": 1_000_000,
    "5M": 5_000_000,
}
TOLERANCE = 0.2

# The study's own networks, by number of space dimensions.
STUDY = {
    ("resnet", 1, "demo"): {"width": 16, "depth": 4},
    ("resnet", 1, "32k"): {"width": 26, "depth": 8},
    ("resnet", 1, "0.2M"): {"width": 52, "depth": 12},
    ("resnet", 2, "32k"): {"widths": (8, 20, 30, 20, 8)},
    ("resnet", 2, "0.1M"): {"widths": (8, 16, 32, 64, 32, 16, 8)},
    ("resnet", 2, "0.5M"): {"widths": (16, 32, 64, 128, 64, 32, 16)},
    ("resnet", 2, "1M"): {"widths": (16, 32, 64, 128, 128, 128, 64, 32, 16)},
}

# Wavenumbers of the FNO per label, in the order of TARGETS, by number of space dimensions.
MODES = {1: (4, 8, 16, 16, 16, 16, 16, 16), 2: (2, 4, 6, 8, 8, 8, 8, 8)}


def of_label(
    name: str,
    dimensions: int,
    label: str,
    depths: Sequence[int],
    limits: dict,
    study: bool = True,
) -> dict:
    """What a label fixes besides the width, or all of it where the study does.

    Args:
      depths: of the architecture, per label.
      limits: largest depth or modes that the grid allows, where it limits them.
      study: whether the study's own network is meant, if there is one.
    """
    if study and (name, dimensions, label) in STUDY:
        return dict(STUDY[name, dimensions, label])
    number = list(TARGETS).index(label)
    options = {"depth": depths[number]}
    if name == "fno":
        options["modes"] = MODES[dimensions][number]
    return {key: min(value, limits.get(key, value)) for key, value in options.items()}


def find_width(label: str, allowed: Sequence[int], count: Callable[[int], int]) -> int:
    """The width whose weight count is nearest to a label's.

    Args:
      allowed: widths to choose from.
      count: width -> weights; a polynomial of second degree, very nearly, in all architectures.
    """
    widths = (4, 8, 12)
    constant, linear, square = np.linalg.solve(
        np.vander(np.array(widths, float), increasing=True), [count(width) for width in widths]
    )
    allowed = np.array(allowed)
    counts = constant + linear * allowed + square * allowed**2
    return int(allowed[np.argmin(np.abs(counts - TARGETS[label]))])


def check(name: str, label: str, width: int, count: int) -> None:
    """InputError if the nearest count misses a label's; "demo" stands for no number."""
    target = TARGETS[label]
    if label != "demo" and abs(count / target - 1) > TOLERANCE:
        raise InputError(
            f"size={label}: no width of net={name} has {target:,} weights within {TOLERANCE:.0%} "
            f"here; nearest: --width={width} with {count:,}"
        )
