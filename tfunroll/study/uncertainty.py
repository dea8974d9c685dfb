"""Findings about ensembles and their kin: error, CRPS and spread beside those of one network."""

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from tfunroll.evaluation.results import ENSEMBLE, NETWORK, sets_of
from tfunroll.plots.style import TITLES
from tfunroll.study import statistics
from tfunroll.study.findings import OPEN, Finding

OWN = {"average": "0", "subspace": "", "stochastic": False, "loss": "supervised", "ensemble": False}
LINES = ("-", "--", "-.", ":")


def ensembles(gathered) -> Finding | None:
    """Each variant against the plain network of the same modality, runs otherwise alike."""
    errors, models = statistics.per_seed(gathered.table), _models(gathered)
    texts, ratios, seeds = [], {}, []
    for (run_id, modality), kind in models.items():
        base = _base(gathered, run_id, modality, models)
        if base in (None, (run_id, modality)):
            continue
        name = _name(gathered, run_id, modality)
        if kind == NETWORK:
            ratio = statistics.geometric(
                statistics.log_ratio(errors, (run_id, modality), base).mean(axis=1)
            )
            seeds.append(ratio.seeds)
            text, value = str(ratio), ratio.value
        else:  # one sample, or one per seed of another number of them: no test
            logs = [_mean_log(errors, model) for model in ((run_id, modality), base)]
            value = float(np.exp(logs[0] - logs[1]))
            text = f"{value:.2f}, one sample"
        ratios[name] = value
        texts.append(f"{name}: {text}{_uncertainty(gathered, run_id, modality)}")
    if not texts:
        return None
    return Finding(
        "Ensembles, means of weights, lines and noise",
        "",
        f"Error over that of a single network: {'; '.join(texts)}.",
        OPEN,
        "Equal updates. An ensemble of seeds takes as many trainings as it has members, its error "
        "is one sample, so it has no test.",
        "ensembles",
        ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()),
        seeds=min(seeds, default=0),
    )


def picture(gathered) -> Figure | None:
    """Error over that of the plain network, and spread over error, by frame: a line per variant."""
    models = _models(gathered)
    summary = gathered.summary[gathered.summary["subset"] == "all"]
    sets = sets_of(set(summary["test_set"]))
    figure = Figure(figsize=(4.6 * len(sets) + 0.8, 6.6), layout="constrained")
    axes = figure.subplots(2, len(sets), squeeze=False, sharex=True, sharey="row")

    def by_frame(run_id, modality, metric, test_set):
        chosen = (summary["run"] == run_id) & (summary["modality"] == modality)
        chosen &= (summary["metric"] == metric) & (summary["test_set"] == test_set)
        return summary[chosen].set_index("frame")["value"].sort_index()

    drawn = False
    for number, (run_id, modality) in enumerate(models):
        base = _base(gathered, run_id, modality, models)
        if base is None:
            continue
        look = {"linestyle": LINES[number // 10 % 4], "color": f"C{number % 10}"}
        look["label"] = _name(gathered, run_id, modality)
        for column, name in enumerate(sets):
            own, plain = (by_frame(*model, "nrmse", name) for model in ((run_id, modality), base))
            if base != (run_id, modality):
                ratio = (own / plain).dropna()
                axes[0, column].plot(ratio.index, ratio, **look)
                drawn = True
            spread = by_frame(run_id, modality, "spread_skill", name)
            if len(spread):
                axes[1, column].plot(spread.index, spread, **look)
            axes[0, column].set_title(TITLES[name])
    if not drawn:
        return None
    axes[0, 0].set_ylabel("RMSE / that of one network")
    axes[1, 0].set_ylabel("spread / error of the mean")
    for ax in axes.flat:
        ax.axhline(1, color="black", linewidth=0.8)
        ax.grid(alpha=0.25)
    for ax in axes[1]:
        ax.set(xlabel="frame", ylim=(0, None))
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _models(gathered) -> dict[tuple[str, str], str]:
    """(run, modality) -> kind, of networks and ensembles, in the study's order."""
    rows = gathered.table[gathered.table["kind"].isin((NETWORK, ENSEMBLE))]
    kinds = rows.drop_duplicates(["run", "modality"]).set_index(["run", "modality"])["kind"]
    return {(r, m): kind for r in gathered.labels for (run, m), kind in kinds.items() if run == r}


def _base(gathered, run_id, modality, models) -> tuple[str, str] | None:
    """The single network of a run that is otherwise alike and has none of these things."""
    plain = modality.partition(", ")[0]
    wanted = _plain(gathered, run_id)
    for other in gathered.labels:
        config = gathered.study.config(other)
        named = {name: getattr(config, name) for name in OWN if name != "ensemble"}
        own = {name: value for name, value in OWN.items() if name != "ensemble"}
        if named == own and _plain(gathered, other) == wanted and (other, plain) in models:
            return other, plain
    return None


def _plain(gathered, run_id):
    return replace(gathered.study.config(run_id), **OWN, modalities=())


def _name(gathered, run_id, modality) -> str:
    return f"{gathered.labels[run_id]} {modality}".strip()


def _mean_log(errors, model) -> float:
    its = errors["score"].xs(model, level=("run", "modality"))
    return float(its.groupby("test_set").mean().mean())


def _uncertainty(gathered, run_id, modality) -> str:
    """Spread over error of the mean over the horizon, inside and outside, where there is one."""
    rows = gathered.summary[
        (gathered.summary["run"] == run_id)
        & (gathered.summary["modality"] == modality)
        & (gathered.summary["metric"] == "rollout_spread_skill")
        & (gathered.summary["subset"] == "all")
    ].set_index("test_set")["value"]
    values = [f"{rows[name]:.2f}" for name in sets_of(rows.index) if name in rows]
    return f" (spread/error {' / '.join(values)})" if values else ""
