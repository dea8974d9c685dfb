"""Errors over time and bars of the relative error, from a summary: the numbers of the table."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tfunroll.evaluation.averages import FLOOR
from tfunroll.evaluation.results import sets_of
from tfunroll.plots.style import TITLES, is_trained, legend, styles_of
from tfunroll.systems.base import System

ZERO = 1.01 * FLOOR  # an error up to this is that of an exact model, and is not drawn
WIDE = 4  # bars that leave room for long labels
BELOW = 0.03  # a baseline with less than this share of the best model's error is written, not drawn


def curves(summary: pd.DataFrame, system: System, settings: Mapping[str, object]) -> Figure:
    """Error over time above, bars of the relative error below, one column per test set."""
    summary = summary[summary["subset"] == "all"]
    sets = sets_of(set(summary["test_set"]))
    figure = Figure(figsize=(4.6 * len(sets) + 0.8, 7.4), layout="constrained")
    axes = figure.subplots(2, len(sets), squeeze=False, sharey="row")
    for column, name in enumerate(sets):
        part = summary[summary["test_set"] == name]
        error_over_time(axes[0, column], part, system.lyapunov_time)
        bars(axes[1, column], part, settings["long_horizon"])
        axes[0, column].set_title(TITLES.get(name, name))
    axes[0, 0].set_ylabel("normalised RMSE")
    axes[1, 0].set_ylabel(f"relative error over {settings['horizon']} frames")
    handles = {}
    for ax in axes[::-1].flat:  # the lines of the upper row, with markers, replace those below
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    ordered = sorted(handles, key=lambda name: not is_trained(name))
    legend(figure, ([handles[name] for name in ordered], ordered))
    return figure


def error_over_time(ax, summary: pd.DataFrame, lyapunov_time: float | None = None) -> None:
    """Normalised RMSE per frame: the summary's value as a line, its spread over seeds as a band."""
    part = summary[summary["metric"] == "nrmse"]
    lowest = []
    for i, (name, style) in enumerate(styles_of(part["modality"]).items()):
        model = part[(part["modality"] == name) & (part["value"] > ZERO)].sort_values("frame")
        if not len(model):
            continue
        frames = model["frame"].to_numpy(int)
        line, spread = (model[column].to_numpy(float) for column in ("value", "spread_seeds"))
        # Markers evenly in time though the frames are not, and each model's at frames of its own.
        places = (np.arange(8) + i % 8 / 8) * frames[-1] / 8
        every = np.unique(np.searchsorted(frames, places)).tolist()
        ax.plot(frames, line, markevery=every, **style.line(name))
        lowest += [line.min()] if is_trained(name) else []
        if np.isfinite(spread).all():
            look = {"color": style.color, "alpha": 0.18, "linewidth": 0}
            ax.fill_between(frames, line / spread, line * spread, **look)
    if lyapunov_time:
        ax.axvline(lyapunov_time, color="black", linewidth=0.8, linestyle=":")
        place = {"transform": ax.get_xaxis_transform(), "rotation": 90, "va": "bottom"}
        ax.text(lyapunov_time, 0.02, " Lyapunov time", fontsize=8, ha="left", **place)
    ax.set(yscale="log", xlabel="frame")
    if lowest:  # a solver exact to rounding would flatten all the others
        ax.set_ylim(bottom=max(ax.get_ylim()[0], min(lowest) / 3))
    ax.grid(alpha=0.25)


def bars(ax, summary: pd.DataFrame, long_horizon: int) -> None:
    """The summary's relative error by modality, whiskers its spread over seeds; baselines are lines
    across. The share of rollouts that diverged in ``long_horizon`` frames stands below a name."""
    part = summary[summary["metric"] == "relative_error"].set_index("modality")
    ends = summary[summary["metric"] == "divergence_time"].set_index("modality")["diverged"]
    styles = styles_of(part.index)
    trained = [name for name in styles if is_trained(name)]
    lowest, labels, tiny = np.inf, [], []
    for name, style in styles.items():
        value, spread = part.loc[name, ["value", "spread_seeds"]]
        lost = part.loc[name, "diverged"] == 1
        if not is_trained(name):
            if not lost and (value > BELOW * lowest or np.isinf(lowest)):
                ax.axhline(value, **style.line(name) | {"marker": ""})
            elif not lost:
                tiny.append(f"{name}: {value:.0e}")
            continue
        at, gone = trained.index(name), ends.get(name, 0.0)
        within = f" diverged\nin {long_horizon} frames" if len(trained) <= WIDE else "\ndiverged"
        labels.append(name.replace(", ", "\n") + (f"\n{gone:.0%}{within}" if gone else ""))
        if value < ZERO:
            tiny.append(f"{name}: {value:.0e}")
            continue
        if lost:
            place = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
            ax.text(at, 0.03, "all rollouts\ndiverged", fontsize=8, **place)
            continue
        lowest = min(lowest, value)
        spread = spread if np.isfinite(spread) else 1.0
        whiskers = [[value - value / spread], [value * spread - value]]
        look = {"edgecolor": "black", "hatch": style.hatch, "linewidth": 0.8, "capsize": 4}
        ax.bar(at, value, 0.62, color=style.color, alpha=0.75, yerr=whiskers, **look)
    ax.set_xticks(range(len(trained)), labels)
    ax.set_xlim(-0.6, max(len(trained), 1) - 0.4)
    if ax.lines or ax.patches:  # a log axis needs something on it
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.set_ylim(low / 3, high * (2 if not tiny else 8))
    if tiny:  # off the scale below: written, as a line would flatten the bars
        note = "\n".join(["below the axis:", *tiny])
        ax.text(0.02, 0.98, note, transform=ax.transAxes, va="top", fontsize=8)
    ax.grid(alpha=0.25, axis="y")
