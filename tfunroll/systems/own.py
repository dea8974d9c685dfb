"""own_system: a System made of a user's solver and trajectories, with defaults for the rest."""

from collections.abc import Callable, Mapping

import numpy as np

from tfunroll.core import Domain, InputError, check_choice
from tfunroll.solvers.external import ExternalSolver
from tfunroll.stepping.steppers import ParallelCorrection, SequentialCorrection
from tfunroll.systems.base import SPLITS, ParamRange, System
from tfunroll.systems.described import METRICS

CORRECTIONS = {"sequential": SequentialCorrection, "parallel": ParallelCorrection}


def own_system(
    name: str,
    coarse: ExternalSolver,
    params: Mapping[str, ParamRange],
    *,
    reference: ExternalSolver | None = None,
    initial_state: Callable[[Mapping[str, np.ndarray], int], np.ndarray] | None = None,
    splits: Mapping[str, tuple[float, ...]] | None = None,
    spin_up_frames: int = 0,
    channels: tuple[str, ...] = (),
    boundary: str = "periodic",
    correction: str = "sequential",
    scale: float = 1.0,
    horizon: int = 12,
    long_horizon: int = 100,
) -> System:
    """A System for training networks beside, or in place of, an external solver.

    Its trajectories come by --data. ``scripts/generate_data.py`` makes them where ``reference``,
    ``initial_state`` and ``splits`` are given.

    Args:
      name: one word, for folders and tables.
      coarse: the solver that is corrected; its example fixes grid and channels.
      params: those of the solver; states and scaled parameters should be of order one.
      reference: the solver that makes data, on the grid of ``coarse``.
      initial_state: (params, seed) -> states to start spin-up from, [batch, *space, channel].
      splits: split -> values of the only parameter: train, validation, and test sets.
      spin_up_frames: frames dropped before a trajectory is kept.
      channels: names; c0, c1, … if empty. boundary: of all sides, one of core.BOUNDARIES.
      correction: "sequential" or "parallel", the default of --correction; both are allowed.
      scale: factor of the network's output in corrections and predictions; good value: the typical
        error of a coarse step.
      horizon, long_horizon: default frames of evaluation.
    Raises:
      InputError: impossible values; solvers that do not fit together.
    """
    if not name.isidentifier():
        raise InputError(f"name={name!r} must be one word of letters, digits and underscores")
    check_choice("correction", correction, CORRECTIONS)
    for field, solver in (("coarse", coarse), ("reference", reference or coarse)):
        if not isinstance(solver, ExternalSolver):
            raise InputError(
                f"{field} is a {type(solver).__name__}; own_system takes an ExternalSolver, and a "
                "System of tfunroll.systems.base any Solver"
            )
    if set(params) != set(coarse.params):
        raise InputError(f"params={sorted(params)}, but the solver's are {sorted(coarse.params)}")
    for split in splits or {}:
        check_choice("splits", split, SPLITS)
    channels = channels or tuple(f"c{i}" for i in range(coarse.channels))
    if len(channels) != coarse.channels:
        raise InputError(f"channels={channels}, but the solver has {coarse.channels}")
    for field in ("shape", "channels", "frame_time"):
        if reference is not None and getattr(reference, field) != getattr(coarse, field):
            raise InputError(
                f"reference has {field}={getattr(reference, field)}, but coarse has "
                f"{getattr(coarse, field)}; they must agree"
            )

    def kind(stepper):
        return lambda solver, net, features: stepper(solver, net, features, scale)

    kinds = sorted(CORRECTIONS, key=lambda k: k != correction)
    return System(
        name=name,
        title=name,
        dataset="",
        domain=Domain(coarse.shape, ((boundary, boundary),) * len(coarse.shape)),
        channels=channels,
        params=params,
        splits=splits or {},
        frame_time=coarse.frame_time,
        reference=None if reference is None else lambda: reference,
        coarse_kinds={"external": coarse},
        refined=None,
        initial_state=initial_state,
        spin_up_frames=spin_up_frames,
        corrections={k: kind(CORRECTIONS[k]) for k in kinds},
        correction_channels=coarse.channels,
        prediction_channels=coarse.channels,
        metrics=METRICS,
        horizon=horizon,
        long_horizon=long_horizon,
        prediction_scale=scale,
    )
