"""Ladders: their rule, and physics and horizons that are refined while training goes on."""

import numpy as np
import pytest

from tfunroll.core import InputError
from tfunroll.training.ladders import Climb, Rule

STAIRS = [20.0] * 20 + [10.0] * 20 + [5.0] * 20 + [4.8] * 20
STAIRS = [e / 20 for e in STAIRS]
GOLDEN = {
    "a steady gain": (Rule(), [0.9**n for n in range(60)], set()),
    "a constant": (Rule(), [1.0] * 60, {3}),
    "a growing error": (Rule(), [1.01**n for n in range(10)], {3, 4, 5, 6, 7, 8, 9}),
    "stairs": (Rule(), STAIRS, {3, 33, 53}),
    "stairs, less memory": (Rule(step=0.95, memory=6), STAIRS, {3, 28, 48}),
}


def steps_up(rule, errors):
    """After which errors the ladder goes up."""
    climb, found = Climb(), set()
    for n, error in enumerate(errors):
        climb, up = rule.told(climb, error)
        found |= {n} if up else set()
    return found


def steps_up_by_history(step, stop, memory, window, errors):
    """The same from the whole history, again at every validation, in NumPy."""
    found, checkpoint = set(), 100.0
    for n in range(len(errors)):
        alpha = 2 / (1 + memory)
        weights = alpha * (1 - alpha) ** np.arange(n + 1)  # of the newest first
        changes = errors - errors[0]
        smooth = [errors[0] + (weights[: k + 1] * changes[k::-1]).sum() for k in range(n + 1)]
        if n < window or not smooth[n] / smooth[n - window + 1] > step:
            continue
        if smooth[n] / checkpoint < stop or smooth[n] / checkpoint > 1:
            checkpoint = smooth[n]
            found.add(n)
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_sequences(name):
    rule, errors, wanted = GOLDEN[name]
    assert steps_up(rule, errors) == wanted
    assert steps_up_by_history(*vars(rule).values(), np.array(errors)) == wanted


@pytest.mark.parametrize("seed", range(20))
def test_the_rule_is_that_of_the_whole_history(seed):
    rng = np.random.default_rng(seed)
    rule = Rule(
        step=rng.uniform(0.8, 1.02),
        stop=rng.uniform(0.6, 1),
        memory=int(rng.integers(1, 12)),
        window=int(rng.integers(2, 8)),
    )
    errors = np.exp(-np.linspace(0, rng.uniform(0, 3), 80) + 0.1 * rng.normal(size=80))
    found = steps_up(rule, errors)
    assert found == steps_up_by_history(*vars(rule).values(), errors)
    assert found or rule.step < 0.9


def test_what_the_rule_remembers_is_all_it_needs():
    errors = np.array(STAIRS)
    for cut in (2, 10, 33, 34):
        climb = Climb()
        for error in errors[:cut]:
            climb, _ = Rule().told(climb, error)
        for n in range(cut, len(errors)):
            climb, up = Rule().told(
                Climb(climb.recent[-3:], climb.checkpoint, climb.seen), errors[n]
            )
            assert up == (n in {3, 33, 53})
        assert len(climb.recent) == 3


def test_a_rollout_that_diverged_does_not_count():
    errors = [1.0, 1.0, np.nan, 1.0, np.inf, 1.0, 1.0]
    assert steps_up(Rule(), errors) == {5}  # the fourth that counts


def test_an_infinite_step_never_goes_up():
    assert steps_up(Rule(step=np.inf), [1.0] * 60) == set()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"step": 0}, "ladder_step=0 must be positive"),
        ({"step": np.nan}, "ladder_step=nan must be positive"),
        ({"stop": -1}, "ladder_stop=-1 must be positive"),
        ({"memory": 0}, "ladder_memory=0 must be at least 1"),
        ({"window": 1}, "ladder_window=1 must be at least 2"),
    ],
)
def test_impossible_rules_are_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        Rule(**wrong)
