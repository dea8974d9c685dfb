"""What own data say about themselves: copies are refused, what looks wrong is said."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import data, systems
from tfunroll.core import InputError
from tfunroll.evaluation import evaluator as evaluation
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems.ks import initial_state

KS = systems.get("ks")
SIZES = np.array([7.2, 7.6, 8.0, 8.8, 9.2, 9.6, 10.0, 10.4])
SPLITS = {"train": [0, 1, 3, 5, 6, 7], "validation": [2], "test_interpolation": [4]}


@pytest.fixture(scope="module")
def half_frames():
    """Eight trajectories of KS, a frame per half time unit, spun up: [8, 300, 48, 1]."""
    step = KuramotoSivashinsky(substeps=1).bind({"domain_size": tf.constant(SIZES)})
    start = tf.constant(initial_state({"domain_size": SIZES}, 5))
    roll = tf.function(lambda u: rollout(step, u, 400), jit_compile=True, autograph=False)
    return roll(start)[:, 100:].numpy().astype(np.float32)


@pytest.fixture
def load(tmp_path, capsys):
    """(states, sizes, splits) -> what loading them printed, and the texts of its warnings."""

    def load(states, sizes=SIZES, splits=SPLITS, name="own", **options):
        np.save(tmp_path / "states.npy", states)
        path = tmp_path / f"{name}.json"
        described = {"system": "ks", "states": "states.npy", "params": {"domain_size": list(sizes)}}
        path.write_text(json.dumps({**described, **({"splits": splits} if splits else {})}))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load.dataset = data.load(KS, own=path, **options)
        return capsys.readouterr().out, [str(w.message) for w in caught]

    return load


def test_right_data_are_described_without_a_warning(half_frames, load):
    printed, warned = load(half_frames[:, ::2])
    assert "changes per frame from the nearest training state" in printed
    assert "one coarse step misses the next frame by 0.0" in printed
    assert not warned
    assert load(half_frames[:, ::2], report=False) == ("", [])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda u: u[:, :96:2].swapaxes(1, 2), "change 0.28 times"),
        (lambda u: u[:, ::-2], "change -"),
        (lambda u: u, "change 0.5"),
        (lambda u: u[:, ::4], "times as much"),
        (lambda u: u[:, ::5], "misses the next frame by 0.5"),
    ],
    ids=["swapped", "backwards", "half a frame", "two frames", "two and a half"],
)
def test_frames_that_do_not_follow_each_other(half_frames, load, spoil, message):
    _, warned = load(spoil(half_frames))
    (found,) = [w for w in warned if "coarse step" in w]
    assert message in found
    assert "are frame_time, the order of the axes, [trajectory, frame" in found


def test_where_a_coarse_step_tells_nothing_it_is_no_suspicion(half_frames, load, monkeypatch):
    """As on averaged states of the aerofoil's mesh, which settle on the coarse one first."""
    monkeypatch.setitem(vars(KS), "coarse_misses", np.inf)
    printed, warned = load(half_frames[:, ::-2])
    assert "one coarse step misses" in printed
    assert not warned


def test_parameters_in_the_wrong_order(half_frames, load):
    _, warned = load(half_frames[:, ::2], SIZES[::-1], None)
    assert any("are params in their order?" in w for w in warned)


def test_validation_of_what_is_trained(half_frames, load):
    copy = half_frames[:, ::2].copy()
    copy[2] = copy[3] * (1 + 1e-6)
    sizes = SIZES.copy()
    sizes[2] = sizes[3]
    _, warned = load(copy, sizes)
    assert any("measures how well training fits" in w for w in warned)


def test_interpolation_outside_the_training_range_is_said(half_frames, load):
    splits = {**SPLITS, "train": [0, 1, 3], "test_interpolation": [5]}
    _, warned = load(half_frames[:, ::2], splits=splits)
    assert any(
        "test_interpolation holds domain_size=9.6, outside the training" in w for w in warned
    )


def _copied(states, to, frames):
    states = states.copy()
    states[to, frames] = states[0, frames]
    return states


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda u: np.where(np.arange(8)[:, None, None, None] == 5, 1.5, u),
            "5 are constant in time",
        ),
        (
            lambda u: _copied(u, 2, slice(None)),
            r"2 \(validation\) and trajectory 0 \(train\) share",
        ),
        (lambda u: _copied(u, 4, slice(9, 15)), r"4 \(test_interpolation\) .* share 6 frames"),
        (lambda u: np.concatenate([u[:4, :99], u[:4, 50:149]]), "share 49 frames; a trajectory"),
    ],
    ids=["constant", "copied", "in part", "later part"],
)
def test_copies_and_constants_are_refused(half_frames, load, spoil, message):
    with pytest.raises(InputError, match=message) as raised:
        load(spoil(half_frames))
    assert "\n" not in str(raised.value)


def test_a_training_trajectory_that_is_there_twice_is_said(half_frames, load):
    _, warned = load(_copied(half_frames[:, ::2], 1, slice(None)))
    assert any("splits.train: 150 of 900 frames repeat others to the bit" in w for w in warned)


def test_a_solver_that_does_nothing_raises_no_suspicion(half_frames, load, monkeypatch):
    idle = SimpleNamespace(bind=lambda params: tf.identity)
    monkeypatch.setitem(vars(KS), "coarse", lambda: idle)
    monkeypatch.setitem(vars(KS), "coarse_misses", 1.5)  # of own Systems
    _, warned = load(half_frames[:, ::2])
    assert not warned


def test_one_initial_state_for_several_parameters_is_no_copy(half_frames, load):
    load(_copied(half_frames[:, ::2], 2, slice(0, 1)))


def test_own_data_are_never_on_the_reference_grid(half_frames, load):
    settings = evaluation.Settings(4, 8, 1, ("physics_residual",), ("test_interpolation",))
    for name in KS.on_reference_grid:
        load(half_frames[:, ::2], name=name, report=False)
        assert not load.dataset.on_reference_grid
        with pytest.raises(InputError, match=f"physics_residual is not defined for own/{name}"):
            evaluation.check_fit(KS, load.dataset, settings)


def test_own_data_of_an_unchecked_parameter_warn(half_frames, load):
    sizes = SIZES.copy()
    sizes[7] = 20.0
    _, warned = load(half_frames[:, ::2], sizes)
    assert any("domain_size=20 lies beyond [3, 11.2], where the solver" in w for w in warned)
