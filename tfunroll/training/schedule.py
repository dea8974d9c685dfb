"""Schedules: stages of unrolled training, with their learning rates and places in the data."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.stepping.unrolling import Unrolling
from tfunroll.training.ladders import Rule


@dataclass(frozen=True)
class Stage:
    """A number of updates of one unrolling.

    Attributes:
      unrolling: ONE, NOG(m), WIG(m) or any other Unrolling.
      updates: of the optimizer.
      rate: learning rate at the stage's beginning.
      warmup: updates over which it rises to ``rate``.
      batch_size: samples per update.
    Raises: InputError: impossible numbers.
    """

    unrolling: Unrolling
    updates: int
    rate: float = 5e-4
    warmup: int = 0
    batch_size: int = 16

    def __post_init__(self):
        if not isinstance(self.unrolling, Unrolling):
            raise InputError(
                f"unrolling={self.unrolling!r} of a Stage must be ONE, NOG(m), WIG(m) or another "
                "Unrolling"
            )
        for name in ("updates", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name}={value} must be at least 1, a whole number")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise InputError(f"learning_rate={self.rate} must be positive")
        if not 0 <= self.warmup <= self.updates:
            raise InputError(f"warm-up={self.warmup} must lie between 0 and updates={self.updates}")


@dataclass(frozen=True)
class Schedule:
    """Stages one after the other.

        rate of a stage's update n = rate · min(1, (n + 1) / warm-up) · decay_rate^⌊n / decay_every⌋
                                     · 2^−(plateaus met in this stage)

    Attributes:
      stages: at least one.
      decay_rate, decay_every: see above; 0: no decay.
      plateau: a stage's rate is halved after this many validations without gain; 0: never.
      automatic: the stages, of growing horizons, end at plateaus of the validation error by this
        Rule, and the ``updates`` of each are those of all together. None: each has its own.
    Raises: InputError: impossible numbers.
    """

    stages: tuple[Stage, ...]
    decay_rate: float = 0.9
    decay_every: int = 2000
    plateau: int = 0
    automatic: Rule | None = None

    def __post_init__(self):
        if not self.stages:
            raise InputError("stages of a Schedule is empty; it needs at least one Stage")
        for stage in self.stages:
            if not isinstance(stage, Stage):
                raise InputError(f"stages holds a {type(stage).__name__}; needed: Stage")
        if not 0 < self.decay_rate <= 1:
            raise InputError(f"decay_rate={self.decay_rate} must lie in (0, 1]")
        for name in ("decay_every", "plateau"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)} must be at least 0")
        if self.automatic and len({stage.updates for stage in self.stages}) > 1:
            raise InputError(
                "stages of an automatic Schedule share their updates: give all the same number"
            )

    @staticmethod
    def of(stages: "Schedule | Stage | Iterable[Stage]") -> "Schedule":
        """A Schedule as it is, or of stages."""
        if isinstance(stages, Schedule):
            return stages
        return Schedule(tuple(stages) if isinstance(stages, Iterable) else (stages,))

    @property
    def updates(self) -> int:
        """Of all stages."""
        return self.stages[0].updates if self.automatic else self.before(len(self.stages))

    def parted(self, ends: Sequence[int]) -> "Schedule":
        """Of an automatic schedule the stages so far: those that ended there, and the next one."""
        if not self.automatic:
            return self
        parts = zip(self.stages, itertools.pairwise((0, *ends, self.updates)), strict=False)
        stages = tuple(
            replace(stage, updates=end - begin, warmup=min(stage.warmup, end - begin))
            for stage, (begin, end) in parts
        )
        return replace(self, stages=stages, automatic=None)

    @property
    def states(self) -> int:
        """States that training processes."""
        return self.states_at(self.updates)

    def states_at(self, update: int) -> int:
        """States that the first ``update`` updates process.

        Of an automatic schedule at most: as if all were of its longest horizon.
        """
        if self.automatic:
            last = self.stages[-1]
            return min(update, self.updates) * last.batch_size * last.unrolling.steps
        total = 0
        for number, stage in enumerate(self.stages):
            done = min(max(0, update - self.before(number)), stage.updates)
            total += done * stage.batch_size * stage.unrolling.steps
        return total

    def before(self, number: int) -> int:
        """Updates before stage ``number``."""
        return sum(stage.updates for stage in self.stages[:number])

    def drawn(self, number: int) -> int:
        """Windows of its horizon that were drawn before stage ``number``.

        A stage goes on in the stream of its horizon where the last stage of that horizon stopped.
        """
        steps = self.stages[number].unrolling.steps
        same = [s for s in self.stages[:number] if s.unrolling.steps == steps]
        return sum(stage.updates * stage.batch_size for stage in same)

    def first(self, count: int) -> "Schedule":
        """The first stages alone."""
        return replace(self, stages=self.stages[:count])

    def rate(self, update: tf.Tensor, rate: tf.Tensor, warmup: tf.Tensor) -> tf.Tensor:
        """The learning rate of an update of a stage, counted from 0, without plateaus."""
        rate *= tf.minimum((tf.cast(update, tf.float32) + 1) / tf.maximum(warmup, 1.0), 1.0)
        if not self.decay_every:
            return rate
        return rate * self.decay_rate ** tf.cast(update // self.decay_every, tf.float32)
