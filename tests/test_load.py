"""tfunroll.load: NumPy in and out, and one line for everything that does not fit."""

import numpy as np
import pytest
import tensorflow as tf
from trainings import trained_folder

import tfunroll
from tfunroll import systems
from tfunroll.core import InputError
from tfunroll.runs.trained import FRAMES_PER_CALL, Rollout, TrainedStepper
from tfunroll.stepping.steppers import with_net

KS = systems.get("ks")
SIZES = np.array([7.44, 8.0])
U = KS.initial_state({"domain_size": SIZES}, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    trained_folder(folder, initial="glorot")
    return tfunroll.load(folder)


@pytest.fixture(scope="module")
def by_hand(trained):
    """Three frames by the stepper itself, in float64."""
    step, u, frames = trained.stepper.bind({"domain_size": tf.constant(SIZES)}), tf.constant(U), []
    for _ in range(3):
        u = step(u)
        frames.append(u.numpy())
    return np.stack(frames, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states_of_any_kind(trained, by_hand, dtype):
    close = {"float32": 1e-4, "float64": 1e-5}[dtype]  # the network is float32 in both
    for state in (U.astype(dtype), tf.constant(U, dtype)):
        for sizes in (SIZES, SIZES.tolist(), tf.constant(SIZES, tf.float32)):
            one = trained.bind({"domain_size": sizes})(state)
            assert one.dtype == dtype
            np.testing.assert_allclose(one, by_hand[:, 0], atol=close)
    made = trained.rollout(U.astype(dtype), {"domain_size": SIZES}, 3)
    assert made.states.dtype == dtype
    assert made.states.shape == (2, 3, 48, 1)
    np.testing.assert_allclose(made, by_hand, atol=close)
    np.testing.assert_array_equal(made.start, U.astype(dtype))
    np.testing.assert_array_equal(made.times, [1, 2, 3])


def test_a_number_is_for_all_states(trained):
    by_number = trained.rollout(U, {"domain_size": 8}, 2)
    by_array = trained.rollout(U, {"domain_size": np.array([8.0, 8.0])}, 2)
    np.testing.assert_array_equal(by_number, by_array)
    np.testing.assert_array_equal(by_number.params["domain_size"], [8, 8])


def test_each_shape_is_compiled_once(trained):
    fresh = TrainedStepper(trained.stepper, trained.system)
    for frames in (1, 5, FRAMES_PER_CALL, 2 * FRAMES_PER_CALL + 3):
        for size in (7.2, 8.0):
            made = fresh.rollout(U.astype(np.float32), {"domain_size": size}, frames)
            assert made.states.shape == (2, frames, 48, 1)
    assert list(fresh._programs) == [FRAMES_PER_CALL]
    assert fresh._programs[FRAMES_PER_CALL].experimental_get_tracing_count() == 1
    step = fresh.bind({"domain_size": 8.0})
    for _ in range(3):
        step(U.astype(np.float32))
    fresh.bind({"domain_size": SIZES})(U.astype(np.float32))
    assert fresh._programs[1].experimental_get_tracing_count() == 1


def test_it_is_a_stepper_like_others(trained, by_hand):
    """In a graph, around another network, and for what asks for its parts."""
    assert trained.net is trained.stepper.net
    assert trained.solver is trained.stepper.solver
    params = {"domain_size": tf.constant(SIZES)}
    in_graph = tf.function(lambda u: trained.bind(params)(u))(tf.constant(U))
    np.testing.assert_allclose(in_graph, by_hand[:, 0], atol=1e-6)
    other = with_net(trained, lambda x: 0 * trained.net(x))
    alone = trained.solver.bind(params)(tf.constant(U))
    np.testing.assert_allclose(other.bind(params)(tf.constant(U)), alone, atol=1e-12)
    with pytest.raises(AttributeError, match="nonsense"):
        trained.nonsense  # noqa: B018


GOOD = {"domain_size": 8.0}
MISTAKES = [
    (U, {}, "params.domain_size is missing; ks needs domain_size"),
    (U, {"domainsize": 8.0}, "params.domainsize is unknown; domain_size is meant; ks has domain_"),
    (U, {**GOOD, "speed": 1.0}, "params.speed is unknown; ks has domain_size"),
    (U, 8.0, "params is a float; needed: a dictionary of domain_size"),
    (U, {"domain_size": "wide"}, "params.domain_size='wide' is no number or array of numbers"),
    (U, {"domain_size": [7.0, 8.0, 9.0]}, r"has shape \(3,\); needed: a number, or one per state"),
    (U, {"domain_size": -8.0}, "domain_size=-8 is outside the allowed range"),
    (U, {"domain_size": np.nan}, "domain_size=nan is outside the allowed range"),
    (U[0], GOOD, r"state has shape \(48, 1\), needed: \(batch, 48, 1\): a single state; give s"),
    (
        U[..., 0],
        GOOD,
        r"state has shape \(2, 48\).*the channel axis is missing; give state\[\.\.\.",
    ),
    (
        U[0, :, 0],
        GOOD,
        r"a single state without the channel axis; give state\[None, \.\.\., None\]",
    ),
    (U[:, None], GOOD, r"a trajectory; give one frame of it, such as state\[:, 0\]"),
    (U[:, :32], GOOD, r"state has shape \(2, 32, 1\), needed: \(batch, 48, 1\)$"),
    (U.astype(int), GOOD, "state has dtype int64; allowed: float32, float64: state.astype"),
    (np.full_like(U, np.inf), GOOD, "state holds NaN or infinity"),
]


@pytest.mark.parametrize(("state", "params", "message"), MISTAKES)
def test_what_does_not_fit_is_one_line(trained, state, params, message):
    with pytest.raises(InputError, match=message) as error:
        trained.rollout(state, params, 2)
    assert "\n" not in str(error.value)
    if "holds NaN" not in message:  # a step of what diverged is a step
        with pytest.raises(InputError, match=message):
            trained.bind(params)(state)


@pytest.mark.parametrize("frames", [0, -1, 2.5, "3"])
def test_frames_that_are_none(trained, frames):
    with pytest.raises(InputError, match="frames=.* must be a whole number of at least 1"):
        trained.rollout(U, GOOD, frames)


def shown(figure):
    """Title -> the image of each panel that has one."""
    panels = [ax for ax in figure.axes if ax.get_images() and ax.get_label() != "<colorbar>"]
    return [(ax.get_title(), ax.get_images()[0].get_array()) for ax in panels]


def test_a_rollout_in_one_dimension_is_drawn_over_space_and_time(trained, tmp_path):
    made = trained.rollout(U, {"domain_size": SIZES}, 5)
    figure = made.plot(tmp_path / "new" / "rollout.png", sample=1)
    assert (tmp_path / "new" / "rollout.png").read_bytes().startswith(b"\x89PNG")
    ((title, image),) = shown(figure)
    assert title == "network"
    np.testing.assert_allclose(image, made.states[1, :, :, 0].T)
    assert figure.get_suptitle() == "domain size 8 [2π]"
    beside = made.plot(reference=made.states + 1)
    names, images = zip(*shown(beside), strict=True)
    assert names[:2] == ("reference", "network")
    np.testing.assert_allclose(images[2], 1)  # the difference
    made.states[1, 3] = 11 * np.abs(made.start).max()
    ((_, image),) = shown(made.plot(sample=1))
    assert np.ma.getmaskarray(image).all(0).tolist() == [False] * 3 + [True, False]


def test_mistakes_of_a_picture(trained):
    made = trained.rollout(U, GOOD, 2)
    for arguments, message in (
        ({"sample": 2}, "sample=2: the rollout has 2 samples"),
        ({"reference": made.states[0]}, r"reference has shape \(2, 48, 1\), needed: \(2, 2, 48"),
        ({"path": "/proc/none/x.png"}, "cannot be written"),
        ({"path": "rollout.docx"}, "path='rollout.docx' cannot be written: Format 'docx'"),
    ):
        with pytest.raises(InputError, match=message):
            made.plot(**arguments)


@pytest.mark.parametrize("name", ["kolmogorov:points=16", "wake:points=16", "aerofoil"])
def test_pictures_of_flows_in_space(name):
    system = systems.get(name)
    middle = {n: np.array([(p.low + p.high) / 2]) for n, p in system.params.items()}
    start = system.initial_state(middle, 0)
    states = np.stack([start * (1 + 0.1 * k) for k in range(5)], 1)
    states[:, 3:] = np.nan
    figure = Rollout(states, start, middle, system).plot()
    assert figure.axes[0].get_ylabel() == "network"
    assert figure.axes[0].get_title().startswith("frame 1\nt = ")
    assert system.time_unit in figure.axes[0].get_title()
    assert [t.get_text() for t in figure.axes[-2].texts if t.get_visible()] == ["diverged"]
