"""Findings that follow a setting: weights, horizon, the solver's part, time."""

import numpy as np
from scipy import stats

from tfunroll.evaluation.results import ORDER
from tfunroll.study import curves, statistics
from tfunroll.study.comparisons import budget
from tfunroll.study.findings import AGREES, DIFFERS, OPEN, PARTLY, Finding
from tfunroll.user_modules import short_name

NO_NUMBER = "We know of no number of the paper to compare with."


def scaling(gathered) -> Finding | None:
    """Error against weight count: the fitted exponent of each modality, beside the solver's."""
    frame = curves.by_setting(gathered, lambda config: 0.0)
    for name in ("system", "mode", "net"):
        values = {r: getattr(gathered.study.config(r), name) for r in gathered.labels}
        frame[name] = [short_name(values[run_id]) for run_id in frame["run"]]
    several = [n for n in ("system", "net") if frame[n].nunique() > 1]
    texts, exponents, short = [], [], []
    for key, part in frame.groupby([*several, "mode", "modality"], sort=False):
        by_size = part.pivot_table(index="seed", columns="num_weights", values="error").dropna()
        if by_size.shape[1] < 3:
            continue
        name = " ".join(key)
        if part["diverged"].max() > 0.5 or not len(by_size):
            texts.append(f"{name}: no fit, as most rollouts of a network diverged")
            continue
        e = statistics.power(by_size.columns.to_numpy(), by_size.to_numpy())
        exponents.append(e)
        short.append(f"{name}: n^{e.value:.2f}")
        texts.append(f"{name}: n^{e.interval}")
    if not texts:
        return None
    holds = [e.low <= -1 / 3 <= e.high for e in exponents if np.isfinite(e.low)]
    verdict = OPEN if not holds else AGREES if all(holds) else PARTLY if any(holds) else DIFFERS
    return Finding(
        "Networks converge slowly in their number of weights",
        "error ∝ n^(−1/3)",
        "; ".join(texts) + f"; intervals over seeds. {_solver(gathered)}",
        verdict,
        f"−1/3 lies in {sum(holds)} of {len(holds)} intervals. {budget(gathered)}",
        "scaling",
        ", ".join(short),
        seeds=_seeds(frame),
    )


def _solver(gathered) -> str:
    """How the error of the reference scheme falls with its sub-steps."""
    errors = curves.solver_errors(gathered)
    if len(errors) < 2:
        return ""
    q = statistics.power(errors.index.to_numpy(), errors.to_numpy()[None]).value
    ends = [f"{errors[n]:.2g} at {n} sub-steps" for n in (errors.index[0], errors.index[-1])]
    return f"The reference scheme alone: {' to '.join(ends)} (fitted exponent {q:.2f})."


def horizon(gathered) -> Finding | None:
    """Error against the unrolled steps; the horizon that validation would choose."""
    frame = curves.by_setting(gathered, curves.longest)
    if frame["x"].nunique() < 3:
        return None
    texts, interior, short = [], [], []
    for (family, modality), part in frame.groupby(["family", "modality"], sort=False):
        validation = part.groupby("x")["validation"].mean().replace(np.inf, np.nan).dropna()
        error = np.exp(np.log(part["error"]).groupby(part["x"]).mean())
        if len(error) < 2:  # one horizon has no best among others
            continue
        if part["diverged"].min() == 1:
            texts.append(f"{family} {modality}: all rollouts diverged")
            short.append(texts[-1])
            continue
        best = error.idxmin()
        interior.append(best < error.index.max())
        short.append(f"{family} {modality}: best m = {best:g}")
        texts.append(short[-1])
        if len(validation):
            chosen = validation.idxmin()
            factor = error[chosen] / error[best]
            texts[-1] += f", validation chooses {chosen:g} (error × {factor:.2f})"
    return Finding(
        "The useful horizon is bounded",
        "an optimum of m, bounded by the Lyapunov time; longer horizons need a curriculum",
        "; ".join(texts) + ".",
        AGREES if interior and all(interior) else PARTLY if any(interior) else OPEN,
        f"{sum(interior)} of {len(interior)} have their best m inside the range tried. All "
        "horizons see equally many states, so long ones have fewer updates.",
        "horizon",
        "; ".join(short),
        seeds=_seeds(frame),
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
        ends = [f"{means[c]:.2g} at c = {c:g}" for c in (means.index[0], means.index[-1])]
        texts.append(f"{modality}: {' to '.join(ends)} (rank correlation {rank:.2f})")
    return Finding(
        "From prediction to correction",
        "",
        "; ".join(texts) + ".",
        OPEN,
        f"c = 1 is the solver alone, exact on these data, and is not trained. {NO_NUMBER}",
        "transition",
        "; ".join(texts),
        seeds=_seeds(frame),
    )


def stability(gathered) -> Finding | None:
    """How long rollouts stay bounded, and what becomes of them."""
    times = gathered.table[gathered.table["metric"] == "divergence_time"]
    times = times[times["modality"].isin((*ORDER, "coarse solver"))]
    if not len(times):
        return None
    kept = times.assign(kept=times["status"] != "diverged")
    means = (
        kept.groupby(["modality", "seed"])["kept"].mean().groupby("modality").agg(["mean", "std"])
    )
    texts = [
        f"{m} {row['mean']:.0%}" + ("" if np.isnan(row["std"]) else f" ± {row['std']:.0%}")
        for m, row in means.iterrows()
    ]
    labels = curves.stability_labels(gathered)
    shown = "; ".join(f"{m}: " + ", ".join(f"{n} {name}" for name, n in c.items())
                      for m, c in labels.items())  # fmt: skip
    return Finding(
        "Long rollouts",
        "",
        f"rollouts that had not diverged at the end, ± over seeds: {'; '.join(texts)}. "
        f"Labels of the kept rollouts: {shown}.",
        OPEN,
        NO_NUMBER,
        "stability",
        f"not diverged at the end: {', '.join(texts)}",
        seeds=_seeds(times[times["modality"].isin(ORDER)]),
    )


def _seeds(frame) -> int:
    """The fewest seeds of a run's modality."""
    return int(frame.groupby(["run", "modality"])["seed"].nunique().min())
