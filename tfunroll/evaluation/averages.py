"""The one statistic: of rollouts, of seeds, and between models.

Tables, ratios, tests, figures and findings all take their numbers from here, so that they agree.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from tfunroll.metrics import is_bounded, is_error

FLOOR = 1e-14  # float32's rounding error squared: smaller errors, above all 0, count as this
MIN_SEEDS = 3  # fewer have no p-value
TOO_FEW = "too few seeds"


def scores(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Values of rollouts, averaged within the groups of ``keys``.

    Errors are averaged in logarithms, all other metrics as they are. The average is a mean, which
    takes a diverged rollout as ``metrics.compute`` bounds it: its error is as large as that of an
    undiverged one can be, its times end with the divergence. Of forces and observables, which have
    no bound, it is a median, in which a diverged rollout counts as inf among errors; among values
    it is left out.

    Args:
      rows: with results.COLUMNS, or those of ``keys``, "metric", "value" and "status".
      keys: columns; a group is of one metric.
    Returns:
      indexed by ``keys``: "score", the average, a logarithm for errors; "diverged", the fraction;
      "n", the number of rollouts.
    """
    names = rows["metric"].unique()
    error, bounded = (
        rows["metric"].map({name: of(name) for name in names}).to_numpy(bool)
        for of in (is_error, is_bounded)
    )
    value = rows["value"].to_numpy(float)
    score = np.where(error, np.log(np.maximum(value, FLOOR)), value)
    score = np.where(error | np.isfinite(value), score, np.nan)
    rows = rows.assign(score=score, lost=rows["status"] == "diverged")
    average = pd.concat(
        [
            rows[bounded].groupby(list(keys), sort=False)["score"].mean(),
            rows[~bounded].groupby(list(keys), sort=False)["score"].median(),
        ]
    )
    groups = rows.groupby(list(keys), sort=False)
    return pd.DataFrame({"diverged": groups["lost"].mean(), "n": groups.size(), "score": average})


def combine(score: pd.Series, keys: Sequence[str]) -> pd.DataFrame:
    """Scores of seeds, or of test cases, combined within the groups of ``keys``.

    Args: score: of ``scores``, indexed by ``keys``, "metric" among them, and more.
    Returns:
      indexed by ``keys``: "value", the mean, for errors the geometric one; "spread", the standard
      deviation (n − 1), for errors of the logarithms and as a factor of at least 1; "count". NaN
      where most rollouts of a metric without a bound diverged, a spread of one also.
    """
    groups = score.replace(np.inf, np.nan).groupby(list(keys), sort=False)
    lost = np.isinf(score).groupby(list(keys), sort=False).any()
    value, spread = groups.mean().mask(lost), groups.std().mask(lost)
    error = value.index.get_level_values("metric").map(is_error).to_numpy(bool)
    return pd.DataFrame(
        {
            "value": np.where(error, np.exp(value), value),
            "spread": np.where(error, np.exp(spread), spread),
            "count": score.groupby(list(keys), sort=False).size(),
        },
        index=value.index,
    )


def paired_p(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """p-values of scipy.stats.ttest_rel, two-sided, row by row over the seeds that both have.

    Args: a, b: scores, [row, seed]; NaN where there is none.
    Returns: [row]; NaN with fewer than MIN_SEEDS common seeds, or differences that are all equal.
    """
    both = np.isfinite(a) & np.isfinite(b)
    count = both.sum(axis=1)
    p = np.full(len(a), np.nan)
    for n in np.unique(count[count >= MIN_SEEDS]):
        rows = np.flatnonzero(count == n)
        x, y = (scores[rows][both[rows]].reshape(-1, n) for scores in (a, b))
        varies = np.ptp(x - y, axis=1) > 1e-12
        p[rows[varies]] = stats.ttest_rel(x[varies], y[varies], axis=1).pvalue
    return p
