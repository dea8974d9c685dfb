"""Runs the jobs of a run side by side: one process per core, one progress bar for all."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from tqdm import tqdm

_PROGRESS = None  # in a worker: the queue its reports go to


@dataclass(frozen=True)
class Task:
    """A piece of work: ``function(*arguments)``, after the tasks named in ``after``."""

    name: str
    function: Callable
    arguments: tuple
    after: tuple[str, ...] = field(default=())


def report(amount: float) -> None:
    """Called inside a task: advances the progress bar."""
    if _PROGRESS is not None:
        _PROGRESS.put(amount)


def run_tasks(tasks: list[Task], workers: int, total: float, description: str) -> dict:
    """Runs all tasks, in ``workers`` processes or, for one, in this process.

    Args:
      tasks: those that others wait for come first.
      total: sum of what the tasks report, for the bar's estimate of the time left.
    Returns:
      results by task name; a task that raised has its exception as result, and the tasks that
      wait for it have the same.
    """
    global _PROGRESS
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
    with tqdm(total=total, desc=description, bar_format=bar_format, smoothing=0.02) as bar:
        if workers == 1:
            _PROGRESS = _Direct(bar)
            try:
                return _run_here(tasks, bar)
            finally:
                _PROGRESS = None
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        threading.Thread(target=_drain, args=(queue, bar), daemon=True).start()
        threads = max(1, (os.cpu_count() or 1) // workers)
        with ProcessPoolExecutor(
            workers, context, initializer=_start_worker, initargs=(queue, threads, os.getpid())
        ) as pool:
            try:
                results = _run_in_pool(tasks, pool, bar)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list((pool._processes or {}).values()):
                    process.terminate()
                raise
        queue.put(None)
        return results


class _Direct:
    def __init__(self, bar):
        self._bar = bar

    def put(self, amount):
        self._bar.update(amount)


def _run_here(tasks, bar):
    results = {}
    for task in tasks:
        failed = [results[n] for n in task.after if isinstance(results[n], Exception)]
        try:
            results[task.name] = failed[0] if failed else task.function(*task.arguments)
        except Exception as error:
            results[task.name] = error
        bar.set_postfix_str(task.name)
    return results


def _run_in_pool(tasks, pool, bar):
    results, waiting, running = {}, list(tasks), {}
    while waiting or running:
        for task in list(waiting):
            if not all(name in results for name in task.after):
                continue
            waiting.remove(task)
            failed = [results[n] for n in task.after if isinstance(results[n], Exception)]
            if failed:
                results[task.name] = failed[0]
            else:
                running[pool.submit(task.function, *task.arguments)] = task.name
        done, _ = wait(running, return_when=FIRST_COMPLETED) if running else ((), ())
        for future in done:
            name = running.pop(future)
            error = future.exception()
            results[name] = future.result() if error is None else error
            bar.set_postfix_str(name)
    return results


def _drain(queue, bar):
    while (amount := queue.get()) is not None:
        bar.update(amount)


def _start_worker(queue, threads, parent):
    global _PROGRESS
    _PROGRESS = queue
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def watch():  # a worker must not outlive a parent that was killed
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
