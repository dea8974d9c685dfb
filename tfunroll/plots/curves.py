"""Errors over time and bars of the relative error, from the table of results."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tfunroll.metrics import DIVERGED_ERROR
from tfunroll.plots.style import TITLES, styles_of
from tfunroll.results import ORDER, SETS
from tfunroll.systems.base import System

BELOW = 0.03  # of the best model: baselines under that leave the picture of the bars


def curves(results: pd.DataFrame, system: System) -> Figure:
    """Error over time above, bars of the relative error below, one column per test set."""
    sets = [name for name in SETS if name in set(results["test_set"])]
    figure = Figure(figsize=(4.6 * len(sets) + 0.8, 7.4), layout="constrained")
    axes = figure.subplots(2, len(sets), squeeze=False, sharey="row")
    for column, name in enumerate(sets):
        part = results[results["test_set"] == name]
        error_over_time(axes[0, column], part, system.lyapunov_time)
        bars(axes[1, column], part)
        axes[0, column].set_title(TITLES[name])
    axes[0, 0].set_ylabel("normalised RMSE")
    axes[1, 0].set_ylabel("relative error")
    handles = {}
    for ax in axes[::-1].flat:  # the lines of the upper row, with markers, replace those below
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    ordered = [name for name in handles if name in ORDER] + [n for n in handles if n not in ORDER]
    figure.legend([handles[name] for name in ordered], ordered, loc="outside lower center", ncols=3)
    return figure


def error_over_time(ax, results: pd.DataFrame, lyapunov_time: float | None = None) -> None:
    """Normalised RMSE per frame: the median over test cases, its geometric mean over seeds as a
    line and its range over seeds as a band. A line ends where the median rollout diverged."""
    part = results[results["metric"] == "nrmse"]
    lowest = []
    for i, (name, style) in enumerate(styles_of(part["modality"]).items()):
        model = part[part["modality"] == name]
        medians = model.groupby(["seed", "frame"])["value"].median().unstack("frame")
        values = medians.to_numpy(float)
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        frames = medians.columns.to_numpy(int)
        drawn = np.isfinite(values).any(axis=0)
        if not drawn.any():
            continue
        frames, values = frames[drawn], values[:, drawn]
        line = np.exp(np.nanmean(np.log(values), axis=0))
        # Markers evenly in time though the frames are not, and each model's at frames of its own.
        places = (np.arange(8) + i % 8 / 8) * frames[-1] / 8
        every = np.unique(np.searchsorted(frames, places)).tolist()
        ax.plot(frames, line, markevery=every, **style.line(name))
        lowest += [line.min()] if name in ORDER else []
        if len(values) > 1:
            low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
            ax.fill_between(frames, low, high, color=style.color, alpha=0.18, linewidth=0)
    if lyapunov_time:
        ax.axvline(lyapunov_time, color="black", linewidth=0.8, linestyle=":")
        place = {"transform": ax.get_xaxis_transform(), "rotation": 90, "va": "bottom"}
        ax.text(lyapunov_time, 0.02, " Lyapunov time", fontsize=8, ha="left", **place)
    ax.set(yscale="log", xlabel="frame")
    if lowest:  # a solver exact to rounding would flatten all the others
        ax.set_ylim(bottom=max(ax.get_ylim()[0], min(lowest) / 3))
    ax.set_ylim(top=min(ax.get_ylim()[1], DIVERGED_ERROR**0.5))
    ax.grid(alpha=0.25)


def bars(ax, results: pd.DataFrame) -> None:
    """Mean relative error by modality, whiskers one standard deviation over seeds; baselines are
    lines across. Diverged rollouts leave the mean; their share stands at the foot of the bar."""
    part = results[results["metric"] == "relative_error"]
    styles = styles_of(part["modality"])
    trained = [name for name in styles if name in ORDER]
    lowest, tiny = np.inf, []
    for name, style in styles.items():
        model = part[part["modality"] == name]
        fine = model[model["status"] != "diverged"]
        means = fine.groupby("seed")["value"].mean()
        lost = 1 - len(fine) / len(model)
        mean = means.mean() if len(means) else np.nan
        if name not in ORDER:
            if mean > BELOW * lowest or (mean > 0 and not trained):
                ax.axhline(mean, **style.line(name) | {"marker": ""})
            elif mean >= 0:
                tiny.append(f"{name}: {mean:.0e}")
            continue
        at, lowest = trained.index(name), np.nanmin([lowest, mean])
        if mean > 0:
            # The lower whisker stays positive: on a log axis a bar has no way below zero.
            spread = np.nan_to_num(means.std())
            whiskers = [[min(spread, 0.9 * mean)], [spread]]
            look = {"edgecolor": "black", "hatch": style.hatch, "linewidth": 0.8, "capsize": 4}
            ax.bar(at, mean, 0.62, color=style.color, alpha=0.75, yerr=whiskers, **look)
        if lost:
            place = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
            ax.text(at, 0.03, f"{lost:.0%} diverged", fontsize=8, bbox=box, **place)
    ax.set_xticks(range(len(trained)), trained)
    ax.set_xlim(-0.6, max(len(trained), 1) - 0.4)
    if ax.lines or ax.patches:  # a log axis needs something on it
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.set_ylim(low / 3, high * (2 if not tiny else 8))
    if tiny:  # off the scale below: written, as a line would flatten the bars
        note = "below the axis: " + "; ".join(tiny)
        ax.text(0.02, 0.98, note, transform=ax.transAxes, va="top", fontsize=8)
    ax.grid(alpha=0.25, axis="y")
