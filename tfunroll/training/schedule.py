"""Schedules: stages of unrolled training, with their learning rates and places in the data."""

import bisect
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.stepping.unrolling import Unrolling
from tfunroll.training.ladders import Rule

DRAWN_FOR = 100  # updates for which a random horizon is kept


@dataclass(frozen=True)
class Stage:
    """A number of updates of one unrolling.

    Attributes:
      unrolling: ONE, NOG(m), WIG(m) or any other Unrolling.
      updates: of the optimizer.
      rate: learning rate at the stage's beginning.
      warmup: updates over which it rises to ``rate``.
      batch_size: samples per update.
      least: the horizon is drawn uniformly from ``least`` to ``unrolling.steps``, by the seed,
        anew every DRAWN_FOR updates; 0: it is ``unrolling.steps``.
    Raises: InputError: impossible numbers.
    """

    unrolling: Unrolling
    updates: int
    rate: float = 5e-4
    warmup: int = 0
    batch_size: int = 16
    least: int = 0

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
        if not 0 <= self.least <= self.unrolling.steps:
            raise InputError(
                f"least={self.least} must lie between 1 and steps={self.unrolling.steps}, or be 0"
            )

    @property
    def horizons(self) -> tuple[Unrolling, ...]:
        """All that may be drawn."""
        longest = self.unrolling.steps
        if not self.least:
            return (self.unrolling,)
        return tuple(self.unrolling.shortened(m) for m in range(self.least, longest + 1))


class Part(NamedTuple):
    """Updates of one stage with one horizon.

    number: of the stage. unrolling, batch_size: of its updates. begin, end: the first, and the one
    after the last. drawn: windows of its horizon that were drawn before.
    """

    number: int
    unrolling: Unrolling
    batch_size: int
    begin: int
    end: int
    drawn: int


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
        if self.automatic and self.random:
            raise InputError("stages of an automatic Schedule draw no horizons: least must be 0")

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

    def states(self, seed: int = 0, update: int | None = None) -> int:
        """States that training with a seed processes, or its first ``update`` updates.

        Of an automatic schedule at most: as if all were of its longest horizon.
        """
        end = self.updates if update is None else update
        if self.automatic:
            last = self.stages[-1]
            return min(end, self.updates) * last.batch_size * last.unrolling.steps
        done = ((p, min(end, p.end) - p.begin) for p in self.parts(seed) if p.begin < end)
        return sum(count * p.batch_size * p.unrolling.steps for p, count in done)

    @property
    def random(self) -> bool:
        """Whether a seed draws horizons, so that seeds have different ones."""
        return any(len(stage.horizons) > 1 for stage in self.stages)

    def part(self, seed: int, update: int) -> Part:
        """The one that an update belongs to; the last one's where all are done."""
        parts = self.parts(seed)
        ends = [part.end for part in parts]
        return parts[min(bisect.bisect_right(ends, update), len(parts) - 1)]

    def parts(self, seed: int = 0) -> tuple[Part, ...]:
        """All updates, horizon by horizon: a pure function of the seed, so nothing to save.

        Each goes on in the stream of its horizon's windows where the last of that horizon stopped.
        """
        return _parts(self.stages, seed if self.random else 0)

    def before(self, number: int) -> int:
        """Updates before stage ``number``."""
        return sum(stage.updates for stage in self.stages[:number])

    def first(self, count: int) -> "Schedule":
        """The first stages alone."""
        return replace(self, stages=self.stages[:count])

    def rate(self, update: tf.Tensor, rate: tf.Tensor, warmup: tf.Tensor) -> tf.Tensor:
        """The learning rate of an update of a stage, counted from 0, without plateaus."""
        rate *= tf.minimum((tf.cast(update, tf.float32) + 1) / tf.maximum(warmup, 1.0), 1.0)
        if not self.decay_every:
            return rate
        return rate * self.decay_rate ** tf.cast(update // self.decay_every, tf.float32)


@functools.lru_cache(maxsize=64)
def _parts(stages: tuple[Stage, ...], seed: int) -> tuple[Part, ...]:
    parts, drawn, before = [], {}, 0
    for number, stage in enumerate(stages):
        horizons, end = stage.horizons, before + stage.updates
        length = DRAWN_FOR if len(horizons) > 1 else stage.updates
        for begin in range(before, end, length):
            # RandomState: its numbers are the same in every version of NumPy
            draw = np.random.RandomState([seed, number, begin - before]).randint(len(horizons))
            unrolling, stop = horizons[draw], min(begin + length, end)
            done = drawn.get(unrolling.steps, 0)
            parts.append(Part(number, unrolling, stage.batch_size, begin, stop, done))
            drawn[unrolling.steps] = done + (stop - begin) * stage.batch_size
        before = end
    return tuple(parts)
