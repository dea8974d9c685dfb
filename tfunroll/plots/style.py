"""How models are told apart, the same in every picture."""

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tfunroll.evaluation.results import model_order


class Style(NamedTuple):
    """How a model is drawn."""

    color: str  # of the palette of Okabe & Ito
    dashes: object
    marker: str
    hatch: str = ""

    def line(self, label: str) -> dict:
        """Keywords of Axes.plot."""
        look = {"color": self.color, "linestyle": self.dashes, "marker": self.marker}
        return {**look, "markersize": 5, "linewidth": 1.6, "label": label}


STYLES = {
    "ONE": Style("#D55E00", "-", "o"),
    "NOG": Style("#0072B2", (0, (5, 2)), "s", "//"),
    "WIG": Style("#009E73", (0, (6, 2, 1, 2)), "^", ".."),
}
BASELINE_STYLES = (
    Style("#555555", (0, (1, 1.5)), "x"),
    Style("#E69F00", (0, (3, 1, 1, 1)), "v"),
    Style("#CC79A7", (0, (8, 3)), "D"),
)
ENSEMBLE_DASHES, ENSEMBLE_HATCH = (0, (1, 1)), "xx"  # in the colour of their members
TITLES = {"test_interpolation": "interpolation", "test_extrapolation": "extrapolation"}

Samples = Mapping[tuple[str, int], Mapping[str, np.ndarray]]
Drawn = Mapping[str, Mapping[str, np.ndarray]]  # the samples of one seed of each modality


def styles_of(modalities) -> dict[str, Style]:
    """Style of each modality present, in the order of the tables."""
    names = model_order(modalities)
    others = [name for name in names if not is_trained(name)]
    more = {name: BASELINE_STYLES[i % 3] for i, name in enumerate(others)}
    return {name: more.get(name) or _of_trained(name) for name in names}


def is_trained(name: str) -> bool:
    """Whether it is a modality, or an ensemble of one, such as "WIG, 4 seeds"."""
    return name.partition(", ")[0] in STYLES


def _of_trained(name):
    modality, of_several, _ = name.partition(", ")
    style = STYLES[modality]
    return style._replace(dashes=ENSEMBLE_DASHES, hatch=ENSEMBLE_HATCH) if of_several else style


def metadata(suffix: str, source: Mapping[str, object]) -> dict[str, str]:
    """What a picture's file says of how it was made, as JSON: for Figure.savefig.

    Args: suffix: ".png" or ".pdf".
    """
    return {{".png": "Description", ".pdf": "Subject"}[suffix]: json.dumps(source)}


def short(name: str) -> str:
    """A name in two lines, for legends."""
    return name.replace(" (", "\n(").replace("equal-cost solver", "equal cost")
