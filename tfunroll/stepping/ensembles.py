"""Several networks as one stepper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfunroll.core import InputError, Params, Solver, State, Step, Stepper, check_choice
from tfunroll.stepping.steppers import unwrapped, with_net

HOW = ("rollouts", "steps")
OF_WEIGHTS = ("weights", "average", "soup")  # refused with the reason
PLAIN = (bool, int, float, str)  # attributes of solvers that tell them apart


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Steppers that differ in the weights of their networks alone, in one program.

    rollouts: each member rolls out by itself, and statistics are taken at the end. Its states are
      those of all members, [member · batch, *space, channel]: ``start`` makes them of an initial
      state, ``members`` tells them apart.

        states = rollout(ensemble.bind(params), ensemble.start(state), frames)
        ensemble.members(states)          # [member, batch, frame, *space, channel]

    steps: one rollout, in whose steps the members' increments are averaged: S(u) + mean_i N_i(u)
      for a correction. A deterministic stepper like any other, which exports; it has no spread.

    For u → w_i u the mean of rollouts of k steps is mean_i w_iᵏ, and that of steps (mean_i w_i)ᵏ.
    Networks that have ``beside``, as ours do, are computed side by side, others one by one.

    Attributes:
      steppers: with networks of one architecture, and one solver. how: of HOW.
    Raises:
      InputError: for fewer than two steppers, or some that differ in more than weights.
    """

    steppers: Sequence[Stepper]
    how: str = "rollouts"

    def __post_init__(self):
        if self.how in OF_WEIGHTS:
            raise InputError(
                f"how={self.how!r}: the mean of the weights of independent seeds is no network, as "
                "the same weight means something else in each; allowed: rollouts, steps; the "
                "weights of one training may be averaged: --average, --subspace"
            )
        check_choice("how", self.how, HOW)
        object.__setattr__(self, "steppers", tuple(map(unwrapped, self.steppers)))
        if len(self.steppers) < 2:
            raise InputError(
                f"an Ensemble has {len(self.steppers)} member(s); it needs two at least, such as "
                "the seeds of a modality"
            )
        if self.how == "steps" and any(hasattr(stepper, "keyed") for stepper in self.steppers):
            raise InputError(
                "how='steps': the mean of steps with noise has less noise than any of them; "
                "allowed for stochastic steppers: rollouts"
            )
        first = _facts(self.steppers[0])
        for number, other in enumerate(self.steppers[1:], start=1):
            for name, value in _facts(other).items():
                if value != first[name]:
                    raise InputError(
                        f"members 0 and {number} of the Ensemble differ in {name}: "
                        f"{_short(first[name])} and {_short(value)}; members are steppers of one "
                        "system and data, around networks that differ in their weights alone"
                    )

    @property
    def count(self) -> int:
        """Number of members."""
        return len(self.steppers)

    @property
    def nets(self) -> list:
        """The members' networks."""
        return [stepper.net for stepper in self.steppers]

    @property
    def solver(self) -> Solver | None:
        """That all members correct; None of predictions."""
        return getattr(self.steppers[0], "solver", None)

    def bind(self, params: Params) -> Step:
        """See Stepper.bind; of rollouts the state is that of ``start``, params are [batch]."""
        together = _together(self.nets)
        if self.how == "steps":
            mean = lambda x: tf.reduce_mean(self.members(together(self.start(x))), 0)  # noqa: E731
            return with_net(self.steppers[0], mean).bind(params)
        every = {name: tf.tile(value, [self.count]) for name, value in params.items()}
        return with_net(self.steppers[0], together).bind(every)

    def start(self, state: State) -> tf.Tensor:
        """The state of every member: [batch, …] -> [member · batch, …], member after member."""
        return tf.tile(state, [self.count, *[1] * (state.shape.rank - 1)])

    def members(self, states: tf.Tensor) -> tf.Tensor:
        """[member · batch, …] -> [member, batch, …]."""
        return tf.reshape(states, [self.count, -1, *states.shape[1:]])


def _together(nets) -> Callable[[tf.Tensor], tf.Tensor]:
    """The networks as one, [member · batch, …] to the same."""
    beside = getattr(nets[0], "beside", None)
    if beside is not None:
        return beside(nets)

    def one_by_one(x):
        parts = tf.split(x, len(nets))
        return tf.concat([net(part) for net, part in zip(nets, parts, strict=True)], 0)

    return one_by_one


def _facts(stepper) -> dict[str, object]:
    """What members have in common."""
    net, features = getattr(stepper, "net", None), getattr(stepper, "features", None)
    if net is None or not hasattr(features, "to_json"):
        raise InputError(
            f"a member of the Ensemble is a {type(stepper).__name__} without network and features; "
            "needed: a Prediction or a correction, such as load() gives"
        )
    solver = getattr(stepper, "solver", None)
    settings = {k: v for k, v in getattr(solver, "__dict__", {}).items() if isinstance(v, PLAIN)}
    weights = getattr(net, "trainable_variables", ())
    return {
        "stepper": type(stepper).__name__,
        "network": type(net).__name__,
        "weights": [(v.name, tuple(v.shape), str(v.dtype)) for v in weights],
        "features": features.to_json(),
        "solver": [type(solver).__name__, settings],
        "of": type(getattr(stepper, "stepper", None)).__name__,
        "scale": getattr(stepper, "scale", None),
        "residual": getattr(stepper, "residual", None),
    }


def _short(value) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
