"""Networks inside the solver: sources against closed forms, black boxes, mistakes."""

import functools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from flows import box, check_gradients, turbulent
from trainings import KS, SIZES, dataset, small_net, trainer_of

from tfunroll import systems
from tfunroll.core import InputError
from tfunroll.ops.gas import conservative
from tfunroll.ops.meshes import PERIODIC, Mesh
from tfunroll.ops.spectral import phi1
from tfunroll.ops.stencils import divergence
from tfunroll.runs.config import RunConfig
from tfunroll.solvers.compressible import Compressible
from tfunroll.solvers.external import ExternalSolver
from tfunroll.solvers.kuramoto_sivashinsky import KuramotoSivashinsky
from tfunroll.stepping.features import Features
from tfunroll.stepping.losses import PhysicsResidual, Supervised
from tfunroll.stepping.steppers import (
    IndirectCorrection,
    ParallelCorrection,
    SequentialCorrection,
    bind,
)
from tfunroll.stepping.unrolling import NOG, ONE, WIG, unroll
from tfunroll.systems import ParamRange
from tfunroll.systems.own import own_system
from tfunroll.training.schedule import Stage
from tfunroll.training.trainer import Trainer, Updates

rng = np.random.default_rng(0)


def tensors(params):
    return {name: tf.constant(values, tf.float64) for name, values in params.items()}


# name -> a solver, parameters, a state on its own grid
@functools.cache
def case(name):
    system = systems.get("aerofoil" if name == "aerofoil" else name.partition(" ")[0])
    first, *others = system.params
    params = {first: np.array(system.splits["train"][:2], np.float64)}
    params |= {n: np.full(2, (system.params[n].low + system.params[n].high) / 2) for n in others}
    solver = system.coarse(name.partition(" ")[2])
    state = system.initial_state(params, 1)
    state = state if system.active is None else state * system.active
    return solver, params, solver.prolong(tf.constant(state)).numpy()


CASES = ["ks etd1", "ks etdrk2", "kolmogorov piso", "kolmogorov midpoint", "wake", "aerofoil"]


@pytest.mark.parametrize("name", CASES)
def test_without_a_source_it_is_the_solver_to_the_last_bit(name):
    solver, params, state = case(name)
    given = {n: tf.constant(v, tf.float32) for n, v in params.items()}
    u = tf.constant(state, tf.float32)
    compiled = functools.partial(tf.function, jit_compile=True, autograph=False)
    if name == "aerofoil":  # which takes long to compile
        compiled = lambda function: function  # noqa: E731
    plain = compiled(lambda u: solver.bind(given)(u))(u)
    np.testing.assert_array_equal(
        compiled(lambda u, s: solver.forced(given)(u, s))(u, tf.zeros_like(u)), plain
    )


@pytest.mark.parametrize("name", CASES)
def test_gradients_by_state_and_source(name):
    solver, params, state = case(name)
    step = tf.function(solver.forced(tensors(params)), autograph=False)
    source, weight = rng.normal(size=(2, *state.shape)) * np.sqrt(np.mean(state**2))
    check_gradients(
        lambda u, s: tf.reduce_sum(weight * step(u, s)), (state, 0.1 * source), rng, 2e-3
    )  # limiters have kinks


@pytest.mark.parametrize("scheme", ["etd1", "etdrk2"])
def test_a_linear_wave_that_is_driven_is_exact(scheme):
    """û' = e^z û + dt φ1(z) ŝ, z = dt (k² − k⁴), is the exact solution where u² hardly counts."""
    solver = KuramotoSivashinsky(48, scheme, 0.5, 3)
    x, small = 2 * np.pi * np.arange(48) / 48, 1e-9
    u, s = (small * np.cos(2 * x + shift)[None, :, None] for shift in (0.0, 1.0))
    k = 2 / 8.0
    rate, t = k**2 - k**4, 1.5
    wanted = np.exp(rate * t) * u + np.expm1(rate * t) / rate * s
    for sizes in ([8.0], [8.0, 8.0]):  # parts of one domain size, coefficients of several
        got = solver.forced(tensors({"domain_size": sizes}))(
            *(tf.constant(np.repeat(a, len(sizes), 0)) for a in (u, s))
        )
        np.testing.assert_allclose(got, np.repeat(wanted, len(sizes), 0), atol=1e-6 * small)


def test_one_etd1_step_is_the_parallel_correction_with_a_filtered_increment():
    """S(u, s) = S(u) + F⁻¹ dt φ1(z) F s."""
    solver, dt = KuramotoSivashinsky(48, "etd1", 1.0, 1), 1.0
    params, state = tensors({"domain_size": SIZES}), KS.initial_state({"domain_size": SIZES}, 3)
    net, features = small_net("float64"), KS.features("correction")
    indirect = IndirectCorrection(solver, net, features, 0.5).bind(params)(tf.constant(state))
    k = np.arange(25) / SIZES[:, None]
    symbol = dt * phi1(tf.constant(dt * (k**2 - k**4))).numpy()

    def filtered(x):
        change = np.fft.irfft(symbol * np.fft.rfft(net(x).numpy()[..., 0]), 48)
        return tf.constant(change[..., None])

    parallel = ParallelCorrection(solver, filtered, features, 0.5).bind(params)(tf.constant(state))
    np.testing.assert_allclose(indirect, parallel, rtol=0, atol=1e-12 * np.abs(parallel).max())


def test_a_source_adds_no_divergence():
    """The sequential correction of the same size does."""
    params = {"reynolds": tf.constant([300.0, 1000.0])}
    solver = systems.get("kolmogorov").coarse()
    state = tf.constant(turbulent(), tf.float32)
    source = tf.constant(rng.normal(size=state.shape), tf.float32)
    features = Features({}, 3, 3)

    def largest(kind, scale):
        flow = kind(solver, lambda _: source, features, scale).bind(params)(state)
        w = tf.transpose(flow, [3, 0, 1, 2])[:2]
        return float(tf.reduce_max(tf.abs(divergence(w, solver.grid))))

    assert largest(IndirectCorrection, 1.0) < 1e-5 * np.abs(state).max() / solver.spacing
    assert largest(SequentialCorrection, solver.frame_time) > 1e-2


def test_a_uniform_source_moves_a_periodic_flow_as_a_whole():
    """d/dt of the mean velocity is the source, whatever the flow."""
    solver, state = box(32, 0.01, substeps=2), turbulent()
    source = np.zeros_like(state)
    source[..., :2] = [0.3, -0.2]
    step = solver.forced(tensors({"reynolds": [300.0, 1000.0]}))
    after = step(tf.constant(state), tf.constant(source)).numpy()
    moved = (after - state)[..., :2].mean((1, 2))
    np.testing.assert_allclose(moved, np.tile([0.3, -0.2], (2, 1)) * 0.02, atol=1e-13)


def test_a_source_of_mass_momentum_and_energy_arrives_whole():
    """A uniform gas at rest without walls would keep its state: q grows by the source alone."""
    y, x = np.meshgrid(np.arange(7) / 6, np.arange(9) / 8, indexing="ij")
    mesh = Mesh(np.stack([x, y], -1), periodic=(True, True))
    solver = Compressible(mesh, 1e-3, 4, boundary=((PERIODIC, PERIODIC),) * 2)
    state = np.tile([1.0, 0.3, -0.2, 2.0], (2, *mesh.shape, 1))
    source = np.tile([0.2, -0.4, 0.1, 0.7], (2, *mesh.shape, 1))
    params = {"mach": [0.5, 0.6], "reynolds": [1e3, 2e3], "incidence": [0.0, 1.0]}
    after = solver.forced(tensors(params))(tf.constant(state), tf.constant(source))

    def q(w):
        return conservative(tf.transpose(tf.constant(w), [3, 0, 1, 2])).numpy()

    change = source.transpose(3, 0, 1, 2) * solver.frame_time
    np.testing.assert_allclose(q(after) - q(state), change, atol=1e-14)


# ---------------------------------------------------------------------- black boxes

STATES = rng.normal(size=(4, 12, 1))
PARAMS = {"rate": np.array([0.1, 0.2, 0.3, 0.4])}
FRAME = 0.1


def decay(state, params, source):
    """u' = u + Δt (−r u + s), one step of Euler's."""
    return state + FRAME * (source - params["rate"][:, None, None] * state)


def decay_vjp(state, params, source, cotangent):
    return cotangent * (1 - FRAME * params["rate"][:, None, None]), FRAME * cotangent


def external(step=decay, vjp=None, **more):
    more = {"takes_source": True, "frame_time": FRAME, **more}
    return ExternalSolver(step, vjp, example=(STATES, PARAMS), **more)


def source_gradient(solver, plan, graph):
    """Of an indirect correction of a network of one number: loss, and its gradient by it."""
    features = Features({}, 1, 1)
    w = tf.Variable(0.7, dtype=tf.float64)
    stepper = IndirectCorrection(solver, lambda u: w * u, features)
    targets = tf.fill([4, plan.steps, 12, 1], tf.constant(0.5, tf.float64))

    def run():
        with tf.GradientTape() as tape:
            step = bind(stepper, tensors(PARAMS), plan.through)
            u = tf.constant(STATES)
            loss, *_ = unroll(step, u, targets, Supervised().bind({}), plan, loop=False)
            loss = tf.reduce_mean(loss)
        return loss, tape.gradient(loss, w)

    return [float(value) for value in (tf.function(run, autograph=False) if graph else run)()]


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("plan", [ONE, NOG(3), WIG(3, through="network")], ids=str)
def test_euler_has_exactly_the_gradient_that_dt_takes(plan, graph):
    wanted = source_gradient(external(vjp=decay_vjp), plan, graph)
    np.testing.assert_allclose(
        source_gradient(external(source_gradient="dt"), plan, graph), wanted, rtol=1e-13
    )
    if plan == ONE:
        r = PARAMS["rate"][:, None, None]
        after = STATES + FRAME * (0.7 - r) * STATES
        by_hand = np.mean(2 * (after - 0.5) * FRAME * STATES)
        np.testing.assert_allclose(wanted, [np.mean((after - 0.5) ** 2), by_hand], rtol=1e-13)


def test_a_solver_that_takes_a_source_is_stepped_without_one_too():
    for made in (external(), external(vjp=decay_vjp), external(per_sample=True, step=one_decay)):
        got = made.bind(tensors(PARAMS))(tf.constant(STATES))
        np.testing.assert_array_equal(got, decay(STATES, PARAMS, 0 * STATES))
        forced = made.forced(tensors(PARAMS))(tf.constant(STATES), tf.constant(2 * STATES))
        np.testing.assert_array_equal(forced, decay(STATES, PARAMS, 2 * STATES))


def one_decay(state, params, source):
    return state + FRAME * (source - params["rate"] * state)


def test_what_cannot_be_forced_is_said():
    plain = external(lambda u, p: 0.9 * u, takes_source=False)
    features = Features({"rate": 1.0}, 1, 1)
    with pytest.raises(InputError, match="indirect.*takes no source.*takes_source=True"):
        IndirectCorrection(plain, lambda x: x, features)
    with pytest.raises(InputError, match="takes no source"):
        plain.forced(tensors(PARAMS))
    own = own_system("decay", plain, {"rate": ParamRange(0, 1, 1.0)})
    with pytest.raises(InputError, match="takes no source"):
        own.corrected("indirect")
    with pytest.raises(InputError, match="source changes nothing"):
        external(lambda u, p, s: 0.9 * u)
    with pytest.raises(InputError, match="its vjp is not the gradient"):
        external(vjp=lambda u, p, s, c: (c, c))
    with pytest.raises(InputError, match="source_gradient='dt' is for takes_source=True"):
        external(lambda u, p: 0.9 * u, takes_source=False, source_gradient="dt")
    with pytest.raises(InputError, match="source_gradient='half' is unknown; allowed: , dt"):
        external(source_gradient="half")


def test_a_black_box_without_that_gradient_is_refused_before_work(tmp_path):
    message = "indirect needs a gradient by the source.*source_gradient='dt'"
    module = tmp_path / "own.py"
    module.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_indirect import *\n"
        "def made(**more):\n"
        "    coarse = external(**more)\n"
        "    return own_system('decay', coarse, {'rate': ParamRange(0, 1, 1.0)})\n"
        "BLACK, BOX = made(), made(source_gradient='dt')\n"
    )
    options = {"correction": "indirect", "modalities": ("ONE", "NOG"), "data": "x.json"}
    with pytest.raises(InputError, match=message) as error:
        RunConfig(system=f"{module}:BLACK", **options).resolved()
    assert "\n" not in str(error.value)
    RunConfig(system=f"{module}:BOX", **options).resolved()
    with pytest.raises(InputError, match="WIG passes gradients through the solver 'decay'"):
        RunConfig(system=f"{module}:BOX", **options | {"modalities": ("WIG",)}).resolved()


# ---------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def data():
    return dataset()


def test_it_trains_by_its_flag(data):
    config = RunConfig(
        curriculum="3:3:1e-3",
        correction="indirect",
        width=4,
        depth=1,
        modalities=("WIG",),
        jit="off",
    )
    trained = trainer_of(config, data).fit(0)
    assert trained.updates == 3
    assert trained.skipped == 0
    assert np.isfinite(trained.training_loss)


def test_a_physics_residual_of_an_indirect_correction_is_that_of_its_source():
    """Of the reference with a source of zeros it is zero, as the two are the same solver."""
    reference, net = KS.reference(), small_net("float64")
    params = tensors({"domain_size": SIZES})
    u = tf.constant(KS.initial_state({"domain_size": SIZES}, 0))
    residual = PhysicsResidual(reference).bind(params)
    for scale, wanted in ((0.0, 0.0), (0.5, None)):
        stepper = IndirectCorrection(reference, net, KS.features("correction"), scale)
        after = stepper.bind(params)(u)
        found = residual(0, u, after, None)
        if wanted is None:
            source = scale * net(stepper.features.bind(params)(u))
            forced = reference.forced(params)(u, source) - reference.bind(params)(u)
            wanted = np.mean(np.square(forced), (1, 2))
            assert wanted.min() > 0
        np.testing.assert_allclose(found, np.broadcast_to(wanted, 3), rtol=1e-12)


def test_a_black_box_trains_like_the_solver_that_it_calls(data):
    """KS by its own NumPy callable with a vjp, against the solver in TensorFlow: NOG and WIG."""
    solver = KS.coarse()

    def call(u, params, source):
        given = {name: tf.constant(v) for name, v in params.items()}
        return solver.forced(given)(tf.constant(u), tf.constant(source)).numpy()

    def vjp(u, params, source, cotangent):
        given = {name: tf.constant(v) for name, v in params.items()}
        u, source = tf.constant(u), tf.constant(source)
        with tf.GradientTape() as tape:
            tape.watch([u, source])
            after = solver.forced(given)(u, source)
        return [g.numpy() for g in tape.gradient(after, [u, source], tf.constant(cotangent))]

    example = KS.initial_state({"domain_size": SIZES}, 0), {"domain_size": SIZES}
    outside = ExternalSolver(call, vjp, example=example, takes_source=True)
    for plan in (NOG(2), WIG(2)):
        found = []
        for each in (solver, outside):
            stepper = IndirectCorrection(each, small_net("float64"), KS.features("correction"), 0.5)
            stage = Stage(plan, 10, 1e-3, batch_size=4)
            updates = Updates(
                Trainer(stepper, data.splits["train"], stage, callbacks=[], jit=False), stage
            )
            updates(2)
            found.append(updates.carry["flat"].numpy())
        np.testing.assert_allclose(*found, rtol=1e-9)
