"""Runs the jobs of a run side by side: one process per core, one progress bar for all."""

import multiprocessing
import os
import pathlib
import pickle
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from tqdm import tqdm

from tfunroll import machine
from tfunroll.core import IncompleteError
from tfunroll.files import lock
from tfunroll.streams import outlive_readers

# Asked to stop: by a user, a terminal that goes, a scheduler whose time is up or that warns of it
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1)
GRACE = 25.0  # seconds that tasks have to end by themselves once a stop is asked for
MEMORY = 0.5  # share of the job's memory that all worker processes together may hold on to
MAPS = 0.5  # share of the mappings that the kernel allows a process, of which code takes many

_PROGRESS = None  # where reports go: in a worker a queue, else the progress bar itself
_WEIGHT = 1.0  # of the task at work
_STOP = threading.Event()
_LOCKS = []  # in a worker: keep the folders of runs locked as long as the process lives


class InterruptedRunError(IncompleteError):
    """The run ended early, with everything saved that could be."""

    advice = "--resume goes on"

    def __init__(self, reason: str, status: int):
        super().__init__(f"{reason}; what was trained is saved, {self.advice}", status)


@dataclass(frozen=True)
class Task:
    """A piece of work: ``function(*arguments)``, after the tasks named in ``after``.

    ``weight``: what one unit that it reports counts in the progress bar.
    """

    name: str
    function: Callable
    arguments: tuple
    after: tuple[str, ...] = field(default=())
    weight: float = 1.0

    def __call__(self):
        global _WEIGHT
        _WEIGHT = self.weight
        return self.function(*self.arguments)


def report(amount: float) -> None:
    """Called inside a task: advances the progress bar."""
    if _PROGRESS is not None:
        _PROGRESS.put(amount * _WEIGHT)


def stopping() -> bool:
    """Asked inside a task: whether to save and end."""
    return _STOP.is_set()


def run_tasks(
    tasks: list[Task],
    workers: int,
    total: float,
    description: str,
    locks: Sequence[pathlib.Path] = (),
) -> dict:
    """Runs all tasks, in ``workers`` processes or, for one, in this process until it is full.

    Args:
      tasks: those that others wait for come first.
      total: sum of what the tasks report, weighted, for the bar's estimate of the time left.
      locks: files that every worker keeps locked (shared) while it lives.
    Returns:
      results by task name; a task that raised has its exception as result, and the tasks that
      wait for it have the same.
    Raises:
      InterruptedRunError: after one of STOPS, here or in a worker, or the death of a worker, once
        the tasks have ended or GRACE is over.
    """
    stops = []  # reasons to end early, the first one first

    def ask_to_stop(number, frame):
        if number == signal.SIGINT and stops:  # the second Ctrl-C
            raise KeyboardInterrupt
        name = signal.Signals(number).name
        stops.append(InterruptedRunError(f"stopped by {name}", 128 + number))
        _STOP.set()

    handlers = _handle_stops(ask_to_stop)
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
    try:
        with tqdm(total=total, desc=description, bar_format=bar_format, smoothing=0.02) as bar:
            results = _run_here(tasks, bar) if workers == 1 else {}
            left = [task for task in tasks if task.name not in results]
            if left and not _STOP.is_set():
                results = _run_in_processes(left, workers, bar, locks, stops, results)
    finally:
        _STOP.clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if stops:
        raise stops[0]
    return results


def end_with_parent(parent: int) -> None:
    """Ends this process, a worker, within a second once its parent is gone, even by kill -9."""

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _handle_stops(handler):
    """Sets the handler of STOPS but for those that are ignored, as under nohup; the old ones."""
    heard = [n for n in STOPS if signal.getsignal(n) != signal.SIG_IGN]
    return {n: signal.signal(n, handler) for n in heard}


def _run_in_processes(tasks, workers, bar, locks, stops, results):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    drain = threading.Thread(target=_drain, args=(queue, bar), daemon=True)
    drain.start()
    threads = max(1, machine.cores() // workers)

    def start(number: int) -> ProcessPoolExecutor:
        arguments = (queue, threads, os.getpid(), locks, number)
        return ProcessPoolExecutor(1, context, initializer=_start_worker, initargs=arguments)

    pools = [start(number) for number in range(workers)]
    try:
        results = _run_in_pools(tasks, pools, start, bar, stops, results)
        for pool in pools:
            pool.shutdown()
        return results
    except BaseException:
        for process in _processes(pools):
            process.kill()
        raise
    finally:
        queue.put(None)
        drain.join(5)  # a process that ends at once would break its pipe


class _Direct:
    def __init__(self, bar):
        self._bar = bar

    def put(self, amount):
        self._bar.update(amount)


def _run_here(tasks, bar):
    global _PROGRESS
    _PROGRESS, results = _Direct(bar), {}
    for task in tasks:
        if _STOP.is_set() or (results and _full(_used(), 1)):
            break
        failed = [results[n] for n in task.after if isinstance(results[n], Exception)]
        try:
            results[task.name] = failed[0] if failed else task()
        except Exception as error:
            results[task.name] = error
        bar.set_postfix_str(task.name)
    _PROGRESS = None
    return results


def _run_in_pools(tasks, pools, start, bar, stops, results):
    """Each pool is one worker process; one that is full is replaced.

    A worker that is told to stop, or killed, stops them all: what it did not finish is no failure.
    """

    def stop(reason, status):
        stops.append(InterruptedRunError(reason, status))
        _STOP.set()

    def killed():
        stop("a worker process was killed, perhaps for want of memory (fewer --workers?)", 1)

    results, waiting, running, deadline = dict(results), list(tasks), {}, None
    while running or (waiting and not _STOP.is_set()):
        free = [i for i in range(len(pools)) if i not in [k for _, k in running.values()]]
        for task in [] if _STOP.is_set() else list(waiting):
            if not free:  # not all at once: tasks of one run stay together, as
                break  # a process keeps the compiled graphs of a single one
            if not all(name in results for name in task.after):
                continue
            waiting.remove(task)
            failed = [results[n] for n in task.after if isinstance(results[n], Exception)]
            if failed:
                results[task.name] = failed[0]
            else:
                i = free.pop(0)
                try:
                    running[pools[i].submit(_measured, task)] = task.name, i
                except BrokenProcessPool:
                    killed()
                    break
        if _STOP.is_set() and deadline is None:
            deadline = time.monotonic() + GRACE
            for process in _processes(pools):
                process.terminate()  # SIGTERM: the worker's handler asks its task to stop
        if deadline is not None and time.monotonic() > deadline:
            for process in _processes(pools):
                process.kill()
        done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED) if running else ((), ())
        for future in done:
            name, i = running.pop(future)
            try:
                results[name], used, stopped = future.result()
            except BrokenProcessPool:  # else GRACE was over
                if not _STOP.is_set():
                    killed()
                continue
            if stopped and not _STOP.is_set():
                stop("a worker process was told to stop", 128 + signal.SIGTERM)
            if _full(used, len(pools)):
                pools[i].shutdown(wait=False)
                pools[i] = start(i)
            bar.set_postfix_str(name)
    return results


def _measured(task):
    """Result or exception, what this process has used, whether it was told to stop."""
    try:
        result = task()
    except Exception as error:
        result = _portable(error)
    return result, _used(), _STOP.is_set()


def _used() -> tuple[int, int]:
    return machine.peak_memory(), machine.mappings()


def _full(used: tuple[int, int], processes: int) -> bool:
    """Whether a process that has used so much, one of so many, should end.

    TensorFlow never frees the programs that XLA compiled for it. Each run of a study leaves up to
    half a gigabyte behind, and some two thousand mappings: where Linux allows no more of these,
    compiling fails and the process with it, however much memory is free.
    """
    size, mappings = used
    too_large = size > MEMORY * machine.memory() / processes
    return too_large or mappings > MAPS * machine.most_mappings()


def _portable(error: Exception) -> Exception:
    """The error, or its words if pickle cannot take it to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _processes(pools):
    return [process for pool in pools for process in (pool._processes or {}).values()]


def _drain(queue, bar):
    while (amount := queue.get()) is not None:
        bar.update(amount)


def _start_worker(queue, threads, parent, locks, number):
    global _PROGRESS
    _PROGRESS = queue
    for path in locks:
        _LOCKS.append(path.open("w"))
        lock(_LOCKS[-1], shared=True)
    _handle_stops(lambda *_: _STOP.set())  # Ctrl-C reaches the workers too
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    outlive_readers()
    end_with_parent(parent)
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # its hints at tracing: each run of a study has its graphs
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    machine.take_gpu(number)
