"""How models are told apart, the same in every picture."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from tfunroll.evaluation.results import model_order
from tfunroll.systems.base import System


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
REFERENCE = {"color": "black", "linewidth": 2.2, "label": "reference"}
ENDED = {"marker": "X", "markersize": 9, "markeredgecolor": "black", "linestyle": ""}
TITLES = {
    "test_interpolation": "interpolation",
    "test_extrapolation": "extrapolation",
    "validation": "validation",
}

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


def in_units(name: str, system: System) -> str:
    """The name of a channel, with its unit where the System knows it: "p [Pa]"."""
    return f"{name} [{system.units[name]}]" if name in system.units else name


def short(name: str) -> str:
    """A name in two lines, for legends."""
    return name.replace(" (", "\n(").replace("equal-cost solver", "equal cost")


def case_title(test_set: str, physics: str, system: System) -> str:
    """A test case in words: "interpolation, Re 150"."""
    return f"{TITLES.get(test_set, test_set)}, {parameters(physics, system)}"


def parameters(physics: str, system: System) -> str:
    """Parameters in words, with units: "domain_size=8" is "domain size 8 [2π]"."""
    texts = []
    for pair in physics.split(";"):
        name, _, value = pair.partition("=")
        known = system.params.get(name)
        label = (known and known.label) or name.replace("_", " ")
        unit = f" [{known.unit}]" if known and known.unit else ""
        texts.append(f"{label} {value}{unit}")
    return ", ".join(texts)


def time_label(system: System) -> str:
    """Of an axis of time."""
    return f"time [{system.time_unit}]"


def frame_title(system: System, frame: int) -> str:
    """A frame, counted from 0, with its time."""
    return f"frame {frame + 1}\nt = {(frame + 1) * system.frame_time:.4g} {system.time_unit}"


def mark_end(ax, x: np.ndarray, y: np.ndarray, lost: np.ndarray, color: str) -> bool:
    """A cross at the last point before a line ends, as its rollout diverged; whether there is one.

    Args: lost: of each point, [x]; from the first True on.
    """
    if not lost.any():
        return False
    last = max(int(np.argmax(lost)) - 1, 0)
    if np.isfinite(y[last]):
        ax.plot(x[last], y[last], **ENDED, color=color, label="_end", clip_on=True, zorder=5)
    return True


def legend(figure: Figure, entries: tuple[Sequence, Sequence[str]], ended: bool = False) -> None:
    """What the lines are, below all panels, in as many columns as the width holds.

    Args:
      entries: handles and labels, as of Axes.get_legend_handles_labels.
      ended: some lines end with a cross, which is explained.
    """
    handles, labels = map(list, entries)
    if ended:
        handles.append(Line2D([], [], **ENDED, color="white"))
        labels.append("line ends: diverged")
    FigureCanvasAgg(figure)
    for columns in range(len(labels), 0, -1):
        made = figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        if columns == 1 or made.get_window_extent().width < 0.98 * figure.bbox.width:
            return
        made.remove()


def finish(figure: Figure) -> None:
    """Numbers on every log axis, also where it spans less than a decade; no minor ticks."""
    for ax in figure.axes:
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            if axis.get_scale() == "log" and isinstance(axis.get_major_locator(), LogLocator):
                _number(axis, *sorted((low, high)))
        ax.minorticks_off()  # on log axes they take half of the drawing time


def _number(axis, low: float, high: float) -> None:
    """1, 2, 5 per decade, or as on a linear axis, where powers of ten are too few to read off."""
    decades = np.log10(high / low)
    if decades > 2.5:
        return
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if decades > 1 else MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
