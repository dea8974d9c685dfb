"""What the findings of a study rest on: paired ratios and fitted powers, with intervals over seeds.

Seeds are the independent repetitions; test cases are not, as all networks meet the same ones. So
each seed first becomes one number, and intervals and tests are Student's over those.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from tfunroll.evaluation.averages import MIN_SEEDS, TOO_FEW, scores

LEVEL = 0.95  # of all intervals


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds: its value, its interval at LEVEL, and the p-value against no effect.

    Interval and p are NaN with fewer than MIN_SEEDS seeds, p also where all seeds are equal.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int

    @property
    def p_text(self) -> str:
        """The p-value in words."""
        if self.seeds < MIN_SEEDS:
            return TOO_FEW
        return f"p = {self.p:.2g}" if np.isfinite(self.p) else "all seeds alike"

    @property
    def interval(self) -> str:
        """Value and interval, if there is one, in words."""
        text = f"{self.value:.2f}" if np.isfinite(self.value) else "–"
        return f"{text} [{self.low:.2f}, {self.high:.2f}]" if np.isfinite(self.low) else text

    def __str__(self):
        return f"{self.interval}, {self.p_text}"


def mean(values: Iterable[float], nothing: float = 0.0) -> Estimate:
    """Mean of one value per seed, tested against ``nothing`` (two-sided t-test)."""
    values = np.asarray(list(values), float)
    values = values[~np.isnan(values)]
    n = len(values)
    centre = float(values.mean()) if n else np.nan
    if n < MIN_SEEDS or not np.isfinite(centre):
        return Estimate(centre, np.nan, np.nan, np.nan, n)
    if np.ptp(values) < 1e-12:
        return Estimate(centre, centre, centre, np.nan, n)
    test = stats.ttest_1samp(values, nothing)
    interval = test.confidence_interval(LEVEL)
    return Estimate(centre, float(interval.low), float(interval.high), float(test.pvalue), n)


def geometric(logs: Iterable[float]) -> Estimate:
    """Geometric mean of ratios given by their logarithms, one per seed; p against a ratio of 1."""
    e = mean(logs)
    return Estimate(*(float(np.exp(x)) for x in (e.value, e.low, e.high)), e.p, e.seeds)


def per_seed(table: pd.DataFrame, metric: str = "relative_error") -> pd.DataFrame:
    """One number per model, test set and seed: averages.scores over its test cases.

    Args:
      table: of gathering, with the column "run".
    Returns:
      indexed by (run, test_set, modality, seed), with columns "score", the logarithm of an error,
      "diverged", the fraction within the metric's frames, and "n".
    """
    rows = table[(table["metric"] == metric) & table["frame"].isna()]
    return scores(rows, ["run", "test_set", "modality", "seed"])


def log_ratio(errors: pd.DataFrame, model: tuple[str, str], base: tuple[str, str]) -> pd.DataFrame:
    """Logarithm of the error of a model over that of another: [seed, test set].

    Args:
      errors: of ``per_seed``. model, base: (run, modality).
    Returns:
      only seeds that both have.
    """
    a, b = (errors["score"].xs(m, level=("run", "modality")) for m in (model, base))
    return (a - b).unstack("test_set").dropna(how="all")


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
