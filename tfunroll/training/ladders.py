"""Ladders: something cheap is made finer when training stops to gain.

A ladder has rungs, such as numbers of iterations of a solver, or horizons. Training begins on the
lowest; the Rule, a pure function of validation errors, says after which of them it goes one up.

Reference: Bhatia, Köhler & Thuerey, PRDP: Progressively Refined Differentiable Physics (ICLR 2025),
arXiv:2502.19611.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError, Solver
from tfunroll.stepping.steppers import with_solver
from tfunroll.stepping.unrolling import SOLVERLESS, Unrolling
from tfunroll.training.callbacks import ERROR, Callback, Validation

FIRST_CHECKPOINT = 100.0  # a relative error that training soon is below: the first plateau counts


class Climb(NamedTuple):
    """What the rule remembers of a training.

    recent: smoothed errors h of the last validations, the newest last, ``Rule.window`` at most.
    checkpoint: h when the ladder last went up. seen: validations that count.
    """

    recent: tuple[float, ...] = ()
    checkpoint: float = FIRST_CHECKPOINT
    seen: int = 0


@dataclass(frozen=True)
class Rule:
    """Goes up at a plateau of the validation error, as long as going up has paid.

        h_n = α e_n + (1 − α) h_{n−1},   α = 2 / (memory + 1),   h_0 = e_0

    of the errors e of successive validations. Where n ≥ window and h_n / h_{n−window+1} > step, the
    error is on a plateau. There a ladder goes up if h_n / c < stop, as the last step up has paid,
    or h_n / c > 1, as the error grows, with c the value of h at the last step up; then c ← h_n.
    An error that is not finite, of a rollout that diverged, does not count.

    Attributes:
      step: of a plateau; in (0, ∞]: infinity never goes up. Good values 0.9 (patient) to 0.98.
      stop: what the last step up must have made of the error. Good value 0.9.
      memory: validations that h averages over, at least 1, which is no average.
      window: validations that a plateau is seen in, at least 2.
    Raises: InputError: impossible numbers.
    Reference: see the module.
    """

    step: float = 0.98
    stop: float = 0.9
    memory: int = 8
    window: int = 3

    def __post_init__(self):
        for name in ("step", "stop"):
            if not getattr(self, name) > 0:
                raise InputError(f"ladder_{name}={getattr(self, name)} must be positive")
        for name, least in (("memory", 1), ("window", 2)):
            if getattr(self, name) < least:
                raise InputError(f"ladder_{name}={getattr(self, name)} must be at least {least}")

    @property
    def validations(self) -> int:
        """Of a training, without which it never goes up."""
        return self.window + 1

    def on_plateau(self, climb: Climb) -> bool:
        """Whether the last validation was on a plateau."""
        if climb.seen < self.validations:
            return False
        return climb.recent[-1] / climb.recent[0] > self.step

    def told(self, climb: Climb, error: float) -> tuple[Climb, bool]:
        """What it remembers after one more validation, and whether the ladder goes up."""
        if not math.isfinite(error):
            return climb, False
        smooth = climb.recent[-1] if climb.seen else error
        smooth += 2 / (self.memory + 1) * (error - smooth)  # so written, a constant stays one
        recent = (*climb.recent, smooth)[-self.window :]
        climb = climb._replace(recent=recent, seen=climb.seen + 1)
        if not self.on_plateau(climb):
            return climb, False
        gain = smooth / climb.checkpoint
        if self.stop <= gain <= 1:  # the last step up has not paid: nor would the next
            return climb, False
        return climb._replace(checkpoint=smooth), True


class Climbing(Callback):
    """What all ladders share: which rung a training is on, told by its validations.

    Attributes:
      number: of the rung, from 0. settled: a plateau is of no more use to it.
      begun: update at which each rung began; -1: not yet.
    """

    def __init__(self, knob: str, rungs: Sequence[int], rule: Rule):
        self.knob, self.rungs, self.rule = knob, tuple(rungs), rule
        self.climb, self.number, self.settled = Climb(), 0, len(self.rungs) == 1
        self.begun = (0, *(-1 for _ in self.rungs[1:]))

    def __str__(self):
        return f"ladder={self.knob}:{self.rungs[0]}..{self.rungs[-1]}"

    def prepare(self, trainer) -> None:
        self._every = validates_every(trainer.callbacks)

    def check_validations(self, updates: int, every: int) -> None:
        """InputError if a training of so many updates has too few validations to ever go up.

        Args: every: updates between validations; 0: none.
        """
        if len(self.rungs) == 1 or (every and updates // every >= self.rule.validations):
            return
        found = f"are {updates // every} in {updates} updates" if every else "is no Validation"
        raise InputError(
            f"{self} needs at least {self.rule.validations} validations to go up once, of a window "
            f"of {self.rule.window}, and there {found}; validate more often"
        )

    def over(self, fit) -> bool:
        """Whether it stays where it is, whatever comes."""
        return self.number + 1 == len(self.rungs)

    def recorded(self, fit, scalars) -> None:
        error = scalars.get(ERROR)
        # not the validation at the end of a training, where another may go on
        if error is None or fit.update % self._every or self.over(fit):
            return
        self.climb, up = self.rule.told(self.climb, error)
        if up:
            self.go_up(fit)
        elif math.isfinite(error) and self.rule.on_plateau(self.climb):
            self.settled = True

    def go_up(self, fit) -> bool:
        """One rung, if it can."""
        if self.over(fit):
            return False
        self.number += 1
        self.settled = self.number + 1 == len(self.rungs)
        begun = list(self.begun)
        begun[self.number] = fit.update
        self.begun = tuple(begun)
        return True

    def report(self, fit) -> dict[str, object]:
        """What came of it, as plain values."""
        begun = zip(self.rungs, self.begun, strict=True)
        return {
            "knob": self.knob,
            "first": self.rungs[0],
            "last": self.rungs[-1],
            "reached": self.rungs[self.number],
            "begun": {str(rung): update for rung, update in begun if update >= 0},
        }

    def save(self):
        recent = np.full(self.rule.window, np.nan)
        recent[: len(self.climb.recent)] = self.climb.recent
        return {
            "rungs": np.array(self.rungs, np.int64),
            "recent": recent,
            "checkpoint": np.float64(self.climb.checkpoint),
            "seen": np.int64(self.climb.seen),
            "number": np.int64(self.number),
            "settled": np.bool_(self.settled),
            "begun": np.array(self.begun, np.int64),
        }

    def restore(self, values) -> None:
        if not np.array_equal(values["rungs"], self.rungs):
            raise InputError(
                f"{self}: the checkpoint is of a ladder with rungs {values['rungs'].tolist()}, not "
                f"{list(self.rungs)}"
            )
        recent = values["recent"][: min(int(values["seen"]), self.rule.window)]
        checkpoint, seen = float(values["checkpoint"]), int(values["seen"])
        self.climb = Climb(tuple(map(float, recent)), checkpoint, seen)
        self.number, self.settled = int(values["number"]), bool(values["settled"])
        self.begun = tuple(map(int, values["begun"]))


class Horizons(Climbing):
    """Ends the stages of an automatic schedule, counted from 1; its Trainer makes it."""

    def __init__(self, stages: int, rule: Rule):
        super().__init__("stage", range(1, stages + 1), rule)

    def __str__(self):
        return "an automatic curriculum"

    def over(self, fit) -> bool:
        return super().over(fit) or fit.update >= fit.trainer.schedule.updates


class Ladder(Climbing):
    """Refines a number of a solver at plateaus of the validation error.

        callbacks = [Validation(data.validation, every=100), Ladder("pressure", 2, 40, 2)]
        Trainer(SequentialCorrection(solver, net), data.train, stages, callbacks=callbacks)

    The solver is that of the stepper, or of the loss beside a prediction. The ladder ends at the
    solver's own number, with which it is validated and deployed: a network that is trained at K
    iterations learns their error too, so the last updates are at the solver's own number again.
    On one rung it changes nothing, to the bit. One graph serves all rungs.

    Args:
      knob: of the solver's ``knobs``.
      first, last: numbers on the lowest and on the highest rung; the latter is the solver's own.
      increment: from rung to rung.
      step, stop, memory, window: of Rule.
      finish: part of the updates, the last ones, that are on the highest rung in any case.
      updates: of the whole training, where a Trainer sees but its first stages; 0: its schedule's.
    Raises:
      InputError: numbers that do not go up, an unknown knob, validations too rare for the window.
    """

    def __init__(
        self,
        knob: str,
        first: int,
        last: int,
        increment: int = 1,
        *,
        step: float = Rule.step,
        stop: float = Rule.stop,
        memory: int = Rule.memory,
        window: int = Rule.window,
        finish: float = 0.1,
        updates: int = 0,
    ):
        if not 1 <= first <= last or increment < 1:
            raise InputError(
                f"ladder={knob}:{first}..{last}:{increment} must go up: 1 <= first <= last, by at "
                "least 1"
            )
        if not 0 <= finish < 1:
            raise InputError(f"ladder_finish={finish} must lie in [0, 1)")
        rule = Rule(step, stop, memory, window)
        super().__init__(knob, (*range(first, last, increment), last), rule)
        self.finish, self.updates = finish, updates
        self.work = (0,) * 4  # solver iterations, forward and adjoint; as many on the highest rung

    @property
    def moves(self) -> bool:
        """Whether there is more than one rung."""
        return len(self.rungs) > 1

    def full_from(self, fit) -> int:
        """The update from which on it is on the highest rung."""
        return round((1 - self.finish) * (self.updates or fit.trainer.schedule.updates))

    def over(self, fit) -> bool:
        return super().over(fit) or fit.update >= self.full_from(fit)

    def rung(self, fit) -> int:
        """The solver's number for the next update."""
        return self.rungs[-1 if fit.update >= self.full_from(fit) else self.number]

    # ---------------------------------------------------------------- the solver

    def check(self, solver: Solver | None, updates: int, every: int) -> None:
        """InputError unless it fits the solver, and a training of so many updates.

        Args: every: updates between validations; 0: none.
        """
        if solver is None:
            raise InputError(f"{self}: this training has no solver that could be refined")
        if not isinstance(solver, Solver):
            raise InputError(f"{self}: {type(solver).__name__} is no tfunroll.Solver with knobs")
        solver.check_knob(self.knob, self.rungs[0], self.rungs[-1])
        own = solver.knobs[self.knob][1]
        if self.rungs[-1] != own:
            raise InputError(
                f"{self} must end at the solver's own {self.knob}={own}, with which it is "
                "validated and deployed: change the one or the other"
            )
        self.check_validations(updates, every)

    def solver(self, objective) -> Solver | None:
        """What it refines in an Objective: the stepper's solver, or else the loss's."""
        own = getattr(objective.stepper, "solver", None)
        return next(iter(objective.of_level.solvers), None) if own is None else own

    def on(self, objective, rung: int | tf.Tensor):
        """The Objective with the solver at a rung."""
        if getattr(objective.stepper, "solver", None) is None:
            return replace(objective, of_level=objective.of_level.at(self.knob, rung))
        solver = objective.stepper.solver.at(self.knob, rung)
        return replace(objective, stepper=with_solver(objective.stepper, solver))

    # ---------------------------------------------------------------- in training

    def count(self, fit, updates: int, rung: int | None) -> None:
        """Adds the solver's iterations of updates that were made on a rung; None: its only one."""
        rung = self.rungs[-1] if rung is None else rung
        unrolling = fit.schedule.stages[fit.stage].unrolling
        now = self._iterations(fit.trainer.objective, unrolling, rung)
        full = self._iterations(fit.trainer.objective, unrolling, self.rungs[-1])
        self.work = tuple(
            done + updates * more for done, more in zip(self.work, (*now, *full), strict=True)
        )

    def _iterations(self, objective, unrolling: Unrolling, rung: int) -> tuple[int, int]:
        """Of one update, forward and adjoint, for each sample."""
        forward = unrolling.steps * self.solver(objective).iterations(self.knob, rung)
        corrected = getattr(objective.stepper, "solver", None) is not None
        asked = objective.probed(unrolling) and not (corrected and unrolling.through in SOLVERLESS)
        return forward, forward if asked else 0

    def report(self, fit) -> dict[str, object]:
        """See Climbing.report."""
        forward, adjoint, *full = self.work
        return super().report(fit) | {
            "full_from": self.full_from(fit),
            "iterations": {"forward": forward, "adjoint": adjoint},
            "iterations_at_last": {"forward": full[0], "adjoint": full[1]},
            "saved_against_last": 1 - (forward + adjoint) / max(sum(full), 1),
            "validation_at_last": fit.validation,
            "validation_at_reached": self._at_reached,
        }

    def end(self, fit) -> None:
        self._at_reached = fit.validation
        validation = next((c for c in fit.callbacks if isinstance(c, Validation)), None)
        deployed = getattr(fit.trainer.objective.stepper, "solver", None) is not None
        if deployed and self.rungs[self.number] != self.rungs[-1]:
            on_rung = self.on(fit.trainer.objective, self.rungs[self.number])
            self._at_reached = float(validation.compiled(on_rung)(fit.averaged)[0])

    def save(self):
        return super().save() | {"work": np.array(self.work, np.int64)}

    def restore(self, values) -> None:
        super().restore(values)
        self.work = tuple(map(int, values["work"]))


def validates_every(callbacks: Sequence[Callback]) -> int:
    """Updates between validations; 0: there are none."""
    return next((c.every for c in callbacks if isinstance(c, Validation)), 0)


def read(text: str) -> tuple[str, int, int, int]:
    """Knob, first, last and increment of "knob:first..last[:increment]".

    Raises: InputError: another text.
    """
    knob, *numbers = text.split(":")
    try:
        first, last = map(int, numbers[0].split(".."))
        increment = int(numbers[1]) if len(numbers) > 1 else 1
        if len(numbers) > 2:
            raise ValueError
    except (ValueError, IndexError):
        raise InputError(
            f"ladder={text!r} is not knob:first..last[:increment], such as pressure:2..40:2"
        ) from None
    return knob, first, last, increment
