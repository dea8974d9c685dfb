"""Whether a rollout still follows its reference, in NumPy: the correlation of fluctuations.

Arrays as in ``errors``. The mean flow is no merit of a rollout: it is taken off first, so that a
uniform state, or the mean itself, counts as uncorrelated on every system.
"""

import numpy as np

from tfunroll.metrics.errors import first_frame, mse

CORRELATION_THRESHOLD = 0.5  # below, the reference's mean is nearer to it than the rollout is
CORRELATION_RUN = 5  # a run of more than this many uncorrelated frames ends the correlation
STEADY = 1e-3  # of a channel's spread over space and frames, below which it does not fluctuate
ROUNDING = 1e-6  # of a channel's rms: what single precision leaves of a constant


def correlation(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Correlation of the fluctuations of u and r: [sample, frame], within [−1, 1].

        C(t) = mean over channels of Σ u'r' / √(Σ u'² Σ r'²),   u' = u − r̄,   r' = r − r̄

    sums over space; r̄ is the reference's mean over all frames given, at each point and channel.
    Weather forecasting calls it the anomaly correlation coefficient (Murphy & Epstein, Monthly
    Weather Review 117, 572, 1989). Channels count alike, whatever their units.

    A fluctuation whose rms over space is below STEADY of the channel's spread (its standard
    deviation over space and frames) is none: a channel counts 1 where neither u nor r has one, 0
    where one of them has. Channels that do not fluctuate over the whole of the reference are left
    out, unless none does: of a steady reference C says whether u stays within STEADY of it.

    From the first frame on that is not finite, C is 0. The frames should span a period, or
    several times the decorrelation time: over fewer, the mean takes away what there is to follow.
    """
    lost = _lost(u, r)
    shape = (*r.shape[:2], -1, r.shape[-1])
    u, r = u.reshape(shape), r.reshape(shape).astype(np.float64)
    mean = r.mean(1, keepdims=True)
    ours, theirs = np.where(lost[..., None, None], mean, u) - mean, r - mean
    unit = np.max(np.abs(theirs), axis=(1, 2), keepdims=True)
    unit = np.where(unit > 0, unit, 1.0)  # of order one, squares neither overflow nor vanish
    ours, theirs = ours / unit, theirs / unit
    floor = np.maximum(STEADY * r.std((1, 2)), ROUNDING * np.sqrt(np.mean(r * r, axis=(1, 2))))
    floor = np.square(floor[:, None] / unit[:, :, 0])  # [sample, 1, channel], as the next two
    square_u, square_r = (np.mean(np.square(x), axis=2) for x in (ours, theirs))
    moves_u, moves_r = square_u > floor, square_r > floor
    value = np.divide(
        np.mean(ours * theirs, axis=2),
        np.sqrt(square_u * square_r),
        out=(moves_u == moves_r).astype(float),
        where=moves_u & moves_r,
    )
    counts = square_r.mean(1, keepdims=True) > floor
    counts |= ~counts.any(-1, keepdims=True)
    return np.where(lost, 0.0, np.sum(value * counts, -1) / np.sum(counts, -1))


def correlation_time(
    u: np.ndarray, r: np.ndarray, threshold: float = CORRELATION_THRESHOLD
) -> tuple[np.ndarray, np.ndarray]:
    """First frame (1-based) of the first run of more than CORRELATION_RUN frames below threshold.

    A rollout that fluctuates as much as its reference does is at a correlation of one half as far
    from it as the reference's mean is. One that is not finite any more does not correlate again.

    Returns: time and censored flag as in errors.first_frame.
    """
    low = correlation(u, r) < threshold
    beyond = np.repeat(_lost(u, r)[:, -1:], CORRELATION_RUN, axis=1)  # then the run goes on
    windows = np.lib.stride_tricks.sliding_window_view(
        np.concatenate([low, beyond], 1), CORRELATION_RUN + 1, axis=1
    )
    return first_frame(np.all(windows, axis=-1))


def _lost(u, r):
    """From the first frame on whose squared error is not finite: [sample, frame]."""
    return np.logical_or.accumulate(~np.isfinite(mse(u, r)), axis=1)
