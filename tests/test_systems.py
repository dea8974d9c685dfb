"""The registry, parameter ranges, and a system's solvers, states and steppers."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import systems
from tfunroll.core import Domain, InputError, Solver
from tfunroll.steppers import ParallelCorrection, Prediction, SequentialCorrection
from tfunroll.systems.base import SPLITS
from tfunroll.systems.ks import study_initial_states

NAMES = sorted(systems.MODULES)


@pytest.fixture(params=NAMES)
def system(request):
    return systems.get(request.param)


def parameters(system, batch):
    """The first training values, the same for each parameter of the system."""
    values = np.resize(system.splits["train"], batch)
    return dict.fromkeys(system.params, values)


def test_unknown_system_is_an_input_error():
    with pytest.raises(InputError, match=r"system='kz'.*allowed: .*ks"):
        systems.get("kz")


def test_description_is_complete_and_frozen(system):
    assert systems.get(system.name) is system
    assert set(system.splits) == set(SPLITS)
    train = system.splits["train"]
    assert not set(train) & {v for s in SPLITS if s.startswith("test") for v in system.splits[s]}
    low, high = min(train), max(train)
    assert all(low < v < high for v in system.splits["test_interpolation"])
    assert not any(low <= v <= high for v in system.splits["test_extrapolation"])
    assert system.domain.shape
    with pytest.raises(dataclasses.FrozenInstanceError):
        system.name = "other"


def test_initial_states_are_reproducible(system):
    params = parameters(system, 5)
    first, again = system.initial_state(params, 3), system.initial_state(params, 3)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (5, *system.domain.shape, len(system.channels))
    assert first.dtype == np.float64
    assert np.isfinite(first).all()
    assert np.abs(system.initial_state(params, 4) - first).max() > 1e-3
    if system.name == "ks":
        assert np.abs(first[0] - first[1]).max() > 0


@tf.function(jit_compile=True, autograph=False)
def frame(solver, state, params):
    return solver.project(solver.bind(params)(solver.lift(state)))


def test_solvers_step_a_frame(system):
    params = {name: tf.constant(v) for name, v in parameters(system, 2).items()}
    state = tf.constant(system.initial_state(params, 0))
    solvers = [system.reference(), system.refined(4)]
    for solver in [*solvers, *(system.coarse(kind, 1.0) for kind in system.coarse_kinds)]:
        assert isinstance(solver, Solver)
        assert solver.frame_time == pytest.approx(system.frame_time)
        assert solver.channels == len(system.channels)
        after = frame(solver, state, params)
        assert after.shape == state.shape
        assert after.dtype == state.dtype


@pytest.mark.parametrize("value", [-8.0, 0.0, 0.5, 1e3, np.nan])
def test_parameters_outside_their_range(value):
    with pytest.raises(InputError, match=r"domain_size=.*allowed range \[1, 64\]"):
        systems.get("ks").check_params({"domain_size": [8.0, value]})


def test_parameters_missing_and_right():
    with pytest.raises(InputError, match="domain_size is missing"):
        systems.get("ks").check_params({"reynolds": [1.0]})
    systems.get("ks").check_params({"domain_size": np.array([7.2, 11.2])})


def stepper(mode="correction", correction="parallel", coarse="etd1", **options):
    ks = systems.get("ks")
    return ks.stepper(lambda x: x[..., :1], ks.features(mode), mode, correction, coarse, **options)


def test_stepper_kinds():
    assert isinstance(stepper("prediction"), Prediction)
    assert stepper("prediction", residual=True).residual
    assert not stepper("prediction").residual
    assert isinstance(stepper(), ParallelCorrection)
    assert (stepper().scale, stepper().solver.scheme) == (0.5, "etd1")
    sequential = stepper(correction="sequential", coarse="etdrk2")
    assert isinstance(sequential, SequentialCorrection)
    assert (sequential.scale, sequential.solver.scheme) == (0.5, "etdrk2")
    graded = stepper(correction="graded", coarse="etdrk2", solver_fraction=0.25)
    assert isinstance(graded, SequentialCorrection)
    assert (graded.scale, graded.solver.fraction) == (0.75, 0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "guess"}, "mode='guess'"),
        ({"correction": "none"}, "correction='none'"),
        ({"coarse": "rk4"}, "coarse='rk4'"),
        ({"solver_fraction": 0.5}, "solver_fraction=0.5"),
        ({"coarse": "etdrk2", "solver_fraction": 1.5}, "fraction=1.5"),
    ],
)
def test_bad_stepper_options(options, message):
    with pytest.raises(InputError, match=message):
        stepper(**options)


def test_study_initial_states():
    x = 8.0 * np.arange(48) / 48
    angle = 2 * np.pi * x / 8
    states = study_initial_states(8.0)[..., 0]
    wanted = np.cos(2 * np.pi * x) - 0.2 * np.cos(angle) * (1 - 0.3 * np.sin(angle))
    np.testing.assert_allclose(states[3], wanted, atol=1e-14)
    assert len(np.unique(states.round(9), axis=0)) == 6


@pytest.mark.parametrize("boundary", [(("periodic", "wall"),), (), (("zero", "zero"),) * 2])
def test_bad_domain(boundary):
    with pytest.raises(InputError, match="boundary"):
        Domain((48,), boundary)
