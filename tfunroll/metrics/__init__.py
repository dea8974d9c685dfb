"""How far a rollout is from its reference: functions in ``errors``, ``correlation``, ``flows``,
``forces``, ``observables`` and ``ensembles``.

Names are here. "mse@near" is the metric "mse" in the region "near" of a system, "mse@p" that of
its channel p alone, "coverage@0.9" that of an interval.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from tfunroll.core import InputError, check_choice
from tfunroll.metrics import correlation, ensembles, errors, flows, forces, observables
from tfunroll.metrics.errors import diverged, stability_label
from tfunroll.metrics.flows import StaggeredGrid
from tfunroll.metrics.forces import Forces

__all__ = [
    "IMPOSTORS",
    "METRICS",
    "Forces",
    "Metric",
    "StaggeredGrid",
    "check_defined",
    "check_metrics",
    "compute",
    "correlation",
    "diverged",
    "ensembles",
    "errors",
    "flows",
    "forces",
    "is_bounded",
    "is_error",
    "observables",
    "stability_label",
]


# Rollouts that are not the reference though they share something with it, which
# tfunroll.validation.impostors makes. Each metric either scores them clearly worse than the
# reference or says why it cannot.
IMPOSTORS = ("time mean", "uniform", "permuted", "shifted", "wrong trajectory")


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Attributes:
      kind: "rollout" (one value over the short horizon), "long" (one over the long horizon), "time"
        (one, in frames, over the long horizon) or "frame" (a value per frame).
      function: (rollout, reference) -> values, of kind "time" with the censored flags.
      description: for tables and axes.
      needs: what else it takes: "stepped", "grid", "forces", "observed", "lost", "groups"; or
        "members", in place of the rollout, and then "level".
      error: zero is perfect; models are compared by ratios, so on a logarithmic scale.
      blind_to: impostor -> why this metric cannot tell it from the reference, by definition.
    """

    kind: str
    description: str
    function: Callable
    needs: tuple[str, ...] = ()
    error: bool = True
    blind_to: Mapping[str, str] = field(default_factory=dict)

    @property
    def bounded(self) -> bool:
        """Whether a diverged rollout has a finite value; forces and observables have none."""
        return not {"forces", "observed"} & set(self.needs)


_MEMBERS = dict.fromkeys(IMPOSTORS, "it judges an ensemble, not one rollout")
_SAME_FLOW = {"wrong trajectory": "it has the statistics of the same flow"}
_ELSEWHERE = {"shifted": "what is moved in space keeps it", **_SAME_FLOW}
_VALUE = dict.fromkeys(IMPOSTORS, "a value of the rollout alone, compared with nothing")
_ONE_NUMBER = dict.fromkeys(IMPOSTORS, "one number, which very different states may share")
_INSIDE = dict.fromkeys(
    IMPOSTORS, "it tells rollouts that leave the range of the reference, and none of these does"
)

METRICS = {
    "relative_error": Metric("rollout", "relative error", errors.relative_error),
    "rollout_mse": Metric("rollout", "mean squared error over frames", errors.rollout_mse),
    "mse": Metric("frame", "mean squared error", errors.mse),
    "mae": Metric("frame", "mean absolute error", errors.mae),
    "nrmse": Metric("frame", "normalised RMSE", errors.nrmse),
    "relative_l2": Metric("frame", "relative L2 error", errors.relative_l2),
    "gap_closed": Metric(
        "rollout", "part of the coarse error gone", errors.gap_closed, ("coarse",), error=False
    ),
    "spectral": Metric(
        "frame",
        "error of the amplitudes of modes",
        errors.spectral,
        blind_to={"shifted": "what is moved in space keeps them"},
    ),
    "h1": Metric("frame", "relative H¹ error", errors.h1),
    "physics_residual": Metric(
        "frame",
        "squared distance to one reference step",
        errors.physics_residual,
        ("stepped",),
        blind_to={
            "uniform": "where nothing drives it, a solver leaves a uniform state as it is",
            "shifted": "equations that are the same everywhere hold for what is moved in space",
            "wrong trajectory": "it obeys the same equations",
        },
    ),
    "correlation_time": Metric(
        "time", "correlation time [frames]", correlation.correlation_time, error=False
    ),
    "divergence_time": Metric(
        "time",
        "divergence time [frames]",
        errors.divergence_time,
        ("lost",),
        error=False,
        blind_to=_INSIDE,
    ),
    "kinetic_energy": Metric(
        "frame", "mean energy", flows.kinetic_energy, error=False, blind_to=_VALUE
    ),
    "energy_error": Metric(
        "frame",
        "relative deviation of the energy",
        flows.energy_error,
        blind_to={"permuted": "a sum has no order", **_ELSEWHERE},
    ),
    "enstrophy": Metric(
        "frame", "mean enstrophy", flows.enstrophy, ("grid",), error=False, blind_to=_VALUE
    ),
    "enstrophy_error": Metric(
        "frame",
        "relative deviation of the enstrophy",
        flows.enstrophy_error,
        ("grid",),
        blind_to=_ELSEWHERE,
    ),
    "vorticity_correlation": Metric(
        "frame", "correlation of vorticity", flows.vorticity_correlation, ("grid",), error=False
    ),
    "vorticity_correlation_time": Metric(
        "time",
        "correlation time of vorticity [frames]",
        flows.vorticity_correlation_time,
        ("grid",),
        error=False,
    ),
    "rms_divergence": Metric(
        "frame",
        "rms divergence",
        flows.rms_divergence,
        ("grid",),
        blind_to={
            "time mean": "a mean of fields without divergence has none",
            "uniform": "a uniform velocity has none",
            **_ELSEWHERE,
        },
    ),
    "spectrum_error": Metric(
        "rollout",
        "log₁₀ error of the spectrum",
        flows.spectrum_error,
        ("grid",),
        blind_to=_ELSEWHERE,
    ),
    "strouhal": Metric(
        "long", "Strouhal number", forces.strouhal, ("forces",), error=False, blind_to=_VALUE
    ),
    "strouhal_error": Metric(
        "long",
        "error of the Strouhal number",
        forces.strouhal_error,
        ("forces",),
        blind_to={"permuted": "every cell has the frequency of the flow", **_ELSEWHERE},
    ),
    "mean_drag": Metric(
        "long", "mean drag", forces.mean_drag, ("forces",), error=False, blind_to=_VALUE
    ),
    "drag_error": Metric(
        "long",
        "error of the mean drag",
        forces.drag_error,
        ("forces",),
        blind_to={"time mean": "the mean flow has nearly the mean drag", **_SAME_FLOW},
    ),
    "lift_rms": Metric(
        "long", "rms lift", forces.lift_rms, ("forces",), error=False, blind_to=_VALUE
    ),
    "lift_rms_error": Metric(
        "long", "error of the rms lift", forces.lift_rms_error, ("forces",), blind_to=_ELSEWHERE
    ),
    "observed": Metric(
        "frame",
        "value of an observable",
        observables.observed,
        ("observed",),
        error=False,
        blind_to=_VALUE,
    ),
    "observed_error": Metric(
        "frame",
        "error of an observable",
        observables.observed_error,
        ("observed",),
        blind_to=_ONE_NUMBER,
    ),
    "phase_error": Metric(
        "frame", "phase error of the lift [periods]", forces.phase_error, ("forces",)
    ),
    "wasserstein": Metric(
        "long",
        "Wasserstein distance of the values",
        ensembles.wasserstein,
        blind_to={"permuted": "values have no place", **_ELSEWHERE},
    ),
    "energy_distance": Metric(
        "long",
        "energy distance of the values",
        ensembles.energy_distance,
        blind_to={"permuted": "values have no place", **_ELSEWHERE},
    ),
    "crps": Metric("frame", "CRPS", ensembles.crps, ("members",), blind_to=_MEMBERS),
    "rollout_crps": Metric(
        "rollout", "CRPS over frames", ensembles.rollout_crps, ("members",), blind_to=_MEMBERS
    ),
    "spread": Metric(
        "frame", "spread", ensembles.spread, ("members",), error=False, blind_to=_MEMBERS
    ),
    "spread_skill": Metric(
        "frame",
        "spread over error of the mean",
        ensembles.spread_skill,
        ("members", "groups"),
        error=False,
        blind_to=_MEMBERS,
    ),
    "rollout_spread_skill": Metric(
        "rollout",
        "spread over error of the mean, over frames",
        ensembles.rollout_spread_skill,
        ("members", "groups"),
        error=False,
        blind_to=_MEMBERS,
    ),
    "coverage": Metric(
        "frame",
        "coverage of an interval",
        ensembles.coverage,
        ("members", "level"),
        error=False,
        blind_to=_MEMBERS,
    ),
}
_OF_VALUES = ("wasserstein", "energy_distance")  # of an ensemble's: all members', not their mean's
# What an evaluation measures of every ensemble.
OF_MEMBERS = (
    *("rollout_crps", "crps", "spread", "rollout_spread_skill", "spread_skill"),
    f"coverage@{ensembles.LEVEL}",
)


def of_members(name: str) -> bool:
    """Whether a metric judges an ensemble's members."""
    return "members" in METRICS[name.partition("@")[0]].needs


def check_metrics(names) -> None:
    """Raises InputError for a name that is not in METRICS; regions are check_defined's matter."""
    for name in names:
        check_choice("metrics", name.partition("@")[0], METRICS)


def is_error(name: str) -> bool:
    """Metric.error of a metric, with or without a region."""
    base = name.partition("@")[0]
    return base in METRICS and METRICS[base].error


def is_bounded(name: str) -> bool:
    """Metric.bounded of a metric, with or without a region."""
    base = name.partition("@")[0]
    return base not in METRICS or METRICS[base].bounded


def check_defined(
    names,
    grid: StaggeredGrid | None,
    parts: Collection[str] = (),
    has_forces: bool = False,
    observables: Collection[str] = (),
    periodic: bool = True,
    ensemble: bool = False,
) -> None:
    """Raises InputError for a metric that this system, or one rollout alone, does not have.

    Args: grid: of its flow. parts: names of regions and channels. has_forces: whether it has a
      body. observables: names. periodic: whether its box is, along all axes. ensemble: whether
      there are members.
    """
    for name in names:
        base, _, part = name.partition("@")
        needs = METRICS[base].needs
        if "members" in needs and not ensemble:
            raise InputError(
                f"metrics={name} judges an ensemble's members, and there is one rollout; allowed "
                "with --ensemble or --stochastic; the CRPS of one rollout is mae"
            )
        if "level" in needs:
            _level(name)
        elif "observed" in needs:
            check_choice(f"metrics={name}: observable", part, observables)
        elif part:
            check_choice(f"metrics={name}: region", part, parts)
            if set(needs) - {"coarse"}:
                raise InputError(f"metrics={name}: {base} needs all of space, not a region")
        if base in ("spectral", "h1") and (part or not periodic):
            raise InputError(f"metrics={name} is defined on whole periodic boxes alone")
        if "grid" in needs and grid is None:
            raise InputError(f"metrics={name} is defined for two-dimensional flows alone")
        if base == "spectrum_error" and not all(grid.periodic):
            raise InputError(f"metrics={name} is defined on periodic grids alone")
        if "forces" in needs and not has_forces:
            raise InputError(f"metrics={name} is defined for systems with a body alone")


def _level(name: str) -> float:
    """Of the interval in "coverage@0.9"; InputError if it is none."""
    part = name.partition("@")[2]
    try:
        level = float(part) if part else ensembles.LEVEL
    except ValueError:
        level = 0.0
    if not 0 < level < 1:
        raise InputError(
            f"metrics={name}: {part!r} must be a number between 0 and 1, such as coverage@0.9"
        )
    return level


def compute(
    name: str,
    u: np.ndarray,
    r: np.ndarray,
    horizon: int,
    stepped: np.ndarray | None = None,
    grid: StaggeredGrid | None = None,
    forces: Forces | None = None,
    parts: Mapping[str, tuple] | None = None,
    observed: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    lost: np.ndarray | None = None,
    coarse: np.ndarray | None = None,
    members: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A metric of a batch of rollouts.

    Args:
      u, r: rollout and reference over the long horizon, of the channels that count; of an ensemble
        the mean of its members.
      horizon: frames that "rollout" metrics average over.
      stepped: for errors.physics_residual, see there.
      grid: of a flow, for its metrics. forces: for those of forces.
      parts: name of a region or channel -> index of [sample, frame, *space, channel].
      observed: name of an observable -> its values in rollout and reference, [sample, frame].
      lost: errors.diverged(u, r), if it is known; of an ensemble where any member has diverged.
      coarse: the coarse solver's rollout, for errors.gap_closed.
      members: of an ensemble, [member, *u.shape]; distributions of values are those of all.
      groups: what ensembles.spread_skill takes together, [sample].
    Returns:
      values, [sample] or for kind "frame" [sample, frame], and their status, same shape: "diverged"
      if the rollout has diverged within the frames that the value covers, "censored" or "ok".
      Errors of diverged rollouts are those of errors.bounded, so finite; times end with the
      divergence; forces and observables of diverged rollouts are inf.
    """
    check_metrics([name])
    base, _, part = name.partition("@")
    metric = METRICS[base]
    lost = diverged(u, r) if lost is None else lost
    u = errors.bounded(u, r, lost)
    if coarse is not None:
        coarse = errors.bounded(coarse, r, diverged(coarse, r))
        coarse = (coarse[parts[part]] if part and parts else coarse)[:, :horizon]
    if "members" not in metric.needs and base not in _OF_VALUES:
        members = None
    if members is not None:
        members = np.stack([errors.bounded(x, r, errors.diverged(x, r)) for x in members])
    if stepped is not None:
        stepped = np.where(lost.reshape(*lost.shape, *[1] * (r.ndim - 2)), r, stepped)
    if "observed" in metric.needs:
        observed = observed[part]
    elif part and "level" not in metric.needs:
        u, r = (field[parts[part]] for field in (u, r))
        if members is not None:
            members = np.stack([x[parts[part]] for x in members])
    gone = lost if metric.kind == "frame" else lost[:, -1]
    if metric.kind == "rollout":
        u, r, gone = u[:, :horizon], r[:, :horizon], lost[:, :horizon][:, -1]
        members = None if members is None else members[:, :, :horizon]
    more = {"stepped": stepped, "grid": grid, "forces": forces, "observed": observed, "lost": lost}
    more |= {"coarse": coarse, "groups": groups}
    more["level"] = _level(name) if "level" in metric.needs else None
    if base in _OF_VALUES and members is not None:
        u = ensembles.pooled(members)
    needs = [need for need in metric.needs if need != "members"]
    rolled = u if needs == [*metric.needs] else members
    values = metric.function(rolled, r, **{need: more[need] for need in needs})
    censored = np.bool_(False)
    if metric.kind == "time":
        values, censored = values
        values = np.minimum(values, errors.divergence_time(u, r, lost)[0])
    elif not metric.bounded:
        values = np.where(gone, np.inf, values)
        gone = gone | np.isinf(values)
    return values, np.where(gone, "diverged", np.where(censored, "censored", "ok"))
