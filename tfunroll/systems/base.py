"""System: the frozen description of a physical system, with no training in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tfunroll.core import (
    SPLITS,
    TEST_SPLITS,
    Domain,
    InputError,
    Solver,
    Stepper,
    check_choice,
)
from tfunroll.metrics import StaggeredGrid
from tfunroll.options import Options, read
from tfunroll.stepping.features import Features
from tfunroll.stepping.steppers import Net, Prediction, SequentialCorrection

MODES = ("correction", "prediction")

__all__ = ["MODES", "SPLITS", "TEST_SPLITS", "ParamRange", "Pictures", "SolverKind", "System",
           "rates_of_change"]  # fmt: skip


@dataclass(frozen=True)
class ParamRange:
    """A physics parameter.

    Attributes:
      low, high: what is possible; beyond, ``check`` refuses.
      scale: the factor it enters the network with. unit: in words.
      validated: (low, high) where the solver was compared with something independent; beyond,
        ``doubt`` says so. None: not known.
      how: it was validated, in words.
      label: its short name in pictures, such as "Re"; its own name in words if empty.
    """

    low: float
    high: float
    scale: float
    unit: str = ""
    validated: tuple[float, float] | None = None
    how: str = ""
    label: str = ""

    def check(self, name: str, values) -> None:
        """InputError for a value that is not possible; it names the first."""
        values = np.asarray(values)
        bad = values[~((values >= self.low) & (values <= self.high))]
        if bad.size:
            raise InputError(
                f"{name}={bad.flat[0]:g} is outside the allowed range [{self.low:g}, {self.high:g}]"
            )

    def doubt(self, name: str, values) -> str:
        """A sentence on possible values that the solver was not validated for; empty if none."""
        if self.validated is None:
            return ""
        (low, high), values = self.validated, np.unique(np.asarray(values, np.float64))
        rounding = 1e-6 * max(abs(low), abs(high))  # of float32
        beyond = values[(values < low - rounding) | (values > high + rounding)]
        if not beyond.size:
            return ""
        found = ", ".join(f"{value:g}" for value in beyond[:5]) + (", …" if beyond.size > 5 else "")
        return (
            f"{name}={found} lies beyond [{low:g}, {high:g}], where the solver was validated "
            f"({self.how}): its flow is a numerical reference alone"
        )


Measure = Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """How states on a curved, body-fitted grid are drawn.

    Attributes:
      nodes: corners of the cells, [j + 1, i + 1, (x, y)]; the body lies inside the first line.
      window: (left, right), (lower, upper) of the part that is shown.
      fields: label -> states [..., j, i, channel] to values [..., j, i].
      surface: label and (states, params) -> values along the body, [sample, frame, i], over
        ``places``, their x, [i]. Drawn with the y axis downwards, as pressure coefficients are.
    """

    nodes: np.ndarray
    window: tuple[tuple[float, float], tuple[float, float]]
    fields: Mapping[str, Callable[[np.ndarray], np.ndarray]]
    surface: tuple[str, Measure]
    places: np.ndarray


@dataclass(frozen=True)
class SolverKind:
    """A solver with options.

    Attributes:
      make: options -> the solver.
      options: their class, a frozen dataclass of ``tfunroll.options.option`` fields.
    """

    make: Callable[[Options], Solver]
    options: type[Options] = Options


@dataclass(frozen=True)
class System:
    """A physical system.

    Attributes:
      name, title: short name, as in flags, and name in words.
      dataset: name of its TFDS dataset; empty for own trajectories.
      domain: grid for the networks.
      channels: names of the state channels.
      params: physics parameters.
      splits: per dataset split its list of values of the parameter that is varied.
      frame_time: time between frames. time_unit: what it is counted in, for pictures.
      reference: () -> the solver that makes the data; None where only trajectories are known.
      coarse_kinds: name -> cheap solver that is corrected, the default first: a SolverKind, where
        it has options, or the solver itself. Without any, nor corrections, it is data alone, for
        mode=prediction.
      coarse_misses: error of one coarse step over that of persistence, beyond which own data are
        suspected of a wrong frame time or wrong axes; good value: below 0.5, which is that of half
        as many frames, and twice that of right data.
      refined: n -> the reference scheme refined n times, for baselines: in its sub-steps, and in
        its grid too where those alone would not help. None: no such baseline.
      initial_state: (params, seed) -> states to start a spin-up from, float64; None as above.
      spin_up_frames: frames dropped before a trajectory is kept.
      corrections: kind -> (solver, net, features) -> stepper, the default first.
      correction_channels, prediction_channels: leading state channels the network changes, which
        the loss compares.
      metrics: default metrics. horizon, long_horizon: default frames of evaluation.
      lyapunov_time: 1/λ1 in frames, roughly; None if not chaotic.
      flow: staggered grid of a two-dimensional flow, whose leading channels are the velocity
        (u, v): metrics then compare these two alone. None for all else: all channels count.
      refined_limit: the n with which ``refined`` is the reference itself, or None.
      prediction_scale: predictions are u + this · net; None: they are net, or u + net on demand.
      on_reference_grid: configs whose data live on the reference solver's own grid, where a
        physics residual is defined.
      active: True where a channel lives, [*space, channel]: networks change a state there alone,
        and the loss counts it there alone. None: everywhere.
      regions: name -> part of space, [*space] bool, for metrics such as "mse@near body".
      body: signed distance (x, y) -> distance, negative inside, of a body that is immersed in a
        Cartesian grid of ``domain.spacing``, for pictures; None: no such body.
      forces: (states [sample, frame, *space, channel], params each [sample]) -> coefficients of the
        drag and the lift of a body, [sample, frame, 2], in NumPy; of the states alone, so that
        references and rollouts are measured alike. None: no body.
      observables: name -> the same of any number worth following, such as the place of a shock:
        [sample, frame], for the metrics "observed@name" and "observed_error@name".
      pictures: how states on a curved grid are drawn; None on Cartesian ones.
      figures: name -> (samples by model, system) -> matplotlib Figure: pictures of one's own, which
        every run of this system writes beside the others. Samples are Evaluation.samples.
      resolution: the options that its grid was made with, such as points; it names the datasets.
      mean, std: of each channel, in units of which networks see states and the loss counts them;
        empty where both are raw, as of order one.
      units: name of a channel, parameter or axis -> unit, for pictures.
    """

    name: str
    title: str
    dataset: str
    domain: Domain
    channels: tuple[str, ...]
    params: Mapping[str, ParamRange]
    splits: Mapping[str, tuple[float, ...]]
    frame_time: float
    reference: Callable[[], Solver] | None
    coarse_kinds: Mapping[str, SolverKind | Solver]
    refined: Callable[[int], Solver] | None
    initial_state: Callable[[Mapping[str, np.ndarray], int], np.ndarray] | None
    spin_up_frames: int
    corrections: Mapping[str, Callable[[Solver, Net, Features], Stepper]]
    correction_channels: int
    prediction_channels: int
    metrics: tuple[str, ...]
    horizon: int
    long_horizon: int
    coarse_misses: float = 1.5
    time_unit: str = "time units"
    lyapunov_time: float | None = None
    flow: StaggeredGrid | None = None
    refined_limit: int | None = None
    prediction_scale: float | None = None
    on_reference_grid: tuple[str, ...] = ()
    active: np.ndarray | None = None
    regions: Mapping[str, np.ndarray] = field(default_factory=dict)
    body: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    forces: Measure | None = None
    observables: Mapping[str, Measure] = field(default_factory=dict)
    pictures: Pictures | None = None
    figures: Mapping[str, Callable] = field(default_factory=dict)
    resolution: Options = field(default_factory=Options)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        for name, other in (("corrections", "coarse_kinds"), ("coarse_kinds", "corrections")):
            if not getattr(self, name) and getattr(self, other):
                raise InputError(f"{name} of system {self.name} is empty; it needs a default")
        for name in ("refined", "on_reference_grid"):
            if self.reference is None and getattr(self, name):
                raise InputError(f"{name} of system {self.name} needs a reference, which is None")
        space, mask = self.domain.shape, self.domain.mask
        masks = {f"regions[{name!r}]": (region, space) for name, region in self.regions.items()}
        if self.active is not None:
            masks["active"] = self.active, (*space, len(self.channels))
        for name, (values, shape) in masks.items():
            if np.shape(values) != shape or np.asarray(values).dtype != bool or not values.any():
                raise InputError(f"{name} must be {shape} of bool, somewhere True")
        if mask is not None and self.active is not None and self.active[~mask].any():
            raise InputError("active is True in cells that domain.mask leaves to the body")

    @property
    def measured(self) -> slice:
        """The channels that metrics compare."""
        return slice(None) if self.flow is None else slice(2)

    @property
    def parts(self) -> dict[str, tuple]:
        """Regions and channels by name: indices of [sample, frame, *space, channel]."""
        regions = {name: (slice(None), slice(None), mask) for name, mask in self.regions.items()}
        measured = self.channels[self.measured]
        return {**{c: (..., slice(k, k + 1)) for k, c in enumerate(measured)}, **regions}

    def features(self, mode: str) -> Features:
        """What the network sees in ``mode``."""
        check_choice("mode", mode, MODES)
        correcting = mode == "correction"
        return Features(
            param_scales={name: p.scale for name, p in self.params.items()},
            state_channels=len(self.channels),
            out_channels=self.correction_channels if correcting else self.prediction_channels,
            mean=self.mean,
            std=self.std,
            static=self.domain.static,
            active=self.active,
        )

    def stepper(
        self,
        net: Net,
        features: Features,
        mode: str,
        correction: str,
        coarse: str = "",
        residual: bool = False,
    ) -> Stepper:
        """The stepper that is trained: a prediction, or a correction of a coarse solver.

        Raises: InputError: an unknown name, or a solver of a part of the frame with a correction
          that does not do the rest.
        """
        check_choice("mode", mode, MODES)
        if mode == "prediction":
            if self.prediction_scale is not None:
                return Prediction(net, features, True, self.prediction_scale)
            return Prediction(net, features, residual)
        solver = self.corrected(correction, coarse)
        return self.corrections[correction](solver, net, features)

    def coarse_options(self, text: str = "") -> tuple[str, Options]:
        """Name and options of a coarse solver, such as "etdrk2:fraction=0.5"; empty: the default.

        Raises: InputError: an unknown name or option, or a value outside its range.
        """
        if not self.coarse_kinds and not text:
            return "", Options()
        kinds = {
            name: kind.options if isinstance(kind, SolverKind) else Options
            for name, kind in self.coarse_kinds.items()
        }
        return read("coarse", text or next(iter(kinds)), kinds)

    def coarse(self, text: str = "") -> Solver:
        """The coarse solver of that name and options: see ``coarse_options``."""
        name, given = self.coarse_options(text)
        kind = self.coarse_kinds[name]
        return kind.make(given) if isinstance(kind, SolverKind) else kind

    def corrected(self, correction: str, coarse: str = "") -> Solver:
        """The coarse solver, checked to be one that ``correction`` can correct."""
        if not self.corrections:
            raise InputError(
                f"mode='correction' corrects a solver, and {self.name} is data alone; allowed: "
                "prediction"
            )
        check_choice("correction", correction, self.corrections)
        solver = self.coarse(coarse)
        if getattr(solver, "fraction", 1.0) < 1 and correction != "graded":
            raise InputError(
                f"coarse={coarse!r} needs correction=graded, whose network does the rest of the "
                "frame"
            )
        return solver

    def check_params(self, params: Mapping[str, np.ndarray]) -> None:
        """InputError for a missing parameter or one outside its range."""
        for name, allowed in self.params.items():
            if name not in params:
                raise InputError(f"params.{name} is missing; {self.name} needs {list(self.params)}")
            allowed.check(name, params[name])

    def doubts(self, params: Mapping[str, np.ndarray]) -> list[str]:
        """A sentence for each parameter with values that the solver was not validated for."""
        sentences = [self.params[name].doubt(name, values) for name, values in params.items()]
        return [sentence for sentence in sentences if sentence]


def rates_of_change(frame_time: float) -> dict[str, object]:
    """Fields of a System whose networks make rates of change, which are of order one.

    Corrections and predictions are frame_time · net.
    """

    def sequential(solver, net, features):
        return SequentialCorrection(solver, net, features, frame_time)

    return {
        "frame_time": frame_time,
        "corrections": {"sequential": sequential},
        "prediction_scale": frame_time,
    }
