"""Metrics of the force on a body, in NumPy: drag, lift and the frequency of the shedding.

Coefficients are [sample, frame, (drag, lift)], those of a rollout and of its reference; times are
in units of the body's size over the speed of the flow, so that a frequency is a Strouhal number. A
rollout whose forces are not finite scores inf.
"""

from dataclasses import dataclass

import numpy as np

STEADY = 5e-3  # rms of the lift coefficient below which a flow counts as steady, frequency 0
FINER = 16  # points of the zero-padded spectrum per point of the plain one


@dataclass(frozen=True)
class Forces:
    """Attributes:
    rollout, reference: coefficients, [sample, frame, (drag, lift)]. frame_time: between frames.
    """

    rollout: np.ndarray
    reference: np.ndarray
    frame_time: float


def dominant_frequency(lift: np.ndarray, frame_time: float) -> np.ndarray:
    """The highest peak of the spectrum of a signal [sample, frame]: [sample], 0 where it is steady.

    The mean is taken off, a Hann window put on, zeros added, and a parabola laid through the
    logarithms of the peak and its neighbours. Over five periods it is within a percent, over two
    within ten.
    """
    frames = lift.shape[1]
    centred = _finite(lift) - _finite(lift).mean(1, keepdims=True)
    size = FINER * frames
    power = np.abs(np.fft.rfft(centred * np.hanning(frames), size))
    power = np.maximum(power, 1e-300)
    first = FINER  # one period in the whole signal: slower is a drift
    k = np.clip(first + power[:, first:].argmax(1), 1, power.shape[1] - 2)
    rows = np.arange(len(lift))
    left, middle, right = (np.log(power[rows, k + d]) for d in (-1, 0, 1))
    curvature = left - 2 * middle + right
    shift = np.divide(left - right, 2 * curvature, out=np.zeros(len(k)), where=curvature < 0)
    frequency = (k + np.clip(shift, -1, 1)) / (size * frame_time)
    return np.where(centred.std(1) < STEADY, 0.0, frequency)


def strouhal(u, r, forces: Forces) -> np.ndarray:
    """dominant_frequency of the lift of the rollout: [sample]."""
    return _checked(dominant_frequency(forces.rollout[..., 1], forces.frame_time), forces)


def strouhal_error(u, r, forces: Forces) -> np.ndarray:
    """|St − St_r|, of rollout and reference over the same frames: [sample]."""
    wanted = dominant_frequency(forces.reference[..., 1], forces.frame_time)
    return _checked(np.abs(strouhal(u, r, forces) - wanted), forces)


def mean_drag(u, r, forces: Forces) -> np.ndarray:
    """Mean drag coefficient: [sample]."""
    return _checked(_finite(forces.rollout)[..., 0].mean(1), forces)


def drag_error(u, r, forces: Forces) -> np.ndarray:
    """|C_d − C_d,r| of the mean drags: [sample]."""
    return _checked(
        np.abs(mean_drag(u, r, forces) - _finite(forces.reference)[..., 0].mean(1)), forces
    )


def lift_rms(u, r, forces: Forces) -> np.ndarray:
    """Root mean square of the lift coefficient about its mean: [sample]."""
    return _checked(_finite(forces.rollout)[..., 1].std(1), forces)


def lift_rms_error(u, r, forces: Forces) -> np.ndarray:
    """|C_l,rms − C_l,rms of the reference|: [sample]."""
    return _checked(
        np.abs(lift_rms(u, r, forces) - _finite(forces.reference)[..., 1].std(1)), forces
    )


def phase_error(u, r, forces: Forces) -> np.ndarray:
    """By how many periods the lift is ahead of the reference or behind it: [sample, frame].

    |φ − φ_r| / 2π with φ going on by π from each crossing of the mean lift to the next, linearly
    between and beyond, so that a lost period counts as one. A lift that is steady or crosses its
    mean less than twice has no phase: φ = 0. Zero where the reference has none.
    """
    phases = [_phases(_finite(x[..., 1])) for x in (forces.rollout, forces.reference)]
    difference = phases[0] - phases[1]
    difference -= 2 * np.pi * np.round(difference[:, :1] / (2 * np.pi))
    has_phase = np.any(phases[1] != 0, axis=1, keepdims=True)
    value = np.where(has_phase, np.abs(difference) / (2 * np.pi), 0.0)
    bad = ~np.isfinite(forces.rollout).all(-1)
    return np.where(np.logical_or.accumulate(bad, axis=1), np.inf, value)


def _phases(lift):
    """φ of signals [sample, frame]; zero where they have none."""
    frames = np.arange(lift.shape[1])
    phases = np.zeros(lift.shape)
    for phase, signal in zip(phases, lift - lift.mean(1, keepdims=True), strict=True):
        at = np.flatnonzero((signal[:-1] < 0) != (signal[1:] < 0))
        if len(at) < 2 or signal.std() < STEADY:
            continue
        times = at + signal[at] / (signal[at] - signal[at + 1])
        downward = signal[at[0]] >= 0
        values = np.pi * (np.arange(len(at)) + downward)
        inner = np.interp(frames, times, values)
        first, last = (np.pi / (times[k + 1] - times[k]) for k in (0, len(at) - 2))
        before, after = np.minimum(frames - times[0], 0), np.maximum(frames - times[-1], 0)
        phase[:] = inner + first * before + last * after
    return phases


def _finite(values):
    return np.where(np.isfinite(values), values, 0.0).astype(np.float64)


def _checked(values, forces):
    return np.where(np.isfinite(forces.rollout).all((1, 2)), values, np.inf)
