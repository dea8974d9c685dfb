"""External solvers with a fidelity: it reaches every callable, worker and adapter, as an int."""

import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from trainings import KS, SIZES, dataset, small_net

from tfunroll.core import InputError
from tfunroll.solvers.adapters import from_jax, from_tesseract
from tfunroll.solvers.external import ExternalSolver, SolverError, solver_errors
from tfunroll.solvers.worker_pool import WorkerPool
from tfunroll.stepping.steppers import ParallelCorrection
from tfunroll.stepping.unrolling import ONE, WIG
from tfunroll.training.callbacks import Validation
from tfunroll.training.ladders import Ladder
from tfunroll.training.schedule import Stage
from tfunroll.training.trainer import Trainer

STATES = np.random.default_rng(0).standard_normal((6, 8, 1))
PARAMS = {"a": np.linspace(1, 2, 6)}
WORKER = """
import sys
from types import SimpleNamespace
from numpy.lib.format import read_array, write_array
requests = SimpleNamespace(read=sys.stdin.buffer.read)
answers = SimpleNamespace(write=sys.stdout.buffer.write)
while sys.stdin.buffer.peek(1):
    state, (a, fidelity) = read_array(requests), read_array(requests)
    a, fidelity = a.reshape(-1, *[1] * (state.ndim - 1)), int(fidelity.flat[0])
    write_array(answers, state * (a if a.size > 1 else a.flat[0]) ** fidelity)
    sys.stdout.buffer.flush()
"""


def power(state, params):
    """u · a^fidelity, of a batch or of one sample."""
    assert type(params["fidelity"]) is int
    a = np.reshape(params["a"], np.shape(params["a"]) + (1,) * (state.ndim - np.ndim(params["a"])))
    return state * a ** params["fidelity"]


def power_vjp(state, params, cotangent):
    return power(cotangent, params)


def solver(step=power, vjp=None, **options):
    return ExternalSolver(step, vjp, example=(STATES, PARAMS), **{"fidelity": (1, 4), **options})


def stepped(external, counts):
    """A step and its gradient for each fidelity, by one graph."""

    @tf.function(autograph=False)
    def run(u, count):
        with tf.GradientTape() as tape:
            tape.watch(u)
            params = {"a": tf.constant(PARAMS["a"])}
            out = external.at("fidelity", count).bind(params)(u)
        has = external.differentiable
        return out, tape.gradient(out, u) if has else tf.zeros_like(u)

    with solver_errors():
        return [[x.numpy() for x in run(tf.constant(STATES), tf.constant(n))] for n in counts]


def check(external):
    for count, (out, gradient) in zip((1, 2, 4), stepped(external, (1, 2, 4)), strict=True):
        factors = PARAMS["a"][:, None, None] ** count
        np.testing.assert_allclose(out, STATES * factors, rtol=1e-12)
        if external.differentiable:
            np.testing.assert_allclose(gradient, factors * np.ones_like(STATES), rtol=1e-12)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("vjp", [None, power_vjp])
def test_callables_get_it_as_an_integer(workers, per_sample, vjp):
    check(solver(vjp=vjp, workers=workers, per_sample=per_sample))


def test_without_a_ladder_it_is_the_highest():
    params = {"a": tf.constant(PARAMS["a"])}
    highest = solver().bind(params)(tf.constant(STATES))
    np.testing.assert_allclose(highest, STATES * PARAMS["a"][:, None, None] ** 4, rtol=1e-12)
    lower = solver().at("fidelity", 2)
    assert lower.knobs == {"fidelity": (1, 2)}
    np.testing.assert_allclose(
        lower.bind(params)(tf.constant(STATES)), STATES * PARAMS["a"][:, None, None] ** 2
    )


@pytest.mark.parametrize("per_sample", [False, True])
def test_every_worker_process_gets_it(per_sample):
    pool, used = WorkerPool([sys.executable, "-c", WORKER], workers=2), set()

    def step(state, params):
        used.add((threading.get_ident(), params["fidelity"]))
        return pool(state, params)

    check(solver(step, per_sample=per_sample, workers=2))
    assert {n for _, n in used} == {1, 2, 4}
    assert len(pool.processes) == 2
    assert pool.restarts == 0
    pool.close()


def test_jax_functions_get_it_as_a_number_that_loops_take():
    pytest.importorskip("jax")

    def function(state, params):
        for _ in range(params["fidelity"]):
            state = state * params["a"][:, None, None]
        return state

    step, vjp = from_jax(function)
    check(solver(step, vjp, dtype=None))


def test_tesseracts_get_it_as_an_input():
    class Power:
        def apply(self, inputs):
            return {"result": power(inputs["state"], inputs)}

        def vector_jacobian_product(self, inputs, names, results, cotangents):
            return {"state": power(cotangents["result"], inputs)}

    step, vjp = from_tesseract(Power())
    check(solver(step, vjp, per_sample=True))


def test_a_ladder_refines_it_in_training_and_validation_is_at_the_highest():
    data, seen = dataset(), []

    def step(state, params):
        seen.append((len(state), params["fidelity"]))
        return state * (1 - 0.01 / params["fidelity"])

    def vjp(state, params, cotangent):
        seen.append((-len(state), params["fidelity"]))
        return cotangent * (1 - 0.01 / params["fidelity"])

    example = data.splits["train"].states[:, 0].astype(np.float64), {"domain_size": SIZES}
    external = ExternalSolver(step, vjp, example=example, fidelity=(1, 3))
    stepper = ParallelCorrection(external, small_net(initial="zero"), KS.features("correction"))
    ladder = Ladder("fidelity", 1, 3, step=1e-9, stop=np.inf, window=2, finish=0)
    for unrolling in (ONE, WIG(2)):
        trainer = Trainer(
            *(stepper, data.splits["train"], Stage(unrolling, 20, 1e-3, batch_size=5)),
            callbacks=[Validation(data.splits["validation"], 5, 4), ladder],
            jit=False,
        )
        seen.clear()
        found = trainer.fit(0)
        training = [n for size, n in seen if size == 5]
        assert training == [1] * 15 * unrolling.steps + [2] * 5 * unrolling.steps
        # of 12 rollouts over 4 frames, and of the last one at the rung that was reached
        assert [n for size, n in seen if size == 12] == [3] * 16 + [2] * 4
        adjoint = [n for size, n in seen if size == -5]
        assert adjoint == ([] if unrolling == ONE else training)
        assert found.ladder["iterations"] == {"forward": sum(training), "adjoint": sum(adjoint)}


def test_what_fails_at_a_fidelity_names_it():
    def failing(state, params):
        if params["fidelity"] == 2:
            raise RuntimeError("too loose")
        return state * 1.0

    with pytest.raises(SolverError, match=r"raised RuntimeError: too loose, for a=1 fidelity=2"):
        stepped(solver(failing), [1, 2])


@pytest.mark.parametrize("fidelity", [(2, 1), (0, 3), (1, 2.5), (1,)])
def test_impossible_ranges(fidelity):
    with pytest.raises(InputError, match="must be two whole numbers"):
        solver(fidelity=fidelity)


def test_without_a_range_there_is_no_ladder():
    external = ExternalSolver(lambda u, p: u * 0.9, example=(STATES, PARAMS), name="mine")
    with pytest.raises(InputError, match=r"'mine' has no such knob; .*ExternalSolver\(fidelity=…"):
        external.check_knob("fidelity")
    with pytest.raises(InputError, match="params.fidelity of the example"):
        ExternalSolver(power, example=(STATES, {"fidelity": PARAMS["a"]}), fidelity=(1, 2))
