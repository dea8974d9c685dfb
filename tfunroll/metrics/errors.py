"""How far a rollout is from its reference, in NumPy, and whether it has diverged.

Every function takes arrays [sample, frame, *space, channel] that start with the first *predicted*
frame: the initial state is in neither array and is never counted. Sums run in float64. A rollout
identical to its reference scores exactly zero. ``metrics.compute`` gives all but the functions of
divergence a rollout that is ``bounded``, so that none of them meets a state that is not finite.
"""

import numpy as np

OUTSIDE = 0.5  # of a channel's range in the reference, beyond which a rollout has diverged
STILL = 1e-3  # of the widest channel's range: what moves less counts as having that range
STATIC_CHANGE = 0.01  # of the reference's change per frame, below which a rollout stands still


def diverged(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Where a rollout has diverged: [sample, frame] of bool, True from the first such frame on.

    A rollout diverges in the first frame in which any value of any channel c is not finite or lies
    outside

        [min r_c − w R_c, max r_c + w R_c],   R_c = max r_c − min r_c,   w = OUTSIDE

    with minimum and maximum over all frames and points of its reference trajectory. A channel that
    hardly moves has R_c of STILL times the widest channel's, so that rounding errors in it do not
    count. What has left its range does not come back.

    Args: u, r: over the long horizon, of all channels that are measured.
    """
    low, high = _limits(r)
    with np.errstate(invalid="ignore"):
        inside = np.all((low <= u) & (u <= high), axis=tuple(range(2, u.ndim)))
    return np.logical_or.accumulate(~inside, axis=1)


def bounded(u: np.ndarray, r: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """The rollout, in diverged frames the state that is farthest from the reference.

    There every value is the limit of ``diverged`` that lies farther from r, so no rollout that has
    not diverged can have a larger error in such a frame: errors of diverged rollouts are finite,
    and averages of them never favour a model that diverges.

    Args: lost: of ``diverged``, [sample, frame].
    """
    if not lost.any():
        return u
    low, high = _limits(r)
    lost = lost.reshape(*lost.shape, *[1] * (u.ndim - 2))
    return np.where(lost, np.where(high - r > r - low, high, low), u)


def _limits(r):
    axes = tuple(range(1, r.ndim - 1))
    low, high = r.min(axes, keepdims=True), r.max(axes, keepdims=True)
    size = np.maximum(high - low, STILL * (high - low).max(-1, keepdims=True))
    size = np.where(size > 0, size, np.maximum(np.abs(high).max(-1, keepdims=True), 1))
    return low - OUTSIDE * size, high + OUTSIDE * size


def relative_error(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """mean over frames, space and channels of (u − r)², divided by the maximum of r².

    Dimensionless, [sample]; at most 4 (1 + OUTSIDE)² = 9 of a rollout bounded over these frames.
    Good values on KS over 12 frames: 1e-4 and below; 0.1 means that it has lost its reference.
    """
    axes = tuple(range(1, r.ndim))
    peak = np.max(np.square(r, dtype=np.float64), axis=axes)
    return divide(np.mean(_squared(u, r), axis=axes), peak)


def mse(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """mean over space and channels of (u − r)², in squared units of u: [sample, frame]."""
    return np.mean(_squared(u, r), axis=tuple(range(2, r.ndim)))


def mae(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """mean over space and channels of |u − r|, in units of u: [sample, frame].

    The CRPS of a deterministic forecast (metrics.ensembles.crps).
    """
    difference = np.abs(np.subtract(u, r, dtype=np.float64))
    return np.mean(difference, axis=tuple(range(2, r.ndim)))


def nrmse(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """sqrt(mse(u, r)) / sqrt(mean over the trajectory's frames, space and channels of r²).

    Dimensionless, [sample, frame]. Unrelated states of the same size give √2.
    """
    size = np.mean(np.square(r, dtype=np.float64), axis=tuple(range(1, r.ndim)))
    return divide(np.sqrt(mse(u, r)), np.sqrt(size)[:, None])


def rollout_mse(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """mean over frames of mse(u, r): [sample], in squared units of u."""
    return np.mean(mse(u, r), axis=1)


def relative_l2(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """‖u − r‖ / ‖r‖ of each frame by itself: dimensionless, [sample, frame]."""
    size = np.mean(np.square(r, dtype=np.float64), axis=tuple(range(2, r.ndim)))
    return np.sqrt(divide(mse(u, r), size))


def gap_closed(u: np.ndarray, r: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """1 − relative_error(u, r) / relative_error(coarse, r): [sample].

    What part of the coarse solver's error is gone: 0 for that solver, 1 for the reference, below 0
    for a rollout that is worse. Args: coarse: the coarse solver's rollout from the same state.
    """
    return 1 - divide(relative_error(u, r), relative_error(coarse, r))


def spectral(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """√Σ_k (|û_k| − |r̂_k|)² over that of Σ_k |r̂_k|², its mean over frames: [sample, frame].

    At most nrmse, which it is where phases agree. For a periodic box.
    """
    size, wanted = (np.abs(_modes(x)) for x in (u, r))
    return _by_size(np.square(size - wanted), np.square(wanted))


def h1(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """√Σ_k (1 + |k|²) |û_k − r̂_k|² over that of r, its mean over frames: [sample, frame].

    The Sobolev norm of first order, k in waves per box; nrmse with derivatives. For a periodic box.
    """
    axes = [np.fft.fftfreq(n) * n for n in r.shape[2:-1]]
    weight = 1 + sum(np.square(k) for k in np.meshgrid(*axes, indexing="ij"))[..., None]
    error, own = (weight * np.square(np.abs(_modes(x))) for x in (u - r, r))
    return _by_size(error, own)


def _modes(x):
    return np.fft.fftn(x.astype(np.float64), axes=tuple(range(2, x.ndim - 1)))


def _by_size(error, own):
    axes = tuple(range(2, error.ndim))
    size = np.mean(np.sum(own, axes), axis=1, keepdims=True)
    return np.sqrt(divide(np.sum(error, axes), size))


def physics_residual(u: np.ndarray, r: np.ndarray, stepped: np.ndarray) -> np.ndarray:
    """mean over space and channels of (u_t − S(u_{t−1}))², S one step of the reference solver.

    Args:
      u: the rollout. r: the reference, which plays no part.
      stepped: S(u_{t−1}) for each frame of u, the first from the initial state; where the rollout
        has diverged, the reference.
    Returns: [sample, frame], in squared units of u.
    """
    return mse(u, stepped)


def divergence_time(
    u: np.ndarray, r: np.ndarray, lost: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """First frame (1-based) in which a rollout has ``diverged``; ``lost``: that, if it is known.

    Returns: time and censored flag as in first_frame; censored: it did not diverge.
    """
    return first_frame(diverged(u, r) if lost is None else lost)


def energy(u: np.ndarray) -> np.ndarray:
    """mean over space of Σ_channels u²/2: [sample, frame]; inf or NaN where u is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(u, dtype=np.float64)
        return 0.5 * np.mean(np.sum(squares, axis=-1), axis=tuple(range(2, u.ndim - 1)))


def stability_label(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """How a rollout ends: "unstable", "static" or "regular", [sample] of str.

    unstable: it has ``diverged``. static: over the last quarter of the frames
    the rms change per frame is below STATIC_CHANGE of the reference's: the rollout stands still
    where its reference moves. regular: anything else, right or wrong.
    """
    unstable = diverged(u, r)[:, -1]
    tail = max(2, u.shape[1] // 4)

    def change(x):
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.diff(x[:, -tail:].astype(np.float64), axis=1)
            return np.sqrt(np.mean(np.square(steps), axis=tuple(range(1, x.ndim))))

    static = (change(u) < STATIC_CHANGE * change(r)) if u.shape[1] > 1 else np.zeros_like(unstable)
    return np.where(unstable, "unstable", np.where(static, "static", "regular"))


def first_frame(hits):
    """Time of the first hit, 1-based, and whether there is none: censored, the time the horizon.

    Args: hits: [sample, frame] of bool.
    Returns: [sample] of float, [sample] of bool.
    """
    censored = ~hits.any(axis=1)
    return np.where(censored, hits.shape[1], hits.argmax(axis=1) + 1).astype(float), censored


def _squared(u, r):
    with np.errstate(over="ignore", invalid="ignore"):
        return np.square(np.subtract(u, r, dtype=np.float64))


def divide(a, b):
    """a / b, where a reference of zeros leaves a zero error zero and any other error inf."""
    a, b = np.broadcast_arrays(a, b)
    with np.errstate(over="ignore"):
        out = np.divide(a, b, out=np.zeros(a.shape), where=b > 0)
    return np.where((b > 0) | (a == 0), out, np.inf)
