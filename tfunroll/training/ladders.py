"""When something cheap is made finer: the rule of ladders, as pure functions of validation errors.

A ladder has rungs, such as numbers of iterations of a solver, or horizons. Training begins on the
lowest; the rule says after which validations it goes one up.

Reference: Bhatia, Köhler & Thuerey, PRDP: Progressively Refined Differentiable Physics (ICLR 2025),
arXiv:2502.19611.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from tfunroll.core import InputError

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
