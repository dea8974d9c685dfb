"""Findings that compare models: with ONE, with the other mode, with other remedies."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from tfunroll.evaluation.averages import MIN_SEEDS
from tfunroll.evaluation.results import EQUAL_COST, ORDER, SETS
from tfunroll.runs.folder import SHARED
from tfunroll.study import curves, statistics
from tfunroll.study.findings import AGREES, DIFFERS, OPEN, PARTLY, Finding
from tfunroll.user_modules import short_name

SIGNIFICANT = 0.05
PAPER_RATIOS = {"NOG": 0.77, "WIG": 0.62}
PAPER_FACTOR = 4.5
PAPER_UPDATES = 900_000  # of the long trainings of KS: 80 epochs of 180,000 windows, 16 a batch


def order(gathered) -> Finding | None:
    """WIG < NOG < ONE, over all runs and both test sets."""
    ratios = {m: r for m in ("NOG", "WIG") if len(r := log_ratios(gathered, m))}
    if not ratios:
        return None
    pooled = {m: statistics.geometric(r.groupby("seed")["log"].mean()) for m, r in ratios.items()}
    ours = "; ".join(f"{m}/ONE {e}" for m, e in pooled.items())
    each = {m: _each_set(r) for m, r in ratios.items()}
    ours += ". " + "; ".join(f"{m} {text}" for m, text in each.items()) + "."
    ours += _each_system(gathered, ratios)
    below = {m: e.value < 1 and e.p < SIGNIFICANT for m, e in pooled.items()}
    above = [m for m, e in pooled.items() if e.value > 1 and e.p < SIGNIFICANT]
    inside = all(_where(PAPER_RATIOS[m], e) == "inside" for m, e in pooled.items())
    if above or not all(below.values()) or len(below) < 2 or not inside:
        verdict = PARTLY if any(below.values()) else DIFFERS if above else OPEN
    else:
        verdict = AGREES
    said = {True: "below ONE beyond the spread over seeds", False: "not distinguishable from ONE"}
    seeds = min(e.seeds for e in pooled.values())
    why = "; ".join(
        f"{m} is {'above ONE beyond the spread over seeds' if m in above else said[b]}, and the "
        f"paper's {PAPER_RATIOS[m]} lies {_where(PAPER_RATIOS[m], pooled[m])} the interval"
        for m, b in below.items()
    )
    if seeds < MIN_SEEDS:
        why = f"An interval takes {MIN_SEEDS} seeds"
    return Finding(
        "Unrolling beats one-step training, and the gradient through time adds to it",
        "WIG −38 %, NOG −23 % against ONE on average over all cases (ratios 0.62, 0.77)",
        f"over {ratios[next(iter(ratios))]['run'].nunique()} runs: {ours}",
        verdict,
        f"{why}. {budget(gathered)}",
        "ratios",
        ", ".join(f"{m}/ONE {e.value:.2f}" for m, e in pooled.items()),
        seeds=seeds,
    )


def correction(gathered) -> Finding | None:
    """NOG correction against WIG prediction, at equal networks."""
    errors = statistics.per_seed(gathered.table)
    configs = {run_id: gathered.study.config(run_id) for run_id in gathered.labels}
    parts = []
    for a, b in itertools.product(configs, configs):
        x, y = configs[a], configs[b]
        alike = all(getattr(x, n) == getattr(y, n) for n in ("system", "net", "size", "width",
                                                             "depth", "curriculum"))  # fmt: skip
        pair = (x.mode, y.mode) == ("correction", "prediction")
        if pair and alike and has(errors, a, "NOG") and has(errors, b, "WIG"):
            logs = statistics.log_ratio(errors, (b, "WIG"), (a, "NOG"))
            name = " ".join(gathered.labels[a].replace("correction", "").split())
            parts.append((name or short_name(x.net), logs))
    if not parts:
        return None
    per_seed = pd.concat([logs.mean(axis=1) for _, logs in parts], axis=1).mean(axis=1)
    pooled = statistics.geometric(per_seed)
    each = "; ".join(f"{name}: {statistics.geometric(logs.mean(axis=1))}" for name, logs in parts)
    good = pooled.value > 1 and pooled.p < SIGNIFICANT
    bad = pooled.value < 1 and pooled.p < SIGNIFICANT
    why = budget(gathered)
    if good:
        inside = pooled.low <= PAPER_FACTOR <= pooled.high
        why = (
            "The factor agrees too. "
            if inside
            else "The direction agrees, the factor does not: theirs is a mean over systems and "
            "networks, this one is of the networks in the table. "
        ) + why
    verdict = DIFFERS if bad else OPEN if not good else AGREES if inside else PARTLY
    return Finding(
        "A network beside a solver beats one alone, even without the solver's gradient",
        f"NOG correction is about {PAPER_FACTOR} times better than WIG prediction",
        f"error of WIG prediction / error of NOG correction: {pooled} ({each})",
        verdict,
        why,
        "errors",
        f"{pooled.value:.1f} times",
        seeds=pooled.seeds,
    )


def robustness(gathered) -> Finding | None:
    """In how many cells and test sets the order holds."""
    texts, fractions, short, seeds = [], [], [], []
    for modality in ("NOG", "WIG"):
        ratios = log_ratios(gathered, modality)
        if not len(ratios):
            continue
        cells = ratios.groupby(["run", "test_set"])["log"]
        each = [statistics.geometric(logs) for _, logs in cells]
        below = sum(e.value < 1 for e in each)
        clear = sum(e.value < 1 and e.p < SIGNIFICANT for e in each)
        against = sum(e.value > 1 and e.p < SIGNIFICANT for e in each)
        p = stats.binomtest(below, len(each)).pvalue
        texts.append(
            f"{modality} < ONE in {below} of {len(each)} (sign test p = {p:.2g}), significantly in "
            f"{clear}; significantly above in {against}"
        )
        fractions.append((below / len(each), against))
        seeds += [e.seeds for e in each]
        short.append(f"{modality} < ONE in {below} of {len(each)}")
    if not texts:
        return None
    verdict = (
        AGREES
        if all(f > 0.9 and not a for f, a in fractions)
        else (PARTLY if max(f for f, _ in fractions) > 0.5 else DIFFERS)
    )
    return Finding(
        "The order holds across systems, networks, sizes and test sets",
        "it does, in nearly all cases",
        "run × test set: " + "; ".join(texts) + ".",
        verdict,
        "No correction for testing many cells; the sign test takes cells as independent, which "
        "cells that share a system are not.",
        "ratios",
        ", ".join(short),
        seeds=min(seeds),
    )


def convergence(gathered) -> Finding | None:
    """NOG/ONE and WIG/ONE after long training."""
    paper = {(26, 8): "NOG/ONE 0.46, WIG/ONE 0.08", (52, 12): "NOG/ONE 0.29, WIG/ONE 0.12"}
    texts, ratios, short = [], [], []
    for run_id in gathered.labels:
        for modality in ("NOG", "WIG"):
            logs = log_ratios(gathered, modality, [run_id])
            if len(logs):
                e = statistics.geometric(logs.groupby("seed")["log"].mean())
                ratios.append(e)
                texts.append(f"{gathered.labels[run_id]} {modality}/ONE {e}")
                short.append(f"{modality}/ONE {e.value:.2f}")
    if not texts:
        return None
    verdict = (
        AGREES
        if all(e.high < 1 for e in ratios)
        else (PARTLY if any(e.high < 1 for e in ratios) else OPEN)
    )
    return Finding(
        "Long training widens the gaps",
        "; ".join(f"{size}: {ratio}" for size, ratio in paper.items()),
        "; ".join(texts) + "." + _on_the_way(gathered),
        verdict,
        budget(gathered),
        "convergence",
        ", ".join(short),
        seeds=min(e.seeds for e in ratios),
    )


def _on_the_way(gathered) -> str:
    """The ratios of the validation errors while training, at a quarter, a half and the end."""
    frame, texts = curves.validation(gathered), []
    for (run_id, modality), part in frame.groupby(["run", "modality"], sort=False):
        base = frame[(frame["run"] == run_id) & (frame["modality"] == "ONE")]
        if modality not in ORDER[1:] or not len(base):
            continue
        a, b = (np.log(p.pivot_table(index="update", columns="seed", values="error")
                       .replace([0, np.inf], np.nan)) for p in (part, base))  # fmt: skip
        ratio = np.exp((a - b).mean(axis=1)).dropna()
        if not len(ratio):
            continue
        last = ratio.index.max()
        at = [ratio.index[np.abs(ratio.index - share * last).argmin()] for share in (0.25, 0.5, 1)]
        points = ", ".join(f"{ratio[n]:.2f} after {n}" for n in dict.fromkeys(at))
        texts.append(f"{gathered.labels[run_id]} {modality}/ONE {points} updates")
    return f" Of validation errors: {'; '.join(texts)}." if texts else ""


def alternatives(gathered) -> Finding | None:
    """Cheaper remedies against ONE, with what each costs."""
    errors = statistics.per_seed(gathered.table)
    models = errors.index.droplevel(["test_set", "seed"]).unique()
    plain = [r for r, m in models if m == "ONE" and not gathered.study.config(r).noise]
    if not plain:
        return None
    base, texts = (plain[0], "ONE"), []
    times, ratios = _processor_times(gathered), {}
    for model in models:
        if model[1] in ORDER and model != base:
            name = f"{gathered.labels[model[0]]} {model[1]}"
            ratios[name], text = _over(errors, times, model, base)
            texts.append(f"{name}: {text}")
    names = gathered.table.loc[gathered.table["kind"] == EQUAL_COST, "modality"].unique()
    solver = errors["score"][errors.index.get_level_values("modality").isin(names)]
    beside = (
        f" The solver of equal cost has an error of {np.exp(solver.mean()):.1g}."
        if len(solver)
        else ""
    )
    return Finding(
        "Cheaper remedies than gradients through time",
        "",
        f"error over ONE's: {'; '.join(texts)}.{beside}",
        OPEN,
        "Times are processor times of the whole training with compilation, medians over seeds."
        if times
        else "",
        "errors",
        ", ".join(f"{name} {e.value:.2f}" for name, e in ratios.items()),
        seeds=min((e.seeds for e in ratios.values()), default=0),
    )


def routes(gathered) -> Finding | None:
    """NOG and every route of the gradient against WIG's exact one, runs otherwise alike."""
    errors = statistics.per_seed(gathered.table)
    times, ratios, texts = _processor_times(gathered), {}, []

    def otherwise(run_id):
        return replace(gathered.study.config(run_id), through="all", modalities=())

    def through(run_id):
        return gathered.study.config(run_id).through

    exact = {
        otherwise(run_id): (run_id, "WIG")
        for run_id in gathered.labels
        if through(run_id) == "all" and has(errors, run_id, "WIG")
    }
    for run_id in gathered.labels:
        base = exact.get(otherwise(run_id))
        for modality in ("NOG", "WIG"):
            model = run_id, modality
            if base in (None, model) or not has(errors, *model):
                continue
            name = through(run_id) if modality == "WIG" else modality
            if len(exact) > 1:
                name = f"{gathered.labels[run_id]} {modality}"
            ratios[name], text = _over(errors, times, model, base)
            texts.append(f"{name}: {text}")
    if not texts:
        return None
    return Finding(
        "Routes of the gradient through time",
        "",
        f"Error over that of WIG's exact gradient: {'; '.join(texts)}.",
        OPEN,
        "Equal updates and states. Times are processor times of the whole training, with "
        "compilation, medians over seeds."
        if times
        else "Equal updates and states.",
        "errors",
        ", ".join(f"{name} {e.value:.2f}" for name, e in ratios.items()),
        seeds=min(e.seeds for e in ratios.values()),
    )


def levels(gathered) -> Finding | None:
    """Weights of levels and random horizons against uniform weights."""
    return _against(gathered, "level_weights", "uniform", "Which unrolled levels count")


def replay(gathered) -> Finding | None:
    """Each modality with replay against itself without."""
    return _against(gathered, "replay", "", "Replay of the model's own states")


def _against(gathered, field: str, usual, title: str) -> Finding | None:
    """Runs in which one setting differs from ``usual`` against those in which it does not."""
    errors = statistics.per_seed(gathered.table)
    times, ratios, texts = _processor_times(gathered), {}, []

    def otherwise(run_id):
        return replace(gathered.study.config(run_id), **{field: usual})

    bases = {
        otherwise(run_id): run_id
        for run_id in gathered.labels
        if getattr(gathered.study.config(run_id), field) == usual
    }
    for run_id, label in gathered.labels.items():
        base = bases.get(otherwise(run_id))
        for modality in gathered.study.config(run_id).modalities:
            models = (run_id, modality), (base, modality)
            if base in (None, run_id) or not all(has(errors, *model) for model in models):
                continue
            name = f"{label} {modality}"
            ratios[name], text = _over(errors, times, *models)
            texts.append(f"{name}: {text}")
    if not texts:
        return None
    return Finding(
        title,
        "",
        f"Error over that of {field}={usual or 'none'}, all else alike: {'; '.join(texts)}.",
        OPEN,
        "Equal updates and states.",
        "errors",
        ", ".join(f"{name} {e.value:.2f}" for name, e in ratios.items()),
        seeds=min(e.seeds for e in ratios.values()),
    )


def _over(errors, times, model, base) -> tuple[statistics.Estimate, str]:
    """A model's error over that of another, and in words with its time, where times were taken."""
    ratio = statistics.geometric(statistics.log_ratio(errors, model, base).mean(axis=1))
    cost = f", time × {times[model] / times[base]:.2f}" if times else ""
    return ratio, f"{ratio}{cost}"


def _processor_times(gathered) -> dict[tuple[str, str], float]:
    """(run, modality) -> seconds of training, with its shared stages, median over seeds; empty if
    a run is of a version that did not take them."""
    if gathered.trainings.get("processor_seconds", pd.Series([np.nan])).isna().any():
        return {}
    frame = gathered.trainings.pivot_table(
        index=["run", "seed"], columns="modality", values="processor_seconds"
    )
    shared = frame.pop(SHARED).fillna(0) if SHARED in frame else 0.0
    return frame.add(shared, axis=0).groupby("run").median().stack().to_dict()


def has(errors, run_id, modality) -> bool:
    return (run_id, modality) in set(errors.index.droplevel(["test_set", "seed"]))


def log_ratios(gathered, modality: str, ids=None) -> pd.DataFrame:
    """Log ratio to the ONE of the same run: run, test_set, seed, log."""
    errors, rows = statistics.per_seed(gathered.table), []
    for run_id in ids or gathered.labels:
        if has(errors, run_id, modality) and has(errors, run_id, "ONE"):
            logs = statistics.log_ratio(errors, (run_id, modality), (run_id, "ONE"))
            rows.append(logs.stack().rename("log").reset_index().assign(run=run_id))
    empty = pd.DataFrame(columns=["seed", "test_set", "log", "run"])
    return pd.concat(rows, ignore_index=True) if rows else empty


def budget(gathered) -> str:
    """How long networks were trained, beside the paper's long trainings."""
    ks = [r for r in gathered.labels if gathered.study.config(r).system == "ks"]
    updates = gathered.trainings.loc[gathered.trainings["run"].isin(ks), "updates"]
    if not len(updates):
        return ""
    return (f"Networks of KS had {updates.max():.0f} updates; the paper's long trainings have "
            f"{PAPER_UPDATES:,}.")  # fmt: skip


def _where(value: float, estimate: statistics.Estimate) -> str:
    return "inside" if estimate.low <= value <= estimate.high else "outside"


def _each_set(ratios: pd.DataFrame) -> str:
    texts = []
    for name, part in ratios.groupby("test_set", sort=False):
        e = statistics.geometric(part.groupby("seed")["log"].mean())
        texts.append(f"{SETS.get(name, name)} {e.value:.2f} ({e.p_text})")
    return ", ".join(texts)


def _each_system(gathered, ratios: dict[str, pd.DataFrame]) -> str:
    """The same for each system by itself, where there are several."""
    system = {run_id: gathered.study.config(run_id).system for run_id in gathered.labels}
    texts = []
    for name in dict.fromkeys(system.values()):
        its = {m: r[r["run"].map(system) == name] for m, r in ratios.items()}
        each = [f"{m} {statistics.geometric(r.groupby('seed')['log'].mean())}"
                for m, r in its.items() if len(r)]  # fmt: skip
        if each:
            texts.append(f"{name}: {'; '.join(each)}")
    return f" By system: {'. '.join(texts)}." if len(texts) > 1 else ""
