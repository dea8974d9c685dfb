"""Findings about initial weights: which trains best, and what the choice does to unrolling."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tfunroll.evaluation.results import ORDER
from tfunroll.nets.building import best
from tfunroll.study import curves, statistics
from tfunroll.study.findings import AGREES, DIFFERS, OPEN, Finding

GROUP = ["system", "mode", "net", "horizon"]
WORST = 1e3  # a validation error beyond it, or one that is no number, counts as this


def by_start(gathered) -> pd.DataFrame:
    """One row per network: GROUP, initial, modality, seed, validation, error.

    ``validation``: relative error at the end of training, at most WORST. ``error``: of the tests.
    """
    frame = curves.by_setting(gathered, curves.longest)
    configs = {run_id: gathered.study.config(run_id) for run_id in gathered.labels}
    for name in ("system", "mode", "net", "initial"):
        frame[name] = [getattr(configs[run_id], name) for run_id in frame["run"]]
    frame["initial"] = [
        name or best(net) for name, net in zip(frame["initial"], frame["net"], strict=True)
    ]
    frame["horizon"] = [f"{row.family}, m = {row.x:g}" for row in frame.itertuples()]
    frame["validation"] = frame["validation"].fillna(WORST).clip(upper=WORST)
    return frame[[*GROUP, "initial", "modality", "seed", "validation", "error"]]


def table(gathered) -> pd.DataFrame:
    """Validation errors, geometric mean over seeds: a row per network, a column per start.

    Cells are "ONE / NOG / WIG"; the least of a row for each modality is marked by *.
    """
    frame = by_start(gathered)
    logs = np.log(frame["validation"]).groupby([frame[n] for n in [*GROUP, "initial", "modality"]])
    means = np.exp(logs.mean()).unstack("modality")
    modalities = [m for m in ORDER if m in means]
    least = means.groupby(GROUP).transform("min")
    texts = [
        " / ".join(f"{row[m]:.2g}" + "*" * bool(row[m] == least.loc[key, m]) for m in modalities)
        for key, row in means.iterrows()
    ]
    starts = list(dict.fromkeys(frame["initial"]))
    return pd.Series(texts, means.index).unstack("initial")[starts].reset_index()


def ratios(gathered) -> pd.DataFrame | None:
    """Validation error over that from Glorot's start, mean over modalities and seeds.

    A row per GROUP, a column per start; None without Glorot's or without another.
    """
    frame = by_start(gathered)
    keys = [*GROUP, "initial"]
    logs = np.log(frame["validation"]).groupby([frame[n] for n in keys]).mean().unstack("initial")
    if "glorot" not in logs or logs.shape[1] < 2:
        return None
    return np.exp(logs.sub(logs["glorot"], axis=0))


def initial(gathered) -> Finding | None:
    """Each start's validation error over that of Glorot's, and WIG/ONE from each start."""
    frame = by_start(gathered)
    starts = [name for name in dict.fromkeys(frame["initial"]) if name != "glorot"]
    if not starts or "glorot" not in set(frame["initial"]):
        return None
    keys = [*GROUP, "modality", "seed"]
    logs = np.log(frame.set_index([*keys, "initial"])["validation"]).unstack("initial")
    ratios = {
        name: statistics.geometric((logs[name] - logs["glorot"]).groupby("seed").mean())
        for name in starts
    }
    by_net = np.log(frame["validation"]).groupby([frame["net"], frame["initial"]]).mean()
    least = {net: means.idxmin()[1] for net, means in by_net.groupby("net", sort=False)}
    enough = all(np.isfinite(e.low) for e in ratios.values())
    errors = np.log(frame.set_index([*keys, "initial"])["error"]).unstack("modality")
    gains = {
        name: statistics.geometric(part.groupby("seed").mean())
        for name, part in (errors["WIG"] - errors["ONE"]).groupby("initial")
    }
    return Finding(
        "Initial weights decide how well a network trains",
        "",
        "validation error over that from Glorot's start: "
        + "; ".join(f"{name} {e}" for name, e in ratios.items())
        + ". WIG/ONE on the tests: "
        + "; ".join(f"{name} {gains[name]}" for name in ("glorot", *starts)),
        OPEN
        if not enough
        else AGREES
        if all(best(net) == name for net, name in least.items())
        else DIFFERS,
        "The least validation error by network: "
        + ", ".join(f"{net} {name} (default {best(net)})" for net, name in least.items())
        + ".",
        "initial",
        ", ".join(f"{name} {e.value:.2f}" for name, e in ratios.items()),
        seeds=min(e.seeds for e in ratios.values()),
    )


def picture(gathered) -> Figure | None:
    """Validation error over that from Glorot's start: a row per network, a marker per start."""
    over = ratios(gathered)
    if over is None:
        return None
    figure = Figure(figsize=(7.5, 1.2 + 0.28 * len(over)), layout="constrained")
    ax = figure.subplots()
    rows = np.arange(len(over))[::-1]
    for name, marker in zip(over.columns, "osv^Dx", strict=False):
        ax.plot(over[name], rows, marker, label=name, alpha=0.8)
    ax.set_yticks(rows, [", ".join(str(part) for part in key) for key in over.index], fontsize=7)
    ax.set(xscale="log", xlabel="validation error / that from Glorot's start")
    ax.axvline(1, color="black", linewidth=0.8, linestyle=":")
    ax.grid(alpha=0.25)
    figure.legend(loc="outside upper center", ncols=over.shape[1], fontsize=8)
    return figure
