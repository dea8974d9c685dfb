"""ExternalSolver: any Python callable on NumPy arrays as a Solver, with or without gradients."""

import contextlib
import itertools
import os
import tempfile
import weakref
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfunroll import machine
from tfunroll.core import InputError, Params, Solver, State, Step, check_choice, check_state
from tfunroll.solvers.solver_checks import check_step, check_vjp, unlike
from tfunroll.solvers.threads import Threads

NumpyParams = Mapping[str, np.ndarray]  # by name, each [batch]; numbers where per_sample
NumpyStep = Callable[[np.ndarray, NumpyParams], np.ndarray]
NumpyVjp = Callable[[np.ndarray, NumpyParams, np.ndarray], np.ndarray]

FIDELITY = "fidelity"  # name of that parameter
LIMIT = 10.0  # times the largest example value: beyond, a failure is divergence, not an error

_failures: list["SolverError"] = []  # TensorFlow wraps what a callable raises; this is the original


class SolverError(InputError):
    """A user's solver failed; says for which parameters, how, and where the state was saved."""


@contextlib.contextmanager
def solver_errors():
    """Raises a SolverError of inside a graph as itself, not as TensorFlow wraps it."""
    _failures.clear()
    try:
        yield
    except tf.errors.OpError:
        if not _failures:
            raise
        raise _failures[0] from None


class ExternalSolver(Solver):
    """A solver outside TensorFlow: (state, params) -> state one frame later, on NumPy arrays.

    It stands wherever a Solver does: as coarse or as reference solver, in training as ONE and NOG,
    in data generation and evaluation, and with ``vjp`` in WIG too. XLA cannot compile it, so the
    network is compiled and the solver is called in between. The callable gets read-only arrays.

    A sample whose state is not finite is not given to the callable and stays NaN. A failure at a
    state ``limit`` times beyond the example's largest values counts as divergence, and the sample
    becomes NaN; any other failure is a SolverError.

    Args:
      step: (state, params) -> state; state [batch, *space, channel], params by name, each [batch].
      vjp: (state, params, cotangent) -> cotangent: the product Jᵀ·cotangent, J = ∂step/∂state.
      example: (states [batch, *space, channel], params {name: [batch]}): at least two different
        states of the system, with which the callables are checked here.
      frame_time: time that ``step`` advances. dt: sub-step, for the record; frame_time if None.
      name: in error messages; the callable's own if None.
      dtype: what states are cast to for the callable, which has to return it: "float64",
        "float32", or None for that of the run.
      per_sample: the callables take one state [*space, channel], and params that are numbers.
      workers: threads that share the samples of a batch; 0: one per core. More than one pay for
        callables that release the GIL, as SciPy, JAX and ``WorkerPool`` do; good value 1 for small
        vectorised NumPy code.
      fidelity: (low, high), where the callables can be cheaper, such as by fewer iterations: they
        get a number of this range as params["fidelity"], an int, which a training.ladders.Ladder
        makes larger; high without one. None: they get none.
      timeout: seconds that one call may take. A thread cannot be ended: ``WorkerPool`` can.
      limit: see above.
    State: as in ``example``. Params: those of ``example``. Knob: "fidelity".
    Raises:
      InputError: a callable that raises, changes shape or dtype, is not finite, gives other answers
        the second time or in a batch, or a vjp that contradicts finite differences.
    """

    compilable = False

    def __init__(
        self,
        step: NumpyStep,
        vjp: NumpyVjp | None = None,
        *,
        example: tuple[np.ndarray, NumpyParams],
        frame_time: float = 1.0,
        dt: float | None = None,
        name: str | None = None,
        dtype: str | None = "float64",
        per_sample: bool = False,
        workers: int = 1,
        timeout: float = 600.0,
        limit: float = LIMIT,
        fidelity: tuple[int, int] | None = None,
    ):
        self.name = name or getattr(step, "__name__", type(step).__name__)
        if dtype is not None:
            check_choice(f"solver {self.name}: dtype", dtype, ("float32", "float64"))
        if not (frame_time > 0 and timeout > 0 and limit > 0 and workers >= 0):
            raise InputError(
                f"solver {self.name}: frame_time={frame_time}, timeout={timeout} and limit={limit} "
                f"must be positive, workers={workers} at least 0"
            )
        if not (
            isinstance(example, tuple) and len(example) == 2 and isinstance(example[1], Mapping)
        ):
            raise InputError(
                f"solver {self.name}: example must be a pair (states, {{name of a param: values}})"
            )
        states, params = np.asarray(example[0]), {k: np.asarray(v) for k, v in example[1].items()}
        if states.ndim < 2 or len(states) < 2 or (states[0] == states[1]).all():
            raise InputError(
                f"solver {self.name}: example has states of shape {states.shape}; needed: at least "
                "two different states, [batch, *space, channel]"
            )
        for key, values in params.items():
            if values.shape != states.shape[:1]:
                raise InputError(
                    f"solver {self.name}: example has params.{key} of shape {values.shape}; "
                    f"needed: ({len(states)},), one per state"
                )
        if fidelity is not None:
            self._check_fidelity(fidelity, params)
            self.knobs, self.fidelity = {"fidelity": tuple(fidelity)}, fidelity[1]
        self.frame_time, self.dt = frame_time, dt or frame_time
        self.shape, self.channels = states.shape[1:-1], states.shape[-1]
        self.params, self.dtype, self.timeout = tuple(params), dtype, timeout
        self.differentiable = vjp is not None
        self.per_sample, self.workers = per_sample, workers or machine.cores()
        self.step = step  # as given
        self._step, self._vjp = (_singly(f) if per_sample and f else f for f in (step, vjp))
        if fidelity is not None:
            self._step, self._vjp = (f and _with_int(f) for f in (self._step, self._vjp))
        self._limit = limit * np.abs(states).reshape(-1, self.channels).max(0)
        self._threads = None
        self._reuses = False  # whether all answers are the same memory
        for kind in (dtype,) if dtype else ("float32", "float64"):
            u, p = states[:2].astype(kind), {k: v[:2].astype(kind) for k, v in params.items()}
            for number in dict.fromkeys(fidelity or (None,)):
                given = p if number is None else p | {FIDELITY: np.full(2, number)}
                reuses = check_step(self.name, self._called(self._forward), u, given)
                self._reuses = self._reuses or reuses
                if vjp is not None:
                    steps = self._called(self._forward), self._called(self._backward)
                    check_vjp(self.name, *steps, u, given)

    def _check_fidelity(self, fidelity, params):
        whole = all(isinstance(n, int | np.integer) for n in fidelity)
        if len(fidelity) != 2 or not whole or not 1 <= fidelity[0] <= fidelity[1]:
            raise InputError(
                f"solver {self.name}: fidelity={fidelity} must be two whole numbers (low, high), "
                "1 <= low <= high"
            )
        if FIDELITY in params:
            raise InputError(
                f"solver {self.name}: params.{FIDELITY} of the example is what fidelity= stands for"
            )

    def at(self, knob: str, count: int | tf.Tensor) -> "ExternalSolver":
        """See Solver.at; it has threads of its own, as those of this one end with it."""
        other = super().at(knob, count)
        if other is not self:
            other._threads = None
        return other

    def without_knob(self, knob: str) -> str:
        """See Solver.without_knob."""
        return f"{super().without_knob(knob)}; fidelity is there with ExternalSolver(fidelity=…)"

    def bind(self, params: Params) -> Step:
        """See Solver.bind; what the callable computes from parameters alone is its own affair."""
        missing = [name for name in self.params if name not in params]
        if missing:
            raise InputError(f"solver {self.name}: params.{missing[0]} is missing")
        values = [params[name] for name in self.params]
        if self.knobs:
            values.append(tf.convert_to_tensor(self.fidelity, tf.int32))

        def called(function, *arrays):
            out = tf.numpy_function(
                lambda *a: self._run(function, a[: len(arrays)], a[len(arrays) :]),
                [*arrays, *values],
                arrays[0].dtype,
                stateful=False,
            )
            out.set_shape(arrays[0].shape)
            return out

        @tf.custom_gradient
        def differentiated(state):
            def gradient(cotangent):
                if self._vjp is None and tf.executing_eagerly():
                    raise InputError(self.without_gradient)
                # In a graph it is refused when it runs: loops build gradients that nothing uses.
                return called(self._backward, state, cotangent)

            return called(self._forward, state), gradient

        def step(state: State) -> State:
            check_state(state, self.shape, self.channels)
            return differentiated(state)

        return step

    # ------------------------------------------------------------------ calls

    def _called(self, function):
        """As a function of NumPy arrays, which are copied."""
        return lambda u, params, *more: self._parallel(function, [u.copy(), *more], params)

    def _forward(self, params, state):
        return self._step(state, params)

    def _backward(self, params, state, cotangent):
        return self._vjp(state, params, cotangent)

    def _run(self, function, arrays, values) -> np.ndarray:
        """Calls from TensorFlow: casts, leaves diverged samples out, keeps errors readable."""
        if function == self._backward and self._vjp is None:
            _failures.append(SolverError(self.without_gradient))
            raise _failures[-1]
        given, dtype = arrays[0].dtype, self.dtype or arrays[0].dtype
        count = len(arrays[0])
        names = (*self.params, *self.knobs)
        params = {
            name: np.broadcast_to(np.asarray(v, int if name == FIDELITY else dtype), count)
            for name, v in zip(names, values, strict=True)
        }
        arrays = [np.asarray(a, dtype) for a in arrays]
        alive = np.logical_and.reduce([_finite(a) for a in arrays])
        try:
            with np.errstate(over="ignore"):  # where the run's precision cannot hold it: infinity
                if alive.all():
                    return np.asarray(self._parallel(function, arrays, params), given)
                out = np.full(arrays[0].shape, np.nan, given)
                if alive.any():
                    params = {name: v[alive] for name, v in params.items()}
                    out[alive] = self._parallel(function, [a[alive] for a in arrays], params)
                return out
        except SolverError as error:
            _failures.append(error)
            raise

    def _parallel(self, function, arrays, params) -> np.ndarray:
        """The samples shared out to the threads."""
        count = len(arrays[0])
        parts = count if self.per_sample else min(self.workers, count)
        edges = [count * i // parts for i in range(parts + 1)]
        groups = [slice(a, b) for a, b in itertools.pairwise(edges)]
        if self._threads is None:
            self._threads = Threads(self.workers)
            weakref.finalize(self, self._threads.close)
        work = [
            ([a[g] for a in arrays], {name: v[g] for name, v in params.items()}) for g in groups
        ]
        # First in, first out: whenever one is waited for, it runs already or is the next to run.
        futures = [self._threads.submit(self._answer, function, *one) for one in work]
        done = []
        for one, future in zip(work, futures, strict=True):
            try:
                done.append(future.result(self.timeout))
            except TimeoutError:
                self._threads.close()  # the stuck thread is left behind
                self._threads = None
                problem = f"did not answer within {self.timeout:g} s"
                raise self._error(problem, *one) from None
        return done[0] if len(done) == 1 else np.concatenate(done)

    def _answer(self, function, arrays, params) -> np.ndarray:
        """The callable's answer for a group of samples; SolverError for one it fails at."""
        state = arrays[0]
        for array in (*arrays, *params.values()):
            array.flags.writeable = False
        try:
            out = function(params, *arrays)
        except Exception as error:
            problem = f"raised {type(error).__name__}: {' '.join(str(error).split())}"
        else:
            if problem := unlike(out, state):
                problem = f"returned {problem}"
            elif (good := _finite(out) | self._runaway(state)).all():
                return out.copy() if self._reuses else out
            else:
                bad = slice(first := int(np.argmin(good)), first + 1)
                one = [a[bad] for a in arrays], {k: v[bad] for k, v in params.items()}
                raise self._error("returned NaN or infinity", *one)
        if len(state) > 1:  # which sample is it?
            singles = [slice(i, i + 1) for i in range(len(state))]
            return np.concatenate(
                [
                    self._answer(
                        function, [a[i] for a in arrays], {k: v[i] for k, v in params.items()}
                    )
                    for i in singles
                ]
            )
        if self._runaway(state).all():
            return np.full(state.shape, np.nan, state.dtype)
        raise self._error(problem, arrays, params)

    def _runaway(self, state) -> np.ndarray:
        """Which samples are beyond the limit, [batch]."""
        return (np.abs(state) > self._limit).any(tuple(range(1, state.ndim)))

    def _error(self, problem, arrays, params) -> SolverError:
        """The error for a group, which is one sample unless the callable takes several at once."""
        file, path = tempfile.mkstemp(prefix="tfunroll_failed_", suffix=".npz")
        with os.fdopen(file, "wb") as out:
            np.savez(out, state=arrays[0], **params)
        values = (f"{k}={','.join(f'{x:g}' for x in np.unique(v))}" for k, v in params.items())
        text = (
            f"solver {self.name!r} {problem}, for {' '.join(values) or 'a system of no parameters'}"
        )
        return SolverError(f"{text}; its state is saved in {path}")


def _with_int(function):
    """A callable whose fidelity is one number, of one that is given that of each sample."""

    def with_int(state, params, *cotangent):
        return function(state, {**params, FIDELITY: int(params[FIDELITY][0])}, *cotangent)

    return with_int


def _singly(function):
    """A callable of one state as one of a batch of one."""

    def of_batch(state, params, *cotangent):
        numbers = {name: v if isinstance(v, int) else v[0] for name, v in params.items()}
        return np.asarray(function(state[0], numbers, *(c[0] for c in cotangent)))[None]

    return of_batch


def _finite(array) -> np.ndarray:
    return np.isfinite(array).all(tuple(range(1, array.ndim)))
