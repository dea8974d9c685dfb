"""Figures of a study, from what it has gathered; PNG and PDF."""

import pathlib

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfunroll import systems
from tfunroll.evaluation.results import ORDER, sets_of
from tfunroll.plots.style import TITLES, finish, legend, metadata, styles_of
from tfunroll.study import curves, starts, statistics, uncertainty
from tfunroll.study.findings import sources

MARKERS = ("D", "v", "P", "*", "p", "<", ">")  # of groups of lines, beside those of modalities


def draw(gathered) -> list[pathlib.Path]:
    """Writes errors and ratios, and what a study of this name has besides; returns the paths."""
    makers = {"errors": errors, "ratios": ratios, **MORE.get(gathered.study.name, {})}
    paths = []
    for name, make in makers.items():
        figure = make(gathered)
        if figure is None:
            continue
        FigureCanvasAgg(figure)
        for ax in figure.axes:  # a log axis needs something on it, which all-diverged models lack
            if not np.isfinite(ax.dataLim.minposx):
                ax.set_xscale("linear")
            if not np.isfinite(ax.dataLim.minposy):
                ax.set_yscale("linear")
        finish(figure)
        for suffix, dpi in ((".png", 110), (".pdf", 200)):
            paths.append(gathered.out / f"{name}{suffix}")
            figure.savefig(paths[-1], dpi=dpi, metadata=metadata(suffix, sources(gathered)))
            figure.set_layout_engine("none")
    return paths


def errors(gathered) -> Figure:
    """Relative error of every model: dots are seeds, ticks their geometric mean; rows are runs."""
    scores = statistics.per_seed(gathered.table)["score"]
    scores = scores[scores.index.get_level_values("modality").isin(ORDER)]
    return _rows(gathered, np.exp(scores), _error_label(gathered))


def ratios(gathered) -> Figure | None:
    """Error over ONE's of the same run and seed; rows are runs."""
    table, parts = statistics.per_seed(gathered.table), []
    models = table.index.droplevel(["test_set", "seed"]).unique()
    for run_id, modality in models:
        if modality in ORDER[1:] and (run_id, "ONE") in models:
            logs = statistics.log_ratio(table, (run_id, modality), (run_id, "ONE"))
            value = np.exp(logs.stack().rename("value")).reset_index()
            parts.append(value.assign(run=run_id, modality=modality))
    if not parts:
        return None
    frame = pd.concat(parts).set_index(["run", "test_set", "modality", "seed"])["value"]
    figure = _rows(gathered, frame, "error / error of ONE")
    for ax in figure.axes:
        ax.axvline(1, color="black", linewidth=0.8, linestyle=":")
    return figure


def scaling(gathered) -> Figure | None:
    """Error against weights, with fitted powers, beside the solver's error against its cost."""
    frame = curves.by_setting(gathered, lambda config: 0.0)
    if frame["num_weights"].nunique() < 2:
        return None
    figure = Figure(figsize=(9.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    modes = {r: gathered.study.config(r).mode for r in gathered.labels}
    frame["mode"] = frame["run"].map(modes)
    for mode, part in frame.groupby("mode", sort=False):
        _lines(left, part.assign(x=part["num_weights"]), int(mode == "prediction"), suffix=mode)
    left.set(xscale="log", yscale="log", xlabel="weights n", ylabel=_error_label(gathered))
    low, high = frame["num_weights"].min(), frame["num_weights"].max()
    n = np.array([low, high])
    top = frame["error"].max()
    left.plot(n, 1.4 * top * (n / low) ** (-1 / 3), ":", color="black", label="n^(−1/3)")
    left.legend(fontsize=7)
    solvers = curves.solver_errors(gathered)
    if len(solvers):
        right.loglog(solvers.index, solvers, "o-", color="#555555", label="reference scheme")
        right.legend(fontsize=8)
        right.set_xticks(solvers.index, [str(n) for n in solvers.index])
    right.set(xlabel="sub-steps per frame (cost)", title="the solver alone")
    left.set_title("networks")
    for ax in (left, right):
        ax.grid(alpha=0.25)
    return figure


def horizon(gathered) -> Figure | None:
    """Error against m, and the gradient's norm by unroll step of the longest horizon."""
    frame = curves.by_setting(gathered, curves.longest)
    figure = Figure(figsize=(9.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind, (name, part) in enumerate(frame.groupby("family", sort=False)):
        _lines(left, part, kind, suffix=name)
    first = next(iter(gathered.labels))
    lyapunov = systems.get(gathered.study.config(first).system).lyapunov_time
    for ax in (left, right):
        if lyapunov:
            ax.axvline(lyapunov, color="black", linewidth=0.8, linestyle=":")
            place = {"transform": ax.get_xaxis_transform(), "rotation": 90, "fontsize": 8}
            ax.text(lyapunov, 0.02, " Lyapunov time", va="bottom", **place)
        ax.grid(alpha=0.25)
    left.set(xscale="log", yscale="log", xlabel="horizon m", ylabel=_error_label(gathered))
    left.legend(fontsize=7)
    norms = curves.gradients(gathered)
    if len(norms):
        longest = frame.loc[frame["x"] == frame["x"].max(), "run"].unique()
        norms = norms[norms["run"].isin(longest) & norms["modality"].isin(ORDER[1:])]
        for modality, part in norms.groupby("modality"):
            mean = np.exp(np.log(part["norm"].replace(0, np.nan)).groupby(part["step"]).mean())
            right.plot(mean.index, mean, **styles_of([modality])[modality].line(modality))
        right.legend(fontsize=8)
    right.set(yscale="log", xlabel="unroll step", ylabel="|∂loss/∂state entering the step|")
    return figure


def transition(gathered) -> Figure:
    """Error against the solver's part of the frame."""
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    ax = figure.subplots()
    _lines(ax, curves.by_setting(gathered, curves.fraction))
    ax.set(yscale="log", xlabel="solver's part c of the frame", ylabel=_error_label(gathered))
    ax.legend(fontsize=8)
    ax.grid(alpha=0.25)
    return figure


def convergence(gathered) -> Figure | None:
    """Validation error against updates, a thin line per seed and the geometric mean."""
    frame = curves.validation(gathered)
    if not len(frame):
        return None
    frame = frame[frame["error"] > 0]
    runs = list(gathered.labels)
    figure = Figure(figsize=(4.8 * len(runs) + 0.6, 4.4), layout="constrained")
    for ax, run_id in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs, strict=True):
        its = frame[frame["run"] == run_id]
        for modality, style in styles_of([m for m in ORDER if m in set(its["modality"])]).items():
            logs = np.log(its[its["modality"] == modality].pivot_table(
                index="update", columns="seed", values="error"))  # fmt: skip
            ax.plot(logs.index, np.exp(logs), color=style.color, linewidth=0.5, alpha=0.5)
            look = style.line(modality) | {"markevery": max(1, len(logs) // 8)}
            ax.plot(logs.index, np.exp(logs.mean(axis=1)), **look)
        ax.set(yscale="log", xlabel="updates", title=gathered.labels[run_id].replace("_", " "))
        ax.grid(alpha=0.25)
        ax.legend(fontsize=8)
    figure.axes[0].set_ylabel("relative error, validation")
    return figure


def stability(gathered) -> Figure | None:
    """Fraction of rollouts that have not diverged, against time."""
    times = gathered.table[gathered.table["metric"] == "divergence_time"]
    if not len(times):
        return None
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.subplots()
    shown = [m for m in (*ORDER, "coarse solver") if m in set(times["modality"])]
    for modality, style in styles_of(shown).items():
        part = times[times["modality"] == modality]
        ended = np.sort(part.loc[part["status"] == "diverged", "value"].to_numpy(float))
        x = np.concatenate([[0], ended, [part["value"].max()]])
        y = 1 - np.concatenate([np.arange(len(ended) + 1), [len(ended)]]) / len(part)
        ax.step(x, y, where="post", **style.line(modality) | {"marker": ""})
    ax.set(xlabel="frame", ylabel="rollouts not diverged", ylim=(-0.03, 1.03))
    ax.legend(fontsize=8)
    ax.grid(alpha=0.25)
    return figure


def _error_label(gathered) -> str:
    """With the number of frames, where all runs were evaluated over as many."""
    frames = {evaluation["horizon"] for evaluation in gathered.evaluations.values()}
    return "relative error" + (f" over {frames.pop()} frames" if len(frames) == 1 else "")


def _rows(gathered, values: pd.Series, label: str) -> Figure:
    """One row per run, a column per test set; dots are seeds, ticks geometric means."""
    sets = sets_of(set(gathered.table["test_set"]))
    labels, values = gathered.labels, values.sort_index()
    size = (4.2 * max(len(sets), 1) + 2.2, 1.3 + 0.42 * len(labels))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, max(len(sets), 1), squeeze=False, sharey=True)[0]
    styles = styles_of([m for m in ORDER if m in values.index.get_level_values("modality")])
    for ax, name in zip(axes, sets, strict=True):
        for i, (modality, style) in enumerate(styles.items()):
            offset = 0.24 * (i - (len(styles) - 1) / 2)
            for row, run_id in enumerate(labels):
                try:
                    dots = values.loc[run_id, name, modality].to_numpy(float)
                except KeyError:
                    continue
                at = np.full(len(dots), row + offset)
                ax.plot(dots, at, style.marker, color=style.color, markersize=4, alpha=0.6)
                ax.plot(np.exp(np.log(dots).mean()), row + offset, "|", color="black", markersize=9)
        ax.set(xscale="log", xlabel=label, title=TITLES[name])
        ax.grid(alpha=0.25)
    axes[0].set_yticks(range(len(labels)), _row_names(gathered), fontsize=8)
    axes[0].set_ylim(len(labels) - 0.5, -0.5)
    for modality, style in styles.items():
        axes[0].plot([], [], style.marker, color=style.color, label=modality)
    axes[0].plot([], [], "|", color="black", markersize=9, label="geometric mean over seeds")
    legend(figure, axes[0].get_legend_handles_labels())
    return figure


def _row_names(gathered) -> list[str]:
    """Labels of runs, with their modalities where these alone tell runs apart."""
    names, configs = [], {run_id: gathered.study.config(run_id) for run_id in gathered.labels}
    for run_id, label in gathered.labels.items():
        alone = list(gathered.labels.values()).count(label) == 1
        more = "" if alone else f" ({', '.join(configs[run_id].modalities)})"
        names.append(label.replace("_", " ") + more)
    return names


def _lines(ax, frame: pd.DataFrame, kind: int = 0, suffix: str = "") -> None:
    """Geometric mean over seeds of error against x, with the range over seeds, per modality.

    Args: kind: number of this group of lines: the first has full markers, the second hollow ones,
      the others markers of their own.
    """
    drawn = {"markerfacecolor": "white", "linewidth": 0.9} if kind else {}
    if kind > 1:
        drawn["marker"] = MARKERS[(kind - 2) % len(MARKERS)]
    for modality, style in styles_of(frame["modality"]).items():
        part = frame[frame["modality"] == modality]
        logs = np.log(part.pivot_table(index="x", columns="seed", values="error"))
        look = style.line(f"{modality} {suffix}".strip()) | drawn
        ax.plot(logs.index, np.exp(logs.mean(axis=1)), **look)
        low, high = np.exp(logs.min(axis=1)), np.exp(logs.max(axis=1))
        ax.fill_between(logs.index, low, high, color=style.color, alpha=0.12, linewidth=0)


MORE = {
    "scaling": {"scaling": scaling},
    "horizon": {"horizon": horizon},
    "transition": {"transition": transition},
    "convergence": {"convergence": convergence},
    "stability": {"stability": stability},
    "initial": {"initial": starts.picture},
    "ensembles": {"ensembles": uncertainty.picture},
}
