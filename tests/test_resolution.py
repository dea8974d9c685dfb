"""Systems on other grids than the registered ones: solvers, data, whole runs, mistakes."""

import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from contracts import check_system
from tfunroll.datasets.kuramoto_sivashinsky.simulated import truncate

from tfunroll import data, datasets, systems
from tfunroll.core import InputError
from tfunroll.ops.stencils import divergence
from tfunroll.runs.models import load
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems import aerofoil, kolmogorov, ks, wake

ROOT = pathlib.Path(__file__).parents[1]
OTHERS = ("ks:points=64", "kolmogorov:points=48", "wake:points=24", "aerofoil:points=24")
MODULES = {"ks": ks, "kolmogorov": kolmogorov, "wake": wake, "aerofoil": aerofoil}


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize("name", systems.MODULES)
def test_the_registered_grid_is_the_default(name):
    module, system = MODULES[name], systems.get(name)
    assert system is module.SYSTEM is module.make() is module.make(points=module.POINTS)
    assert systems.get(f"{name}:points={module.POINTS}") is system
    assert systems.full_name(f"{name}:points={module.POINTS}") == system.name == name
    assert str(system.resolution) == ""


@pytest.mark.parametrize("name", OTHERS)
def test_another_grid_has_a_name_of_its_own(name):
    system = systems.get(name)
    word, _, text = name.partition(":points=")
    assert system is MODULES[word].make(points=int(text))
    assert systems.full_name(name) == system.name == name
    registered = systems.get(word)
    assert system.domain.shape != registered.domain.shape
    assert (system.dataset, system.frame_time) == (registered.dataset, registered.frame_time)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ks:points=65", "points=65 must be an even number from 44 to 1024; nearest: 64"),
        ("ks:points=12", "points=12 must be an even number from 44 to 1024; nearest: 44"),
        ("kolmogorov:points=8", "points=8 must be an even number from 16 to 512; nearest: 16"),
        ("wake:points=31", "points=31 must be an even number from 16 to 256; nearest: 32"),
        ("aerofoil:points=30", "points=30 must be a multiple of 8 from 16 to 256; nearest: 32"),
        ("wake:point=48", "'point' is not an option of wake; allowed: points.*; nearest: points"),
        ("ks:points=many", "points=many must be an even number"),
    ],
)
def test_impossible_grids(name, message):
    with pytest.raises(InputError, match=message):
        systems.get(name)


def test_make_refuses_what_is_no_number_of_points():
    for points in (48.0, True, "64", 0):
        with pytest.raises(InputError, match=r"points=.* must be an even number"):
            ks.make(points=points)


# ---------------------------------------------------------------------- solvers


@pytest.mark.parametrize("name", OTHERS)
def test_a_system_on_another_grid_keeps_its_contract(name):
    check_system(systems.get(name))


SIZES = {"domain_size": np.array([7.2, 10.4])}


def band_limited():
    """{points: one state of eight modes on a grid of so many}."""
    rng = np.random.default_rng(0)
    spectrum = np.zeros((2, 8, 1), complex)
    spectrum[:, 1:] = rng.normal(size=(2, 7, 1, 2)) @ np.array([1, 1j]) / 4
    return {
        n: np.fft.irfft(np.pad(spectrum, ((0, 0), (0, n // 2 - 7), (0, 0))), n, axis=1) * n
        for n in (48, 64, 128)
    }


def on_48(solver, state, frames):
    step = solver.bind({name: tf.constant(v) for name, v in SIZES.items()})
    return truncate(rollout(step, tf.constant(state), frames).numpy(), 48)


def test_ks_on_finer_grids_is_the_same_solution():
    """Without aliasing the same to rounding; the finer, the nearer, after ten frames."""
    states = band_limited()
    # two sub-steps make modes 7 → 14 → 28 of 7, which alias to 48 − 28 = 20 and above alone
    first = [
        np.fft.rfft(on_48(ks.make(points=n).coarse("etd1"), states[n], 1)[:, 0, :, 0])[:, :20]
        for n in (48, 64)
    ]
    np.testing.assert_allclose(*first, atol=1e-12)
    exact = on_48(ks.make(points=128).reference(), states[128], 10)
    errors = [
        np.abs(on_48(ks.make(points=n).reference(), states[n], 10) - exact).max() for n in (48, 64)
    ]
    assert errors[1] < 0.05 * errors[0]


@pytest.mark.parametrize("points", [16, 32, 48, 64])
@pytest.mark.parametrize("scheme", ["piso", "midpoint"])
def test_the_discrete_steady_flow_of_kolmogorov_stays(points, scheme):
    """u = Re/λ sin(6y), with λ the eigenvalue of this grid's Laplacian, on which f = −∇²u/Re."""
    h = 2 * np.pi / points
    y = h * (np.arange(points) + 0.5)
    state = np.zeros((1, points, points, 3))
    state[..., 0] = (20 * h**2 / (2 - 2 * np.cos(6 * h)) * np.sin(6 * y))[:, None]
    step = (
        kolmogorov.make(points=points)
        .coarse(scheme)
        .bind({"reynolds": tf.constant([20.0], tf.float64)})
    )
    np.testing.assert_allclose(step(tf.constant(state)), state, atol=1e-13)


@pytest.mark.parametrize("points", [24, pytest.param(64, marks=pytest.mark.slow)])
def test_the_wake_conserves_mass_and_feels_its_drag_on_every_grid(points):
    system, params = wake.make(points=points), {"reynolds": np.array([100.0])}
    solver = system.coarse()

    @tf.function(jit_compile=True, autograph=False)
    def run(state):
        step = solver.bind({"reynolds": tf.constant([100.0], tf.float64)})
        return rollout(step, state, 60)[:, -1]

    state = run(tf.constant(system.initial_state(params, 0) * system.active)).numpy()
    leaving = state[0, :, -1, 0].mean()  # through the right side; 1 enters on the left
    assert leaving == pytest.approx(1, abs=1e-12)
    drag = system.forces(state[:, None].astype(np.float32), params)[0, 0, 0]
    assert 1.5 < drag < 2.0  # 1.66 to 1.76 at t = 5 on 24 to 64 points


@pytest.mark.parametrize("points", [24, 48])
def test_grids_of_the_aerofoil_are_of_one_family(points):
    grid, registered = aerofoil.averaged(points), aerofoil.averaged()
    assert grid.shape == (points * 3 // 8, points)
    assert grid.volumes.sum() == pytest.approx(registered.volumes.sum(), rel=0.02)
    # the far field stays where it is
    far, wanted = (np.abs(g.nodes[-1]).max() for g in (grid, registered))
    assert far == pytest.approx(wanted, rel=0.01)
    flow = {"mach": np.array([0.6]), "reynolds": np.array([1e4]), "incidence": np.array([0.0])}
    system = aerofoil.make(points=points)
    uniform = aerofoil.free_stream(flow, grid)[:, None]
    assert system.forces(uniform.astype(np.float32), flow)[0, 0, 1] == pytest.approx(0, abs=1e-3)
    upper = grid.centres[0, points // 2 :, 0]
    mach = np.where(upper < 0.5, 1.2, 0.8)  # isentropic, at the wall
    mach[[0, -1]] = 0.5
    total = (1 + 0.2 * 0.36) ** 3.5 / (1.4 * 0.36)
    uniform[0, 0, 0, points // 2 :, 3] = total / (1 + 0.2 * mach**2) ** 3.5
    place = system.observables["shock position"](uniform, flow)[0, 0]
    near = np.sort(np.abs(upper - place))[:2]
    assert place == pytest.approx(0.5, abs=near.sum())


def test_substeps_follow_the_stable_limit():
    """(|u| + |v|) dt / h stays below 1 with as few as that takes; the reference has four times."""
    for module, size in ((kolmogorov, 2 * np.pi), (wake, 5.0)):
        speed = kolmogorov.CFL_SPEED if module is kolmogorov else wake.SPEED
        for points in (16, 24, 32, 48, 96, 250):
            count = module.least_substeps(points)
            assert module.FRAME_TIME / count * speed <= size / points
            assert count == 1 or module.FRAME_TIME / (count - 1) * speed > size / points
        assert module.least_substeps(32) == 1
    fine = kolmogorov.make(points=48).reference()
    assert (fine.refinement, fine.substeps, fine.shape) == (4, 8, (192, 192))
    assert fine.frame_time == pytest.approx(kolmogorov.FRAME_TIME)


def test_substeps_of_the_aerofoil_go_with_its_smallest_cells():
    assert [aerofoil.make(points=32).refined(n).substeps for n in (1, 2, 4)] == [10, 32, 92]
    counts = [aerofoil.make(points=n).coarse().substeps for n in (16, 24, 48)]
    assert counts == sorted(counts)
    # of the same family, the limit goes with the first cell's height or faster: ours at 32 are 10
    assert 48 / 32 * 10 <= counts[2] <= (48 / 32) ** 2 * 10
    assert aerofoil.make(points=24).reference().substeps > 4 * counts[1]


# ---------------------------------------------------------------------- data

CACHED = {  # of the registered grids, as they have always been called
    "ks": "train-domain_size=7.2-320babb89ab6.npz",
    "kolmogorov": "train-reynolds=300-0-4ac0381e8494.npz",
    "wake": "train-reynolds=100-0-fedcc318b6a9.npz",
    "aerofoil": "train-mach=0.5-0-0def2eef7349.npz",
}


@pytest.mark.parametrize("name", systems.MODULES)
def test_data_of_the_registered_grid_are_made_as_before(name, tmp_path):
    kind = datasets.builder_class(name)
    builder = kind.of("tiny", tmp_path)
    assert builder.builder_config is kind.builder_configs["tiny"]
    assert builder.groups(None)[0].path(tmp_path).name == CACHED[name]


@pytest.mark.parametrize("name", OTHERS)
def test_data_of_another_grid_are_never_those_of_the_registered_one(name, tmp_path):
    text = name.partition(":points=")[2]
    kind, system = datasets.builder_class(name), systems.get(name)
    builder, registered = kind.of("tiny", tmp_path, f"points={text}"), kind.of("tiny", tmp_path)
    assert builder.builder_config.name == f"tiny-points{text}"
    assert builder.data_path != registered.data_path
    assert builder.cache_dir != registered.cache_dir
    paths = [b.groups(None)[0].path(tmp_path).name for b in (builder, registered)]
    assert paths[0] != paths[1]
    assert builder.info.metadata["system"] == name
    assert builder.info.features["state"].shape[1:] == (*system.domain.shape, len(system.channels))
    with pytest.raises(InputError, match=f"tiny-points{text} is missing in .*--system={name} "):
        data.load(system, "tiny", tmp_path, build=False)


def test_data_in_memory_are_those_on_disk(tiny_data_dir):
    registered = systems.get("ks")
    on_disk = data.load(registered, "tiny", tiny_data_dir)
    made = data.generate(registered)
    assert made.fingerprint == on_disk.fingerprint
    assert made.on_reference_grid
    assert made.splits["train"].ids == on_disk.splits["train"].ids
    assert made.config != on_disk.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trajectories": 0}, "trajectories=0 must be at least 1"),
        ({"frames": 1}, "frames=1 must be at least 2"),
        ({"spin_up": -1}, "spin_up=-1 must be at least 0"),
        ({"config": "huge"}, "dataset_config='huge' is unknown"),
        ({"config": "published"}, "dataset_config=published was made elsewhere"),
    ],
)
@pytest.mark.parametrize("name", ["ks", "ks:points=64"])
def test_what_cannot_be_generated(name, changes, message):
    with pytest.raises(InputError, match=message):
        data.generate(systems.get(name), **changes)


def test_a_system_without_a_dataset_generates_nothing():
    burgers = systems.get(f"{ROOT / 'examples' / 'burgers_numpy.py'}:SYSTEM")
    with pytest.raises(InputError, match="burgers has no dataset of its own"):
        data.generate(burgers)


def test_data_made_elsewhere_are_of_the_registered_grid(tmp_path):
    for config in ("published", "hosted"):
        with pytest.raises(InputError, match=f"{config} was made elsewhere.*allowed: tiny, study"):
            datasets.build("ks:points=64", config, tmp_path)


@pytest.mark.parametrize(
    ("name", "spin_up"),
    [
        ("ks:points=64", 10),
        pytest.param("kolmogorov:points=48", 1, marks=pytest.mark.slow),
        pytest.param("wake:points=24", 1, marks=pytest.mark.slow),
        pytest.param("aerofoil:points=24", 1, marks=pytest.mark.slow),
    ],
)
def test_made_in_memory(name, spin_up):
    system = systems.get(name)
    made = data.generate(system, trajectories=1, frames=6, spin_up=spin_up)
    assert (made.name, set(made.splits)) == (system.dataset, set(system.splits))
    for split, trajectories in made.splits.items():
        count = len(system.splits[split])
        assert trajectories.states.shape[:-1] == (count, 6, *system.domain.shape)
        changes = np.abs(np.diff(trajectories.states, axis=1))
        assert changes.reshape(count, 5, -1).max(-1).min() > 0
    if system.flow is not None and system.active is None:
        w = np.moveaxis(made.splits["train"].states[:, -1], -1, 0)
        assert np.abs(divergence(tf.constant(w), system.flow.spacing)).max() < 2e-4


# ---------------------------------------------------------------------- whole runs


@pytest.mark.parametrize(
    "name", [OTHERS[0], *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS[1:])]
)
def test_a_run_on_another_grid(name, tmp_path):
    """Trained for two updates, evaluated beside its baselines, drawn, loaded again."""
    system = systems.get(name)
    settings = {
        **{"system": name, "data_dir": tmp_path, "out": tmp_path / "run", "workers": 1},
        **{"modalities": "NOG", "curriculum": "2:2", "seeds": 0, "width": 3, "depth": 1},
        **{"batch_size": 2, "starts": 1, "horizon": 4, "long_horizon": 40},
    }
    flags = [f"--{key}={value}" for key, value in settings.items()]
    command = [sys.executable, ROOT / "scripts" / "train.py", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = tmp_path / system.dataset / f"tiny-points{name.partition('=')[2]}"
    assert folder.is_dir()
    results = pd.read_csv(tmp_path / "run" / "results.csv")
    assert set(results["system"]) == {name}
    assert {"network", "coarse solver", "persistence"} <= set(results["kind"])
    errors = results[results["metric"] == "relative_error"].groupby("kind")["value"].mean()
    assert 0 < errors["coarse solver"] < np.inf
    assert errors["equal-cost solver"] <= errors["coarse solver"]  # of so small a network the same
    if not name.startswith("aerofoil"):  # whose averaged states settle first
        assert errors["coarse solver"] < 0.1 * errors["persistence"]
    for figure in ("curves.png", "training.png"):
        assert (tmp_path / "run" / figure).exists()
    stepper = load(tmp_path / "run" / "NOG" / "0")
    states = data.load(system, "tiny", tmp_path).splits["train"]
    params = {n: tf.constant(v[:1]) for n, v in states.params.items()}
    after = stepper.bind(params)(tf.constant(states.states[:1, 0]))
    assert after.shape == (1, *system.domain.shape, len(system.channels))


@pytest.mark.slow
def test_the_script_makes_data_of_another_grid(tmp_path):
    def generate(system):
        command = [sys.executable, ROOT / "scripts" / "generate_data.py", f"--data_dir={tmp_path}"]
        return subprocess.run(
            [*command, f"--system={system}", "--workers=1"], capture_output=True, text=True
        )

    made = generate("ks:points=64")
    assert made.returncode == 0, made.stderr
    assert "kuramoto_sivashinsky/tiny-points64/2.0.0" in made.stdout
    folders = {path.name for path in (tmp_path / "kuramoto_sivashinsky").iterdir()}
    assert folders == {"tiny-points64", ".config"}  # the latter is TFDS's
    wrong = generate("ks:point=64")
    assert wrong.returncode == 2
    assert "'point' is not an option of ks; allowed: points" in wrong.stderr.splitlines()[-1]
