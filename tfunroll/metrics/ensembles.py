"""How good an ensemble's uncertainty is, in NumPy, and how far distributions of values are apart.

Members x_1 … x_M are rollouts from the same initial states, [member, sample, frame, *space,
channel]; the truth y is [sample, frame, *space, channel]. x̄ is their mean. Sums run in float64.
"""

import numpy as np
from scipy import stats

from tfunroll.core import InputError
from tfunroll.metrics.errors import divide, mse

LEVEL = 0.9  # of the central interval whose coverage is measured by default


def check_members(count: int) -> None:
    """InputError for fewer than two members, which have no spread."""
    if count < 2:
        raise InputError(
            f"members={count}: spread, CRPS and coverage need two at least; the CRPS of one "
            "deterministic rollout is its metric mae"
        )


def spread(members: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """√ of the mean over space and channels of (M + 1)/M · var(x), var over M − 1: [sample, frame].

    In units of x; the truth plays no part. With the factor it is as large as the error of x̄ where
    truth and members are drawn from one distribution (Fortin et al., J. Hydrometeorology 15, 1708,
    2014).
    """
    return np.sqrt(_variance(members))


def spread_skill(
    members: np.ndarray, truth: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """spread over error of the mean, of all samples together: [sample, frame].

        √( Σ_samples spread² / Σ_samples mean (x̄ − y)² )

    1 where an ensemble is as unsure as it is wrong, less where it is too sure. A quotient of each
    sample by itself would be larger: its error may be small by chance. So all samples of a group
    have the value of the group.

    Args: groups: label of each sample, [sample]; None: all are one group.
    """
    return _pooled(_variance(members), mse(np.mean(members, 0, np.float64), truth), groups)


def rollout_spread_skill(
    members: np.ndarray, truth: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """``spread_skill`` of all frames together, [sample]."""
    errors = mse(np.mean(members, 0, np.float64), truth)
    return _pooled(*(x.mean(1, keepdims=True) for x in (_variance(members), errors)), groups)[:, 0]


def crps(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Fair continuous ranked probability score, mean over space and channels: [sample, frame].

        1/M Σ_i |x_i − y| − 1/(2 M (M − 1)) Σ_ij |x_i − x_j|

    In units of x; least, on average over many cases, where members and truth are drawn from one
    distribution, whatever M is. Members that are all equal score their absolute error. Of one
    point it may be negative, its mean may not. N(0, 1) forecast by itself has 1/√π.

    References: Gneiting & Raftery, JASA 102, 359 (2007); Ferro, QJRMS 140, 1917 (2014).
    """
    count = len(members)
    check_members(count)
    ordered = np.sort(members.astype(np.float64), axis=0)
    error = np.mean(np.abs(ordered - truth), axis=0)
    # Σ_ij |x_i − x_j| = 2 Σ_k (2k − M − 1) x_(k) of the ordered members, k from 1
    factors = 2 * np.arange(1, count + 1) - count - 1
    apart = np.tensordot(factors, ordered, 1) / (count * (count - 1))
    return _mean(error - apart)


def rollout_crps(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean over frames of ``crps``: [sample]."""
    return crps(members, truth).mean(1)


def coverage(members: np.ndarray, truth: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Share of points where the truth lies in the members' central interval: [sample, frame].

    Its ends are the quantiles (1 ∓ level)/2 of Weibull's kind, k/(M + 1) at the k-th member, so
    that the share is ``level`` where truth and members are drawn from one distribution, but with
    few members (M − 1)/(M + 1), which is all that lies between the outermost two: 0.6 of 4.
    """
    check_members(len(members))
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(members.astype(np.float64), ends, axis=0, method="weibull")
    return _mean((low <= truth) & (truth <= high))


def rank_histogram(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How often the truth has rank 0 … M among the members: [M + 1], sum 1.

    Flat for a reliable ensemble, high at both ends of one that is too sure. Ties share their ranks
    evenly. (Hamill, Monthly Weather Review 129, 550, 2001.)
    """
    count = len(members)
    check_members(count)
    below, equal = np.sum(members < truth, 0), np.sum(members == truth, 0)
    shares = [((below <= k) & (k <= below + equal)) / (equal + 1) for k in range(count + 1)]
    return np.array([share.mean() for share in shares])


def wasserstein(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Wasserstein-1 distance of the distributions of values of u and of r, [sample].

    All frames and points of a channel are one distribution, in units of r's standard deviation;
    mean over channels. Of states that only differ by an offset it is that offset. Values of
    ensembles are those of all members (scipy.stats.wasserstein_distance).
    """
    return _distance(stats.wasserstein_distance, u, r)


def energy_distance(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """√(2 E|X − Y| − E|X − X'| − E|Y − Y'|), X a value of u, Y one of r: [sample].

    Values, units and channels as in ``wasserstein`` (scipy.stats.energy_distance; Székely & Rizzo
    2013).
    """
    return _distance(stats.energy_distance, u, r)


def pooled(members: np.ndarray) -> np.ndarray:
    """The frames of all members one after the other: [sample, member · frame, *space, channel]."""
    by_sample = np.swapaxes(members, 0, 1)
    return by_sample.reshape(len(by_sample), -1, *members.shape[3:])


def _variance(members):
    count = len(members)
    check_members(count)
    return _mean(np.var(members, 0, np.float64, ddof=1)) * (count + 1) / count


def _pooled(variance, squared_error, groups):
    groups = np.zeros(len(variance)) if groups is None else np.asarray(groups)
    value = np.empty(variance.shape)
    for group in np.unique(groups):
        its = groups == group
        value[its] = np.sqrt(divide(variance[its].mean(0), squared_error[its].mean(0)))
    return value


def _distance(of, u, r):
    u, r = (x.reshape(len(x), -1, x.shape[-1]).astype(np.float64) for x in (u, r))
    size = r.std(1, keepdims=True)
    size = np.where(size > 0, size, 1.0)
    channels = range(r.shape[-1])
    pairs = zip(u / size, r / size, strict=True)
    return np.array([np.mean([of(a[:, c], b[:, c]) for c in channels]) for a, b in pairs])


def _mean(values):
    """Over space and channels of [sample, frame, *space, channel]."""
    return values.mean(axis=tuple(range(2, values.ndim)))
