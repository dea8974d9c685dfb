"""What a metric can tell: its scores of rollouts that are not the reference, the impostors.

    time mean         at each point the mean of the reference over the frames
    uniform           everywhere the mean of the reference over frames and space
    permuted          the reference with its cells in another order, the same in all frames
    shifted           the reference moved by a quarter of the grid along the last axis
    wrong trajectory  the same flow from another start

Beside them stands a rollout that is nearly right: the reference, an OFF of the way towards the
wrong trajectory. ``scripts/impostors.py`` prints the table, docs/metrics.md explains it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import tensorflow as tf
from tabulate import tabulate

from tfunroll import metrics
from tfunroll.core import InputError
from tfunroll.metrics.correlation import CORRELATION_THRESHOLD, correlation_time
from tfunroll.metrics.flows import vorticity_correlation_time
from tfunroll.systems.base import TEST_SPLITS, System

OFF = 0.01
CLEARLY = 5.0  # times the error of the rollout that is nearly right
NEAR = f"{OFF:.0%} off"
THRESHOLDS = 0.2, 0.35, 0.5, 0.65, 0.8  # of correlation, among which the default was chosen
SHARE = 0.75  # of a trajectory's frames that a reference takes at most: others are elsewhere


def defined_metrics(system: System, on_reference_grid: bool = False) -> tuple[str, ...]:
    """All metrics that a system has, its default ones with their regions included.

    Args: on_reference_grid: of its data; decides on the physics residual.
    """
    names = list(system.metrics)
    for name, metric in metrics.METRICS.items():
        if "observed" in metric.needs:
            names += [f"{name}@{observable}" for observable in system.observables]
        elif "coarse" in metric.needs:  # another's error over the coarse solver's
            continue
        elif "stepped" not in metric.needs or on_reference_grid:
            names.append(name)
    return tuple(name for name in dict.fromkeys(names) if _is_defined(name, system))


def make(
    system: System,
    states: np.ndarray,
    params: Mapping[str, np.ndarray],
    frames: int | None = None,
) -> dict[str, np.ndarray]:
    """References and their impostors.

    Args:
      states: [trajectory, frame, *space, channel]. params: each [trajectory].
      frames: of a reference, which starts with the second state; by default the system's long
        horizon, as far as SHARE of the data allows.
    Returns:
      [trajectory, frames, *space, channel] by name: "reference", NEAR and the IMPOSTORS, zero where
      no channel lives; of the wrong trajectories of the same parameters each reference has the one
      whose mean squared distance is largest, so that a limit cycle is out of phase.
    Raises:
      InputError: there is no other stretch of so many frames with a trajectory's parameters.
    """
    frames = frames or min(system.long_horizon, int(SHARE * states.shape[1]))
    states = states.astype(np.float64)
    r = states[:, 1 : 1 + frames]
    lives = np.ones(r.shape[2:], bool) if system.active is None else system.active
    space = tuple(range(1, r.ndim - 1))
    alive = lives.sum(tuple(range(lives.ndim - 1)))  # cells of each channel
    uniform = r.sum(space, keepdims=True) / (frames * alive)
    cells = np.random.default_rng(0).permutation(int(np.prod(r.shape[2:-1])))
    permuted = r.reshape(*r.shape[:2], len(cells), -1)[:, :, cells].reshape(r.shape)
    wrong = np.stack([_furthest(states, params, i, frames) for i in range(len(states))])
    made = {
        "reference": r,
        NEAR: r + OFF * (wrong - r),
        "time mean": np.broadcast_to(r.mean(1, keepdims=True), r.shape),
        "uniform": np.broadcast_to(uniform, r.shape),
        "permuted": permuted,
        "shifted": np.roll(r, r.shape[-2] // 4, axis=-2),
        "wrong trajectory": wrong,
    }
    return {name: (lives * rollout).astype(np.float32) for name, rollout in made.items()}


def table(
    system: System,
    rollouts: Mapping[str, np.ndarray],
    initial: np.ndarray,
    params: Mapping[str, np.ndarray],
    names: Sequence[str],
    horizon: int | None = None,
) -> pd.DataFrame:
    """Scores, mean over trajectories and frames: a row per metric, a column per rollout.

    Args:
      rollouts: of make. initial: states before them, [trajectory, *space, channel].
      names: of metrics. horizon: frames of errors over the rollout; the system's if None.
    """
    horizon = min(horizon or system.horizon, rollouts["reference"].shape[1])
    numbers = {name: _numbers(system, u, params) for name, u in rollouts.items()}
    r, (reference_forces, reference_observed) = rollouts["reference"], numbers["reference"]
    measured, scores = system.measured, {}
    for name, u in rollouts.items():
        forces, observed = numbers[name]
        if forces is not None:
            forces = metrics.Forces(forces, reference_forces, system.frame_time)
        observed = {key: (value, reference_observed[key]) for key, value in observed.items()}
        stepped = None
        if "physics_residual" in names:
            stepped = _stepped(system, u, initial, params)[..., measured]
        more = stepped, system.flow, forces, system.parts, observed
        pair = u[..., measured], r[..., measured]
        scores[name] = [np.mean(metrics.compute(n, *pair, horizon, *more)[0]) for n in names]
    return pd.DataFrame(scores, index=list(names))


def by_threshold(system: System, rollouts: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Correlation time, of the vorticity where there is one: a row per threshold.

    Cells: mean over the trajectories, and in brackets the largest.
    """
    r, rows = rollouts["reference"][..., system.measured], {}
    for threshold in THRESHOLDS:
        rows[threshold] = {}
        for name, u in rollouts.items():
            pair = u[..., system.measured], r
            if system.flow is None:
                times, _ = correlation_time(*pair, threshold)
            else:
                times, _ = vorticity_correlation_time(*pair, system.flow, threshold)
            rows[threshold][name] = f"{times.mean():.3g} [{times.max():.0f}]"
    return pd.DataFrame(rows).T


def rejects(name: str, scores: Mapping[str, float]) -> tuple[str, ...]:
    """The impostors that a metric scores clearly worse than the reference.

    That is: an error of CLEARLY times the nearly right rollout's and more, less than half of the
    reference's time, a correlation below CORRELATION_THRESHOLD.

    Args: scores: a row of ``table``.
    """
    metric = metrics.METRICS[name.partition("@")[0]]

    def is_worse(score):
        if metric.kind == "time":
            return score < scores["reference"] / 2
        if not metric.error:
            return score < CORRELATION_THRESHOLD
        return score > 0 and score >= CLEARLY * scores[NEAR]

    return tuple(name for name in metrics.IMPOSTORS if is_worse(scores[name]))


def test_trajectories(system: System, dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """States and parameters of all test sets of a data.Dataset, one behind the other."""
    splits = [dataset.splits[name] for name in TEST_SPLITS if name in dataset.splits]
    states = np.concatenate([split.states for split in splits])
    return states, {n: np.concatenate([s.params[n] for s in splits]) for n in system.params}


def format_table(scores: pd.DataFrame) -> str:
    """A GitHub table. In parentheses: what a metric is blind to; !: what it should reject."""
    rows = []
    for name, row in scores.iterrows():
        rejected, blind = rejects(name, row), metrics.METRICS[name.partition("@")[0]].blind_to
        cells = {rollout: f"{value:.3g}" for rollout, value in row.items()}
        for impostor in metrics.IMPOSTORS:
            if impostor in blind:
                cells[impostor] = f"({cells[impostor]})"
            elif impostor not in rejected:
                cells[impostor] += " !"
        rows.append({"metric": name, **cells})
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def _is_defined(name, system):
    has_forces = system.forces is not None
    has = system.flow, system.parts, has_forces, system.observables, system.domain.periodic
    try:
        metrics.check_defined([name], *has)
    except InputError:
        return False
    return True


def _furthest(states, params, i, frames):
    """The stretch with the parameters of trajectory i that is furthest from its first one."""
    own = states[i, 1 : 1 + frames]
    found, largest = None, 0.0
    for j in range(len(states)):
        if any(values[j] != values[i] for values in params.values()):
            continue
        for start in range(1, states.shape[1] - frames + 1):
            distance = np.mean(np.square(states[j, start : start + frames] - own))
            if distance > largest:
                found, largest = states[j, start : start + frames], distance
    if found is None:
        raise InputError(
            f"long_horizon={frames}: no other stretch of so many frames, of trajectories of "
            f"{states.shape[1]} with { {n: float(v[i]) for n, v in params.items()} }"
        )
    return found


def _numbers(system, states, params):
    """Its forces and observables: [sample, frame, 2] or None, name -> [sample, frame]."""
    forces = None if system.forces is None else system.forces(states, params)
    return forces, {name: of(states, params) for name, of in system.observables.items()}


def _stepped(system, u, initial, params):
    """One reference step from each frame before, as metrics.errors.physics_residual takes it."""
    before = np.concatenate([initial[:, None], u[:, :-1]], axis=1)
    step = tf.function(system.reference().bind({n: tf.constant(p) for n, p in params.items()}))
    return np.stack([step(tf.constant(frame)) for frame in before.swapaxes(0, 1)], axis=1)
