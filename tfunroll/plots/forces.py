"""Drag and lift of a body over time, beside the reference's."""

import numpy as np
from matplotlib.figure import Figure

from tfunroll.plots.style import TITLES, Drawn, short, styles_of
from tfunroll.systems.base import System

MARKERS = 8  # per line
LINE = {"color": "black", "linewidth": 2.2, "label": "reference"}
ROOM = 0.6  # of the reference's range, left above and below it


def forces(drawn: Drawn, system: System) -> Figure:
    """Coefficients of drag (above) and lift (below), one column per test parameter.

    Lines end where a rollout diverged, and leave the picture where they leave the reference far.
    """
    first = next(iter(drawn.values()))
    cases = list(dict.fromkeys(zip(first["test_set"], first["physics"], strict=True)))
    figure = Figure((3.8 * len(cases) + 0.8, 5.6), layout="constrained")
    axes = figure.subplots(2, len(cases), squeeze=False, sharex=True)
    styles = styles_of(drawn)
    names = [name for name in drawn if name != "persistence"]  # straight lines
    for column, (test_set, physics) in zip(axes.T, cases, strict=True):
        pairs = zip(first["test_set"], first["physics"], strict=True)
        case = list(pairs).index((test_set, physics))
        reference = first["reference_forces"][case]
        time = system.frame_time * np.arange(1, len(reference) + 1)
        for ax, component in zip(column, range(2), strict=True):
            ax.plot(time, reference[:, component], **LINE)
            for i, name in enumerate(names):
                values = drawn[name]["prediction_forces"][case][:, component].astype(float)
                bad = drawn[name]["diverged"][case]
                every = max(len(time) // MARKERS, 1)
                line = {"markevery": (i * every // max(len(names), 1), every), "linewidth": 1.2}
                style = styles[name].line(short(name)) | line
                ax.plot(time, np.where(bad, np.nan, values), **style)
            low, high = reference[:, component].min(), reference[:, component].max()
            room = ROOM * max(high - low, 0.1)
            ax.set_ylim(low - room, high + room)
            ax.grid(alpha=0.25)
        column[0].set_title(f"{TITLES.get(test_set, test_set)}, {physics}", fontsize=9)
        column[1].set_xlabel("time [time units]")
    axes[0, 0].set_ylabel("drag coefficient")
    axes[1, 0].set_ylabel("lift coefficient")
    figure.align_ylabels(axes[:, 0])
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(names) + 1, 6))
    return figure
