"""How far a rollout is from its reference: functions in ``errors`` and ``flows``, names here."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfunroll.core import InputError, check_choice
from tfunroll.metrics import errors, flows
from tfunroll.metrics.errors import DIVERGED_ERROR, stability_label
from tfunroll.metrics.flows import StaggeredGrid

__all__ = [
    "DIVERGED_ERROR",
    "METRICS",
    "Metric",
    "StaggeredGrid",
    "check_defined",
    "check_metrics",
    "compute",
    "errors",
    "flows",
    "stability_label",
]


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Attributes:
      kind: "rollout" (one value over the short horizon), "time" (one value, in frames, over the
        long horizon) or "frame" (a value per frame).
      description: for tables and axes.
      function: (rollout, reference) -> values, of kind "time" with the censored flags.
      needs: what else it takes: "stepped", "grid".
      error: zero is perfect; models are compared by ratios, so on a logarithmic scale.
    """

    kind: str
    description: str
    function: Callable
    needs: tuple[str, ...] = ()
    error: bool = True


METRICS = {
    "relative_error": Metric("rollout", "relative error", errors.relative_error),
    "rollout_mse": Metric("rollout", "mean squared error over frames", errors.rollout_mse),
    "mse": Metric("frame", "mean squared error", errors.mse),
    "nrmse": Metric("frame", "normalised RMSE", errors.nrmse),
    "relative_l2": Metric("frame", "relative L2 error", errors.relative_l2),
    "physics_residual": Metric(
        "frame", "squared distance to one reference step", errors.physics_residual, ("stepped",)
    ),
    "correlation_time": Metric(
        "time", "correlation time [frames]", errors.correlation_time, error=False
    ),
    "divergence_time": Metric(
        "time", "divergence time [frames]", errors.divergence_time, error=False
    ),
    "kinetic_energy": Metric("frame", "mean energy", flows.kinetic_energy, error=False),
    "energy_error": Metric("frame", "relative deviation of the energy", flows.energy_error),
    "enstrophy": Metric("frame", "mean enstrophy", flows.enstrophy, ("grid",), error=False),
    "enstrophy_error": Metric(
        "frame", "relative deviation of the enstrophy", flows.enstrophy_error, ("grid",)
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
    "rms_divergence": Metric("frame", "rms divergence", flows.rms_divergence, ("grid",)),
    "spectrum_error": Metric(
        "rollout", "log₁₀ error of the spectrum", flows.spectrum_error, ("grid",)
    ),
}


def check_metrics(names) -> None:
    """Raises InputError for a name that is not in METRICS."""
    for name in names:
        check_choice("metrics", name, METRICS)


def check_defined(names, grid: StaggeredGrid | None) -> None:
    """Raises InputError for a metric that this system does not have; ``grid``: of its flow."""
    for name in names:
        if "grid" in METRICS[name].needs and grid is None:
            raise InputError(f"metrics={name} is defined for two-dimensional flows alone")
        if name == "spectrum_error" and not all(grid.periodic):
            raise InputError(f"metrics={name} is defined on periodic grids alone")


def compute(
    name: str,
    u: np.ndarray,
    r: np.ndarray,
    horizon: int,
    stepped: np.ndarray | None = None,
    grid: StaggeredGrid | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A metric of METRICS by name, with the status of each value.

    Args:
      u, r: rollout and reference over the long horizon, of the channels that count.
      horizon: frames that "rollout" metrics average over.
      stepped: for errors.physics_residual, see there.
      grid: of a flow, for its metrics.
    Returns:
      values, [sample] or for kind "frame" [sample, frame], and their status: "ok", "censored" or
      "diverged" (value inf), same shape.
    """
    check_metrics([name])
    metric = METRICS[name]
    if metric.kind == "rollout":
        u, r = u[:, :horizon], r[:, :horizon]
    more = {"stepped": stepped, "grid": grid}
    values = metric.function(u, r, **{need: more[need] for need in metric.needs})
    values, censored = values if metric.kind == "time" else (values, np.bool_(False))
    return values, np.where(np.isinf(values), "diverged", np.where(censored, "censored", "ok"))
