"""The machine, and how much of it this job may use; nothing else asks for cores, memory, GPUs."""

import contextlib
import functools
import math
import os
import pathlib
import resource
import sys

import psutil

ROOT = pathlib.Path("/")  # of the files below; tests put another in its place
UNLIMITED = 2**62  # version 1 of Linux's control groups writes a number of about this size


def cores() -> int:
    """Cores that this job may use: those it is bound to, less what its control group denies it."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [_quota(folder) for folder in _groups("cpu")]
    return max(1, math.floor(min([bound or 1, *quotas])))


def memory() -> int:
    """Bytes that this job may use: the machine's, or what its control group grants."""
    limits = [_number(folder / name) for folder in _groups("memory")
              for name in ("memory.max", "memory.limit_in_bytes")]  # fmt: skip
    return int(min([psutil.virtual_memory().total, *limits]))


@functools.cache
def gpus() -> tuple[str, ...]:
    """Names of the GPUs that TensorFlow sees; it takes their memory as needed from then on."""
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    found = tf.config.list_physical_devices("GPU")
    with contextlib.suppress(RuntimeError):  # they are in use already, as in a notebook
        for device in found:
            tf.config.experimental.set_memory_growth(device, True)
    return tuple(details(device).get("device_name", "GPU") for device in found)


def take_gpu(number: int) -> None:
    """Leaves this process one GPU, in turn by the process's number; call it before any is used."""
    import tensorflow as tf

    if count := len(gpus()):
        device = tf.config.list_physical_devices("GPU")[number % count]
        tf.config.set_visible_devices(device, "GPU")


def peak_memory() -> int:
    """The most bytes that this process ever used."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def mappings() -> int:
    """Mappings of memory that this process holds; 0 where the system does not tell."""
    try:
        with (ROOT / "proc/self/maps").open("rb") as maps:
            return sum(1 for _ in maps)
    except OSError:  # no Linux
        return 0


def most_mappings() -> float:
    """Mappings that a process may hold; infinity where the system does not tell."""
    return _number(ROOT / "proc/sys/vm/max_map_count")


def processor() -> str:
    """Its model and instruction sets, which decide what compiled code runs on it; "" if untold."""
    try:
        lines = (ROOT / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return ""
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))


def _groups(controller: str) -> list[pathlib.Path]:
    """Folders of the control groups, of both versions, that hold this process, out to the root.

    In a container the path in /proc is that of the host, and the group itself is mounted as root.
    """
    try:
        lines = (ROOT / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = ROOT / "sys/fs/cgroup" / (controller if controllers else "")
        inner = top / path.lstrip("/")
        folders += [inner, *(outer for outer in inner.parents if outer.is_relative_to(top))]
    return folders


def _quota(folder: pathlib.Path) -> float:
    """Cores' worth of time that a control group may use."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        quota, period = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        return quota / period if quota > 0 and period < math.inf else math.inf


def _number(path: pathlib.Path) -> float:
    try:
        number = int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent, or "max"
        return math.inf
    return math.inf if number >= UNLIMITED else number
