"""Drag and lift of a body over time, beside the reference's."""

import numpy as np
from matplotlib.figure import Figure

from tfunroll.evaluation.results import ORDER
from tfunroll.plots.style import (
    REFERENCE,
    Drawn,
    case_title,
    legend,
    mark_end,
    short,
    styles_of,
    time_label,
)
from tfunroll.systems.base import System

MARKERS = 8  # per line
ROOM = 0.15  # of the range that is drawn, left above and below it
FARTHEST = 3.0  # ranges of the reference: a network's line is drawn up to this far from it


def forces(drawn: Drawn, system: System) -> Figure:
    """Coefficients of drag (above) and lift (below), one column per test parameter.

    Lines end, with a cross, where a rollout diverged. The axes hold all lines of networks up to
    FARTHEST ranges of the reference away from it; what lies beyond is named.
    """
    first = next(iter(drawn.values()))
    cases = list(dict.fromkeys(zip(first["test_set"], first["physics"], strict=True)))
    figure = Figure((3.8 * len(cases) + 0.8, 5.6), layout="constrained")
    axes = figure.subplots(2, len(cases), squeeze=False, sharex=True)
    styles, ended = styles_of(drawn), False
    names = [name for name in drawn if name != "persistence"]  # straight lines
    for column, (test_set, physics) in zip(axes.T, cases, strict=True):
        pairs = zip(first["test_set"], first["physics"], strict=True)
        case = list(pairs).index((test_set, physics))
        reference = first["reference_forces"][case]
        time = system.frame_time * np.arange(1, len(reference) + 1)
        for ax, component in zip(column, range(2), strict=True):
            ax.plot(time, reference[:, component], **REFERENCE)
            lines = {}
            for i, name in enumerate(names):
                values = drawn[name]["prediction_forces"][case][:, component].astype(float)
                lost = drawn[name]["diverged"][case]
                every = max(len(time) // MARKERS, 1)
                line = {"markevery": (i * every // max(len(names), 1), every), "linewidth": 1.2}
                style = styles[name].line(short(name)) | line
                lines[name] = np.where(lost, np.nan, values)
                ax.plot(time, lines[name], **style)
                ended |= mark_end(ax, time, lines[name], lost, styles[name].color)
            _limit(ax, reference[:, component], lines)
            ax.grid(alpha=0.25)
        column[0].set_title(case_title(test_set, physics, system), fontsize=9)
        column[1].set_xlabel(time_label(system))
    axes[0, 0].set_ylabel("drag coefficient")
    axes[1, 0].set_ylabel("lift coefficient")
    figure.align_ylabels(axes[:, 0])
    legend(figure, axes[0, 0].get_legend_handles_labels(), ended)
    return figure


def _limit(ax, reference, lines) -> None:
    """The axis around the reference and the networks; a note of what leaves it."""
    low, high = reference.min(), reference.max()
    span = max(high - low, 0.1 * max(abs(low), abs(high)), 1e-6)
    bounds = low - FARTHEST * span, high + FARTHEST * span
    seen = [np.clip(values, *bounds) for name, values in lines.items() if name in ORDER]
    seen = np.concatenate([reference, *seen])
    low, high = np.nanmin(seen), np.nanmax(seen)
    room = ROOM * max(high - low, span)
    low, high = low - room, high + room
    ax.set_ylim(low, high)
    with np.errstate(invalid="ignore"):
        out = [name for name, y in lines.items() if (y < low).any() or (y > high).any()]
    if out:
        note = f"leaves the axes: {', '.join(out)}"
        ax.text(0.02, 0.98, note, transform=ax.transAxes, va="top", fontsize=7)
