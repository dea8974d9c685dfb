"""Pictures of flows on a curved, body-fitted grid: fields in space, values along the body.

Made from the samples of one seed of each model. What diverged is grey, or has no line.
"""

import pathlib

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from tfunroll.evaluation.results import ORDER
from tfunroll.plots import animation
from tfunroll.plots.animation import case_title, first_case
from tfunroll.plots.style import TITLES, Drawn, short, styles_of
from tfunroll.systems.base import System

MAP = colormaps["viridis"].with_extremes(bad="0.7")
PANELS = 4  # frames of the panels
CLIP = (0.5, 99.5)  # percentiles of the reference at which the colours end
LINE = {"color": "black", "linewidth": 2.2, "label": "reference"}


def field(drawn: Drawn, system: System, label: str, test_set: str) -> Figure:
    """A field of Pictures.fields in a test case: rows are reference and models, columns frames."""
    rows = _rows(drawn, system, label, test_set)
    frames = np.linspace(0, len(rows["reference"]) - 1, PANELS).round().astype(int)
    limits = _limits(rows["reference"], system)
    figure = Figure((2.6 * PANELS + 1.4, 1.65 * len(rows) + 0.8), layout="constrained")
    axes = figure.subplots(len(rows), PANELS, squeeze=False)
    for row, (name, values) in zip(axes, rows.items(), strict=True):
        for ax, frame in zip(row, frames, strict=True):
            image, _ = _panel(ax, values[frame], limits, system)
        row[0].set_ylabel(short(name), fontsize=10)
    for ax, frame in zip(axes[0], frames, strict=True):
        ax.set_title(f"frame {frame + 1}, t = {(frame + 1) * system.frame_time:.2f}", fontsize=9)
    figure.colorbar(image, ax=axes, label=label, extend="both", shrink=0.6, pad=0.02)
    figure.suptitle(case_title(drawn, test_set), fontsize=10)
    return figure


def animate(drawn: Drawn, system: System, test_set: str, path: pathlib.Path) -> None:
    """Writes one test case as an animated GIF: the first field of reference and models."""
    label = next(iter(system.pictures.fields))
    rows = _rows(drawn, system, label, test_set)
    limits = _limits(rows["reference"], system)
    animation.animate(
        rows,
        lambda ax, values: _panel(ax, values, limits, system),
        label,
        case_title(drawn, test_set),
        system.frame_time,
        across=min(len(rows), 3),
        width=3.0,
        path=path,
    )


def surface(drawn: Drawn, system: System) -> Figure:
    """Pictures.surface at the last frame (above) and its mean over the frames (below)."""
    first = next(iter(drawn.values()))
    cases = list(dict.fromkeys(zip(first["test_set"], first["physics"], strict=True)))
    label, measure = system.pictures.surface
    x, styles, ranges = system.pictures.places, styles_of(drawn), ([], [])

    def shown_of(values):
        with np.errstate(invalid="ignore", over="ignore"):
            return values[-1], values.mean(0)

    figure = Figure((3.8 * len(cases) + 0.8, 6.2), layout="constrained")
    axes = figure.subplots(2, len(cases), squeeze=False, sharex=True, sharey="row")
    for column, (test_set, physics) in zip(axes.T, cases, strict=True):
        pairs = list(zip(first["test_set"], first["physics"], strict=True))
        at = pairs.index((test_set, physics))
        case = slice(at, at + 1)
        params = {name: first[f"params.{name}"][case] for name in system.params}
        lines = {"reference": measure(first["reference"][case], params)[0]}
        for name, sample in drawn.items():
            values = measure(sample["prediction"][case], params)[0]
            lines[name] = np.where(sample["diverged"][at][:, None], np.nan, values)
        for number, (name, values) in enumerate(lines.items()):
            every = (number % 4, 4)
            look = LINE if name == "reference" else styles[name].line(short(name))
            look = look if name == "reference" else {**look, "markevery": every, "linewidth": 1.2}
            for ax, chosen in zip(column, shown_of(values), strict=True):
                ax.plot(x, np.where(np.isfinite(chosen), chosen, np.nan), **look)
        for number in range(2):
            ranges[number].append(shown_of(lines["reference"])[number])
        column[0].set_title(f"{TITLES.get(test_set, test_set)}, {physics}", fontsize=8)
        column[1].set_xlabel("x/c")
    for ax, values in zip(axes[:, 0], ranges, strict=True):  # downwards
        low, high = np.min(values), np.max(values)
        room = 0.2 * (high - low)
        ax.set_ylim(high + room, low - room)
    for ax in axes.flat:
        ax.grid(alpha=0.25)
    axes[0, 0].set_ylabel(f"{label}, last frame")
    axes[1, 0].set_ylabel(f"{label}, mean")
    figure.align_ylabels(axes[:, 0])
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(drawn) + 1, 6))
    return figure


def _rows(drawn, system, label, test_set) -> dict[str, np.ndarray]:
    """Name -> the field [frame, j, i] of the reference, the coarse solver and the networks."""
    case, values_of = first_case(drawn, test_set), system.pictures.fields[label]
    rows = {"reference": values_of(next(iter(drawn.values()))["reference"][case])}
    for name in ("coarse solver", *ORDER):
        if name in drawn:
            values = values_of(drawn[name]["prediction"][case])
            rows[name] = np.where(drawn[name]["diverged"][case][:, None, None], np.nan, values)
    return rows


def _limits(values, system):
    """Where the colours end, from the part of the field that is shown."""
    (left, right), (lower, upper) = system.pictures.window
    nodes = system.pictures.nodes
    x, y = np.moveaxis((nodes[1:, 1:] + nodes[:-1, :-1]) / 2, -1, 0)
    shown = (x > left) & (x < right) & (y > lower) & (y < upper)
    return np.percentile(values[:, shown], CLIP)


def _panel(ax, values, limits, system):
    """A field [j, i] in space, the body on it, and the label of one that diverged."""
    nodes, (x, y) = system.pictures.nodes, system.pictures.window
    look = {"cmap": MAP, "vmin": limits[0], "vmax": limits[1], "rasterized": True}
    image = ax.pcolormesh(nodes[..., 0], nodes[..., 1], values, **look)
    ax.fill(*nodes[0].T, color="0.25")
    ax.set(xlim=x, ylim=y, xticks=[], yticks=[], aspect="equal")
    place = {"transform": ax.transAxes, "ha": "center", "va": "center", "fontsize": 8}
    return image, ax.text(0.5, 0.5, "diverged", visible=np.isnan(values).all(), **place)
