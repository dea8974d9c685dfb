"""The system aerofoil and its dataset: averaging, corrections, metrics, parts, labels, mistakes."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tfunroll.datasets.generation import read_arrays
from tfunroll.datasets.transonic_aerofoil import simulated

from tfunroll import data, datasets, metrics, nets, systems
from tfunroll.core import InputError
from tfunroll.data.trajectories import _without_steady
from tfunroll.ops.averaging import refine, volume_average
from tfunroll.ops.gas import conservative
from tfunroll.solvers.positivity import find_failure
from tfunroll.systems import aerofoil

SYSTEM = systems.get("aerofoil")
FLOW = {"mach": np.array([0.5, 0.7]), "reynolds": np.full(2, 1e4), "incidence": np.full(2, 8.0)}
SMALL = simulated.SimulatedGroup(
    split="train",
    mach=(0.5, 0.6),
    incidence=8.0,
    trajectory=0,
    frames=30,
    spin_up=1,
    grid=simulated.Grid(cells=32, layers=12, first=0.03, substeps=12, refinement=1),
)


@pytest.fixture(scope="module")
def small():
    return SMALL.generate()


def tensors():
    return {name: tf.constant(value, tf.float64) for name, value in FLOW.items()}


def fine_state():
    """A smooth flow on the reference's mesh, [2, 48, 128, 4]."""
    mesh = aerofoil.mesh()
    state = aerofoil.free_stream(FLOW, mesh)
    x, y = np.moveaxis(mesh.centres, -1, 0)
    bump = np.exp(-((x - 0.5) ** 2) - y**2)[None, ..., None]
    return state * (1 + bump * [0.2, -0.3, 0.1, 0.3])


# ------------------------------------------------------------------ averaging


def test_averages_conserve():
    mesh, state = aerofoil.mesh(), fine_state()
    coarse = volume_average(tf.constant(state), mesh, 4).numpy()

    def totals(state, mesh):
        q = conservative(tf.constant(np.moveaxis(state, -1, 0))).numpy()
        return (q * mesh.volumes).sum((-2, -1))

    assert coarse.shape == (2, *SYSTEM.domain.shape, 4)
    np.testing.assert_allclose(totals(coarse, mesh.coarsen(4)), totals(state, mesh), rtol=1e-12)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_refined_states_average_to_what_they_came_from(factor):
    coarse = volume_average(tf.constant(fine_state()), aerofoil.mesh(), 4)
    mesh = aerofoil.mesh().coarsen(4 // factor)
    fine = refine(coarse, mesh, factor)
    np.testing.assert_allclose(volume_average(fine, mesh, factor), coarse, atol=1e-12)
    uniform = tf.constant(aerofoil.free_stream(FLOW))
    expected = aerofoil.free_stream(FLOW, mesh)
    np.testing.assert_allclose(refine(uniform, mesh, factor), expected, atol=1e-12)


def test_refined_solvers():
    for factor in (1, 2, 4):
        solver = aerofoil.refined(factor)
        assert solver.shape == (12 * factor, 32 * factor)
        assert solver.frame_time == pytest.approx(SYSTEM.frame_time)
    with pytest.raises(InputError, match="refined=3: the mesh can be refined by 1, 2, 4"):
        aerofoil.refined(3)
    with pytest.raises(InputError, match="dt=.* beyond the stable limit at mach=0.4: largest"):
        aerofoil.solver(substeps=40)


def test_initial_states_differ_by_a_kick_behind_the_trailing_edge():
    mesh = aerofoil.mesh()
    change = aerofoil.initial_state(FLOW, 3, mesh) - aerofoil.free_stream(FLOW, mesh)
    assert np.abs(change[..., [0, 1, 3]]).max() == 0
    where = np.unravel_index(np.abs(change[0, ..., 2]).argmax(), mesh.shape)
    x, y = mesh.centres[where]
    assert 1.0 < x < 1.6
    assert abs(y) < 0.3
    assert 0.05 < np.abs(change).max() <= aerofoil.KICK


# ------------------------------------------------------------------ what is measured


def test_shock_position_of_a_given_pressure():
    """M_s falls linearly through 1 at x = 0.6; without supersonic flow it is 0."""
    upper = aerofoil.averaged().shape[1] // 2
    x = aerofoil.averaged().centres[0, upper:, 0]
    mach = np.array([0.75])
    total = (1 + 0.2 * mach**2) ** 3.5 / (1.4 * mach**2)
    states = np.ones((1, 2, 12, 32, 4))
    squared = 1 + 0.5 * (0.6 - x)
    states[0, 0, 0, upper:, 3] = total / (1 + 0.2 * squared) ** 3.5
    states[0, 1, 0, upper:, 3] = total / (1 + 0.2 * 0.8) ** 3.5
    place = aerofoil.shock_position(states, {"mach": mach})
    np.testing.assert_allclose(place, [[0.6, 0.0]], atol=1e-12)
    states[0, 1, 0, -1, 3] = np.nan
    assert np.isnan(aerofoil.shock_position(states, {"mach": mach})[0, 1])


def test_pressure_coefficient_and_mach_number_of_the_free_stream():
    state = aerofoil.free_stream(FLOW)[:, None]
    np.testing.assert_allclose(aerofoil.mach_number(state)[:, 0, 0, 0], FLOW["mach"])
    assert np.abs(aerofoil.pressure_coefficient(state, FLOW)).max() < 1e-12


def test_metrics_of_channels_and_observables():
    rng = np.random.default_rng(0)
    r = rng.normal(size=(2, 5, 12, 32, 4))
    u = r.copy()
    u[..., 3] += 0.1
    values = {
        name: metrics.compute(name, u, r, 5, parts=SYSTEM.parts)[0]
        for name in ("mse@p", "mse@u", "rollout_mse@wake")
    }
    np.testing.assert_allclose(values["mse@p"], 0.01)
    assert np.all(values["mse@u"] == 0)
    np.testing.assert_allclose(values["rollout_mse@wake"], 0.0025)
    places = np.array([[0.1, 0.2, np.nan]]), np.array([[0.1, 0.25, 0.3]])
    observed, status = metrics.compute(
        "observed_error@x", u[:1, :3], r[:1, :3], 5, observed={"x": places}
    )
    np.testing.assert_allclose(observed, [[0, 0.05, np.inf]])
    assert status[0, 2] == "diverged"
    metrics.check_defined(SYSTEM.metrics, None, SYSTEM.parts, True, SYSTEM.observables)
    with pytest.raises(InputError, match="observable"):
        metrics.check_defined(["observed@x"], None, SYSTEM.parts, True, SYSTEM.observables)


def test_forces_of_a_pressure_gradient_are_those_on_the_sections_area():
    """At rest with p = p∞ + g·x the force is −g · area (Gauss), ρ U² = 1: NACA 0012 has 0.0822.

    The pressure is that of the first cells, whose centres are 0.01 chords off each wall: along y
    the section seems so much thicker.
    """
    x, y = np.moveaxis(SYSTEM.domain.centres, -1, 0)
    states = aerofoil.free_stream(FLOW)[:, None].repeat(3, 1)
    states[..., 1:3] = 0
    for frame, rise in enumerate((0 * x, x, y)):
        states[:, frame, ..., 3] += 0.1 * rise
    got = aerofoil.forces(states, FLOW)
    sine, cosine = np.sin(np.radians(8)), np.cos(np.radians(8))
    wanted = -2 * 0.1 * 0.0822 * np.array([[0, 0], [cosine, -sine], [sine, cosine]])
    np.testing.assert_allclose(got[:, :2], [wanted[:2]] * 2, rtol=0.02)
    np.testing.assert_allclose(got[:, 2], [wanted[2]] * 2, rtol=0.25)
    assert np.abs(got[:, 1] - got[:, 2]).min() > 0.01


# ------------------------------------------------------------------ the dataset


def test_a_group_holds_what_the_card_says(small):
    assert small["state"].shape == (2, 30, 12, 32, 4)
    assert small["state"].dtype == np.float32
    assert small["diagnostics/forces"].shape == (2, 30, 2)
    assert small["diagnostics/spin_up_forces"].shape == (2, 20, 2)
    assert small["diagnostics/steady"].shape == (2,)
    np.testing.assert_allclose(small["params/mach"], [0.5, 0.6])
    np.testing.assert_allclose(small["start_time"], 1.05)
    assert small["diagnostics/forces"][..., 0].min() > 0.01  # drag
    assert small["diagnostics/forces"][..., 0].max() < 1


def test_parts_survive_a_kill_and_change_nothing(small, tmp_path, monkeypatch):
    made = simulated.SimulatedGroup.time_unit

    def stops(self, state, unit):
        if unit == 2:
            raise KeyboardInterrupt
        return made(self, state, unit)

    monkeypatch.setattr(simulated.SimulatedGroup, "time_unit", stops)
    with pytest.raises(KeyboardInterrupt):
        SMALL.load(tmp_path)
    assert len(list(SMALL.path(tmp_path).with_suffix(".parts").iterdir())) == 2
    units = []

    def counts(self, state, unit):
        units.append(unit)
        return made(self, state, unit)

    monkeypatch.setattr(simulated.SimulatedGroup, "time_unit", counts)
    resumed = SMALL.load(tmp_path)
    assert units == [2]
    assert not SMALL.path(tmp_path).with_suffix(".parts").exists()
    for name, values in small.items():
        np.testing.assert_array_equal(resumed[name], values, err_msg=name)
        np.testing.assert_array_equal(read_arrays(SMALL.path(tmp_path))[name], values)


@pytest.mark.parametrize(
    ("kick", "where"),
    [
        (60.0, r"1\.0\d* \(spin-up included\) in cell j=8, i=10 at x="),
        (40.0, r"1\.\d+ \(spin-up included\)"),  # run once more, it may round otherwise and escape
    ],
)
def test_a_run_without_positive_pressure_names_case_and_time(kick, where, tmp_path, monkeypatch):
    made = simulated.SimulatedGroup.time_unit

    def spoil(self, state, unit):
        if unit == 1:
            state = state.copy()
            state[1, 10, 10, 1] += kick  # flow torn apart: a vacuum behind it
        return made(self, state, unit)

    monkeypatch.setattr(simulated.SimulatedGroup, "time_unit", spoil)
    message = rf"mach=0\.6: density or pressure is not positive at time {where}"
    with pytest.raises(InputError, match=message):
        SMALL.load(tmp_path)
    assert len(list(SMALL.path(tmp_path).with_suffix(".parts").iterdir())) == 1


def test_a_failure_is_found_at_its_sub_step(small):
    solver = aerofoil.solver(SMALL.grid.substeps, SMALL.grid.mesh())
    state = SMALL.initial_state()
    assert find_failure(solver, state, SMALL.params, 1) is None
    state[0, 2, 5, 3] = -1.0
    failure = find_failure(solver, state, SMALL.params, 1)
    assert (failure.time, failure.sample, failure.cell) == (0.0, 0, (2, 5))


def test_a_sub_step_that_is_too_long_is_named():
    fast = SMALL.initial_state()
    fast[..., 1] *= 30
    with pytest.raises(InputError, match=r"dt=0\.00416667 is beyond the stable limit at mach=0\.5"):
        SMALL.time_unit(fast, 0)


def test_steady_flows_are_left_out_of_training(small):
    flows = data.Trajectories(
        small["state"],
        {n: small[f"params/{n}"] for n in FLOW},
        ("a", "b"),
        small["start_time"],
        {"steady": np.array([True, False])},
    )
    kept = _without_steady(flows, "here")
    assert kept.ids == ("b",)
    np.testing.assert_array_equal(kept.states[0], small["state"][1])
    none = dataclasses.replace(flows, diagnostics={"steady": np.array([True, True])})
    with pytest.raises(InputError, match="here: all trajectories are steady"):
        _without_steady(none, "here")


def test_configs():
    builder = datasets.builder_class("aerofoil")
    study = builder.of("study", "/tmp/nowhere")
    assert "hours" in study.cost_estimate()
    groups = study.groups(None)
    assert {g.mach for g in groups if g.split == "train"} == {study.builder_config.mach["train"]}
    default = builder.of("default", "/tmp/nowhere")
    assert {g.mach for g in default.groups(None)} == {
        (m,) for values in SYSTEM.splits.values() for m in values
    }
    seeds = [(g.split, g.mach, g.trajectory) for g in default.groups(None)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("net", ["resnet", "unet", "attention_unet", "fno", "graph", "transformer"])
def test_every_network_takes_the_curved_grid(net):
    features = SYSTEM.features("prediction")
    made = nets.build(
        net,
        SYSTEM.domain,
        features.in_channels,
        features.out_channels,
        size="32k",
        initial="glorot",
    )
    stepper = SYSTEM.stepper(made, features, "prediction", "", "")
    state = tf.constant(aerofoil.initial_state(FLOW, 0), tf.float32)
    params = {name: tf.cast(value, tf.float32) for name, value in tensors().items()}
    with tf.GradientTape() as tape:
        after = stepper.bind(params)(state)
        loss = tf.reduce_mean(tf.square(after))
    assert after.shape == state.shape
    for gradient in tape.gradient(loss, made.trainable_variables):
        assert np.isfinite(gradient).all()
