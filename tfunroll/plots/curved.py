"""Pictures of flows on a curved, body-fitted grid: fields in space, values along the body.

Made from the samples of one seed of each model. What diverged is grey, or written down.
"""

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from tfunroll.plots import animation
from tfunroll.plots.animation import rows_of, title_of
from tfunroll.plots.style import Drawn, case_title, legend, short, styles_of
from tfunroll.systems.base import System

MAP = colormaps["viridis"].with_extremes(bad="0.7")
PANELS = 4  # frames of the panels
CLIP = (0.5, 99.5)  # percentiles of the reference at which the colours end


def field(drawn: Drawn, system: System, label: str, test_set: str) -> Figure:
    """A field of Pictures.fields in a test case: rows are reference and models, columns frames."""
    rows = rows_of(drawn, test_set, system.pictures.fields[label])
    return panels(rows, system, label, title_of(drawn, test_set, system))


def panels(rows: Mapping[str, np.ndarray], system: System, label: str, title: str) -> Figure:
    """Fields [frame, j, i] by name; the first one says where the colours end."""
    limits = _limits(next(iter(rows.values())), system)
    return animation.in_time(
        rows,
        lambda ax, values: _panel(ax, values, limits, system),
        label,
        title,
        system,
        count=PANELS,
        size=(2.6, 1.65),
    )


def animate(drawn: Drawn, system: System, test_set: str, path: pathlib.Path) -> None:
    """Writes one test case as an animated GIF: the first field of reference and models."""
    label, values_of = next(iter(system.pictures.fields.items()))
    rows = rows_of(drawn, test_set, values_of)
    limits = _limits(rows["reference"], system)
    animation.animate(
        rows,
        lambda ax, values: _panel(ax, values, limits, system),
        label,
        title_of(drawn, test_set, system),
        system,
        across=min(len(rows), 3),
        width=3.0,
        path=path,
    )


def surface(drawn: Drawn, system: System) -> Figure:
    """Pictures.surface of each model (rows) in each test case (columns), beside the reference's.

    Thick lines are means over the frames, thin ones the last frame. Lines of a model that diverged
    are the mean until then, and its last frame before.
    """
    first = next(iter(drawn.values()))
    cases = list(dict.fromkeys(zip(first["test_set"], first["physics"], strict=True)))
    pairs = list(zip(first["test_set"], first["physics"], strict=True))
    label, measure = system.pictures.surface
    x, styles = system.pictures.places, styles_of(drawn)
    figure = Figure((3.8 * len(cases) + 0.8, 2.1 * len(drawn) + 0.9), layout="constrained")
    axes = figure.subplots(len(drawn), len(cases), squeeze=False, sharex=True, sharey=True)
    low, high = np.inf, -np.inf
    for column, case in zip(axes.T, cases, strict=True):
        at = pairs.index(case)
        params = {name: first[f"params.{name}"][at : at + 1] for name in system.params}
        reference = measure(first["reference"][at : at + 1], params)[0]
        low, high = min(low, reference.min()), max(high, reference.max())
        for ax, (name, sample) in zip(column, drawn.items(), strict=True):
            for values, look in ((reference.mean(0), 2.2), (reference[-1], 0.7)):
                ax.plot(x, values, color="black", linewidth=look)
            lost = sample["diverged"][at]
            with np.errstate(invalid="ignore", over="ignore"):
                values = measure(sample["prediction"][at : at + 1], params)[0][~lost]
            if len(values):
                for line, width in ((values.mean(0), 2.0), (values[-1], 0.7)):
                    look = {"color": styles[name].color, "linestyle": styles[name].dashes}
                    ax.plot(x, line, **look, linewidth=width)
            if lost.any():
                when = f"diverged at frame {np.argmax(lost) + 1}"
                ax.text(0.5, 0.97, when, transform=ax.transAxes, ha="center", va="top", fontsize=8)
            ax.grid(alpha=0.25)
        column[0].set_title(case_title(*case, system), fontsize=9)
        column[-1].set_xlabel("x/c")
    room = 0.2 * (high - low)
    axes[0, 0].set_ylim(high + room, low - room)  # downwards
    for ax, name in zip(axes[:, 0], drawn, strict=True):
        ax.set_ylabel(short(name))
    figure.supylabel(label)
    _explain(axes[0, 0])
    legend(figure, axes[0, 0].get_legend_handles_labels())
    return figure


def _explain(ax) -> None:
    """Lines without points, for the legend."""
    kinds = {
        "reference, mean": {"color": "black", "linewidth": 2.2},
        "reference, last frame": {"color": "black", "linewidth": 0.7},
        "model, mean": {"color": "0.5", "linewidth": 2.0, "linestyle": "--"},
        "model, last frame": {"color": "0.5", "linewidth": 0.7, "linestyle": "--"},
    }
    for label, look in kinds.items():
        ax.plot([], [], label=label, **look)


def _limits(values, system):
    """Where the colours end, from the part of the field that is shown."""
    (left, right), (lower, upper) = system.pictures.window
    nodes = system.pictures.nodes
    x, y = np.moveaxis((nodes[1:, 1:] + nodes[:-1, :-1]) / 2, -1, 0)
    shown = (x > left) & (x < right) & (y > lower) & (y < upper)
    return np.nanpercentile(values[:, shown], CLIP)


def _panel(ax, values, limits, system):
    """A field [j, i] in space, the body on it, and the label of one that diverged."""
    nodes, (x, y) = system.pictures.nodes, system.pictures.window
    look = {"cmap": MAP, "vmin": limits[0], "vmax": limits[1], "rasterized": True}
    image = ax.pcolormesh(nodes[..., 0], nodes[..., 1], values, **look)
    ax.fill(*nodes[0].T, color="0.25")
    ax.set(xlim=x, ylim=y, xticks=[], yticks=[], aspect="equal")
    place = {"transform": ax.transAxes, "ha": "center", "va": "center", "fontsize": 8}
    return image, ax.text(0.5, 0.85, "diverged", visible=np.isnan(values).all(), **place)
