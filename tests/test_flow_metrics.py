"""Metrics of flows against closed forms: Taylor-Green vortices, single modes, linear fields."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import metrics, systems
from tfunroll.core import Domain, InputError
from tfunroll.evaluation.evaluator import Settings, evaluate
from tfunroll.metrics import StaggeredGrid, errors, flows

N = 32
GRID = StaggeredGrid(2 * np.pi / N)
SINC = np.sin(GRID.spacing / 2) / (GRID.spacing / 2)  # a central difference of sin x over cos x

pytestmark = pytest.mark.filterwarnings("error")


def field(u, v, grid=GRID, shape=(N, N)):
    """Velocity [y, x, 2] of functions of (x, y), each where it lives; the box starts at 0."""
    upper = [grid.spacing * np.arange(1, n + 1) for n in shape]
    centre = [place - grid.spacing / 2 for place in upper]
    u_y, u_x = np.meshgrid(centre[0], upper[1], indexing="ij")
    v_y, v_x = np.meshgrid(upper[0], centre[1], indexing="ij")
    return np.stack([u(u_x, u_y) + 0 * u_x, v(v_x, v_y) + 0 * v_x], -1)


def taylor_green(times, k=1, viscosity=0.1):
    """[1, frame, y, x, 2]: u = sin kx cos ky e^(−2νk²t), v = −cos kx sin ky e^(−2νk²t)."""
    start = field(
        lambda x, y: np.sin(k * x) * np.cos(k * y), lambda x, y: -np.cos(k * x) * np.sin(k * y)
    )
    decay = np.exp(-2 * viscosity * k**2 * np.asarray(times))
    return (decay[:, None, None, None] * start)[None]


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_taylor_green_has_its_vorticity_energy_and_enstrophy_and_no_divergence():
    times = np.linspace(0, 2, 5)
    w = taylor_green(times)
    corner = GRID.spacing * np.arange(1, N + 1)
    exact = 2 * np.sin(corner)[:, None] * np.sin(corner) * SINC  # of the central differences
    np.testing.assert_allclose(flows.vorticity(w, GRID)[0, 0], exact, atol=1e-13)
    decay = np.exp(-4 * 0.1 * times)
    np.testing.assert_allclose(flows.kinetic_energy(w, w)[0], decay / 4)
    np.testing.assert_allclose(flows.enstrophy(w, w, GRID)[0], SINC**2 * decay / 2)
    assert np.max(flows.rms_divergence(w, w, GRID)) < 1e-14
    single = flows.rms_divergence(w.astype(np.float32), w.astype(np.float32), GRID)
    assert np.max(single) < 1e-6  # rounding of float32


def test_deviations_of_energy_and_enstrophy():
    r = taylor_green(np.linspace(0, 1, 4))
    np.testing.assert_allclose(flows.energy_error(1.1 * r, r), np.full((1, 4), 0.21))
    np.testing.assert_allclose(flows.enstrophy_error(0.9 * r, r, GRID), np.full((1, 4), 0.19))
    # the same energy at a doubled wavenumber has four times the enstrophy, but for the differences
    finer = taylor_green([0.0], k=2)
    factor = 4 * (np.sin(GRID.spacing) / GRID.spacing) ** 2 / SINC**2
    np.testing.assert_allclose(flows.energy_error(finer, r[:, :1]), 0, atol=1e-14)
    np.testing.assert_allclose(flows.enstrophy_error(finer, r[:, :1], GRID), factor - 1)


def test_divergence_of_a_single_mode():
    w = field(lambda x, y: np.sin(3 * x), lambda x, y: np.sin(3 * y))[None, None]
    factor = np.sin(1.5 * GRID.spacing) / (1.5 * GRID.spacing)
    wanted = np.sqrt(2 * 0.5) * 3 * factor  # rms of 3 cos 3x + 3 cos 3y
    np.testing.assert_allclose(flows.rms_divergence(w, w, GRID), wanted)


@pytest.mark.parametrize("periodic", [(False, False), (True, False), (False, True)])
def test_linear_fields_in_boxes_with_walls(periodic):
    """Solid rotation and expansion: exact where all neighbours exist, and only those count."""
    grid = StaggeredGrid(0.25, periodic)
    shape = (6, 9)
    inner = tuple(n if p else n - 1 for n, p in zip(shape, periodic, strict=True))
    # along a periodic axis a field must not depend on it
    u_y, v_y = (0.0, 0.0) if periodic[0] else (-3.0, 2.0)
    u_x, v_x = (0.0, 0.0) if periodic[1] else (5.0, 4.0)
    w = field(lambda x, y: u_x * x + u_y * y, lambda x, y: v_x * x + v_y * y, grid, shape)
    for values, wanted in (
        (flows.vorticity(w, grid), v_x - u_y),
        (flows.divergence(w, grid), u_x + v_y),
    ):
        assert values.shape == inner
        np.testing.assert_allclose(values, wanted, atol=1e-13)


def test_the_gradient_of_vorticity_has_no_divergence_on_corners():
    """Any stream function at the corners gives a velocity without divergence on the cells."""
    psi = random(5, 7)
    w = np.stack([psi - np.roll(psi, 1, 0), np.roll(psi, 1, 1) - psi], -1)
    assert np.abs(flows.divergence(w, StaggeredGrid(1.0))).max() < 1e-14


@pytest.mark.parametrize("shape", [(32, 32), (16, 48), (9, 15)])
def test_parseval(shape):
    w = random(2, 3, *shape, 2)
    np.testing.assert_allclose(flows.spectrum(w).sum(-1), errors.energy(w))


def test_a_mode_stands_in_its_shell():
    shear = flows.spectrum(field(lambda x, y: np.sin(6 * y), lambda x, y: 0 * x))
    np.testing.assert_allclose(shear, np.where(np.arange(len(shear)) == 6, 0.25, 0), atol=1e-15)
    oblique = flows.spectrum(taylor_green([0.0], k=5)[0, 0])  # |κ| = 7.07
    np.testing.assert_allclose(oblique, np.where(np.arange(len(shear)) == 7, 0.25, 0), atol=1e-15)
    mean = flows.spectrum(np.full((4, 4, 2), [3.0, 4.0]))
    np.testing.assert_allclose(mean, [12.5, 0, 0, 0], atol=1e-15)


def test_the_error_of_the_spectrum_counts_decades():
    r = random(2, 4, 16, 16, 2)
    np.testing.assert_allclose(flows.spectrum_error(np.sqrt(10) * r, r, GRID), 1)
    # time averages: frames in another order, or moved, have the same spectrum
    moved = np.roll(r[:, ::-1], (3, 5), (2, 3))
    np.testing.assert_allclose(flows.spectrum_error(moved, r, GRID), 0, atol=1e-12)
    empty = np.zeros_like(r)
    assert np.isfinite(flows.spectrum_error(empty, r, GRID)).all()
    assert (flows.spectrum_error(empty, empty, GRID) == 0).all()


def test_correlation_of_vorticity_follows_eddies_in_a_stream():
    eddies = taylor_green(np.zeros(N))
    r = np.stack([np.roll(eddy, i, axis=1) for i, eddy in enumerate(eddies[0])])[None]
    u = r.copy()
    u[:, 4:] = np.roll(u[:, 4:], N // 4, axis=3)  # a quarter wave: uncorrelated from frame 5 on
    r[..., 0] += 50
    u[..., 0] += 50
    values, status = metrics.compute("vorticity_correlation_time", u, r, 12, grid=GRID)
    assert (values[0], status[0]) == (5, "ok")
    assert metrics.compute("correlation_time", u, r, 12)[0] == 5
    got = flows.vorticity_correlation(u, r, GRID)[0]
    np.testing.assert_allclose(got, [1] * 4 + [0] * (N - 4), atol=1e-13)


def test_vorticity_does_not_count_at_corners_that_touch_a_body():
    """A body that stands in a stream: all of its vorticity is the jump of the velocity to zero."""
    whole = np.ones((6, 8, 2), bool)
    whole[2:4, 3:5] = False
    w = np.where(whole, [1.0, 0.5], 0.0)[None, None]
    for periodic in ((True, True), (False, False)):
        grid = StaggeredGrid(1.0, periodic, whole)
        assert flows.enstrophy(w, w, dataclasses.replace(grid, whole=None)) > 0
        assert flows.enstrophy(w, w, grid) == 0
        shape = flows.vorticity(w, grid).shape[2:]
        touched = np.zeros((6, 8), bool)
        touched[1:4, 3:5] = True  # corners whose u above or below, j and j + 1, is not whole
        touched[2:4, 2:5] = True  # or v left or right, i and i + 1
        np.testing.assert_array_equal(grid.corners, ~touched[: shape[0], : shape[1]])


def test_vorticity_of_the_wake_is_measured_off_its_body():
    wake = systems.get("wake")
    states = np.ones((1, 1, *wake.domain.shape, 3)) * wake.active
    w = states[..., :2]
    assert np.abs(flows.vorticity(w, wake.flow)).max() > 1
    assert flows.enstrophy(w, w, wake.flow) == 0
    assert (~wake.flow.corners).sum() < 60  # of 1,953


def test_errors_per_frame_and_over_the_rollout():
    r = taylor_green([0.0, 0.5, 1.0])
    np.testing.assert_allclose(errors.relative_l2(1.5 * r, r), np.full((1, 3), 0.5))
    frames = errors.mse(1.5 * r, r)
    np.testing.assert_allclose(errors.rollout_mse(1.5 * r, r), frames.mean(1))
    assert metrics.compute("rollout_mse", 1.5 * r, r, 2)[0] == frames[:, :2].mean()


# ---------------------------------------------------------------------- in an evaluation


class PressureOnly:
    """Leaves the velocity alone and spoils the pressure."""

    def bind(self, params):
        return lambda state: state + tf.constant([0.0, 0.0, 9.0])


FLOW = dataclasses.replace(
    systems.get("ks"),
    domain=Domain((8, 8), (("periodic", "periodic"),) * 2),
    channels=("u", "v", "p"),
    flow=StaggeredGrid(2 * np.pi / 8),
)
LABELS = {
    **dict.fromkeys(("run_id", "mode", "correction", "net"), "x"),
    **{"modality": "ONE", "steps": 1, "seed": 0},
}
NEEDS = {"stepped", "forces", "observed", "coarse", "members"}  # which these flows do not have
NAMES = tuple(n for n, m in metrics.METRICS.items() if not NEEDS & {*m.needs})


@pytest.fixture(scope="module")
def steady():
    states = np.repeat(random(2, 1, 8, 8, 3).astype(np.float32), 9, axis=1)
    params = {"domain_size": np.array([7.44, 9.2], np.float32)}
    split = SimpleNamespace(states=states, params=params, ids=("a", "b"), diagnostics={})
    return SimpleNamespace(name="flow", config="tiny", splits={"test_interpolation": split})


def test_pressure_does_not_count(steady):
    settings = Settings(4, 8, 1, NAMES, ("test_interpolation",))
    evaluation = evaluate(PressureOnly(), FLOW, steady, settings, LABELS)
    table = evaluation.results
    assert set(table["metric"]) == set(NAMES)
    of_errors = [n for n in NAMES if metrics.METRICS[n].error and n != "rms_divergence"]
    assert (table.loc[table["metric"].isin(of_errors), "value"] == 0).all()
    assert (table.loc[table["metric"].str.endswith("_time"), "status"] == "censored").all()
    assert set(evaluation.samples["stability"]) == {"regular"}
    assert evaluation.samples["prediction"].shape == (2, 8, 8, 8, 3)  # pictures keep the pressure


def test_metrics_of_flows_are_refused_elsewhere(steady):
    settings = Settings(4, 8, 1, ("enstrophy",), ("test_interpolation",))
    with pytest.raises(InputError, match=r"metrics=enstrophy is defined for two-dimensional flows"):
        evaluate(PressureOnly(), dataclasses.replace(FLOW, flow=None), steady, settings, LABELS)
    walls = StaggeredGrid(0.5, (False, True))
    with pytest.raises(InputError, match="metrics=spectrum_error is defined on periodic grids"):
        metrics.check_defined(["enstrophy", "spectrum_error"], walls)
