"""Daemon threads that share work; unlike concurrent.futures' they let a process end."""

import queue
import threading
from concurrent.futures import Future


class Threads:
    """A pool of daemon threads, first in, first out; one that is stuck keeps no process alive."""

    def __init__(self, count: int):
        self._work, self._count = queue.SimpleQueue(), count
        for _ in range(count):
            threading.Thread(target=_serve, args=(self._work,), daemon=True).start()

    def submit(self, function, *arguments) -> Future:
        """The result to come of ``function(*arguments)``."""
        future = Future()
        self._work.put((future, function, arguments))
        return future

    def close(self):
        """Lets the idle ones end."""
        for _ in range(self._count):
            self._work.put(None)


def _serve(work):
    while (job := work.get()) is not None:
        future, function, arguments = job
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
        del job, future, function, arguments  # not kept until the next one comes
