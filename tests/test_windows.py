import numpy as np
import pytest
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.data import Trajectories
from tfunroll.data.windows import Windows
from tfunroll.runs.config import RunConfig
from tfunroll.runs.plan import Plan

TRAJECTORIES, FRAMES = 3, 7


@pytest.fixture
def windows():
    states = np.arange(TRAJECTORIES * FRAMES * 2.0).reshape(TRAJECTORIES, FRAMES, 2, 1)
    return Windows(
        Trajectories(
            states=states.astype(np.float32),
            params={"domain_size": np.array([1.0, 2.0, 3.0], np.float32)},
            ids=("a", "b", "c"),
            start_times=np.zeros(3),
            diagnostics={},
        )
    )


def batch_of(windows, seed, position, size, steps):
    drawn = windows.draw(seed, tf.constant(position, tf.int64), size, steps)
    return windows.read(*drawn, steps)


def first_values(windows, seed, position, size, steps):
    batch, _ = batch_of(windows, seed, position, size, steps)
    return batch[:, 0, 0, 0].numpy()


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_an_epoch_holds_every_window_once(windows, steps):
    count = windows.count(steps)
    assert count == TRAJECTORIES * (FRAMES - steps)
    seen = first_values(windows, 0, 0, count, steps)
    starts = [14 * t + 2 * s for t in range(TRAJECTORIES) for s in range(FRAMES - steps)]
    assert sorted(seen) == starts


def test_epochs_seeds_and_horizons_are_shuffled_differently(windows):
    count = windows.count(1)
    first = first_values(windows, 0, 0, count, 1)
    assert (first != first_values(windows, 0, count, count, 1)).any()
    assert (first != first_values(windows, 1, 0, count, 1)).any()
    assert (first != np.sort(first)).any()


def test_stream_does_not_depend_on_how_it_is_cut(windows):
    whole = first_values(windows, 5, 0, 40, 2)
    parts = [first_values(windows, 5, p, 8, 2) for p in range(0, 40, 8)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_windows_are_consecutive_frames_with_their_own_parameter(windows):
    batch, params = batch_of(windows, 0, 0, 12, 3)
    assert batch.shape == (12, 4, 2, 1)
    np.testing.assert_array_equal(np.diff(batch.numpy(), axis=1), 2)
    trajectory = batch[:, 0, 0, 0].numpy() // 14
    np.testing.assert_array_equal(params["domain_size"], trajectory + 1)


def test_horizon_longer_than_the_trajectories(windows):
    windows.check(6)
    with pytest.raises(InputError, match="steps=7 .* allowed: 1 to 6"):
        windows.check(7)


@pytest.mark.parametrize("modality", ["ONE", "NOG", "WIG"])
@pytest.mark.parametrize("batch", [3, 16])
@pytest.mark.parametrize(
    "curriculum", ["1:5,3:2,3:4:1e-4,1:3,2:1,3:3", "3:2,3:1", "1:9,1:9,2:9", "2:9,1-3:202"]
)
def test_no_window_comes_twice_before_all_came_once(windows, modality, batch, curriculum):
    """Over a whole curriculum, whatever its stages, as the Trainer counts them."""
    schedule = Plan(RunConfig(curriculum=curriculum, batch_size=batch)).schedule(modality)
    seen = {}
    for part in schedule.parts(seed=0):
        steps, size = part.unrolling.steps, (part.end - part.begin) * part.batch_size
        seen.setdefault(steps, []).extend(first_values(windows, 0, part.drawn, size, steps))
    for steps, values in seen.items():
        count = windows.count(steps)
        for start in range(0, len(values), count):
            epoch = values[start : start + count]
            assert len(set(epoch)) == len(epoch), (steps, start)


def test_noise_is_sized_by_channel_and_only_where_a_channel_lives():
    states = np.stack([np.full((2, 3, 4), 3.0), np.full((2, 3, 4), 0.5)], -1).astype(np.float32)
    states[:, :, 0] = 100.0  # inside a body
    trajectories = Trajectories(states, {}, ("a", "b"), np.zeros(2), {})
    active = np.ones((4, 2), bool)
    active[0] = False
    rms = Windows(trajectories).rms(active)
    np.testing.assert_allclose(rms, [[0, 0]] + [[3.0, 0.5]] * 3)
