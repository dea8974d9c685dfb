"""What ensembles know of their errors: spread against error, members about the truth, ranks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tfunroll.evaluation.results import sets_of
from tfunroll.plots.style import TITLES, Drawn, styles_of
from tfunroll.systems.base import System

QUANTILES = ((0.0, 1.0), (0.25, 0.75))  # of the members, the darker the narrower
LYAPUNOV_TIMES = 8  # shown of the members: what comes later is climate


def ensembles(
    drawn: Drawn, summary: pd.DataFrame, system: System, settings: Mapping[str, object]
) -> Figure:
    """Per test set: spread over error by frame, how often the truth has which rank among the
    members, and below for each ensemble its members at a point of a case."""
    sets = sets_of(set(summary["test_set"]))
    size = (4.6 * len(sets) + 0.8, 5.4 + 1.9 * len(drawn))
    figure = Figure(figsize=size, layout="constrained")
    ratios = [1.3, 1, *[0.9] * len(drawn)]
    axes = figure.subplots(
        2 + len(drawn), len(sets), squeeze=False, sharey="row", height_ratios=ratios
    )
    for column, name in enumerate(sets):
        part = summary[(summary["test_set"] == name) & (summary["subset"] == "all")]
        spread_over_error(axes[0, column], part, system.lyapunov_time)
        axes[0, column].set_title(TITLES[name])
        ranks(axes[1, column], drawn, sets.index(name), settings["horizon"])
        for row, (label, sample) in enumerate(drawn.items(), start=2):
            at_a_point(axes[row, column], label, sample, name, system)
        note = "bands: all members, and their middle half; line: median; dashes: truth"
        axes[2, column].set_title(note, fontsize=8)
    axes[0, 0].set_ylabel("spread / error of the mean")
    axes[1, 0].set_ylabel("share")
    for row, label in enumerate(drawn, start=2):
        axes[row, 0].set_ylabel(f"{label}\n{system.channels[0]} at mid-point")
    for ax in axes[-1]:
        ax.set_xlabel("frame")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


def spread_over_error(ax, summary: pd.DataFrame, lyapunov_time: float | None = None) -> None:
    """The ratio by frame; at one an ensemble is as unsure as it is wrong."""
    part = summary[summary["metric"] == "spread_skill"]
    for name, style in styles_of(part["modality"]).items():
        model = part[part["modality"] == name].sort_values("frame")
        frames = model["frame"].to_numpy(int)
        every = max(1, len(frames) // 8)
        ax.plot(frames, model["value"].to_numpy(float), markevery=every, **style.line(name))
    ax.axhline(1.0, color="black", linewidth=0.8)
    if lyapunov_time:
        ax.axvline(lyapunov_time, color="black", linewidth=0.8, linestyle=":")
    ax.set(xlabel="frame", ylim=(0, None))
    ax.grid(alpha=0.25)


def ranks(ax, drawn: Drawn, row: int, horizon: int) -> None:
    """Rank histograms beside each other; flat where members and truth are of one distribution."""
    width = 0.8 / len(drawn)
    for i, (name, style) in enumerate(styles_of(drawn).items()):
        shares = drawn[name]["rank_histogram"][row]
        at = np.arange(len(shares)) + (i - (len(drawn) - 1) / 2) * width
        look = {"edgecolor": "black", "hatch": style.hatch, "linewidth": 0.6}
        ax.bar(at, shares, width, color=style.color, alpha=0.75, **look)
        ax.axhline(1 / len(shares), color="black", linewidth=0.8)
    ax.set(xlabel=f"rank of the truth among the members, {horizon} frames")


def at_a_point(ax, name: str, sample: Mapping[str, np.ndarray], test_set: str, system) -> None:
    """The range and the middle half of the members over time, their median, and the truth."""
    case = list(sample["test_set"]).index(test_set)
    members = sample["members_at_point"][case]
    truth = sample["reference"][case]
    truth = truth[(slice(None), *[size // 2 for size in truth.shape[1:-1]], 0)]
    shown = len(truth)
    if system.lyapunov_time:
        shown = min(shown, round(LYAPUNOV_TIMES * system.lyapunov_time))
    frames, lost = np.arange(1, shown + 1), sample["diverged"][case][:shown]
    with np.errstate(invalid="ignore"):
        members = np.where(lost, np.nan, members[:, :shown])
    style = styles_of([name])[name]
    for low, high in QUANTILES:
        band = np.quantile(members, [low, high], axis=0)
        ax.fill_between(frames, *band, color=style.color, alpha=0.25, linewidth=0)
    ax.plot(frames, np.median(members, 0), color=style.color, linewidth=1.2)
    ax.plot(frames, truth[:shown], color="black", linewidth=1.0, linestyle=(0, (2, 1)))
    ax.grid(alpha=0.25)
