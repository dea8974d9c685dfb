"""How new a validation split is: known distances, invariances, and the splits of every dataset."""

import dataclasses
import re

import numpy as np
import pytest

from tfunroll import datasets, novelty, systems
from tfunroll.systems.base import TEST_SPLITS

POINTS = 2 * np.pi * np.arange(16) / 16


def waves(phase, speed, amplitude=1.0, frames=60, mean=0.0):
    """A travelling wave, [1, frame, x, 1], and a channel that is a thousand times smaller."""
    wave = amplitude * np.sin(POINTS - phase - speed * np.arange(frames)[:, None])
    return np.stack([mean + wave, 1e-3 * wave + mean], -1)[None]


def median(validation, train):
    return np.median(novelty.novelty(validation, train))


def test_distance_is_measured_in_changes_per_frame():
    """Another amplitude a: the nearest state has the same phase and is |a − 1| away."""
    speed = 2 * np.pi / 60
    found = median(waves(0.0, speed, 1.5), waves(0.0, speed))
    np.testing.assert_allclose(found, 0.5 / (1.5 * 2 * np.sin(speed / 2)), rtol=1e-4)
    half = median(waves(speed / 2, speed), waves(0.0, speed))  # half a frame later
    np.testing.assert_allclose(half, 0.5, rtol=0.01)


def test_the_same_states_at_another_mean_are_not_new():
    speed = 2 * np.pi / 60
    train = np.concatenate([waves(0.3, speed), waves(2.0, speed, mean=5.0)])
    assert median(train[:1].copy(), train) < 1e-3
    assert median(waves(0.0, speed, mean=-3.0), train) < 0.6  # its own phase between two frames


def test_channels_count_alike_whatever_their_size():
    rng = np.random.default_rng(0)
    a, b = (np.cumsum(rng.normal(size=(3, 50, 16, 2)), 1) for _ in range(2))
    found = novelty.novelty(a, b)
    scaled = novelty.novelty(a * [1.0, 1e3], b * [1.0, 1e3])
    np.testing.assert_allclose(found, scaled, rtol=1e-3)
    assert found.shape == (3, 50)
    assert novelty.novelty(a, b, samples=30).shape == (3, 10)


def test_what_is_seen_and_what_stands_still_is_said():
    speed = 2 * np.pi / 60
    train = waves(0.0, speed)
    line, doubts = novelty.describe(waves(1.0, speed), train)
    assert line.startswith("validation: ")
    assert "changes per frame from training" in doubts[0]
    _, doubts = novelty.describe(waves(0.0, speed, 1.5), train)
    assert not doubts
    still = np.concatenate([waves(0.0, speed, 1.5), waves(0.0, speed, 1e-3)])
    _, doubts = novelty.describe(still, train)
    assert "1 of 2 validation trajectories hardly move, the first is number 1" in doubts[-1]


@pytest.mark.parametrize("name", sorted(systems.MODULES))
def test_validation_is_at_no_test_parameter(name):
    """Of any config of a dataset, its own value or that of another config."""
    builder = datasets.builder_class(name)
    varied = [systems.get(name).splits]
    varied += [c.mach for c in builder.BUILDER_CONFIGS if hasattr(c, "mach")]
    tests = {value for splits in varied for split in TEST_SPLITS for value in splits[split]}
    for splits in varied:
        assert not tests & set(splits["validation"])
        assert min(splits["train"]) <= min(splits["validation"])
        assert max(splits["validation"]) <= max(splits["train"])


def test_the_same_parameters_are_validated_on_chaotic_systems_alone():
    for name in systems.MODULES:
        splits = systems.get(name).splits
        chaotic = name in ("ks", "kolmogorov")
        assert bool(set(splits["validation"]) & set(splits["train"])) == chaotic


def test_ks_tiny_is_new(tiny_data_dir, recwarn):
    text = datasets.describe(datasets.build("ks", "tiny", tiny_data_dir))
    # chaotic, so that digits depend on the machine
    distance = float(re.search(r"validation: ([\d.]+) changes per frame", text)[1])
    assert 1.5 < distance < 3
    assert not [w for w in recwarn if "validation" in str(w.message)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kolmogorov", "wake", "aerofoil"])
def test_tiny_sets_are_new(name, tmp_path):
    builder = datasets.build(name, "tiny", tmp_path)
    states = {
        split: np.stack([e["state"] for e in builder.examples(split)])
        for split in ("train", "validation")
    }
    assert median(states["validation"], states["train"]) > 2
    assert (novelty.motion(states["validation"], states["train"]) > 0.1).all()


def test_another_kick_at_a_training_parameter_is_nothing_new():
    """What the wake's validation was: the same limit cycle, at another phase."""
    speed = 2 * np.pi / 90
    train = np.concatenate([waves(p, speed, a, 450) for p, a in ((0.0, 1.0), (1.0, 1.4))])
    assert median(waves(2.0, speed, 1.0, 180), train) < 0.6
    assert median(waves(2.0, speed, 1.2, 180), train) > 1


def test_split_seeds_differ():
    """Same parameters, other initial states: what keeps KS and Kolmogorov flow apart."""
    for name in ("ks", "kolmogorov"):
        builder = datasets.builder_class(name)(config="tiny")
        groups = {g.split: g for g in builder.groups(None)}
        same = dataclasses.replace(groups["validation"], split="test_interpolation")
        start = "initial_states" if name == "ks" else "initial_state"
        states = [getattr(g, start)() for g in (groups["validation"], same)]
        assert np.abs(states[0] - states[1]).max() > 0.01
