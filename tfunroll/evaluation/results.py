"""The table of results: its columns, summaries with paired tests, and the printed table.

One value a row. Beside COLUMNS a table has a column "params.NAME" for each physics parameter of the
test cases.
"""

import pathlib
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from tabulate import tabulate

from tfunroll.core import InputError
from tfunroll.evaluation.averages import MIN_SEEDS, TOO_FEW, combine, paired_p, scores
from tfunroll.files import check_checksum, replacing, why, write_checksum

# What was stepped. kind: one of KINDS; refinement: cells of a baseline solver's grid per cell of
# the networks' grid and axis, substeps: its sub-steps per frame; 0 and 0 for what is no solver.
MODEL = (
    *("system", "dataset", "mode", "correction", "net", "num_weights", "modality", "steps"),
    *("kind", "refinement", "substeps"),
)
CASE = ("test_set", "trajectory", "start_frame", "physics")
COLUMNS = ("run_id", *MODEL, "seed", *CASE, "metric", "frame", "value", "status", "chaotic")
NETWORK, PERSISTENCE, COARSE = "network", "persistence", "coarse solver"
EQUAL_COST, REFINED = "equal-cost solver", "reference scheme"
ENSEMBLE = "ensemble"  # one sample, whatever it has of members: no test over seeds
KINDS = (NETWORK, ENSEMBLE, PERSISTENCE, COARSE, EQUAL_COST, REFINED)
TEXTS = ("run_id", "dataset", "mode", "correction", "net", "trajectory", "physics")
TIMES = ("vorticity_correlation_time", "correlation_time")  # of the table, the first a model has
ORDER = ("ONE", "NOG", "WIG")
UNCERTAINTY = {"rollout_crps": "CRPS", "rollout_spread_skill": "spread/skill"}  # of the table
SETS = {"test_interpolation": "interp.", "test_extrapolation": "extrap."}
WHOLE = -1  # stands for the empty frame of whole-rollout metrics while grouping
GROUP = (*MODEL, "test_set", "subset", "metric", "frame")
# ONE has its own number of steps, so these alone find the ONE that a model is compared with.
OWN = ("modality", "steps", "kind", "refinement", "substeps")
MATCH = tuple(key for key in GROUP if key not in OWN)


def write_csv(table: pd.DataFrame, path) -> None:
    """Writes a table, whole or not at all."""
    with replacing(pathlib.Path(path)) as new:
        table.to_csv(new, index=False, float_format="%.9g")


def write_checked_csv(table: pd.DataFrame, path: pathlib.Path) -> None:
    """``write_csv`` of a table that is read again, with a checksum beside it."""
    text = table.to_csv(index=False, float_format="%.9g")
    write_checksum(path, text.encode())  # first: the table says that all is there
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="")


def read_csv(path) -> pd.DataFrame:
    """A table that write_csv wrote, with its types; empty labels stay empty texts.

    Raises:
      InputError: if it cannot be read, is not as ``write_checked_csv`` wrote it, or lacks columns,
        as tables of earlier versions do.
    """
    types = {"frame": "Int64", "chaotic": bool, **dict.fromkeys(TEXTS, str)}
    # An empty frame is a missing number; an empty label, or a net called "nan", is a text.
    missing = {"frame": [""]}
    try:
        check_checksum(pathlib.Path(path))
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=missing)
    except (OSError, ValueError) as error:  # pandas' own errors, and those of decoding, are such
        raise InputError(
            f"{path} cannot be read ({why(error)}); scripts/evaluate.py --run=RUN makes it anew"
        ) from None
    if lacking := [name for name in COLUMNS if name not in table]:
        raise InputError(
            f"{path} lacks the columns {', '.join(lacking)}: an earlier version wrote it; "
            "scripts/evaluate.py --run=RUN makes it anew"
        )
    return table


def model_order(modalities) -> list[str]:
    """Modalities in the order of every table and picture: ONE, NOG, WIG, then baselines."""
    present = list(dict.fromkeys(modalities))
    return [m for m in ORDER if m in present] + [m for m in present if m not in ORDER]


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """One row per model, test set, subset ("all", "chaotic" starts), metric and frame.

    Columns beside the keys GROUP, with averages as in ``averages``:
      n, n_seeds: values and seeds.
      value: per seed over test cases, then over seeds. Censored times enter with their horizon, so
        a mean time is a lower bound: leaving them out would punish what never decorrelates.
      spread_seeds: over seeds; for errors a factor, else a standard deviation.
      spread_cases: the same over test cases of the averages over seeds.
      diverged, censored: fractions of n.
      ratio: of ``value`` to that of ONE on the same test set; NaN where all rollouts of either
        diverged.
      p_value: of the paired t-test over seeds against ONE, two-sided, on what ``value`` averages:
        logarithms for errors. NaN with fewer than MIN_SEEDS common seeds.
      common_seeds: of a model and ONE.
    """
    subsets = [results.assign(subset="all")]
    if not results["chaotic"].all():
        subsets.append(results[results["chaotic"]].assign(subset="chaotic"))
    rows = pd.concat(subsets, ignore_index=True)
    rows["frame"] = rows["frame"].astype("Int64").fillna(WHOLE).astype(int)
    keys = list(GROUP)
    groups = rows.groupby(keys, sort=False)
    seeds = scores(rows, [*keys, "seed"])
    over_seeds = combine(seeds["score"], keys)
    cases = scores(rows, [*keys, *CASE[1:]])
    summary = pd.DataFrame(
        {
            "n": groups.size(),
            "n_seeds": over_seeds["count"],
            "value": over_seeds["value"],
            "spread_seeds": over_seeds["spread"],
            "spread_cases": combine(cases["score"], keys)["spread"],
            "diverged": rows.assign(lost=rows["status"] == "diverged").groupby(keys)["lost"].mean(),
            "censored": rows.assign(c=rows["status"] == "censored").groupby(keys)["c"].mean(),
        }
    )
    summary = summary.join(_comparison(seeds["score"], summary)).reset_index()
    order = {name: i for i, name in enumerate(model_order(results["modality"]))}
    summary = summary.sort_values(
        keys, key=lambda c: c.map(order) if c.name == "modality" else c, ignore_index=True
    )
    frame = summary["frame"].astype("Int64")
    return summary.assign(frame=frame.mask(frame == WHOLE))


def _comparison(seeds: pd.Series, summary: pd.DataFrame) -> pd.DataFrame:
    """Ratio to ONE, p-value and common seeds, indexed like ``summary``."""
    frame = summary.reset_index()
    index = pd.MultiIndex.from_frame(frame[list(MATCH)])
    ones = frame[frame["modality"] == "ONE"].drop_duplicates(list(MATCH))
    position = pd.Series(ones.index, index=index[ones.index]).reindex(index)
    has_one = position.notna().to_numpy()
    partner = position.fillna(0).astype(int).to_numpy()
    value, lost = frame["value"].to_numpy(), frame["diverged"].to_numpy() == 1
    defined = has_one & ~lost & ~lost[partner] & (value[partner] != 0)
    ratio = np.divide(value, value[partner], out=np.full(len(frame), np.nan), where=defined)
    table = seeds.unstack("seed").reindex(summary.index).to_numpy(float)
    p_value = paired_p(table, table[partner])
    is_one = (frame["modality"] == "ONE").to_numpy()
    common = (np.isfinite(table) & np.isfinite(table[partner])).sum(axis=1)
    return pd.DataFrame(
        {
            "ratio": ratio,
            "p_value": np.where(defined & ~is_one, p_value, np.nan),
            "common_seeds": np.where(has_one, common, 0),
        },
        index=summary.index,
    )


def format_table(
    summary: pd.DataFrame,
    settings: Mapping[str, object],
    training_loss: Mapping[str, float] | None = None,
    subset: str = "all",
    markdown: bool = False,
) -> str:
    """The table of a run, one row per model: ONE, NOG, WIG, then the baselines.

    Args:
      summary: of summarise.
      settings: of the evaluation: "horizon" and "long_horizon".
      training_loss: modality -> final training loss, mean over seeds.
      subset: "all" or "chaotic".
      markdown: a GitHub table instead of one for the terminal.
    """
    table = summary[(summary["subset"] == subset) & summary["frame"].isna()]
    counts = table.groupby("modality")[[k for k in MODEL if k != "modality"]].nunique().max()
    varying = [key for key in counts.index if counts[key] > 1]
    sets = sets_of(set(table["test_set"]))
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
    return f"{text}\n\n{_legend(summary, settings)}"


def sets_of(present: Collection[str]) -> list[str]:
    """Test sets in the order of tables; validation where there is none."""
    return [name for name in SETS if name in present] or ["validation"]


def cells(model: pd.DataFrame, sets: list[str]) -> dict[str, str]:
    """The measured cells of one model's row, from its whole-rollout rows of a summary."""
    cells = {}
    errors = model[model["metric"] == "relative_error"].set_index("test_set")
    present = [name for name in TIMES if (model["metric"] == name).any()]
    times = model[model["metric"].isin(present[:1])]
    ends = model[model["metric"] == "divergence_time"]
    errors_of = [errors.loc[name] for name in sets if name in errors.index]
    for row in errors_of:
        cells[f"error {SETS.get(row.name, 'valid.')}"] = _value(row)
    if len(times):
        sign = "≥ " if times["censored"].max() > 0 else ""
        cells["corr. time"] = f"{sign}{np.average(times['value'], weights=times['n']):.1f}"
    if len(ends):
        cells["diverged"] = f"{np.average(ends['diverged'], weights=ends['n']):.0%}"
    for metric, label in UNCERTAINTY.items():
        found = model[model["metric"] == metric].set_index("test_set")
        if values := [found.loc[name, "value"] for name in sets if name in found.index]:
            text = scientific if metric == "rollout_crps" else "{:.2f}".format
            cells[label] = " / ".join(map(text, values))
    for label, text_of in (("ratio to ONE", _ratio), ("p", _p_value)):
        values = [text_of(row) for row in errors_of]
        if values:  # a dash or "too few seeds" stands once, numbers stand for each test set
            cells[label] = values[0] if set(values) in ({"–"}, {TOO_FEW}) else " / ".join(values)
    return cells


def _legend(summary, settings) -> str:
    seeds = summary["n_seeds"].max()
    horizon, long_horizon = settings["horizon"], settings["long_horizon"]
    return (
        f"error: relative error over {horizon} frames, geometric mean over rollouts, then over "
        f"{seeds} seed{'s' if seeds > 1 else ''}; ×÷: its spread over seeds, a factor.\n"
        + _OF_ENSEMBLES
        * bool(set(UNCERTAINTY) & set(summary["metric"]))
        + "A diverged rollout counts with the largest error that one that has not diverged can "
        "have.\n"
        f"corr. time: mean frames until decorrelated or diverged, all test sets; ≥ where some "
        f"never were within {long_horizon} frames.\n"
        f"diverged: within {long_horizon} frames, beyond the reference's range by more than half "
        "of it, or not finite.\n"
        "ratio to ONE (interp. / extrap.): of these errors. p: paired t-test over seeds on their "
        f"logarithms, with {MIN_SEEDS} seeds or more."
    )


_OF_ENSEMBLES = (
    "CRPS, spread/skill (interp. / extrap.): of the members over these frames; 1 where an ensemble "
    "is as unsure as it is wrong.\nIts error is that of the members' mean; it has diverged where "
    "one member has.\n"
)


def _value(row) -> str:
    if row["diverged"] == 1:
        return "all rollouts diverged"
    text = scientific(row["value"])
    return f"{text} ×÷ {row['spread_seeds']:.2f}" if np.isfinite(row["spread_seeds"]) else text


def _ratio(row) -> str:
    value = row["ratio"]
    if np.isnan(value):
        return "–"
    return f"{value:.2f}" if 0.1 <= value < 1000 else scientific(value, 1)


def _p_value(row) -> str:
    if row["kind"] != NETWORK or row["modality"] == "ONE" or np.isnan(row["ratio"]):
        return "–"
    if row["common_seeds"] < MIN_SEEDS:
        return TOO_FEW
    if np.isnan(row["p_value"]):  # no seed differs from ONE
        return "–"
    return f"{row['p_value']:.2f}" if row["p_value"] >= 0.1 else scientific(row["p_value"], 1)


def scientific(value: float, digits: int = 2) -> str:
    """1.23e-4, without zeros in the exponent."""
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}"
