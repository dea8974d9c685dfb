"""The table of results: its columns, summaries with paired tests, and the printed table."""

import pathlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats
from tabulate import tabulate

from tfunroll.files import replacing
from tfunroll.metrics import is_error

MODEL = ("system", "dataset", "mode", "correction", "net", "num_weights", "modality", "steps")
CASE = ("test_set", "trajectory", "start_frame", "physics")
COLUMNS = ("run_id", *MODEL, "seed", *CASE, "metric", "frame", "value", "status", "chaotic")
TEXTS = ("run_id", "dataset", "mode", "correction", "net", "trajectory", "physics")
TIMES = ("vorticity_correlation_time", "correlation_time")  # of the table, the first a model has
ORDER = ("ONE", "NOG", "WIG")
SETS = {"test_interpolation": "interp.", "test_extrapolation": "extrap."}
WHOLE = -1  # stands for the empty frame of whole-rollout metrics while grouping
GROUP = (*MODEL, "test_set", "subset", "metric", "frame")
# ONE has its own number of steps, so these alone find the ONE that a model is compared with.
MATCH = tuple(key for key in GROUP if key not in ("modality", "steps"))


def write_csv(table: pd.DataFrame, path) -> None:
    """Writes a table, whole or not at all."""
    with replacing(pathlib.Path(path)) as new:
        table.to_csv(new, index=False, float_format="%.9g")


def read_csv(path) -> pd.DataFrame:
    """A table that write_csv wrote, with its types; empty labels stay empty texts."""
    types = {"frame": "Int64", **dict.fromkeys(TEXTS, str)}
    missing = {"frame": [""]}  # and nothing else: an empty label, or a net called "nan", is a text
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=missing)


def model_order(modalities) -> list[str]:
    """Modalities in the order of every table and picture: ONE, NOG, WIG, then baselines."""
    present = list(dict.fromkeys(modalities))
    return [m for m in ORDER if m in present] + [m for m in present if m not in ORDER]


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """One row per model, test set, subset ("all", "chaotic" starts), metric and frame.

    Columns beside the keys GROUP:
      n, n_seeds: values and seeds.
      median, mean: over the values that did not diverge. Censored times enter with their horizon,
        so a mean time is a lower bound: leaving them out would punish what never decorrelates.
      std_seeds: standard deviation (n − 1) over seeds of the per-seed means.
      std_cases: standard deviation over test cases of the means over seeds.
      diverged, censored: fractions of n.
      ratio: to ONE on the same test set, of the means if nothing diverged in either, otherwise of
        the medians of all values, a diverged one counting as inf.
      p_value: of the paired t-test over seeds against ONE, two-sided, on the per-seed means
        (medians where ``ratio`` takes them), of their logarithms for errors, as a ratio is
        claimed. NaN with fewer than two common seeds.
    """
    subsets = [results.assign(subset="all")]
    if not results["chaotic"].all():
        subsets.append(results[results["chaotic"]].assign(subset="chaotic"))
    rows = pd.concat(subsets, ignore_index=True)
    rows["frame"] = rows["frame"].astype("Int64").fillna(WHOLE).astype(int)
    rows["fine"] = rows["value"].where(rows["status"] != "diverged")
    keys = list(GROUP)
    groups = _grouped(rows, keys)
    summary = pd.DataFrame(
        {
            "n": groups["value"].size(),
            "n_seeds": groups["seed"].nunique(),
            "median": groups["fine"].median(),
            "mean": groups["fine"].mean(),
            "std_seeds": _std(rows, keys, ["seed"]),
            "std_cases": _std(rows, keys, list(CASE[1:])),
            "diverged": groups["fine"].agg(lambda fine: fine.isna().mean()),
            "censored": _grouped(rows.assign(c=rows["status"] == "censored"), keys)["c"].mean(),
        }
    )
    summary = summary.join(_comparison(rows, summary)).reset_index()
    order = {name: i for i, name in enumerate(model_order(results["modality"]))}
    summary = summary.sort_values(
        list(GROUP), key=lambda c: c.map(order) if c.name == "modality" else c, ignore_index=True
    )
    frame = summary["frame"].astype("Int64")
    return summary.assign(frame=frame.mask(frame == WHOLE))


def _grouped(rows, keys):
    return rows.groupby(keys, sort=False)


def _std(rows, keys, over):
    """Standard deviation over the values of ``over`` of the means over everything else."""
    means = _grouped(rows, [*keys, *over])["fine"].mean().reset_index()
    return _grouped(means, keys)["fine"].std()


def _comparison(rows, summary) -> pd.DataFrame:
    """Ratio to ONE and p-value, indexed like ``summary``."""
    per_seed = _grouped(rows, [*GROUP, "seed"])
    tables = {  # the centre of all values, and that of each seed
        "mean": (summary["mean"], per_seed["fine"].mean().unstack("seed")),
        "median": (
            _grouped(rows, list(GROUP))["value"].median(),
            per_seed["value"].median().unstack("seed"),
        ),
    }
    frame = summary.reset_index()
    index = pd.MultiIndex.from_frame(frame[list(MATCH)])
    ones = frame[frame["modality"] == "ONE"].drop_duplicates(list(MATCH))
    position = pd.Series(ones.index, index=index[ones.index]).reindex(index)
    has_one = position.notna().to_numpy()
    partner = position.fillna(0).astype(int).to_numpy()
    diverged = frame["diverged"].to_numpy() > 0
    by_median = diverged | diverged[partner]
    log = frame["metric"].map(is_error).to_numpy(bool)[:, None]  # errors are compared by ratios
    ratio, p_value = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    for name, (centre, seeds) in tables.items():
        chosen = has_one & (by_median == (name == "median"))
        centre = centre.reindex(summary.index).to_numpy()
        seeds = seeds.reindex(summary.index).to_numpy(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio[chosen] = (centre / centre[partner])[chosen]
            p_value[chosen] = _paired(np.where(log, np.log(seeds), seeds), partner)[chosen]
    is_one = (frame["modality"] == "ONE").to_numpy()
    p_value[is_one] = np.nan
    return pd.DataFrame({"ratio": ratio, "p_value": p_value}, index=summary.index)


def _paired(seeds: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """p-values of ttest_rel per row against its partner row, over the seeds both have."""
    a, b = seeds, seeds[partner]
    both = np.isfinite(a) & np.isfinite(b)
    difference = np.where(both, a - b, np.nan)
    count = both.sum(axis=1)
    p = np.full(len(a), np.nan)
    for n in np.unique(count[count >= 2]):
        rows = count == n
        values = difference[rows][both[rows]].reshape(-1, n)
        spread = values.std(axis=1, ddof=1)
        t = values.mean(axis=1) / (spread / np.sqrt(n))
        p[rows] = 2 * stats.t.sf(np.abs(t), n - 1)
    return p


def format_table(
    summary: pd.DataFrame,
    training_loss: Mapping[str, float] | None = None,
    subset: str = "all",
    markdown: bool = False,
) -> str:
    """The table of a run, one row per model: ONE, NOG, WIG, then the baselines.

    Args:
      summary: of summarise.
      training_loss: modality -> final training loss, mean over seeds.
      subset: "all" or "chaotic".
      markdown: a GitHub table instead of one for the terminal.
    """
    table = summary[(summary["subset"] == subset) & summary["frame"].isna()]
    counts = table.groupby("modality")[[k for k in MODEL if k != "modality"]].nunique().max()
    varying = [key for key in counts.index if counts[key] > 1]
    sets = [name for name in SETS if name in set(table["test_set"])]
    rows = []
    for key, model in table.groupby([*varying, "modality"], sort=False):
        *values, modality = key
        row = {**dict(zip(varying, values, strict=True)), "modality": modality}
        if training_loss:
            loss = training_loss.get(modality)
            row["training loss"] = "–" if loss is None else f"{loss:.3g}"
        rows.append(row | cells(model, sets))
    position = {name: i for i, name in enumerate(model_order(table["modality"]))}
    rows.sort(key=lambda row: position[row["modality"]])
    style = "github" if markdown else "simple"
    text = tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True)
    return f"{text}\n\n{_legend(summary)}"


def cells(model: pd.DataFrame, sets: list[str]) -> dict[str, str]:
    """The measured cells of one model's row, from its whole-rollout rows of a summary."""
    cells = {}
    errors = model[model["metric"] == "relative_error"].set_index("test_set")
    present = [name for name in TIMES if (model["metric"] == name).any()]
    times = model[model["metric"].isin(present[:1])]
    for name in sets:
        if name in errors.index:
            row = errors.loc[name]
            cells[f"error {SETS[name]}"] = _pm(row["mean"], row["std_seeds"])
    if len(times):
        sign = "≥ " if times["censored"].max() > 0 else ""
        cells["corr. time"] = f"{sign}{np.average(times['mean'], weights=times['n']):.1f}"
    if len(errors):
        cells["diverged"] = f"{np.average(errors['diverged'], weights=errors['n']):.0%}"
    for label, column in (("ratio to ONE", "ratio"), ("p", "p_value")):
        values = [_number(errors.loc[name, column]) for name in sets if name in errors.index]
        if values:
            cells[label] = " / ".join(values) if set(values) != {"–"} else "–"
    return cells


def _legend(summary) -> str:
    seeds = summary["n_seeds"].max()
    return (
        f"error: relative error, mean ± standard deviation over {seeds} seeds, of the rollouts "
        "that did not diverge.\n"
        "corr. time: mean frames until decorrelated, both test sets; ≥ where some never were.\n"
        "ratio to ONE (interp. / extrap.): of mean errors; of medians where something diverged. "
        "p: paired t-test over seeds on log errors."
    )


def _pm(mean, std) -> str:
    if not np.isfinite(mean):
        return "–"
    exponent = int(np.floor(np.log10(mean))) if mean > 0 else 0
    scale = 10.0**exponent
    if not np.isfinite(std):
        return f"{mean / scale:.2f}e{exponent}"
    return f"({mean / scale:.2f} ± {std / scale:.2f})e{exponent}"


def _number(value) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2f}" if 0.1 <= value < 1000 else f"{value:.1e}"
