"""The TFDS datasets: content, cache and resumption, published arrays, use without tfunroll."""

import dataclasses
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tfunroll.datasets.generation import Group, generate_missing
from tfunroll.datasets.guards import one_at_a_time, workers_lock
from tfunroll.datasets.kuramoto_sivashinsky import simulated

from tfunroll import data, datasets, systems
from tfunroll.core import InputError
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.stepping.unrolling import rollout
from tfunroll.systems import ks

KS = systems.get("ks")
SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "generate_data.py"
SMALL = simulated.SimulatedGroup(
    split="train",
    domain_size=8.0,
    trajectories=6,
    frames=40,
    spin_up=10,
    points=48,
    dt=0.5,
    substeps=2,
)


# ---------------------------------------------------------------------- the tiny set


def test_tiny_holds_what_its_card_says(tiny_data_dir):
    builder = datasets.build("kuramoto_sivashinsky", "tiny", tiny_data_dir)
    assert set(builder.info.splits) == set(KS.splits)
    assert builder.info.metadata["frame_time"] == 1.0
    assert builder.info.metadata["channels"] == ["u"]
    for split, (count, frames) in builder.builder_config.splits.items():
        examples = list(tfds.as_numpy(builder.as_dataset(split=split)))
        sizes = [float(e["params"]["domain_size"]) for e in examples]
        np.testing.assert_allclose(sizes, np.repeat(KS.splits[split], count), rtol=1e-6)
        for e in examples:
            assert e["state"].shape == (frames, 48, 1)
            assert e["state"].dtype == np.float32
            assert e["start_time"] == 201  # after 200 frames of spin-up
            assert e["diagnostics"]["chaotic"].shape == (-(-frames // 100),)
            np.testing.assert_allclose(
                e["diagnostics"]["energy"], (e["state"] ** 2 / 2).mean((1, 2)), rtol=1e-5
            )


def test_all_trajectories_differ(tiny_data_dir):
    builder = datasets.build("ks", "tiny", tiny_data_dir)
    ids, firsts = set(), set()
    for split in builder.info.splits:
        for e in tfds.as_numpy(builder.as_dataset(split=split)):
            ids.add(e["trajectory_id"])
            firsts.add(e["state"][0].tobytes())
    total = sum(info.num_examples for info in builder.info.splits.values())
    assert len(ids) == len(firsts) == total


def test_stored_frames_are_reference_steps(tiny_data_dir):
    builder = datasets.build("ks", "tiny", tiny_data_dir)
    example = next(iter(tfds.as_numpy(builder.as_dataset(split="test_interpolation"))))
    state = tf.constant(example["state"][:50], tf.float64)
    sizes = tf.fill([50], tf.constant(7.44, tf.float64))
    after = KS.reference().bind({"domain_size": sizes})(state)
    np.testing.assert_allclose(after[:-1], state[1:], atol=2e-6)


def test_loads_where_tfunroll_is_not_installed(tiny_data_dir, tmp_path):
    code = f"""
import sys
sys.modules["tfunroll"] = None  # any import of it fails
import tensorflow_datasets as tfds
folder = {str(tiny_data_dir)!r}
splits = tfds.load("kuramoto_sivashinsky/tiny", data_dir=folder)
assert next(iter(splits["train"]))["state"].shape == (1000, 48, 1)
builder = tfds.builder_from_directory(folder + "/kuramoto_sivashinsky/tiny/2.0.0")
assert builder.info.metadata["dt"] == 0.5
assert len(list(builder.as_dataset(split="test_extrapolation"))) == 8
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)


# ---------------------------------------------------------------------- generation and cache


def test_generation_is_deterministic_and_flags_have_the_right_length():
    first, again = SMALL.generate(), SMALL.generate()
    for name, values in first.items():
        assert len(values) == 6
        np.testing.assert_array_equal(values, again[name])
    assert first["diagnostics/chaotic"].shape == (6, 1)


def test_known_chaotic_and_known_laminar_stretches_are_told_apart():
    chaotic = dataclasses.replace(SMALL, domain_size=11.2, trajectories=2, frames=300, spin_up=100)
    assert chaotic.generate()["diagnostics/chaotic"].all()
    # L = 9.4: u settles on a steady state, so nothing grows
    steady = dataclasses.replace(chaotic, domain_size=1.5, split="test_interpolation")
    assert not steady.generate()["diagnostics/chaotic"].any()


def test_splits_and_trajectories_start_differently():
    states = [
        dataclasses.replace(SMALL, split=split, domain_size=size).initial_states()
        for split in KS.splits
        for size in (8.0, 8.8)
    ]
    starts = {state.tobytes() for batch in states for state in batch}
    assert len(starts) == 6 * 2 * len(KS.splits)


def test_cache_is_keyed_by_settings_and_mends_itself(tmp_path):
    other = dataclasses.replace(SMALL, frames=41)
    assert SMALL.path(tmp_path) != other.path(tmp_path)
    generate_missing([SMALL], tmp_path, workers=1, title="test")
    path = SMALL.path(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no temporary file is left
    whole = SMALL.load(tmp_path)
    path.write_bytes(path.read_bytes()[:-2000])
    np.testing.assert_array_equal(SMALL.load(tmp_path)["state"], whole["state"])
    damaged = bytearray(path.read_bytes())
    damaged[5000] ^= 1
    path.write_bytes(damaged)
    np.testing.assert_array_equal(SMALL.load(tmp_path)["state"], whole["state"])


@dataclasses.dataclass(frozen=True)
class _Failing(Group):
    split: str = "train"
    label = "failing"

    def generate(self):
        raise RuntimeError("stopped")


def test_a_stopped_build_keeps_what_is_finished(tmp_path):
    with pytest.raises(RuntimeError, match="stopped"):
        generate_missing([SMALL, _Failing()], tmp_path, workers=1, title="test")
    written = SMALL.path(tmp_path).stat().st_mtime_ns
    generate_missing([SMALL], tmp_path, workers=1, title="test")
    assert SMALL.path(tmp_path).stat().st_mtime_ns == written


@pytest.mark.slow
def test_worker_processes_give_the_same_numbers(tmp_path):
    other = dataclasses.replace(SMALL, domain_size=8.8)
    generate_missing([SMALL, other], tmp_path, workers=2, title="test")
    for group in (SMALL, other):
        assert group.path(tmp_path).exists()
        np.testing.assert_array_equal(group.load(tmp_path)["state"], group.generate()["state"])


def test_truncate_keeps_resolved_modes():
    x = 2 * np.pi * np.arange(96) / 96
    coarse = simulated.truncate((np.cos(5 * x) + np.sin(30 * x))[:, None], 48)
    np.testing.assert_allclose(coarse[:, 0], np.cos(5 * x[::2]), atol=1e-12)


# ---------------------------------------------------------------------- mistakes, script


def test_unknown_names(tmp_path):
    with pytest.raises(InputError, match=r"dataset='wave'.*kuramoto_sivashinsky"):
        datasets.build("wave", "tiny", tmp_path)
    with pytest.raises(
        InputError, match=r"dataset_config='huge'.*fine, hosted, published, study, tiny"
    ):
        datasets.build("ks", "huge", tmp_path)
    with pytest.raises(InputError, match="workers=-1"):
        datasets.build("ks", "study", tmp_path, workers=-1)


def test_beam_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)  # any import of it fails
    monkeypatch.delitem(sys.modules, "apache_beam.options", raising=False)
    with pytest.raises(InputError, match=r"pip install 'tfunroll\[beam\]'"):
        datasets.build("ks", "tiny", tmp_path, beam_options="")


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="data_dir"):
        datasets.build("ks", "tiny", tmp_path / "file")


def test_script_prints_a_table_and_one_line_for_a_mistake(tiny_data_dir, tmp_path):
    def run(*args):
        return subprocess.run(
            [sys.executable, SCRIPT, *args],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=False,
        )

    good = run(f"--data_dir={tiny_data_dir}")
    assert good.returncode == 0, good.stderr
    assert "test_extrapolation" in good.stdout
    assert "domain_size 6.8, 11.2" in good.stdout
    assert str(tiny_data_dir) in good.stdout
    bad = run("--dataset_config=huge")
    assert bad.returncode == 2
    assert [line for line in bad.stderr.splitlines() if "error" in line][-1].startswith("error: ")
    assert "Traceback" not in bad.stderr


def test_data_card_and_citation_come_along(tiny_data_dir):
    builder = datasets.build("ks", "tiny", tiny_data_dir)
    assert "u_xxxx" in builder.info.description
    assert "10.1016/j.cma.2024.117441" in builder.info.citation
    info = json.loads((builder.data_path / "dataset_info.json").read_text())
    assert info["version"] == "2.0.0"


def test_a_frame_is_at_its_time():
    """The first kept one is spin_up + 1 frames after the initial state."""
    for spin_up in (0, 10):
        made = dataclasses.replace(SMALL, spin_up=spin_up, frames=2).generate()
        assert (made["start_time"] == spin_up + 1).all()
    size = {"domain_size": tf.fill([6], tf.constant(8.0, tf.float64))}
    state = KS.reference().bind(size)(tf.constant(SMALL.initial_states()))
    first = dataclasses.replace(SMALL, spin_up=0, frames=2).generate()["state"][:, 0]
    np.testing.assert_allclose(state, first, atol=1e-5)


@pytest.mark.parametrize("name", ["ks", "wake", "aerofoil"])
def test_outdated_data_are_refused_and_say_how_to_rebuild(name, tmp_path):
    system = systems.get(name)
    for config in ("tiny", "hosted"):
        folder = tmp_path / system.dataset / config
        (folder / "1.0.0").mkdir(parents=True)
        with pytest.raises(
            InputError, match=r"of version 1\.0\.0, which 2\.0\.0 replaces"
        ) as raised:
            data.load(system, config, tmp_path)
        assert f"generate_data.py --system={name} --dataset_config={config}" in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=r"of version 1\.0\.0"):
        datasets.publish(datasets.builder_class(name).of("tiny", tmp_path), tmp_path, "CC0-1.0")


def test_building_anew_beside_an_outdated_version(tiny_data_dir, tmp_path):
    (tmp_path / "kuramoto_sivashinsky" / "tiny" / "1.0.0").mkdir(parents=True)
    shutil.copytree(tiny_data_dir / "cache", tmp_path / "cache")
    datasets.build("ks", "tiny", tmp_path)
    assert len(data.load(KS, "tiny", tmp_path, build=False).splits["train"].states) == 36


# ---------------------------------------------------------------------- the fine reference


@pytest.mark.slow
def test_fine_is_converged():
    """Doubling the grid of `fine` changes nothing, and its time error is second order and small."""
    sizes = np.array([6.8, 11.2])

    def run(points, dt, frames, state):
        solver = KuramotoSivashinsky(points, "etdrk2", dt, round(1 / dt))
        compiled = tf.function(
            lambda u, d: rollout(solver.bind({"domain_size": d}), u, frames),
            jit_compile=True,
            autograph=False,
        )
        return compiled(tf.constant(state), tf.constant(sizes)).numpy()

    spun_up = run(192, 0.05, 150, ks.initial_state({"domain_size": sizes}, 0, points=192))[:, -1]

    def after_10(points, dt):
        frames = run(points, dt, 10, simulated.truncate(spun_up, points))
        return simulated.truncate(frames, 48)[:, [0, -1]]

    def error(states):
        return np.sqrt(np.mean((states - truth) ** 2, (0, 2, 3)) / np.mean(truth**2, (0, 2, 3)))

    config = next(c for c in datasets.builder_class("ks").BUILDER_CONFIGS if c.name == "fine")
    truth = after_10(192, config.dt / 8)
    fine, doubled = after_10(config.points, config.dt), after_10(192, config.dt)
    assert error(fine)[0] < 5e-4  # one frame
    assert error(fine)[1] < 5e-3  # ten frames
    assert np.abs(fine - doubled).max() < 1e-2 * np.abs(fine - truth).max()
    assert error(fine)[1] / error(after_10(config.points, config.dt / 2))[1] > 3.5
    assert error(after_10(48, 0.5))[0] > 50 * error(fine)[0]  # what `study` does


def test_builds_wait_for_each_other_and_leave_no_lock(tmp_path):
    inside, most = [], []

    def build():
        with one_at_a_time(tmp_path / "cache" / "1.0.0"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=build) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1] * 12
    assert not list((tmp_path / "cache").iterdir())


def test_a_build_waits_for_the_workers_of_a_killed_one(tmp_path):
    cache, entered = tmp_path / "cache" / "1.0.0", threading.Event()
    cache.mkdir(parents=True)
    orphan = workers_lock(cache).open("w")
    fcntl.flock(orphan, fcntl.LOCK_SH)

    def build():
        with one_at_a_time(cache):
            entered.set()

    thread = threading.Thread(target=build)
    thread.start()
    assert not entered.wait(0.2)
    orphan.close()  # as its death does
    assert entered.wait(10)
    thread.join(10)


def test_what_killed_builds_left_goes(tmp_path, monkeypatch):
    builder = datasets.builder_class("ks").of("tiny", tmp_path)
    leftover = builder.data_path.parent / f"incomplete.A1B2C3_{builder.version}"
    others = [builder.data_path.parent / name for name in ("incomplete.A1B2C3_0.9.0", "notes")]
    for folder in (leftover, *others):
        (folder / "part").mkdir(parents=True)
    seen = []

    def prepared(self):
        seen.append((leftover.exists(), list(self.cache_dir.parent.glob(".*.lock")) != []))

    monkeypatch.setattr(tfds.core.GeneratorBasedBuilder, "download_and_prepare", prepared)
    builder.download_and_prepare()
    assert seen == [(False, True)]  # under the lock, before anything is built
    assert all(folder.exists() for folder in others)


@dataclasses.dataclass(frozen=True)
class _Endless(Group):
    number: int
    split: str = "train"

    @property
    def label(self):
        return f"endless-{self.number}"

    def generate(self):
        while True:
            time.sleep(0.1)


_KILLED = """
import pathlib, sys
from tests.test_datasets import _Endless, generate_missing
if __name__ == "__main__":
    generate_missing([_Endless(0), _Endless(1)], pathlib.Path(sys.argv[1]), 2, "test")
"""


@pytest.mark.slow
def test_workers_end_with_a_killed_build(tmp_path):
    root = pathlib.Path(__file__).parents[1]
    (tmp_path / "script.py").write_text(_KILLED)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    script = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "1.0.0")]
    process = subprocess.Popen(script, env=environment)
    try:
        lock = workers_lock(tmp_path / "1.0.0")
        end = time.monotonic() + 300
        while not lock.exists():  # a worker is at work
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(1)
    finally:
        process.kill()
        process.wait()
    began = time.monotonic()
    with one_at_a_time(tmp_path / "1.0.0"):
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("imported", ["tfunroll.datasets", "tfunroll.datasets.cylinder_wake"])
def test_tfds_finds_the_builders_of_an_imported_package(imported, tmp_path):
    """In a process that has imported nothing else of tfunroll's; data are made on the way."""
    code = (
        f"import sys, {imported}, tensorflow_datasets as tfds\n"
        "assert 'tfunroll.systems.ks' not in sys.modules\n"  # nothing is imported before its time
        f"name, where = 'kuramoto_sivashinsky', {str(tmp_path)!r}\n"
        "if sys.argv[1:]:\n"
        "    split = tfds.load(f'{name}/tiny', data_dir=where, split='validation')\n"
        "    print(len(split), next(iter(split))['state'].shape)\n"
        "else:\n"
        "    print(tfds.builder_cls(name).__module__)\n"
    )
    built = imported == "tfunroll.datasets"
    done = subprocess.run(
        [sys.executable, "-c", code, *(["load"] if built else [])],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    module = "tfunroll.datasets.kuramoto_sivashinsky.kuramoto_sivashinsky_dataset_builder"
    wanted = f"{len(KS.splits['validation'])} (300, 48, 1)" if built else module
    assert done.stdout.strip().splitlines()[-1] == wanted
