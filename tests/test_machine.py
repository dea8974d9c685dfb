"""How much of the machine a job may use, from files as Linux writes them."""

import math
import os

import psutil
import pytest

from tfunroll import machine


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A function that writes files below a root of our own; sixteen cores are there."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def write(contents):
        for name, text in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_without_control_groups_all_is_ours(files):
    assert machine.cores() == 16
    assert machine.memory() == psutil.virtual_memory().total
    assert machine.mappings() == 0
    assert machine.most_mappings() == math.inf
    assert machine.processor() == ""


def test_version_2_the_tightest_group_on_the_way_out_counts(files):
    files({
        "proc/self/cgroup": "0::/slurm/job_7/step_0\n",
        "sys/fs/cgroup/slurm/job_7/step_0/cpu.max": "max 100000\n",
        "sys/fs/cgroup/slurm/job_7/cpu.max": "350000 100000\n",
        "sys/fs/cgroup/slurm/job_7/memory.max": "1000000\n",
        "sys/fs/cgroup/slurm/memory.max": "max\n",
    })  # fmt: skip
    assert machine.cores() == 3
    assert machine.memory() == 1_000_000


def test_version_1(files):
    files({
        "proc/self/cgroup": "5:cpu,cpuacct:/job\n4:memory:/job\n3:pids:/job\n",
        "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "2000000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    })  # fmt: skip
    assert machine.cores() == 2
    assert machine.memory() == 2_000_000


def test_in_a_container_the_root_is_the_group(files):
    files({"proc/self/cgroup": "0::/../../outside\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"})
    assert machine.cores() == 1  # never none


def test_the_processor_and_its_mappings(files):
    files({
        "proc/cpuinfo": "processor: 0\nmodel name: A\nflags: x y\nmodel name: A\nflags: x y\n",
        "proc/self/maps": "one\ntwo\n",
        "proc/sys/vm/max_map_count": "65530\n",
    })  # fmt: skip
    assert machine.processor() == "flags: x ymodel name: A"
    assert machine.mappings() == 2
    assert machine.most_mappings() == 65530


def test_without_linux(files, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert machine.cores() == 8


def test_peak_memory_grows(files):
    before = machine.peak_memory()
    block = bytearray(64 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    assert machine.peak_memory() >= max(before, 64 * 2**20)


@pytest.fixture
def four_gpus(monkeypatch):
    """A machine with four GPUs, and what is asked of TensorFlow there."""
    import tensorflow as tf

    asked, devices = [], [f"GPU:{i}" for i in range(4)]
    config, experimental = tf.config, tf.config.experimental
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: devices)
    monkeypatch.setattr(config, "set_visible_devices", lambda *given: asked.append(given))
    monkeypatch.setattr(experimental, "get_device_details", lambda d: {"device_name": f"H {d}"})
    monkeypatch.setattr(experimental, "set_memory_growth", lambda *given: asked.append(given))
    machine.gpus.cache_clear()
    yield asked
    machine.gpus.cache_clear()


def test_each_worker_takes_its_gpu_and_memory_as_it_needs_it(four_gpus):
    assert machine.gpus() == ("H GPU:0", "H GPU:1", "H GPU:2", "H GPU:3")
    assert four_gpus == [(f"GPU:{i}", True) for i in range(4)]
    four_gpus.clear()
    for number in range(6):
        machine.take_gpu(number)
    assert four_gpus == [(f"GPU:{i % 4}", "GPU") for i in range(6)]


@pytest.mark.parametrize(
    ("settings", "count", "groups"),
    [
        ({}, 4, [(0, 1, 2, 3)]),
        ({"workers_per_gpu": 2}, 8, [(0, 2), (1, 3)]),
        ({"workers_per_gpu": 5}, 12, [(0,), (1,), (2,), (3,)]),  # no more than networks
        ({"workers": 1}, 1, [(0, 1, 2, 3)]),
        ({"modalities": ("WIG",)}, 4, [(0,), (1,), (2,), (3,)]),
        ({"curriculum": "1-4:100"}, 4, [(0,), (1,), (2,), (3,)]),  # each draws its own horizons
    ],
)
def test_several_gpus_are_kept_busy(four_gpus, settings, count, groups):
    from tfunroll.runs import running
    from tfunroll.runs.config import RunConfig

    config = RunConfig(**settings)
    assert running.worker_count(config) == count
    assert running._groups(config) == groups
