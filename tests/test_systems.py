"""The registry, parameter ranges, kinds of steppers, the study's initial states."""

import numpy as np
import pytest

from tfunroll import systems
from tfunroll.core import Domain, InputError
from tfunroll.stepping.steppers import ParallelCorrection, Prediction, SequentialCorrection
from tfunroll.systems.ks import study_initial_states


def test_unknown_system_is_an_input_error():
    with pytest.raises(InputError, match=r"system='kz'.*allowed: .*ks"):
        systems.get("kz")


@pytest.mark.parametrize("value", [-8.0, 0.0, 0.5, 24.1, 1e3, np.nan])
def test_parameters_outside_their_range(value):
    with pytest.raises(InputError, match=r"domain_size=.*allowed range \[1, 24\]"):
        systems.get("ks").check_params({"domain_size": [8.0, value]})


def test_parameters_missing_and_right():
    with pytest.raises(InputError, match="domain_size is missing"):
        systems.get("ks").check_params({"reynolds": [1.0]})
    systems.get("ks").check_params({"domain_size": np.array([7.2, 11.2])})


@pytest.mark.parametrize("system", sorted(systems.MODULES))
def test_possible_ranges_are_wider_than_validated_ones(system):
    for name, allowed in systems.get(system).params.items():
        low, high = allowed.validated
        assert allowed.low <= low < high <= allowed.high
        assert allowed.how
        assert allowed.doubt(name, np.float32([low, high])) == ""
        if high < allowed.high:
            allowed.check(name, [high, allowed.high])
            assert f"{name}={allowed.high:g} lies beyond" in allowed.doubt(name, [allowed.high])


def test_which_data_lie_beyond_the_validated_range():
    said = {"ks": [], "kolmogorov": [], "aerofoil": ["mach=0.45 lies"]}
    for name, wanted in said.items():
        system = systems.get(name)
        values = np.concatenate([*system.splits.values()])
        doubts = system.doubts({next(iter(system.params)): values})
        assert [" ".join(doubt.split()[:2]) for doubt in doubts] == wanted
    (doubt,) = systems.get("wake").doubts({"reynolds": np.arange(550.0, 556.0)})
    assert doubt.startswith("reynolds=550, 551, 552, 553, 554, … lies beyond [20, 512], where the")


def test_a_range_without_validation_doubts_nothing():
    assert systems.ParamRange(0.0, 1.0, 1.0).doubt("x", [0.5]) == ""


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
    graded = stepper(correction="graded", coarse="etdrk2:fraction=0.25")
    assert isinstance(graded, SequentialCorrection)
    assert (graded.scale, graded.solver.fraction) == (0.75, 0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "guess"}, "mode='guess'"),
        ({"correction": "none"}, "correction='none'"),
        ({"coarse": "rk4"}, "coarse='rk4'"),
        ({"coarse": "etd1:fraction=0.5"}, "'fraction' is not an option of etd1; allowed: substeps"),
        (
            {"coarse": "etdrk2:fraction=1.5"},
            "fraction=1.5 must be a number above 0, up to 1; near.* 1",
        ),
        ({"coarse": "etdrk2:fraction=0.5"}, "fraction=0.5' needs correction=graded"),
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
