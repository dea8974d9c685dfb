"""WorkerPool: an external program as a callable, run by persistent processes that exchange arrays.

A worker reads requests from its standard input and writes answers to its standard output, each an
array in NumPy's format (.npy, which has readers in C, C++, Fortran, Julia, MATLAB and Rust):

    request: the state, then one array of the parameters in the order of their names' declaration,
             and last the fidelity, where the solver has one
    answer:  the state one frame later

One answer a request: a second one is found if it comes before the next request, not later. A
worker goes on until its input ends. What it prints belongs on standard error. examples/worker.py
is one in Python.
"""

import functools
import io
import math
import os
import queue
import select
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence

import numpy as np

from tfunroll.core import InputError

HEADER = 10  # bytes that say how long the header of an array is
PIECE = 1 << 16  # bytes moved at once
TAIL = 300  # characters of a worker's last words in an error


class WorkerError(RuntimeError):
    """A worker failed twice at the same call."""


class WorkerPool:
    """A pool of worker processes as a callable: (state, params) -> state.

    Processes start with the first call, one more whenever a call finds none idle, up to
    ``workers``, and end with this process or the pool. Threads call it side by side. A worker
    that crashes, answers nonsense or exceeds the time-out is killed and replaced, and its call
    repeated once.

    Args:
      command: program and arguments, such as [sys.executable, "worker.py"].
      workers: processes at most; as many as the ``workers`` of its ExternalSolver.
      timeout: seconds a call may take; the start of the program counts too.
    Raises:
      InputError: the program cannot be started. WorkerError: a call failed twice.
    """

    def __init__(self, command: Sequence[str], workers: int = 2, timeout: float = 60.0):
        if workers < 1 or not timeout > 0:
            raise InputError(f"workers={workers} and timeout={timeout} must be positive")
        self.command, self.workers, self.timeout = [os.fspath(c) for c in command], workers, timeout
        self.restarts = 0
        self._slots = queue.LifoQueue()  # a worker, or None for one that can be started
        for _ in range(workers):
            self._slots.put(None)
        self._alive: set[_Worker] = set()
        weakref.finalize(self, _end_all, self._alive)  # at exit too

    def __call__(self, state: np.ndarray, params: Mapping[str, np.ndarray]) -> np.ndarray:
        """The worker's answer; shape and dtype are whatever it sends."""
        request = io.BytesIO()
        # rows of one number per sample, or numbers; the fidelity is a number beside either
        for array in (state, np.array(np.broadcast_arrays(*params.values()), state.dtype)):
            np.lib.format.write_array(request, np.ascontiguousarray(array), allow_pickle=False)
        worker = self._slots.get()
        try:
            for attempt in (1, 2):
                try:
                    if worker is None:
                        worker = self._start()
                    return worker.ask(request.getbuffer(), time.monotonic() + self.timeout)
                except _WorkerFailedError as error:
                    reason = f"{error}{worker.last_words()}"
                    self._alive.discard(worker)
                    worker.end()
                    worker = None
                    self.restarts += 1
                    if attempt == 2:
                        raise WorkerError(f"worker {self.command} {reason}, twice") from None
        finally:
            self._slots.put(worker)

    @property
    def processes(self) -> list[int]:
        """Process ids of the living workers."""
        return [worker.process.pid for worker in list(self._alive)]

    def close(self) -> None:
        """Ends all workers; the next call starts new ones."""
        _end_all(self._alive)

    def _start(self) -> "_Worker":
        try:
            worker = _Worker(self.command)
        except OSError as error:
            raise InputError(f"worker {self.command} cannot be started: {error}") from None
        self._alive.add(worker)
        return worker


def _end_all(workers: set) -> None:
    while workers:
        workers.pop().end()


class _WorkerFailedError(Exception):
    pass


class _Worker:
    """One process, its pipes, and a file that takes its standard error."""

    def __init__(self, command):
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process lives
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
        )
        for pipe in (self.process.stdin, self.process.stdout):
            os.set_blocking(pipe.fileno(), False)

    def ask(self, request, deadline: float) -> np.ndarray:
        """Sends a request and awaits the answer, both until the deadline."""
        source, target = self.process.stdout.fileno(), self.process.stdin.fileno()
        sent, answer = 0, bytearray()
        try:
            if _ready(source, select.POLLIN, 0):  # it would be taken for the answer to come
                raise _WorkerFailedError(
                    "wrote without being asked" if os.read(source, 1) else "ended"
                )
            while sent < len(request):
                self._await(target, select.POLLOUT, deadline)
                sent += os.write(target, request[sent : sent + PIECE])
            while (missing := _missing(answer)) > 0:
                self._await(source, select.POLLIN, deadline)
                if not (part := os.read(source, max(missing, PIECE))):
                    raise _WorkerFailedError("ended")
                answer += part
            if missing < 0:
                raise _WorkerFailedError("answered more than one array")
            start = HEADER + _header_length(answer)
            shape, fortran, dtype = _layout(bytes(answer[:start]))
            array = np.frombuffer(answer, dtype, offset=start)
            return array.reshape(shape, order="F" if fortran else "C")
        except BrokenPipeError:
            raise _WorkerFailedError("ended") from None
        except ValueError as error:
            raise _WorkerFailedError(f"answered no array in .npy format ({error})") from None

    def _await(self, descriptor, event, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not _ready(descriptor, event, left):
            raise _WorkerFailedError("did not answer in time")

    def last_words(self) -> str:
        """The end of the worker's standard error, for a message."""
        self._errors.seek(0)
        text = " ".join(self._errors.read().decode(errors="replace").split())
        return f" ({text[-TAIL:]})" if text else ""

    def end(self) -> None:
        """Kills it: it holds nothing that could be lost."""
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._errors):
            file.close()


def _ready(descriptor: int, event: int, seconds: float) -> bool:
    poll = select.poll()  # select() knows no descriptors beyond 1023
    poll.register(descriptor, event)
    return bool(poll.poll(1e3 * seconds))


def _missing(answer: bytearray) -> int:
    """Bytes that an array in .npy format lacks, as far as is known; negative for too many."""
    if len(answer) < HEADER or len(answer) < (start := HEADER + _header_length(answer)):
        return 1
    shape, _, dtype = _layout(bytes(answer[:start]))
    return start + math.prod(shape) * dtype.itemsize - len(answer)


def _header_length(answer) -> int:
    if bytes(answer[:8]) != np.lib.format.magic(1, 0):
        raise ValueError(f"it begins with {bytes(answer[:8])!r}")
    return int.from_bytes(answer[8:HEADER], "little")


@functools.lru_cache(maxsize=16)
def _layout(header: bytes):
    """(shape, whether in Fortran's order, dtype) of an array's header."""
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return shape, fortran, dtype
