"""How far a rollout is from its reference, in NumPy.

Every function takes arrays [sample, frame, *space, channel] that start with the first *predicted*
frame: the initial state is in neither array and is never counted. Sums run in float64. A rollout
identical to its reference scores exactly zero, one that blew up scores inf, none scores NaN.
"""

import numpy as np

DIVERGED_ERROR = 1e3  # relative error beyond which a rollout counts as diverged
CORRELATION_THRESHOLD = 0.2
CORRELATION_RUN = 5  # a run of more than this many uncorrelated frames ends the correlation
ENERGY_FACTOR = 10.0  # times the largest energy of the reference: no attractor reaches that
STATIC_CHANGE = 0.01  # of the reference's change per frame, below which a rollout stands still


def relative_error(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """mean over frames, space and channels of (u − r)², divided by the maximum of r².

    Dimensionless, [sample]; inf where it exceeds DIVERGED_ERROR or u is not finite. Good values on
    KS over 12 frames: 1e-4 and below; 0.1 means that the rollout has lost its reference.
    """
    axes = tuple(range(1, r.ndim))
    peak = np.max(np.square(r, dtype=np.float64), axis=axes)
    return _blown_up_is_inf(divide(np.mean(_squared(u, r), axis=axes), peak))


def mse(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """mean over space and channels of (u − r)², in squared units of u: [sample, frame].

    inf from the first frame on that is not finite, or whose error relative to the maximum of r²
    over the trajectory exceeds DIVERGED_ERROR: what has blown up does not come back.
    """
    space = tuple(range(2, r.ndim))
    error = np.mean(_squared(u, r), axis=space)
    peak = np.max(np.square(r, dtype=np.float64), axis=(1, *space))
    blown_up = np.isinf(_blown_up_is_inf(divide(error, peak[:, None])))
    return np.where(np.logical_or.accumulate(blown_up, axis=1), np.inf, error)


def nrmse(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """sqrt(mse(u, r)) / sqrt(mean over the trajectory's frames, space and channels of r²).

    Dimensionless, [sample, frame]; inf as in mse. Unrelated states of the same size give √2.
    """
    size = np.mean(np.square(r, dtype=np.float64), axis=tuple(range(1, r.ndim)))
    return divide(np.sqrt(mse(u, r)), np.sqrt(size)[:, None])


def rollout_mse(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """mean over frames of mse(u, r): [sample], in squared units of u."""
    return np.mean(mse(u, r), axis=1)


def relative_l2(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """‖u − r‖ / ‖r‖ of each frame by itself: dimensionless, [sample, frame]; inf as in mse."""
    size = np.mean(np.square(r, dtype=np.float64), axis=tuple(range(2, r.ndim)))
    return np.sqrt(divide(mse(u, r), size))


def physics_residual(u: np.ndarray, r: np.ndarray, stepped: np.ndarray) -> np.ndarray:
    """mean over space and channels of (u_t − S(u_{t−1}))², S one step of the reference solver.

    Args:
      u: the rollout. r: the reference, only to tell where u has blown up, as in mse.
      stepped: S(u_{t−1}) for each frame of u, the first from the initial state.
    Returns: [sample, frame], in squared units of u.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        residual = np.mean(_squared(u, stepped), axis=tuple(range(2, u.ndim)))
    return inf_once_blown_up(residual, u, r)


def correlation(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Pearson correlation of u and r over space and channels: [sample, frame].

    Frames that are constant or not finite count as uncorrelated (0), unless both agree (1).
    """
    flat = (*u.shape[:2], -1)
    u, r = u.reshape(flat).astype(np.float64), r.reshape(flat).astype(np.float64)
    same = np.all(u == r, axis=-1)
    u = np.where(np.all(np.isfinite(u), axis=-1, keepdims=True), u, 0.0)
    # Scaled by its maximum, a frame of 1e200 does not overflow in the squares.
    u = divide(u, np.max(np.abs(u), axis=-1, keepdims=True))
    u, r = u - u.mean(-1, keepdims=True), r - r.mean(-1, keepdims=True)
    size = np.sqrt(np.sum(u * u, -1) * np.sum(r * r, -1))
    value = np.divide(np.sum(u * r, -1), size, out=np.zeros_like(size), where=size > 0)
    return np.where(same, 1.0, value)


def correlation_time(
    u: np.ndarray, r: np.ndarray, threshold: float = CORRELATION_THRESHOLD
) -> tuple[np.ndarray, np.ndarray]:
    """First frame (1-based) of the first run of more than CORRELATION_RUN frames below threshold.

    Returns: the time in frames, [sample], and whether it is censored, [sample] bool: no such run
      within the horizon, whose length is then the value (a lower bound).
    """
    low = correlation(u, r) < threshold
    length = CORRELATION_RUN + 1
    if low.shape[1] < length:
        return _first(np.zeros_like(low))
    windows = np.lib.stride_tricks.sliding_window_view(low, length, axis=1)
    starts = np.zeros_like(low)
    starts[:, : windows.shape[1]] = np.all(windows, axis=-1)
    return _first(starts)


def divergence_time(
    u: np.ndarray, r: np.ndarray, factor: float = ENERGY_FACTOR
) -> tuple[np.ndarray, np.ndarray]:
    """First frame (1-based) whose energy, the mean of u²/2, passes ``factor`` times the largest
    energy of the reference trajectory, or is not finite.

    Returns: time and censored flag as in correlation_time.
    """
    limit = factor * np.max(energy(r), axis=1, keepdims=True)
    return _first(~(energy(u) <= limit))


def energy(u: np.ndarray) -> np.ndarray:
    """mean over space of Σ_channels u²/2: [sample, frame]; inf or NaN where u is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(u, dtype=np.float64)
        return 0.5 * np.mean(np.sum(squares, axis=-1), axis=tuple(range(2, u.ndim - 1)))


def stability_label(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """How a rollout ends: "unstable", "static" or "regular", [sample] of str.

    unstable: divergence_time lies within the horizon. static: over the last quarter of the frames
    the rms change per frame is below STATIC_CHANGE of the reference's: the rollout stands still
    where its reference moves. regular: anything else, right or wrong.
    """
    unstable = ~divergence_time(u, r)[1]
    tail = max(2, u.shape[1] // 4)

    def change(x):
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.diff(x[:, -tail:].astype(np.float64), axis=1)
            return np.sqrt(np.mean(np.square(steps), axis=tuple(range(1, x.ndim))))

    static = (change(u) < STATIC_CHANGE * change(r)) if u.shape[1] > 1 else np.zeros_like(unstable)
    return np.where(unstable, "unstable", np.where(static, "static", "regular"))


def inf_once_blown_up(values: np.ndarray, u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """``values`` [sample, frame] of a rollout, inf from the frame on where mse or they are so."""
    bad = np.isinf(mse(u, r)) | ~np.isfinite(values)
    return np.where(np.logical_or.accumulate(bad, axis=1), np.inf, values)


def _squared(u, r):
    with np.errstate(over="ignore", invalid="ignore"):
        return np.square(np.subtract(u, r, dtype=np.float64))


def divide(a, b):
    """a / b, where a reference of zeros leaves a zero error zero and any other error inf."""
    a, b = np.broadcast_arrays(a, b)
    with np.errstate(over="ignore"):
        out = np.divide(a, b, out=np.zeros(a.shape), where=b > 0)
    return np.where((b > 0) | (a == 0), out, np.inf)


def _blown_up_is_inf(error):
    return np.where(error <= DIVERGED_ERROR, error, np.inf)  # NaN compares False: inf as well


def _first(hits):
    """1-based index of the first hit along the frames, and where there is none."""
    censored = ~hits.any(axis=1)
    return np.where(censored, hits.shape[1], hits.argmax(axis=1) + 1).astype(float), censored
