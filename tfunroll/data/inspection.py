"""What data say about themselves: what is certainly wrong is refused, what looks wrong is said."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfunroll import novelty
from tfunroll.arrays import Pieces
from tfunroll.core import InputError
from tfunroll.solvers.external import solver_errors
from tfunroll.systems import System

TRAJECTORIES, FRAMES, LABELS = 12, 2, 6  # that are stepped by the coarse solver, at most


def report(system: System, dataset) -> None:
    """Prints how new validation is to training and warns of what looks wrong.

    Of own data also what was read, and the error of one coarse step, where there is a solver,
    beside that of persistence: where it is larger than the System's ``coarse_misses`` says, frame
    time or axes are not what they should be.

    Args: dataset: data.Dataset.
    """
    splits = dataset.splits
    if dataset.name == "own":
        print(contents(system, dataset), flush=True)
    line, doubts = novelty.describe(splits["validation"].states, splits["train"].states)
    print(line, flush=True)
    doubts += system.doubts(
        {name: np.concatenate([s.params[name] for s in splits.values()]) for name in system.params}
    )
    if dataset.name == "own":
        doubts += outside_training(splits) + repeated(splits)
    if dataset.name == "own" and system.coarse_kinds:
        try:
            step = coarse_step(system, splits)
        except InputError as error:
            doubts.append(f"the coarse solver cannot step from these data: {error}")
        else:
            print(step, flush=True)
            doubts += step.doubts(system.coarse_misses)
    for doubt in doubts:
        warnings.warn(f"{dataset.path}: {doubt}", stacklevel=3)


def contents(system: System, dataset) -> str:
    """What was read, in lines: shape, frame time, and of each channel range and change per frame.

    Args: dataset: data.Dataset.
    """
    splits = dataset.splits
    first = splits["train"].states
    space = " × ".join(map(str, first.shape[2:-1]))
    counts = ", ".join(f"{len(split.ids)} {name}" for name, split in splits.items())
    axes = tuple(range(first.ndim - 2))
    low, high, squares, pairs = np.inf, -np.inf, 0.0, 0
    for split in splits.values():
        for u in split.states:
            low, high = np.minimum(low, u.min(axes)), np.maximum(high, u.max(axes))
            squares = squares + np.square(np.diff(u, axis=0), dtype=np.float64).sum(axes)
            pairs += u[1:, ..., 0].size
    change = np.sqrt(squares / pairs)
    where = ", read in pieces" if isinstance(first, Pieces) else ""
    lines = [
        f"{dataset.config}: trajectories {counts}; {first.shape[1]} frames, {space} points, "
        f"{first.dtype}{where}; frame time {system.frame_time:g} {system.time_unit}"
    ]
    for k, name in enumerate(system.channels):
        unit = f" {system.units[name]}" if name in system.units else ""
        lines.append(
            f"  {name}: {low[k]:.3g} to {high[k]:.3g}{unit}, change per frame {change[k]:.2g} (rms)"
        )
    return "\n".join(lines)


def refuse_copies(trajectories, splits: Mapping[str, list[int]], where: str) -> None:
    """InputError for a trajectory that does not move, or one that is in two splits.

    Two are taken for one where they share more than one frame, to the bit: a later or an earlier
    part of a training trajectory is no test. (One frame: the same initial state.)

    Args: trajectories: data.Trajectories. splits: name -> indices.
    """
    owner: dict[int, tuple[str, int]] = {}
    for split, chosen in splits.items():
        own = {}
        for i in chosen:
            frames = {hash(frame.tobytes()) for frame in trajectories.states[i]}
            if len(frames) == 1:
                raise InputError(f"{where}: states of trajectory {i} are constant in time")
            found = [owner[frame] for frame in frames if frame in owner]
            if len(found) > 1:
                other, j = found[0]
                raise InputError(
                    f"{where}: states of trajectory {i} ({split}) and trajectory {j} ({other}) "
                    f"share {len(found)} frames; a trajectory belongs to one split"
                )
            own |= dict.fromkeys(frames, (split, i))
        owner |= own


def outside_training(splits) -> list[str]:
    """A sentence for each parameter by which "test_interpolation" is none."""
    if "test_interpolation" not in splits:
        return []
    sentences = []
    for name, values in splits["test_interpolation"].params.items():
        train = splits["train"].params[name]
        outside = values[(values < train.min()) | (values > train.max())]
        if outside.size:
            sentences.append(
                f"splits.test_interpolation holds {name}={outside[0]:g}, outside the training "
                f"range [{train.min():g}, {train.max():g}]: that is extrapolation"
            )
    return sentences


def repeated(splits) -> list[str]:
    """A sentence for each split whose trajectories repeat frames, their own or each other's."""
    sentences = []
    for split, trajectories in splits.items():
        frames = [hash(frame.tobytes()) for u in trajectories.states for frame in u]
        distinct = len(set(frames))
        if len(frames) - distinct > len(trajectories.ids):  # one each: the same initial state
            sentences.append(
                f"splits.{split}: {len(frames) - distinct} of {len(frames)} frames repeat others "
                "to the bit: is a trajectory there twice, or were frames saved twice?"
            )
    return sentences


@dataclass(frozen=True)
class CoarseStep:
    """What one step of the coarse solver says about frames that follow each other.

    Attributes, each [trajectory]:
      ids: names.
      error, persistence: root mean square of next − step(u) and of next − u.
      pace: ⟨next − u, step(u) − u⟩ / ‖step(u) − u‖²; near 1 where the data move as the solver does,
        1/2 where their frames are half as far apart; nan for a solver that does nothing.
      label, better: the parameters that a trajectory has, and those of another one with which the
        step's error is less than half; "" where there are none.
    """

    ids: tuple[str, ...]
    error: np.ndarray
    persistence: np.ndarray
    pace: np.ndarray
    label: tuple[str, ...]
    better: tuple[str, ...]

    def __str__(self):
        return (
            f"one coarse step misses the next frame by {np.median(self.error):.2g}, persistence by "
            f"{np.median(self.persistence):.2g} (rms, median of {len(self.ids)} trajectories)"
        )

    def doubts(self, most: float) -> list[str]:
        """Sentences on what looks wrong.

        Args: most: error of a step over persistence's where data are right.
        """
        sentences, pace = [], np.median(self.pace)
        worse = ~(self.error <= most * self.persistence)  # one that diverges is nan
        if worse.mean() > 0.5:
            sentences.append(
                f"a coarse step misses the next frame by {np.median(self.error):.2g}, persistence "
                f"by {np.median(self.persistence):.2g}, and states change {pace:.2g} times as much "
                "per frame as in a coarse step: are frame_time, the order of the axes, "
                "[trajectory, frame, *space, channel], and params right?"
            )
        elif worse.any():
            i = int(worse.argmax())
            sentences.append(
                f"a coarse step misses {worse.sum()} of {len(worse)} trajectories by far, such as "
                f"{self.ids[i]} ({self.label[i]}): are they like the others?"
            )
        wrong = [i for i, better in enumerate(self.better) if better]
        if wrong:
            i = wrong[0]
            sentences.append(
                f"{len(wrong)} trajectories step better with others' parameters, such as "
                f"{self.ids[i]} ({self.label[i]}) with {self.better[i]}: are params in their order?"
            )
        return sentences


def coarse_step(system: System, splits) -> CoarseStep:
    """Steps a few frames of some trajectories of all splits, with the first coarse solver.

    Evenly spread ones: up to FRAMES of up to TRAJECTORIES, and one of each with up to LABELS other
    trajectories' parameters.

    Raises: InputError: the solver fails on these states.
    """
    everything = [(split, i) for split in splits.values() for i in range(len(split.ids))]
    chosen = [everything[k] for k in _spread(len(everything), TRAJECTORIES)]
    starts = [_spread(split.states.shape[1] - 1, FRAMES) for split, _ in chosen]
    count = min(map(len, starts))
    pairs = [
        [split.states[i, s : s + 2] for s in at[:count]]
        for (split, i), at in zip(chosen, starts, strict=True)
    ]
    before, after = np.moveaxis(np.array(pairs), 2, 0)  # each [trajectory, frame, *space, channel]
    params = np.array([[split.params[n][i] for n in system.params] for split, i in chosen])
    known = np.unique(params, axis=0)
    known = known[_spread(len(known), LABELS)]
    change, step = _moves(system, before, after, params, known)
    missed = np.mean(np.square(change - step), -1)
    own, other = np.split(missed, [count], 1)
    change, step = change[:, :count], step[:, :count]
    better = 4 * other.min(1) < own[:, 0]
    size = np.sum(np.square(step), (1, 2))

    def words(values):
        return ";".join(f"{n}={v:g}" for n, v in zip(system.params, values, strict=True))

    return CoarseStep(
        ids=tuple(split.ids[i] for split, i in chosen),
        error=np.sqrt(own.mean(1)),
        persistence=np.sqrt(np.mean(np.square(change), (1, 2))),
        pace=np.sum(change * step, (1, 2)) / np.where(size > 0, size, np.nan),
        label=tuple(map(words, params)),
        better=tuple(
            words(known[k]) if b else "" for k, b in zip(other.argmin(1), better, strict=True)
        ),
    )


def _moves(system, before, after, params, known) -> tuple[np.ndarray, np.ndarray]:
    """after − before and step(before) − before, each [trajectory, frame + label, values] float64.

    One batch for the solver: all frames with their own parameters, the first frames with all known.

    Args: before, after: [trajectory, frame, *space, channel]. params: [trajectory, parameter].
      known: [label, parameter].
    """
    trajectories, frames = before.shape[:2]
    places = [*range(frames), *[0] * len(known)]
    before, after = before[:, places], after[:, places]
    labels = [np.repeat(params[:, None], frames, 1), np.repeat(known[None], trajectories, 0)]
    given = np.concatenate(labels, 1).reshape(-1, params.shape[1])
    solver = system.coarse()
    with solver_errors():
        step = solver.bind({n: tf.constant(given[:, k]) for k, n in enumerate(system.params)})
        stepped = step(tf.constant(before.reshape(-1, *before.shape[2:]))).numpy()
    return tuple(
        (x.reshape(before.shape) - before)[..., system.measured]
        .reshape(trajectories, len(places), -1)
        .astype(np.float64)
        for x in (after, stepped)
    )


def _spread(count: int, most: int) -> list[int]:
    """Up to ``most`` of range(count), evenly spread."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))
