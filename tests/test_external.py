"""ExternalSolver: calls are shared out and come back; what a callable does wrong is said."""

import time

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.solvers.external import ExternalSolver, SolverError, solver_errors

STATES = np.random.default_rng(0).standard_normal((6, 8, 2))
PARAMS = {"a": np.linspace(1, 2, 6), "b": np.linspace(3, 4, 6)}


def decay(state, params):
    shape = (-1,) + (1,) * (state.ndim - 1)
    return state * np.exp(-np.reshape(params["a"], shape)) + np.reshape(params["b"], shape)


def decay_vjp(state, params, cotangent):
    return cotangent * np.exp(-np.reshape(params["a"], (-1,) + (1,) * (state.ndim - 1)))


def solver(step=decay, vjp=None, **options):
    return ExternalSolver(step, vjp, example=(STATES, PARAMS), **options)


def stepped(external, states=STATES, dtype="float64"):
    """A step inside a graph, as training takes it."""
    params = {name: tf.constant(v, dtype) for name, v in PARAMS.items()}

    @tf.function(autograph=False)
    def run(u):
        return external.bind(params)(u)

    with solver_errors():
        return run(tf.constant(states, dtype)).numpy()


def one_sample(state, params):
    return state * np.exp(-params["a"]) + params["b"]


@pytest.mark.parametrize("workers", [1, 2, 4, 0])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_samples_are_shared_out_and_come_back_in_order(workers, per_sample, dtype):
    step = one_sample if per_sample else decay
    external = solver(step, workers=workers, per_sample=per_sample, dtype=dtype)
    for run, tolerance in (("float64", 1e-6 if dtype == "float32" else 0), ("float32", 1e-6)):
        out = stepped(external, dtype=run)
        assert out.dtype == run
        np.testing.assert_allclose(out, decay(STATES, PARAMS), rtol=tolerance, atol=tolerance)


def test_threads_work_side_by_side():
    def slow(state, params):
        time.sleep(0.05)
        return one_sample(state, params)

    seconds = []
    for workers in (1, 3):
        external = solver(slow, per_sample=True, workers=workers)
        began = time.perf_counter()
        stepped(external)
        seconds.append(time.perf_counter() - began)
    assert seconds[0] > 0.3
    assert seconds[1] < 0.7 * seconds[0]


def test_gradient_is_the_vjp_and_of_no_parameter():
    external = solver(vjp=decay_vjp)
    params = {name: tf.constant(v) for name, v in PARAMS.items()}
    u = tf.constant(STATES)
    with tf.GradientTape() as tape:
        tape.watch([u, params["a"]])
        loss = tf.reduce_sum(external.bind(params)(u) ** 2)
    by_state, by_param = tape.gradient(loss, [u, params["a"]])
    out = decay(STATES, PARAMS)
    np.testing.assert_allclose(by_state, decay_vjp(STATES, PARAMS, 2 * out), rtol=1e-12)
    assert by_param is None


def test_an_answer_in_always_the_same_memory_is_copied():
    buffer = np.empty((6, 8, 2))

    def reusing(state, params):
        out = buffer[: len(state)]
        out[:] = decay(state, params)
        return out

    external = solver(reusing)
    first = external._parallel(external._forward, [STATES], PARAMS)
    external._parallel(external._forward, [2 * STATES], PARAMS)
    np.testing.assert_array_equal(first, decay(STATES, PARAMS))


def test_diverged_samples_stay_nan_and_are_not_errors():
    seen = []

    def fragile(state, params):
        seen.append(len(state))
        if np.abs(state).max() > 1e6:
            raise OverflowError
        return np.where(np.abs(state) > 1e3, np.inf, decay(state, params))

    external = solver(fragile)
    states = STATES.copy()
    states[1, 3], states[2, 0, 0], states[4] = np.nan, 1e4, 1e8
    out = stepped(external, states)
    assert set(np.flatnonzero(~np.isfinite(out).reshape(6, -1).all(1))) == {1, 2, 4}
    good = [0, 3, 5]
    np.testing.assert_array_equal(out[good], decay(STATES, PARAMS)[good])
    seen.clear()
    assert np.isnan(stepped(external, np.full_like(STATES, np.nan))).all()
    assert not seen


# ------------------------------------------------------------------ mistakes


def raising(state, params):
    if (state > 5).any():
        raise ValueError("no\nconvergence")
    return decay(state, params)


def not_finite(state, params):
    return np.where(state > 5, np.nan, decay(state, params))


def misshapen(state, params):
    out = decay(state, params)
    return out[:, 1:] if (state > 5).any() else out


def hanging(state, params):
    if (state > 5).any():
        time.sleep(2)
    return decay(state, params)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("step", "message"),
    [
        (raising, "raised ValueError: no convergence"),
        (not_finite, "returned NaN or infinity"),
        (misshapen, "returned shape (1, 7, 2) in place of (1, 8, 2)"),
        (hanging, "did not answer within 0.2 s"),
    ],
)
def test_a_failing_solver_is_one_error_that_names_the_sample(step, message, workers):
    external = solver(step, timeout=0.2, workers=workers)
    states = STATES.copy()
    states[3, 0, 0] = 6
    with pytest.raises(SolverError) as failure:
        stepped(external, states)
    text = str(failure.value)
    assert text.startswith(f"solver '{step.__name__}' {message}")
    assert "\n" not in text
    saved = dict(np.load(text.rpartition(" ")[2]))
    if step is not hanging:  # then it is known which sample of the group it is
        assert "for a=1.6 b=3.6; its state is saved in " in text
        np.testing.assert_array_equal(saved["state"], states[3:4])
    else:
        assert any(np.array_equal(one, states[3]) for one in saved["state"])
        assert "1.6" in text
    assert np.isfinite(stepped(external)).all()  # and it goes on


def random_step(state, params):
    return decay(state, params) + np.random.default_rng().standard_normal(state.shape)


def mixing(state, params):
    return decay(state, params) + state.mean(0)


def writing(state, params):
    state += 1
    return state


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda s, p: s[:, 1:], r"returned shape .*7, 2. in place of"),
        (lambda s, p: s.astype("float32"), r"float32 in place of float64 \(see .*dtype"),
        (lambda s, p: s.tolist(), "a list in place of an array"),
        (lambda s, p: s / 0, "NaN or infinity, for a=1 b=3"),
        (lambda s, p: s * p["c"], "raised KeyError: 'c'"),
        (random_step, "is not deterministic: .* apart"),
        (mixing, "mixes the samples of a batch.* per_sample=True"),
        (writing, "read-only"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_callable_is_checked_when_it_is_given(step, message):
    with pytest.raises(InputError, match=message):
        solver(step)


def test_a_wrong_gradient_is_found():
    with pytest.raises(InputError, match="its vjp is not the gradient of its step: .* finite"):
        solver(vjp=lambda s, p, c: 1.1 * decay_vjp(s, p, c))
    solver(vjp=decay_vjp, dtype=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"example": (STATES[:1], {})}, "at least two different states"),
        ({"example": (STATES, {"a": np.ones(3)})}, r"params.a of shape \(3,\); needed: \(6,\)"),
        ({"dtype": "float16"}, "dtype='float16' is unknown"),
        ({"timeout": 0}, "timeout=0"),
        ({"workers": -1}, "workers=-1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        ExternalSolver(decay, **{"example": (STATES, PARAMS), **options})


def test_a_gradient_that_is_not_there_says_so():
    external = solver()
    params = {name: tf.constant(v) for name, v in PARAMS.items()}
    u = tf.constant(STATES)
    with tf.GradientTape() as tape:
        tape.watch(u)
        out = external.bind(params)(u)
    with pytest.raises(InputError, match="allowed: ONE, NOG"):
        tape.gradient(out, u)
