"""own_system: a System made of a user's solver and trajectories, with defaults for the rest."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfunroll.core import Domain, InputError, Solver, check_choice
from tfunroll.stepping.steppers import ParallelCorrection, SequentialCorrection
from tfunroll.systems.base import SPLITS, ParamRange, System

METRICS = ("relative_error", "mse", "nrmse", "correlation_time", "divergence_time")
NEEDED = ("dt", "frame_time", "channels", "shape", "params")  # of a solver
CORRECTIONS = {"sequential": SequentialCorrection, "parallel": ParallelCorrection}


def own_system(
    name: str,
    coarse: Solver,
    params: Mapping[str, ParamRange],
    *,
    reference: Solver | None = None,
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
    """A System for training networks beside, or in place of, a solver of one's own.

    Its trajectories come by --data. ``scripts/generate_data.py`` makes them where ``reference``,
    ``initial_state`` and ``splits`` are given.

    Args:
      name: one word, for folders and tables.
      coarse: the solver that is corrected: an ExternalSolver, whose example fixes grid and
        channels, or a Solver in TensorFlow that states ``shape``, its grid, and ``params``, their
        names.
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
        if not isinstance(solver, Solver):
            raise InputError(
                f"{field} is a {type(solver).__name__}; needed: a Solver, such as ExternalSolver "
                "makes of a function of NumPy arrays"
            )
        for needed in NEEDED:
            if not hasattr(solver, needed):
                raise InputError(
                    f"{field}, a {type(solver).__name__}, has no {needed}; own_system needs a "
                    f"Solver with {', '.join(NEEDED)}"
                )
        if solver.compilable:  # an ExternalSolver has checked itself
            _check_step(field, solver)
    if set(params) != set(coarse.params):
        raise InputError(f"params={sorted(params)}, but the solver's are {sorted(coarse.params)}")
    for field, allowed in params.items():
        if not isinstance(allowed, ParamRange):
            raise InputError(f"params.{field} is a {type(allowed).__name__}; needed: a ParamRange")
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


def _check_step(field: str, solver: Solver) -> None:
    """InputError unless a solver in TensorFlow steps states as its attributes say; by tracing."""
    state = tf.TensorSpec([2, *solver.shape, solver.channels], tf.float32)
    params = {name: tf.TensorSpec([2], tf.float32) for name in solver.params}
    traced = tf.function(lambda state, params: solver.bind(params)(state), autograph=False)
    try:
        out = traced.get_concrete_function(state, params).structured_outputs
    except (TypeError, ValueError, KeyError, tf.errors.OpError) as error:
        raise InputError(
            f"{field}, a {type(solver).__name__}, cannot step states {state.shape} with params "
            f"{list(params)} in float32: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    if (out.shape, out.dtype) != (state.shape, state.dtype):
        raise InputError(
            f"{field}, a {type(solver).__name__}, maps states {state.shape} of float32 to "
            f"{out.shape} of {out.dtype.name}; shape and dtype must stay"
        )
