"""Scores of ensembles against closed forms."""

import numpy as np
import pytest
from scipy import stats

from tfunroll import metrics
from tfunroll.core import InputError
from tfunroll.metrics import ensembles

RNG = np.random.default_rng(0)


def exchangeable(members, points=40_000, frames=1):
    """Members and truth, all N(0, 1): [M, 1, frames, points, 1] and without M."""
    drawn = RNG.standard_normal((members + 1, 1, frames, points, 1))
    return drawn[1:], drawn[0]


@pytest.mark.parametrize("count", [2, 5, 20])
def test_members_and_truth_of_one_distribution(count):
    members, truth = exchangeable(count)
    assert ensembles.crps(members, truth)[0, 0] == pytest.approx(1 / np.sqrt(np.pi), rel=0.02)
    assert ensembles.spread_skill(members, truth)[0, 0] == pytest.approx(1, rel=0.02)
    assert ensembles.spread(members)[0, 0] == pytest.approx(np.sqrt((count + 1) / count), rel=0.02)
    covered = min(0.9, (count - 1) / (count + 1))
    assert ensembles.coverage(members, truth)[0, 0] == pytest.approx(covered, abs=0.01)
    flat = np.full(count + 1, 1 / (count + 1))
    np.testing.assert_allclose(ensembles.rank_histogram(members, truth), flat, atol=0.01)


def test_the_crps_of_a_normal_forecast():
    """y = 1.5 from N(0, 1): y (2Φ(y) − 1) + 2φ(y) − 1/√π (Gneiting & Raftery 2007)."""
    members = RNG.standard_normal((200_000, 1, 1, 1, 1))
    y = 1.5
    wanted = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi)
    assert ensembles.crps(members, np.full((1, 1, 1, 1), y))[0, 0] == pytest.approx(
        wanted, rel=0.01
    )


def test_the_crps_is_its_double_sum():
    members, truth = RNG.standard_normal((4, 2, 3, 5, 2)), RNG.standard_normal((2, 3, 5, 2))
    pairs = np.abs(members[:, None] - members[None]).sum((0, 1)) / (2 * 4 * 3)
    wanted = (np.abs(members - truth).mean(0) - pairs).mean((2, 3))
    np.testing.assert_allclose(ensembles.crps(members, truth), wanted, rtol=1e-12)
    np.testing.assert_allclose(ensembles.rollout_crps(members, truth), wanted.mean(1), rtol=1e-12)


def test_equal_members_are_one():
    one, truth = RNG.standard_normal((2, 2, 3, 5, 1))
    members = np.stack([one] * 3)
    np.testing.assert_allclose(ensembles.crps(members, truth), metrics.errors.mae(one, truth))
    assert (ensembles.spread(members) < 1e-12).all()
    assert (ensembles.spread_skill(members, truth) < 1e-12).all()


def test_an_ensemble_that_is_too_sure():
    members, truth = exchangeable(5)
    assert ensembles.spread_skill(members / 2, truth)[0, 0] < 0.6
    histogram = ensembles.rank_histogram(members / 2, truth)
    assert histogram[0] > 0.2
    assert histogram[2] < 0.15
    assert ensembles.coverage(members / 2, truth) < 0.5
    assert ensembles.crps(members / 2, truth) > 1.02 * ensembles.crps(members, truth)


def test_spread_over_skill_is_of_a_group_not_of_a_sample():
    """Two samples of one group: √((2 + 2) / (1 + 9)); a third, of another group, alone."""
    members = np.array([[1.0, 1, 1], [-1, -1, -1]])[..., None, None, None] + [0]
    truth = np.array([1.0, 3.0, 2.0])[:, None, None, None]
    variance = 1.5 * 2
    found = ensembles.spread_skill(members, truth, np.array(["a", "a", "b"]))[:, 0]
    first = np.sqrt(2 * variance / 10)
    np.testing.assert_allclose(found, [first, first, np.sqrt(variance / 4)])
    whole = ensembles.rollout_spread_skill(members, truth, np.array(["a", "a", "b"]))
    np.testing.assert_allclose(whole, found)


def test_ties_share_their_ranks():
    np.testing.assert_allclose(ensembles.rank_histogram(np.ones((3, 4)), np.ones(4)), 0.25)


def test_distances_of_distributions():
    values = RNG.standard_normal((2, 30, 100, 2))
    scale = values.std((1, 2), keepdims=True)
    np.testing.assert_allclose(ensembles.wasserstein(values + 0.3 * scale, values), 0.3)
    assert (ensembles.energy_distance(values, values) == 0).all()
    # N(0, 1) and N(0, 4): 2 √5 √(2/π) − 2/√π − 4/√π
    wanted = np.sqrt(2 * np.sqrt(5) * np.sqrt(2 / np.pi) - 6 / np.sqrt(np.pi))
    other = RNG.standard_normal((2, 30, 100, 2))
    np.testing.assert_allclose(ensembles.energy_distance(2 * other, values), wanted, rtol=0.1)


def computed(name, members, truth, **more):
    return metrics.compute(name, members.mean(0), truth, 3, members=members, **more)


def test_one_that_diverged_is_said_and_stays_finite():
    truth = np.sin(np.arange(40.0)).reshape(2, 4, 5, 1)
    members = np.stack([truth + 0.01, truth - 0.02, truth])
    members[1, 0, 3] = np.nan
    lost = np.any([metrics.diverged(x, truth) for x in members], 0)
    for name in metrics.OF_MEMBERS:
        values, status = computed(name, members, truth, lost=lost)
        assert np.isfinite(values).all()
        if metrics.METRICS[name.partition("@")[0]].kind == "frame":
            assert status[0].tolist() == ["ok"] * 3 + ["diverged"]
        assert np.all(status[1] == "ok")


def test_distributions_are_those_of_all_members():
    truth = RNG.standard_normal((1, 50, 40, 1))
    members = np.stack([truth + 0.3, truth - 0.3])
    of_mean = ensembles.wasserstein(members.mean(0), truth)
    assert of_mean < 1e-12
    assert computed("wasserstein", members, truth)[0] > 0.02


def test_a_level():
    members, truth = exchangeable(39, 4000, 3)
    values, _ = computed("coverage@0.5", members, truth)
    np.testing.assert_allclose(values, 0.5, atol=0.05)


@pytest.mark.parametrize("name", ["coverage@1.5", "coverage@high", "coverage@0"])
def test_levels_that_are_none(name):
    with pytest.raises(InputError, match="must be a number between 0 and 1"):
        metrics.check_defined([name], None, ensemble=True)


@pytest.mark.parametrize("name", metrics.OF_MEMBERS)
def test_one_member_has_none_of_them(name):
    with pytest.raises(InputError, match="the CRPS of one"):
        metrics.check_defined([name], None)
    with pytest.raises(InputError, match="members=1: .*two at least"):
        computed(name, np.zeros((1, 2, 3, 4, 1)), np.zeros((2, 3, 4, 1)))
