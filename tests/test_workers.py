"""Worker processes: who does what, and when one is replaced."""

import mmap
import os
import signal
import subprocess
import sys
import time

import pytest

from tfunroll import workers


def chain():
    """Three tasks, one after the other, that say which process they ran in."""
    after = (("a", ()), ("b", ("a",)), ("c", ("b",)))
    return [workers.Task(name, os.getpid, (), names) for name, names in after]


LIMITS = [(0.9, 0.9, 1), (0.0, 0.9, 3), (0.9, 0.0, 3)]  # of memory and mappings; processes


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("memory", "mappings", "processes"), LIMITS)
def test_a_process_that_is_full_is_replaced(memory, mappings, processes, count, monkeypatch):
    """This one, which works itself where one worker is asked for, or a worker."""
    monkeypatch.setattr(workers, "MEMORY", memory)
    monkeypatch.setattr(workers, "MAPS", mappings)
    found = workers.run_tasks(chain(), count, 3.0, "test")
    assert list(found) == ["a", "b", "c"]
    assert len(set(found.values())) == processes
    if count == 1:
        assert found["a"] == os.getpid()
    else:
        assert os.getpid() not in found.values()


@pytest.mark.skipif(sys.platform != "linux", reason="counts /proc/self/maps")
def test_mappings_are_counted():
    before = workers._used()[1]
    kept = [mmap.mmap(-1, 4096, prot=mmap.PROT_READ | (k % 2) * mmap.PROT_WRITE) for k in range(64)]
    assert workers._used()[1] >= before + len(kept) // 2


def signalled(number):
    """A task that is told to stop, and does."""
    os.kill(os.getpid(), number)
    end = time.monotonic() + 5
    while not workers.stopping():
        assert time.monotonic() < end, "no word of the signal"
    return "saved"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU", "SIGUSR1"])
def test_a_signal_lets_tasks_save_and_ends_with_its_status(name, request):
    number, after = signal.Signals[name], []
    old = signal.signal(number, signal.SIG_DFL)  # it may be ignored here, as SIGINT behind a shell
    request.addfinalizer(lambda: signal.signal(number, old))
    tasks = [
        workers.Task("a", signalled, (number,)),
        workers.Task("b", after.append, (1,)),
    ]
    with pytest.raises(workers.InterruptedRunError, match=f"stopped by {name}; .* saved") as caught:
        workers.run_tasks(tasks, 1, 1.0, "test")
    assert caught.value.status == 128 + number
    assert not after
    assert signal.getsignal(number) == signal.SIG_DFL
    assert not workers.stopping()


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        task = workers.Task("a", os.kill, (os.getpid(), signal.SIGHUP))
        assert workers.run_tasks([task], 1, 1.0, "test") == {"a": None}
    finally:
        signal.signal(signal.SIGHUP, before)


def until_stopped(path):
    """A task that saves once it is asked to stop."""
    path.with_name("begun").touch()
    while not workers.stopping():
        time.sleep(0.1)
    path.touch()


def once_begun(path, number):
    """A task whose process gets a signal, when the other task is at work."""
    while not path.with_name("begun").exists():
        time.sleep(0.1)
    os.kill(os.getpid(), number)
    while not workers.stopping():
        time.sleep(0.1)
    raise RuntimeError("stopped")


CHILD = """
import os, time
from tfunroll.workers import end_with_parent
end_with_parent(os.getppid())
print("up", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]]).wait()
"""


def test_a_worker_ends_with_a_parent_that_is_killed():
    began = time.monotonic()
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "up\n"
        parent.kill()
        assert parent.stdout.read() == ""  # the pipe's end: nobody holds it any more
    assert time.monotonic() - began < 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "reason", "status"),
    [
        (signal.SIGTERM, "a worker process was told to stop", 143),
        (signal.SIGHUP, "a worker process was told to stop", 143),
        (signal.SIGKILL, "a worker process was killed", 1),
    ],
)
def test_a_signal_to_one_worker_stops_and_saves_all(number, reason, status, tmp_path):
    tasks = [
        workers.Task("a", until_stopped, (tmp_path / "saved",)),
        workers.Task("b", once_begun, (tmp_path / "saved", number)),
    ]
    with pytest.raises(workers.InterruptedRunError, match=reason) as caught:
        workers.run_tasks(tasks, 2, 1.0, "test")
    assert caught.value.status == status
    assert (tmp_path / "saved").exists()


class NotPortable(Exception):  # noqa: N818 - the name is the point
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def failing():
    raise NotPortable("without", "pickle")


@pytest.mark.slow
def test_any_error_comes_back_from_a_worker():
    tasks = [workers.Task(name, failing, ()) for name in "ab"]
    found = workers.run_tasks(tasks, 2, 1.0, "test")
    assert {str(error) for error in found.values()} == {"NotPortable: without pickle"}
