"""Rollouts of a stepper over the test sets, measured: one compiled graph call per model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import tensorflow as tf

from tfunroll import metrics
from tfunroll.core import InputError, Solver, Stepper, check_choice, compilable
from tfunroll.evaluation.cases import all_cases, start_frames
from tfunroll.evaluation.flops import flops_per_frame, largest_substeps
from tfunroll.evaluation.results import COARSE, COLUMNS, EQUAL_COST, NETWORK, PERSISTENCE, REFINED
from tfunroll.solvers.external import solver_errors
from tfunroll.stepping.ensembles import Ensemble
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems.base import TEST_SPLITS, System

SPARSE = 10  # beyond the horizon, per-frame metrics are stored at every tenth frame
SAMPLE_TRAJECTORIES = 2  # per parameter value, kept for the pictures
MAX_SUBSTEPS = 200  # of the equal-cost solver, where System says no limit


@dataclass(frozen=True)
class Settings:
    """What is measured, and over how many frames.

    Attributes:
      horizon: frames of the error metrics.
      long_horizon: frames of the time metrics and of the curves over time; at least ``horizon``.
      starts: start frames per test trajectory, spread evenly.
      metrics: names of metrics.METRICS, with a region of the system as in "mse@near"; the
        divergence time is measured in any case, and of an ensemble metrics.OF_MEMBERS.
      test_sets: names of dataset splits.
      dtype: of states and parameters, "float32" or "float64"; the network's own.
      jit_compile: compile the rollout with XLA.
    Raises:
      InputError: for an unknown metric or test set, or an impossible number.
    """

    horizon: int
    long_horizon: int
    starts: int
    metrics: tuple[str, ...]
    test_sets: tuple[str, ...] = TEST_SPLITS
    dtype: str = "float32"
    jit_compile: bool = False

    def __post_init__(self):
        metrics.check_metrics(self.metrics)
        for name in ("horizon", "starts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 1")
        if self.long_horizon < self.horizon:
            raise InputError(
                f"long_horizon={self.long_horizon} must be at least horizon={self.horizon}"
            )

    def of_one(self) -> "Settings":
        """The same without metrics that judge the members of an ensemble."""
        return replace(self, metrics=tuple(m for m in self.metrics if not metrics.of_members(m)))


@dataclass(frozen=True)
class Evaluation:
    """Attributes:
    results: tidy table with results.COLUMNS, one value a row.
    samples: arrays for the pictures, made to be saved by np.savez: "reference" and "prediction"
      [case, frame, *space, channel] over the long horizon, "diverged" (metrics.diverged) [case,
      frame], "test_set", "physics", "params.NAME", "trajectory", "start_frame" and "stability"
      (metrics.stability_label) [case]; of a system with a body
      "reference_forces" and "prediction_forces", coefficients [case, frame, 2]. Of an ensemble the
      prediction is the mean of its members, of a Stochastic stepper the first of them; their first
      channel in the middle of space is "members_at_point" [case, member, frame], "rank_histogram"
      [test set, member + 1] that over the horizon.
    """

    results: pd.DataFrame
    samples: dict[str, np.ndarray]


def check_fit(system: System, dataset, settings: Settings, ensemble: bool = False) -> None:
    """InputError if this dataset cannot be evaluated with these settings.

    That is: horizons longer than the trajectories, a missing test set, metrics of flows for
    another system, or of ensembles for one rollout, or the physics residual of data off the
    reference solver's grid.
    """
    if "physics_residual" in settings.metrics and not dataset.on_reference_grid:
        raise InputError(
            f"metrics=physics_residual is not defined for {dataset.name}/{dataset.config}; allowed "
            f"with dataset_config: {', '.join(system.on_reference_grid) or 'none'}"
        )
    has_forces = system.forces is not None
    parts = system.parts
    defined = system.flow, parts, has_forces, system.observables, ensemble
    metrics.check_defined(settings.metrics, *defined)
    for name in settings.test_sets:
        check_choice("test_sets", name, dataset.splits)
        start_frames(dataset.splits[name].states.shape[1], settings)


class Evaluator:
    """Evaluates one stepper object as often as its weights change, with a single trace.

    All test trajectories × start frames are one batch, each sample with its own parameters. Of an
    ensemble of rollouts, or as many of a Stochastic stepper as it says, all members are in it; its
    rollout is their mean, which has diverged where one of them has.

    Args:
      stepper: a bound-ready stepper; XLA compiles it unless its solver is not ``compilable``.
      dataset: data.Dataset with the test sets of ``settings``.
    Raises:
      InputError: see check_fit.
    """

    def __init__(self, stepper: Stepper, system: System, dataset, settings: Settings):
        self._noisy = hasattr(stepper, "keyed")
        if self._noisy:
            stepper = Ensemble([stepper] * stepper.members)
        self._ensemble = isinstance(stepper, Ensemble) and stepper.how == "rollouts"
        check_fit(system, dataset, settings, self._ensemble)
        self.stepper, self.system, self.settings = stepper, system, settings
        self.traces = 0
        self.cases, states, params = all_cases(dataset, settings)
        self._initial = tf.constant(states[:, 0], settings.dtype)
        self._references, self._reference_forces = states[:, 1:], None
        self._params = {name: tf.constant(p, settings.dtype) for name, p in params.items()}
        jit = settings.jit_compile and compilable(stepper)
        if "physics_residual" in settings.metrics:
            jit = jit and system.reference().compilable
        compiled = tf.function(self._rollout, jit_compile=jit, autograph=False)
        self._roll = compiled.get_concrete_function(self._initial, self._params)

    def run(self, labels: Mapping[str, object]) -> Evaluation:
        """Rolls out with the present weights.

        Args:
          labels: values of the columns that this class does not know: run_id, modality, seed, ….
            The counts of weights are taken from ``stepper.net`` unless ``labels`` has them.
        """
        with solver_errors():
            predictions, stepped = self._roll(self._initial, self._params)
        predictions, references = predictions.numpy(), self._references
        measured, grid = self.system.measured, self.system.flow
        r, members, shown = references[..., measured], None, predictions
        if self._ensemble:
            members, predictions = predictions[..., measured], _mean(predictions)
            # of noise one rollout is drawn, as a mean of several is no state of the system
            shown = shown[0] if self._noisy else predictions
        u = predictions[..., measured]
        stepped = None if stepped is None else stepped.numpy()[..., measured]
        own = {"system": self.system.name, "num_weights": _num_weights(self.stepper)}
        labels = {**own, "kind": NETWORK, "refinement": 0, "substeps": 0, **labels}
        forces, lost = self._forces(predictions), metrics.diverged(u, r)
        names = [*self.settings.metrics, "divergence_time"]
        if self._ensemble:
            lost = np.any([metrics.diverged(x, r) for x in members], axis=0)
            names += metrics.OF_MEMBERS
        more = stepped, grid, forces, self.system.parts, self._observed(predictions), lost
        more += members, self.cases["test_set"].to_numpy()
        parts = [
            self._rows(name, *metrics.compute(name, u, r, self.settings.horizon, *more))
            for name in dict.fromkeys(names)
        ]
        results = pd.concat(parts, ignore_index=True).assign(**labels)
        if missing := [name for name in COLUMNS if name not in results]:
            raise ValueError(f"labels lack {missing}")
        columns = [*COLUMNS, *(name for name in self.cases if name not in COLUMNS)]
        samples = self._samples(shown, references, forces, lost)
        if self._ensemble:
            samples |= self._samples_of(members, r, samples["cases"])
        del samples["cases"]
        return Evaluation(results[columns], samples)

    def _forces(self, predictions) -> metrics.Forces | None:
        """Of the body, if there is one; those of the reference are computed once."""
        if self.system.forces is None:
            return None
        params = {name: value.numpy() for name, value in self._params.items()}
        if self._reference_forces is None:
            self._reference_forces = self.system.forces(self._references, params)
        rollout_forces = self.system.forces(predictions, params)
        return metrics.Forces(rollout_forces, self._reference_forces, self.system.frame_time)

    def _observed(self, predictions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        params = {name: value.numpy() for name, value in self._params.items()}
        return {
            name: tuple(measure(states, params) for states in (predictions, self._references))
            for name, measure in self.system.observables.items()
            if any(metric.endswith(f"@{name}") for metric in self.settings.metrics)
        }

    def _rollout(self, initial, params):
        self.traces += 1  # runs while tracing only
        start, view = initial, tf.identity
        if isinstance(self.stepper, Solver):  # on a grid of its own, it stays there
            start, view = self.stepper.prolong(initial), self.stepper.restrict
        if self._ensemble:
            start = self.stepper.start(initial)
        frames = rollout(self.stepper.bind(params), start, self.settings.long_horizon, view)
        every = frames
        if self._ensemble:
            every = self.stepper.members(frames)
            frames = tf.reduce_mean(every, 0)
        if "physics_residual" not in self.settings.metrics:
            return every, None
        before = tf.concat([initial[:, None], frames[:, :-1]], axis=1)
        by_frame = [1, 0, *range(2, frames.shape.rank)]
        # Mapped over frames, not flattened into the batch: the reference then runs on the same
        # shapes as a rollout does, so that its own rollout has a residual of exactly zero.
        stepped = tf.map_fn(self.system.reference().bind(params), tf.transpose(before, by_frame))
        return every, tf.transpose(stepped, by_frame)

    def _rows(self, name, values, status) -> pd.DataFrame:
        rows = self.cases.assign(metric=name)
        if values.ndim == 1:
            return rows.assign(
                frame=pd.array([pd.NA] * len(rows), "Int64"), value=values, status=status
            )
        frames = np.arange(1, values.shape[1] + 1)
        kept = (frames <= self.settings.horizon) | (frames % SPARSE == 0)
        rows = rows.loc[rows.index.repeat(kept.sum())]
        return rows.assign(
            frame=pd.array(np.tile(frames[kept], len(values)), "Int64"),
            value=values[:, kept].ravel(),
            status=status[:, kept].ravel(),
        )

    def _samples(self, u, r, forces, lost):
        start = self.cases["start_frame"]
        first = self.cases[start == start.groupby(self.cases["test_set"]).transform("min")]
        chosen = first.groupby(["test_set", "physics"], sort=False).head(SAMPLE_TRAJECTORIES)
        i, measured = chosen.index.to_numpy(), self.system.measured
        drawn = {}
        if forces is not None:
            drawn = {
                "reference_forces": forces.reference[i],
                "prediction_forces": forces.rollout[i],
            }
        texts = ("test_set", "physics", "trajectory")
        numbers = ("start_frame", *(f"params.{name}" for name in self._params))
        return {
            "cases": i,
            "reference": r[i],
            "prediction": u[i],
            "diverged": lost[i],
            **drawn,
            **{name: chosen[name].to_numpy().astype(str) for name in texts},
            **{name: chosen[name].to_numpy() for name in numbers},
            "stability": metrics.stability_label(u[i][..., measured], r[i][..., measured]),
        }

    def _samples_of(self, members, truth, chosen):
        """Of an ensemble, beside those of its mean."""
        middle = [size // 2 for size in members.shape[3:-1]]
        point = members[(..., *middle, 0)][:, chosen]
        ranked, sets = slice(self.settings.horizon), self.cases["test_set"].to_numpy()
        histograms = [
            metrics.ensembles.rank_histogram(members[:, its][:, :, ranked], truth[its][:, ranked])
            for its in (sets == name for name in dict.fromkeys(sets))
        ]
        return {
            "members_at_point": np.swapaxes(point, 0, 1),
            "rank_histogram": np.stack(histograms),
        }


def evaluate(
    stepper: Stepper, system: System, dataset, settings: Settings, labels: Mapping[str, object]
) -> Evaluation:
    """One evaluation of one stepper: Evaluator(...).run(labels)."""
    return Evaluator(stepper, system, dataset, settings).run(labels)


class Persistence:
    """The stepper that leaves the state as it is: what any other one has to beat."""

    def bind(self, params):
        return tf.identity


def baselines(
    system: System,
    dataset,
    settings: Settings,
    corrected: Stepper | None,
    labels: Mapping[str, object],
    coarse: str = "",
    refined: Sequence[int] = (),
) -> list[Evaluation]:
    """Persistence, the coarse solver alone, and a solver of the corrected stepper's cost.

    They carry the labels of the models they are compared with, number of weights included, seed 0,
    and a name of their own as modality, which says what the columns kind, refinement and substeps
    hold. The equal-cost solver is the finest of System.refined whose floating point operations per
    frame do not exceed those of ``corrected``. Finer than the reference leads away from the data
    again, so there it is the reference itself wherever that one is cheap enough.

    Args:
      corrected: None leaves the last one out, as does one that costs less than the coarsest.
      refined: arguments of System.refined, each a baseline more.
    """
    solvers = [(PERSISTENCE, Persistence())]
    if system.coarse_kinds:
        solvers.append((COARSE, system.coarse(coarse)))
    if corrected is not None and (finest := _equal_cost(system, dataset, settings, corrected)):
        solvers.append((EQUAL_COST, system.refined(finest)))
    solvers += [(REFINED, system.refined(n)) for n in refined]
    common = {"num_weights": _num_weights(corrected), **labels, "steps": 1, "seed": 0}
    return [
        evaluate(solver, system, dataset, settings, {**common, **_labels_of(kind, solver)})
        for kind, solver in solvers
    ]


def _labels_of(kind: str, stepper: Stepper) -> dict[str, object]:
    """The columns of results.csv that say which baseline a row belongs to."""
    refinement = substeps = 0
    name = kind
    if isinstance(stepper, Solver):
        refinement, substeps = stepper.refinement, round(stepper.frame_time / stepper.dt)
    if kind in (EQUAL_COST, REFINED):
        grid = f"grid × {refinement}, " if refinement > 1 else ""
        name = f"{kind} ({grid}{substeps} sub-step{'s' if substeps > 1 else ''})"
    return {"modality": name, "kind": kind, "refinement": refinement, "substeps": substeps}


def _equal_cost(system, dataset, settings, corrected) -> int:
    """What System.refined takes for the equal-cost solver, 0 if not even the coarsest fits."""
    trajectories = dataset.splits[settings.test_sets[0]]
    state = tf.constant(trajectories.states[:1, 0], settings.dtype)
    params = {n: tf.constant(p[:1], settings.dtype) for n, p in trajectories.params.items()}
    if system.refined is None:
        return 0
    reference = system.reference()
    if not (compilable(corrected) and reference.compilable):
        return 0  # what is not in the graph cannot be counted
    cap = system.refined_limit or MAX_SUBSTEPS
    if dataset.on_reference_grid:
        cap = round(reference.frame_time / reference.dt)
    budget = flops_per_frame(corrected, params, state)
    return largest_substeps(system.refined, budget, params, state, cap)


def _mean(members):
    with np.errstate(over="ignore", invalid="ignore"):  # of members that have diverged
        return members.mean(0)


def _num_weights(stepper) -> int:
    """Of its network; of an ensemble that of each member's."""
    net = stepper.nets[0] if isinstance(stepper, Ensemble) else getattr(stepper, "net", None)
    return net.count_params() if net is not None else 0
