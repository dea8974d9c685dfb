"""What each study shows: its findings, from the gathered table."""

import itertools

import numpy as np
import pandas as pd
from scipy import stats

from tfunroll.results import ORDER, SETS
from tfunroll.study import curves, statistics
from tfunroll.study.findings import AGREES, DIFFERS, OPEN, PARTLY, Finding

SIGNIFICANT = 0.05
PAPER_UPDATES = 900_000  # of the long trainings of KS: 80 epochs of 180,000 windows, 16 a batch


def analyse(gathered) -> list[Finding]:
    """The findings of a study, by its name; of a user's own study the comparison with ONE."""
    return [f for make in ANALYSES.get(gathered.study.name, (order, robustness))
            if (f := make(gathered)) is not None]  # fmt: skip


def order(gathered) -> Finding | None:
    """WIG < NOG < ONE, over all runs and both test sets."""
    ratios = {m: r for m in ("NOG", "WIG") if len(r := _log_ratios(gathered, m))}
    if not ratios:
        return None
    pooled = {m: statistics.geometric(r.groupby("seed")["log"].mean()) for m, r in ratios.items()}
    ours = "; ".join(f"{m}/ONE {e}" for m, e in pooled.items())
    each = {m: _each_set(r) for m, r in ratios.items()}
    ours += ". " + "; ".join(f"{m} {text}" for m, text in each.items()) + "."
    below = {m: e.value < 1 and e.p < SIGNIFICANT for m, e in pooled.items()}
    above = [m for m, e in pooled.items() if e.value > 1 and e.p < SIGNIFICANT]
    verdict = AGREES if all(below.values()) and len(below) == 2 else PARTLY if any(below.values()) \
        else DIFFERS if above else OPEN  # fmt: skip
    if any(below.values()) and above:
        verdict = PARTLY
    said = {True: "below ONE beyond the spread over seeds", False: "not distinguishable from ONE"}
    why = "; ".join(
        f"{m} is above ONE beyond the spread over seeds" if m in above else f"{m} is {said[b]}"
        for m, b in below.items()
    )
    return Finding(
        "Unrolling beats one-step training, and the gradient through time adds to it",
        "WIG −38 %, NOG −23 % against ONE on average over all cases (ratios 0.62, 0.77)",
        f"over {ratios[next(iter(ratios))]['run'].nunique()} runs: {ours}",
        verdict,
        f"{why}. {_budget(gathered)}",
        "ratios",
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
        if pair and alike and _has(errors, a, "NOG") and _has(errors, b, "WIG"):
            logs = statistics.log_ratio(errors, (b, "WIG"), (a, "NOG"))
            parts.append((gathered.labels[a].replace("correction", "").strip() or x.net, logs))
    if not parts:
        return None
    per_seed = pd.concat([logs.mean(axis=1) for _, logs in parts], axis=1).mean(axis=1)
    pooled = statistics.geometric(per_seed)
    each = "; ".join(f"{name}: {statistics.geometric(logs.mean(axis=1))}" for name, logs in parts)
    good = pooled.value > 1 and pooled.p < SIGNIFICANT
    bad = pooled.value < 1 and pooled.p < SIGNIFICANT
    factor = "about the paper's factor" if 3 < pooled.value < 7 else (
        "a larger factor than the paper's" if pooled.value > 4.5 else "a smaller factor than its")
    return Finding(
        "A network beside a solver beats one alone, even without the solver's gradient",
        "NOG correction is about 4.5 times better than WIG prediction",
        f"error of WIG prediction / error of NOG correction: {pooled} ({each})",
        AGREES if good else DIFFERS if bad else OPEN,
        f"The same sign, {factor}. {_budget(gathered)}" if good else _budget(gathered),
        "errors",
    )


def robustness(gathered) -> Finding | None:
    """In how many cells and test sets the order holds."""
    texts, fractions = [], []
    for modality in ("NOG", "WIG"):
        ratios = _log_ratios(gathered, modality)
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
    if not texts:
        return None
    verdict = AGREES if all(f > 0.9 and not a for f, a in fractions) else (
        PARTLY if max(f for f, _ in fractions) > 0.5 else DIFFERS)
    return Finding(
        "The order holds across systems, networks, sizes and test sets",
        "it does, in nearly all cases",
        "run × test set: " + "; ".join(texts) + ".",
        verdict,
        "No correction for testing many cells; the sign test takes cells as independent, which "
        "cells that share a system are not.",
        "ratios",
    )


def scaling(gathered) -> Finding | None:
    """Error against weight count: the fitted exponent of each modality."""
    errors, sizes = statistics.per_seed(gathered.table)["mean"], _weights(gathered)
    texts, exponents = [], []
    for mode in ("correction", "prediction"):
        ids = [r for r in gathered.labels if gathered.study.config(r).mode == mode]
        if len(ids) < 3:
            continue
        for modality in ORDER:
            values = errors[errors.index.get_level_values("run").isin(ids)]
            values = np.log(values.xs(modality, level="modality")).groupby(["run", "seed"]).mean()
            by_run = np.exp(values.unstack("run")[ids].dropna())
            if len(by_run):
                e = statistics.power(np.array([sizes[i] for i in ids]), by_run.to_numpy())
                exponents.append(e)
                texts.append(f"{mode} {modality}: n^{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]")
    if not exponents:
        return None
    holds = [e.low <= -1 / 3 <= e.high for e in exponents]
    fast = [e for e in exponents if e.low < -1]
    verdict = AGREES if all(holds) else PARTLY if any(holds) or not fast else DIFFERS
    return Finding(
        "Networks converge slowly in their number of weights",
        "error ∝ n^(−1/3)",
        "; ".join(texts) + ", intervals over seeds",
        verdict,
        f"−1/3 lies in {sum(holds)} of {len(holds)} intervals. The solver beside it gains at least "
        "its order: see the figure. " + _budget(gathered),
        "scaling",
    )


def horizon(gathered) -> Finding | None:
    """Error against the unrolled steps; the horizon that validation would choose."""
    frame = curves.by_setting(gathered, curves.longest)
    if frame["x"].nunique() < 3:
        return None
    texts, interior = [], []
    for (family, modality), part in frame.groupby(["family", "modality"], sort=False):
        part = part.groupby("x")[["error", "validation"]].mean()
        best, chosen = part["error"].idxmin(), part["validation"].idxmin()
        interior.append(best < part.index.max())
        loss = part["error"][chosen] / part["error"][best]
        texts.append(f"{family} {modality}: best m = {best:g}, validation chooses {chosen:g} "
                     f"(error × {loss:.2f})")  # fmt: skip
    return Finding(
        "The useful horizon is bounded",
        "an optimum of m, bounded by the Lyapunov time; longer horizons need a curriculum",
        "; ".join(texts) + ".",
        AGREES if all(interior) else PARTLY if any(interior) else OPEN,
        f"{sum(interior)} of {len(interior)} have their best m inside the range tried. All horizons "
        "see equally many states, so long ones have fewer updates.",
        "horizon",
    )


def transition(gathered) -> Finding | None:
    """Error against the solver's part of the frame."""
    frame = curves.by_setting(gathered, curves.fraction)
    if frame["x"].nunique() < 3:
        return None
    texts = []
    for modality, part in frame.groupby("modality", sort=False):
        means = np.exp(np.log(part["error"]).groupby(part["x"]).mean())
        rank = stats.spearmanr(means.index, means).statistic
        texts.append(f"{modality}: {means.iloc[0]:.2g} at c = {means.index[0]:g} to "
                     f"{means.iloc[-1]:.2g} at c = {means.index[-1]:g} (rank correlation {rank:.2f})")  # fmt: skip
    return Finding(
        "From prediction to correction", "", "; ".join(texts) + ".", OPEN,
        "c = 1 is the solver alone, exact on these data, and is not trained. The page has no number "
        "of the paper for this.", "transition",
    )  # fmt: skip


def convergence(gathered) -> Finding | None:
    """NOG/ONE and WIG/ONE after long training."""
    paper = {(26, 8): "NOG/ONE 0.46, WIG/ONE 0.08", (52, 12): "NOG/ONE 0.29, WIG/ONE 0.12"}
    texts, ratios = [], []
    for run_id in gathered.labels:
        for modality in ("NOG", "WIG"):
            logs = _log_ratios(gathered, modality, [run_id])
            if len(logs):
                e = statistics.geometric(logs.groupby("seed")["log"].mean())
                ratios.append(e)
                texts.append(f"{gathered.labels[run_id]} {modality}/ONE {e}")
    if not texts:
        return None
    verdict = AGREES if all(e.high < 1 for e in ratios) else (
        PARTLY if any(e.high < 1 for e in ratios) else OPEN)
    return Finding(
        "Long training widens the gaps", "; ".join(f"{k}: {v}" for k, v in paper.items()),
        "; ".join(texts) + ".", verdict, _budget(gathered), "convergence",
    )  # fmt: skip


def stability(gathered) -> Finding | None:
    """How long rollouts stay bounded, and what becomes of them."""
    times = gathered.table[gathered.table["metric"] == "divergence_time"]
    times = times[times["modality"].isin((*ORDER, "coarse solver"))]
    if not len(times):
        return None
    kept = times.assign(kept=times["status"] == "censored")
    means = kept.groupby(["modality", "seed"])["kept"].mean().groupby("modality").agg(["mean", "std"])
    texts = [f"{m} {row['mean']:.0%} ± {np.nan_to_num(row['std']):.0%}" for m, row in means.iterrows()]
    labels = curves.stability_labels(gathered)
    shown = "; ".join(f"{m}: " + ", ".join(f"{n} {name}" for name, n in c.items())
                      for m, c in labels.items())  # fmt: skip
    return Finding(
        "Long rollouts", "", "rollouts still bounded at the end, ± over seeds: "
        + "; ".join(texts) + f". Labels of the kept rollouts: {shown}.", OPEN,
        "The page has no number of the paper for this.", "stability",
    )  # fmt: skip


def alternatives(gathered) -> Finding | None:
    """Cheaper remedies against ONE at equal training time."""
    errors = statistics.per_seed(gathered.table)
    base = next((r for r in gathered.labels if _has(errors, r, "ONE")
                 and not gathered.study.config(r).noise), None)  # fmt: skip
    if base is None:
        return None
    seconds = gathered.trainings.groupby(["run", "modality"])["seconds"].median()
    texts = []
    for run_id, modality in errors.index.droplevel(["test_set", "seed"]).unique():
        if modality in ORDER and (run_id, modality) != (base, "ONE"):
            e = statistics.geometric(
                statistics.log_ratio(errors, (run_id, modality), (base, "ONE")).mean(axis=1)
            )
            time = seconds.get((run_id, modality), np.nan) / seconds.get((base, "ONE"), np.nan)
            texts.append(f"{gathered.labels[run_id]} {modality}: {e}, time × {time:.2f}")
    return Finding(
        "Alternatives at equal training time", "", "error over ONE's: " + "; ".join(texts) + ".",
        OPEN, "Times are those of the stages that a network does not share.", "errors",
    )  # fmt: skip


def _has(errors, run_id, modality) -> bool:
    return (run_id, modality) in set(errors.index.droplevel(["test_set", "seed"]))


def _log_ratios(gathered, modality: str, ids=None) -> pd.DataFrame:
    """Log ratio to the ONE of the same run: run, test_set, seed, log."""
    errors, rows = statistics.per_seed(gathered.table), []
    for run_id in ids or gathered.labels:
        if _has(errors, run_id, modality) and _has(errors, run_id, "ONE"):
            logs = statistics.log_ratio(errors, (run_id, modality), (run_id, "ONE"))
            rows.append(logs.stack().rename("log").reset_index().assign(run=run_id))
    empty = pd.DataFrame(columns=["seed", "test_set", "log", "run"])
    return pd.concat(rows, ignore_index=True) if rows else empty


def _each_set(ratios: pd.DataFrame) -> str:
    texts = []
    for name, part in ratios.groupby("test_set", sort=False):
        e = statistics.geometric(part.groupby("seed")["log"].mean())
        texts.append(f"{SETS.get(name, name)} {e.value:.2f} (p = {e.p:.2g})")
    return ", ".join(texts)


def _weights(gathered) -> dict[str, int]:
    return gathered.table.groupby("run", sort=False)["num_weights"].max().to_dict()


def _budget(gathered) -> str:
    """How long networks were trained, beside the paper's long trainings."""
    ks = [r for r in gathered.labels if gathered.study.config(r).system == "ks"]
    updates = gathered.trainings.loc[gathered.trainings["run"].isin(ks), "updates"]
    if not len(updates):
        return ""
    return (f"Networks of KS had {updates.max():.0f} updates; the paper's long trainings have "
            f"{PAPER_UPDATES:,}.")  # fmt: skip


ANALYSES = {
    "modalities": (order, correction, robustness),
    "correction_vs_prediction": (correction,),
    "horizon": (horizon, order),
    "scaling": (scaling, order),
    "transition": (transition, order),
    "convergence": (convergence,),
    "stability": (stability, order),
    "alternatives": (alternatives,),
}
