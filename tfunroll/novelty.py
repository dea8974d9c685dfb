"""How far a validation split lies from what training has seen."""

import numpy as np

LEAST = 1.0  # median below which a validation split measures how well training fits; good: 2
SAMPLES = 256  # validation states that are compared
STEADY = 0.01  # motion below which a flow counts as steady


def novelty(validation: np.ndarray, train: np.ndarray, samples: int = SAMPLES) -> np.ndarray:
    """Distance of validation states to the nearest training state, in changes per frame.

        f = (u − ū) / σ,     n = min_t ‖f_validation − f_t‖ / rms ‖f(k + 1) − f(k)‖

    with ū the trajectory's own mean over time, σ the root mean square of training's fluctuations in
    each channel, ‖·‖ the root mean square over space and channels, t every training state, and the
    change per frame that of the validation trajectories. Without taking ū away, a mean flow that
    differs a little with a parameter would count as news, and it does not move.

    A median of less than 1 (LEAST) says that a typical validation state is nearer to a training
    state than to its own next frame: such a split cannot choose a horizon, a rate or a network. Aim
    at 2; chaotic flows have tens. It does not see whether a flow moves at all: see ``motion``. A
    stretch much shorter than a period has a mean of its own, and looks newer than it is.

    Up to ``samples`` validation states, evenly spread over the frames of all trajectories, are
    compared with all training states: fewer of those would lengthen the distances. 36,000 of
    32 x 32 x 3 values take about 2 seconds of one core.

    Args:
      validation, train: [trajectory, frame, *space, channel].
    Returns:
      [trajectory, sampled frame] float64; its median is the split's novelty, that of a row a
      trajectory's. Infinite where validation does not move, 0 where training holds the same.
    """
    every = max(1, -(-validation.shape[0] * validation.shape[1] // samples))
    scale = _scale(train)
    moving = [_fluctuations(trajectory, scale) for trajectory in validation]
    change = np.sqrt(np.mean([np.mean(np.square(np.diff(f, axis=0))) for f in moving]))
    states = np.concatenate([f[::every] for f in moving])
    best, nearest = np.full(len(states), np.inf), np.zeros_like(states)
    for trajectory in train:
        seen = _fluctuations(trajectory, scale)
        squares = np.sum(seen**2, 1) - 2 * states @ seen.T  # less |state|²
        chosen = squares.argmin(1)
        least = np.take_along_axis(squares, chosen[:, None], 1)[:, 0]
        better = least < best
        best[better], nearest[better] = least[better], seen[chosen[better]]
    distance = np.sqrt(np.mean(np.square(states - nearest, dtype=np.float64), 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.nan_to_num(distance / change, nan=0.0, posinf=np.inf)
    return found.reshape(len(validation), -1)


def motion(states: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Root mean square ‖f‖ of each trajectory's fluctuations: [trajectory].

    Those of training have 1 on average. Below STEADY a flow hardly moves, and 0 is a constant one.

    Args: states, train: [trajectory, frame, *space, channel].
    """
    scale = _scale(train)
    return np.array([np.sqrt(np.mean(np.square(_fluctuations(u, scale)))) for u in states])


def describe(validation: np.ndarray, train: np.ndarray) -> tuple[str, list[str]]:
    """A line on the novelty of a validation split, and sentences on what is wrong with it.

    Args: [trajectory, frame, *space, channel].
    """
    found = np.median(novelty(validation, train))
    line = f"validation: {found:.2g} changes per frame from the nearest training state (median)"
    doubts = []
    if found < LEAST:
        doubts.append(
            f"validation is only {found:.2g} changes per frame from training (median; at least "
            f"{LEAST:g}), so it measures how well training fits: give it parameters of its own, or "
            "other initial states"
        )
    still = np.flatnonzero(motion(validation, train) < STEADY)
    if still.size:
        doubts.append(
            f"{still.size} of {len(validation)} validation trajectories hardly move, the first is "
            f"number {still[0]}: a steady flow tells little about a network"
        )
    return line, doubts


def _fluctuations(trajectory: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[frame, space · channel] float32."""
    fluctuations = (trajectory - trajectory.mean(0, dtype=np.float64)) / scale
    return fluctuations.reshape(len(trajectory), -1).astype(np.float32)


def _scale(train: np.ndarray) -> np.ndarray:
    """Root mean square of the fluctuations about each trajectory's mean: [channel]; never 0."""
    axes = tuple(range(train.ndim - 2))
    rms = np.sqrt(np.mean([np.mean(np.square(u - u.mean(0)), axes) for u in train], 0))
    return np.where(rms > 0, rms, 1.0).astype(np.float32)
