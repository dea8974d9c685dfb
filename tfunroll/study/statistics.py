"""What the findings of a study rest on: paired ratios and fitted powers, with intervals over seeds.

Seeds are the independent repetitions; test cases are not, as all networks meet the same ones. So
each seed first becomes one number, and intervals and tests are Student's over those.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95  # of all intervals


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds: its value, its interval at LEVEL, and the p-value against no effect.

    Interval and p are NaN with fewer than two seeds.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int

    def __str__(self):
        text = f"{self.value:.2f}"
        if np.isfinite(self.low):
            text += f" [{self.low:.2f}, {self.high:.2f}]"
        return text + (f", p = {self.p:.2g}" if np.isfinite(self.p) else "")


def mean(values: Iterable[float], nothing: float = 0.0) -> Estimate:
    """Mean of one value per seed, tested against ``nothing`` (two-sided t-test)."""
    values = np.asarray(list(values), float)
    values = values[~np.isnan(values)]
    n = len(values)
    centre = values.mean() if n else np.nan
    if n < 2 or not np.isfinite(centre):  # a seed whose typical rollout diverged is not left out
        return Estimate(centre, np.nan, np.nan, np.nan, n)
    error = stats.sem(values)
    half = error * stats.t.ppf((1 + LEVEL) / 2, n - 1)
    p = stats.ttest_1samp(values, nothing).pvalue if error > 0 else np.nan
    return Estimate(centre, centre - half, centre + half, float(p), n)


def geometric(logs: Iterable[float]) -> Estimate:
    """Geometric mean of ratios given by their logarithms, one per seed; p against a ratio of 1."""
    e = mean(logs)
    return Estimate(*(float(np.exp(x)) for x in (e.value, e.low, e.high)), e.p, e.seeds)


def per_seed(table: pd.DataFrame, metric: str = "relative_error") -> pd.DataFrame:
    """One number per model, test set and seed: the mean over test cases, and the median.

    Args:
      table: of gathering, with the column "run".
    Returns:
      indexed by (run, test_set, modality, seed), with columns "mean", "median" (a diverged rollout
      counts as inf), "diverged" (fraction).
    """
    rows = table[(table["metric"] == metric) & table["frame"].isna()]
    lost = rows["status"] == "diverged"
    rows = rows.assign(
        fine=rows["value"].mask(lost), lost=lost, all=rows["value"].mask(lost, np.inf)
    )
    groups = rows.groupby(["run", "test_set", "modality", "seed"], sort=False)
    return pd.DataFrame(
        {"mean": groups["fine"].mean(), "median": groups["all"].median(),
         "diverged": groups["lost"].mean()}
    )  # fmt: skip


def log_ratio(errors: pd.DataFrame, model: tuple[str, str], base: tuple[str, str]) -> pd.Series:
    """Logarithm of the error of a model over that of another, by test set and seed.

    Args:
      errors: of ``per_seed``. model, base: (run, modality).
    Returns:
      of the means, or of the medians in a test set where a rollout of either diverged, as in
      results.summarise. Only seeds that both have.
    """
    a, b = (errors.xs(m, level=("run", "modality")) for m in (model, base))
    parts = []
    for test_set in a.index.unique("test_set"):
        x, y = a.xs(test_set), b.xs(test_set)
        column = "median" if max(x["diverged"].max(), y["diverged"].max()) > 0 else "mean"
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append((np.log(x[column]) - np.log(y[column])).rename(test_set))
    return pd.concat(parts, axis=1).rename_axis(columns="test_set").dropna(how="all")


def power(sizes: np.ndarray, errors: np.ndarray) -> Estimate:
    """Exponent q of error ∝ size^q: least squares in logarithms, for each seed by itself.

    Args:
      sizes: [model]. errors: [seed, model].
    Returns:
      mean of the seeds' exponents; the interval is over seeds, so it says how well this matrix
      fixes the exponent, not whether a power law holds.
    """
    x = np.log(np.asarray(sizes, float))
    y = np.log(np.asarray(errors, float))
    x = x - x.mean()
    return mean((y - y.mean(axis=1, keepdims=True)) @ x / (x @ x))
