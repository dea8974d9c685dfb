"""A trained network as a simulator: NumPy in and out, its mistakes in one line."""

import difflib
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, Params, State, Step, Stepper, compilable
from tfunroll.files import check_writable
from tfunroll.solvers.external import solver_errors
from tfunroll.stepping import steppers
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems import System

DTYPES = ("float32", "float64")
FRAMES_PER_CALL = 32  # of a compiled call, so that one program serves rollouts of any length

Values = Mapping[str, "np.ndarray | tf.Tensor | float"]


@dataclass(frozen=True, eq=False)
class Rollout:
    """Frames of a trained network. ``np.asarray(rollout)`` is ``states``.

    Attributes:
      states: [batch, frame, *space, channel] NumPy; frame k is k + 1 frames after ``start``.
      start: the states it began from, [batch, *space, channel].
      params: by name, each [batch].
      system: whose states these are.
    """

    states: np.ndarray
    start: np.ndarray
    params: Mapping[str, np.ndarray]
    system: System = field(repr=False)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.states, dtype, copy=copy)

    @property
    def times(self) -> np.ndarray:
        """Of the frames after the start, in the system's time unit, [frame]."""
        return self.system.frame_time * np.arange(1, self.states.shape[1] + 1)

    def plot(
        self,
        path: str | pathlib.Path | None = None,
        sample: int = 0,
        reference: np.ndarray | None = None,
    ):
        """One sample as a picture: over space and time in one dimension, else at some frames.

        Grey is what is beyond ten times the largest value of ``start``.

        Args:
          path: a file to write, such as "rollout.png"; none if None.
          sample: of the batch.
          reference: what to compare with, [batch, frame, *space, channel].
        Returns: the matplotlib Figure.
        Raises: InputError: a sample that is not there; a reference of another shape; a file that
          cannot be written.
        """
        from tfunroll.plots.fields import fields  # matplotlib: not before it is needed
        from tfunroll.plots.style import parameters

        if not -len(self.states) <= sample < len(self.states):
            raise InputError(f"sample={sample}: the rollout has {len(self.states)} samples")
        rows = {"network": self.states[sample]}
        if reference is not None:
            if np.shape(reference) != self.states.shape:
                raise InputError(
                    f"reference has shape {np.shape(reference)}, needed: {self.states.shape}, "
                    "[batch, frame, *space, channel]"
                )
            rows = {"reference": np.asarray(reference)[sample], **rows}
        values = ";".join(f"{name}={v[sample]:.6g}" for name, v in self.params.items())
        title = parameters(values, self.system) if values else ""
        figure = fields(rows, self.system, title, limit=10 * np.abs(self.start).max())
        if path is not None:
            _save(figure, pathlib.Path(path))
        return figure


class TrainedStepper:
    """A trained network with its solver; a core.Stepper, so that what takes one takes it too.

        trained = tfunroll.load("runs/mine/WIG/0")
        trained.rollout(state, {"domain_size": 8.0}, frames=100).plot("rollout.png")
        after = trained.bind({"domain_size": 8.0})(state)  # one frame

    States are [batch, *space, channel], NumPy arrays or tensors, float32 or float64: the solver
    computes in their precision, the network in its own. Parameters are numbers, or arrays [batch].
    Each shape is compiled once.

    Attributes:
      stepper: as it was trained; its other attributes are found here too.
      system: the System of its states.
      net: the Keras model.
    """

    def __init__(self, stepper: Stepper, system: System):
        self.stepper, self.system, self.net = stepper, system, stepper.net
        self._programs: dict[int, object] = {}

    def __getattr__(self, name: str):
        if name in ("stepper", "net", "_programs"):  # a copy that is not made yet
            raise AttributeError(name)
        return getattr(self.stepper, name)

    def bind(self, params: Values, through: str = "all") -> Step:
        """The function state -> state one frame later, as tensors; see core.Stepper.

        Raises:
          InputError: a parameter that is missing, unknown, outside its range or of a wrong shape;
            a state of another shape or dtype. In a graph of one's own nothing is checked.
        """
        stepper = self.stepper
        if self.net is not stepper.net:  # such as one whose weights are an argument
            stepper = steppers.with_net(stepper, self.net)
        if not tf.executing_eagerly() or stepper is not self.stepper or through != "all":
            return steppers.bind(stepper, params, through)
        self._check_names(params)

        def step(state: State) -> State:
            state, given = self._checked(state, params)
            with solver_errors():
                return self._program(1)(state, given)[:, 0]

        return step

    def rollout(self, state: np.ndarray, params: Values, frames: int) -> Rollout:
        """Steps states ``frames`` frames on.

        Args:
          state: [batch, *space, channel].
          params: by name, each a number or [batch].
        Returns: the Rollout, whose states are [batch, frame, *space, channel] without the start.
        Raises: InputError: as ``bind``, and for a state that is not finite or no whole number of
          frames.
        """
        if not isinstance(frames, (int, np.integer)) or frames < 1:
            raise InputError(f"frames={frames!r} must be a whole number of at least 1")
        start, given = self._checked(state, params)
        if not np.isfinite(start).all():
            raise InputError("state holds NaN or infinity")
        # noise is numbered from the first step of a call
        fixed = compilable(self.stepper) and not hasattr(self.stepper, "keyed")
        length = FRAMES_PER_CALL if fixed else int(frames)
        parts, now = [], start
        with solver_errors():
            for _ in range(0, frames, length):
                parts.append(self._program(length)(now, given).numpy())
                now = tf.constant(parts[-1][:, -1])
        states = np.concatenate(parts, 1)[:, :frames]
        return Rollout(
            states, start.numpy(), {name: v.numpy() for name, v in given.items()}, self.system
        )

    def _program(self, frames: int):
        """(states, parameters) -> that many frames; compiled once for each shape and dtype."""
        if frames not in self._programs:

            def run(state: State, params: Params) -> tf.Tensor:
                step = self.stepper.bind(params)
                return step(state)[:, None] if frames == 1 else rollout(step, state, frames)

            self._programs[frames] = tf.function(
                run, jit_compile=compilable(self.stepper), autograph=False
            )
        return self._programs[frames]

    def _checked(self, state, params) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """State and parameters as tensors of one dtype, each parameter [batch]."""
        state = state if tf.is_tensor(state) else np.asarray(state)
        kind = getattr(state.dtype, "name", str(state.dtype))
        if kind not in DTYPES:
            raise InputError(
                f"state has dtype {kind}; allowed: {', '.join(DTYPES)}: state.astype('float32')"
            )
        self._check_shape(tuple(state.shape))
        self._check_names(params)
        given = {}
        for name in self.system.params:
            try:
                value = np.asarray(params[name], np.float64)
            except (TypeError, ValueError):
                raise InputError(
                    f"params.{name}={params[name]!r} is no number or array of numbers"
                ) from None
            if value.shape not in ((), (1,), (len(state),)):
                raise InputError(
                    f"params.{name} has shape {value.shape}; needed: a number, or one per state, "
                    f"({len(state)},)"
                )
            given[name] = np.broadcast_to(value, len(state))
        self.system.check_params(given)
        return tf.convert_to_tensor(state), {n: tf.constant(v, kind) for n, v in given.items()}

    def _check_names(self, params) -> None:
        known = list(self.system.params)
        if not isinstance(params, Mapping):
            raise InputError(
                f"params is a {type(params).__name__}; needed: a dictionary of {', '.join(known)}"
            )
        for name in params:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1)
                meant = f"; {near[0]} is meant" if near else ""
                raise InputError(
                    f"params.{name} is unknown{meant}; {self.system.name} has {', '.join(known)}"
                )
        for name in known:
            if name not in params:
                raise InputError(
                    f"params.{name} is missing; {self.system.name} needs {', '.join(known)}"
                )

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        space, channels = self.system.domain.shape, len(self.system.channels)
        wanted = (*space, channels)
        if len(shape) == len(wanted) + 1 and shape[1:] == wanted:
            return
        advice = ""
        if shape == wanted:
            advice = ": a single state; give state[None]"
        elif channels == 1 and shape == space:
            advice = ": a single state without the channel axis; give state[None, ..., None]"
        elif channels == 1 and shape[1:] == space:
            advice = ": the channel axis is missing; give state[..., None]"
        elif len(shape) == len(wanted) + 2 and shape[2:] == wanted:
            advice = ": a trajectory; give one frame of it, such as state[:, 0]"
        needed = ", ".join(["batch", *map(str, wanted)])
        raise InputError(f"state has shape {shape}, needed: ({needed}){advice}")


def _save(figure, path: pathlib.Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    check_writable(str(path.parent))
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:  # a format that there is not
        raise InputError(f"path={str(path)!r} cannot be written: {error}") from None
