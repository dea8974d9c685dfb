"""Worker processes: they answer, crash, hang and are killed; nothing is lost, or all is said."""

import contextlib
import os
import signal
import sys
import time

import numpy as np
import pytest

from tfunroll.core import InputError
from tfunroll.solvers.external import ExternalSolver, SolverError
from tfunroll.solvers.worker_pool import WorkerError, WorkerPool

WORKER = """
import os, sys, time
from types import SimpleNamespace
import numpy as np
from numpy.lib.format import read_array, write_array
requests = SimpleNamespace(read=sys.stdin.buffer.read)
answers = SimpleNamespace(write=sys.stdout.buffer.write)
while sys.stdin.buffer.peek(1):
    state, params = read_array(requests), read_array(requests)
    {trouble}
    write_array(answers, state * params[0])
    sys.stdout.buffer.flush()
"""
STATE, PARAMS = np.arange(6.0).reshape(3, 2), {"a": 2.0}


@pytest.fixture
def pool():
    made = []

    def make(trouble="pass", **options):
        made.append(WorkerPool([sys.executable, "-c", WORKER.format(trouble=trouble)], **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_workers_answer_and_persist(pool):
    workers = pool(workers=1)
    for order in ("C", "F"):
        for dtype in ("float64", "float32"):
            out = workers(np.asarray(STATE, dtype, order=order), PARAMS)
            np.testing.assert_array_equal(out, 2 * STATE)
            assert out.dtype == dtype
            assert out.flags.writeable
    assert len(workers.processes) == 1
    assert workers.restarts == 0


def test_large_states_do_not_fill_the_pipes(pool):
    large = np.random.default_rng(0).standard_normal((1000, 500))
    np.testing.assert_array_equal(pool(workers=1)(large, PARAMS), 2 * large)


def test_processes_end_with_the_pool(pool):
    workers = pool()
    workers(STATE, PARAMS)
    (process,) = workers.processes
    workers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_killed_worker_is_replaced_and_its_call_repeated(pool):
    workers = pool("time.sleep(0.3)", workers=1)
    workers(STATE, PARAMS)
    for signal_number in (signal.SIGKILL, signal.SIGTERM):
        os.kill(workers.processes[0], signal_number)
        np.testing.assert_array_equal(workers(STATE, PARAMS), 2 * STATE)
    assert workers.restarts == 2


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("sys.exit('no licence')", "ended (no licence), twice"),
        ("os.write(1, b'stepping...')", "answered no array in .npy format"),
        ("time.sleep(60)", "did not answer in time, twice"),
    ],
)
def test_a_worker_that_fails_twice_is_reported(pool, trouble, message):
    workers = pool(f"params[0] == 3 and {trouble}", workers=1, timeout=0.8)
    with pytest.raises(WorkerError) as failure:
        workers(STATE, {"a": 3.0})
    assert message in str(failure.value)
    np.testing.assert_array_equal(workers(STATE, PARAMS), 2 * STATE)  # and is started once more


def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_one(pool):
    workers = pool("params[0] == 3 and write_array(answers, 3 * state)", workers=1)
    for factor in (3.0, 2.0, 3.0, 4.0, 2.0):
        time.sleep(0.2)  # one that comes after the next request cannot be told from its answer
        # Both answers at once are an error, as often as they come so; a wrong answer never comes.
        with contextlib.suppress(WorkerError) if factor == 3 else contextlib.nullcontext():
            np.testing.assert_array_equal(workers(STATE, {"a": factor}), factor * STATE)


def test_a_failure_names_the_sample_and_saves_its_state(pool):
    workers = pool("params[0] == 3 and sys.exit(1)", workers=2)
    states = np.random.default_rng(0).standard_normal((4, 3, 2))
    good = states, {"a": np.array([1.0, 2, 4, 5])}
    external = ExternalSolver(workers, example=good, per_sample=True, workers=2)
    with pytest.raises(SolverError, match="WorkerError: worker .* for a=3; its") as failure:
        external._run(external._forward, [states], [np.array([1.0, 2, 3, 4])])
    saved = np.load(str(failure.value).rpartition(" ")[2])
    np.testing.assert_array_equal(saved["state"], states[2:3])


def test_a_program_that_cannot_be_started():
    with pytest.raises(InputError, match="worker .*nowhere.* cannot be started"):
        WorkerPool(["nowhere"])(STATE, PARAMS)
