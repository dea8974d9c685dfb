"""The contracts of tests/contracts.py, held by all that tfunroll has and by a user's own."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import (
    SMALL,
    check_net,
    check_solver,
    check_stepper,
    check_system,
    shaken,
    some_params,
)

from tfunroll import nets, systems
from tfunroll.core import Domain, InputError, Solver
from tfunroll.solvers.external import ExternalSolver
from tfunroll.stepping.features import Features
from tfunroll.stepping.steppers import SequentialCorrection
from tfunroll.systems import ParamRange
from tfunroll.systems.own import own_system

BURGERS = f"{Path(__file__).parents[1] / 'examples' / 'burgers_numpy.py'}:SYSTEM"
P, Z, R = ("periodic",) * 2, ("zero",) * 2, ("replicate",) * 2


# ---------------------------------------------------------------------- a user's own


class Heat(Solver):
    """u_t = a u_xx by two explicit steps: the least that a solver in TensorFlow needs."""

    channels, dt, frame_time = 1, 0.1, 0.2

    def bind(self, params):
        a = self.dt * params["diffusivity"][:, None, None]

        def step(u):
            for _ in range(2):
                u += a * (tf.roll(u, 1, 1) - 2 * u + tf.roll(u, -1, 1))
            return u

        return step


def heat(u, params, cotangent=None):
    """The same outside of TensorFlow; it is its own adjoint."""
    u = u if cotangent is None else cotangent
    a = 0.1 * params["diffusivity"][:, None, None]
    for _ in range(2):
        u = u + a * (np.roll(u, 1, 1) - 2 * u + np.roll(u, -1, 1))
    return u


HEAT = {"diffusivity": np.array([0.5, 1.0])}


def waves(params, seed):
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, (len(params["diffusivity"]), 1))
    return np.sin(2 * np.pi * np.arange(16) / 16 + phase)[..., None]


EXTERNAL = ExternalSolver(heat, heat, example=(waves(HEAT, 0), HEAT), dt=0.1, frame_time=0.2)
OWN = own_system(
    "heat",
    EXTERNAL,
    {"diffusivity": ParamRange(0.1, 2.0, 1.0)},
    reference=EXTERNAL,
    initial_state=waves,
    splits={
        "train": (0.5, 1.0),
        "validation": (0.7,),
        "test_interpolation": (0.8,),
        "test_extrapolation": (0.2, 1.5),
    },
    boundary="periodic",
)


def keras_net(seed, policy, width=4, channels=(2, 1)):
    """Any Keras model of one tensor, here of two layers that Keras brings along."""
    last = "float64" if policy == "float64" else "float32"
    starts = [keras.initializers.GlorotUniform(seed=2 * seed + k) for k in range(2)]
    layers = keras.layers
    net = keras.Sequential(
        [
            layers.Conv1D(width, 3, padding="same", activation="tanh", kernel_initializer=starts[0],
                          dtype=policy),
            layers.Dense(channels[1], kernel_initializer=starts[1], dtype=last),
        ]
    )  # fmt: skip
    net.build((None, 16, channels[0]))
    return net


# ---------------------------------------------------------------------- solvers


def of_system(name, make):
    """A solver of a System, parameters, a state on its own grid that is nowhere uniform."""
    system = systems.get(name)
    solver, params = make(system), some_params(system)
    state = system.initial_state(params, 1)
    if name == "aerofoil":
        x, y = np.moveaxis(system.domain.centres, -1, 0)
        bump = np.exp(-((x - 0.7) ** 2) - (y - 0.1) ** 2)[..., None]
        state = state * (1 + bump * [0.2, -0.3, 0.1, 0.3])
    if system.active is not None:
        state = state * system.active
    prolonged = slice(None)
    if name == "wake":  # all but p in cells that the body cuts
        y, x = system.domain.shape
        prolonged = np.ones((y, x, 3), bool)
        blocks = solver.grid.fluid.reshape(y, solver.refinement, x, solver.refinement)
        prolonged[..., 2] = blocks.all((1, 3))
    return solver, params, solver.prolong(tf.constant(state)).numpy(), prolonged


def coarse_solvers():
    for name in systems.MODULES:
        for kind in systems.get(name).coarse_kinds:
            yield pytest.param(name, lambda s, kind=kind: s.coarse(kind), id=f"{name}-{kind}")


FINER = {"reference": lambda s: s.reference(), "refined": lambda s: s.refined(2)}


def finer_solvers():
    for name in systems.MODULES:
        for what, make in FINER.items():
            marks = [] if name == "ks" else pytest.mark.slow
            yield pytest.param(name, make, id=f"{name}-{what}", marks=marks)


@pytest.mark.parametrize(("name", "make"), [*coarse_solvers(), *finer_solvers()])
def test_solvers_of_the_systems(name, make):
    solver, params, state, prolonged = of_system(name, make)
    check_solver(solver, params, state, xla=name == "ks", prolonged=prolonged)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "make"), coarse_solvers())
def test_solvers_of_the_systems_compiled(name, make):
    solver, params, state, prolonged = of_system(name, make)
    check_solver(solver, params, state, xla=True, prolonged=prolonged)


@pytest.mark.parametrize("solver", [Heat(), EXTERNAL], ids=["in TensorFlow", "with a gradient"])
def test_a_users_solver(solver):
    check_solver(solver, HEAT, waves(HEAT, 1))


@pytest.mark.parametrize("make", [lambda s: s.coarse("external"), lambda s: s.reference()])
def test_a_users_solver_without_gradients(make):
    solver, params, state, _ = of_system(BURGERS, make)
    check_solver(solver, params, state)


# ---------------------------------------------------------------------- networks

DOMAINS = {
    "ring": Domain((16,), (P,)),
    "torus": Domain((16, 8), (P, P)),
    "duct": Domain((9, 12), (Z, R)),  # walls below and above, inflow and outflow; an odd axis
    "o-grid": Domain((12, 7), (P, ("zero", "replicate"))),
}


@pytest.mark.parametrize("name", nets.NETS)
@pytest.mark.parametrize(
    "domain",
    [
        pytest.param(d, id=name, marks=[pytest.mark.slow] if name in ("torus", "o-grid") else [])
        for name, d in DOMAINS.items()
    ],
)
def test_networks(name, domain, tmp_path):
    def make(seed, policy):
        return nets.build(
            name, domain, 2, 1, **SMALL[name], seed=seed, dtype=policy, initial="glorot"
        )

    check_net(make, domain.shape, (2, 1), tmp_path)


def test_a_network_that_leaves_out_an_obstacle(tmp_path):
    mask = np.ones((6, 6), bool)
    mask[2:4, 2:4] = False
    domain = Domain((6, 6), (P, R), mask=mask)

    def make(seed, policy):
        options = {**SMALL["graph"], "initial": "glorot", "seed": seed, "dtype": policy}
        return nets.build("graph", domain, 2, 1, **options)

    check_net(make, (6, 6), (2, 1), tmp_path, mask)


def test_a_users_network(tmp_path):
    check_net(keras_net, (16,), (2, 1), tmp_path)


# ---------------------------------------------------------------------- steppers


def kinds():
    for name in (*systems.MODULES, BURGERS):
        system = systems.get(name)
        for coarse in system.coarse_kinds:
            for correction in system.corrections:
                marks = pytest.mark.slow if name == "aerofoil" else []  # a minute
                label = f"{system.name}-{correction}-{coarse}"
                kind = name, "correction", correction, coarse
                yield pytest.param(kind, id=label, marks=marks)
        kind = name, "prediction", next(iter(system.corrections)), next(iter(system.coarse_kinds))
        yield pytest.param(kind, id=f"{system.name}-prediction")


@pytest.mark.parametrize("kind", kinds())
def test_steppers_of_the_systems(kind):
    name, mode, correction, coarse = kind
    system, features = systems.get(name), systems.get(name).features(mode)
    net = nets.build(
        "resnet", system.domain, features.in_channels, features.out_channels, width=3, depth=1,
        dtype="float64",
    )  # fmt: skip
    if correction == "graded":
        if coarse == "etd1":  # the solver does it all
            pytest.skip("the network has no part in it")
        coarse += ":fraction=0.5"
    _, params, state, _ = of_system(name, lambda s: s.coarse(coarse))

    def make(net):
        return system.stepper(net, features, mode, correction, coarse, residual=True)

    solver = system.coarse(coarse) if mode == "correction" else None
    check_stepper(make, shaken(net), params, state, solver, solver)


@pytest.mark.parametrize("solver", [Heat(), EXTERNAL], ids=["in TensorFlow", "with a gradient"])
def test_a_users_solver_and_network_as_a_stepper(solver):
    features = Features({"diffusivity": 1.0}, 1, 1)
    check_stepper(
        lambda net: SequentialCorrection(solver, net, features, 0.2),
        shaken(keras_net(0, "float64")),
        HEAT,
        waves(HEAT, 2),
        solver,
        solver,
    )


# ---------------------------------------------------------------------- systems


@pytest.mark.parametrize("name", systems.MODULES)
def test_systems(name):
    system = systems.get(name)
    assert system.name == name
    check_system(system)


@pytest.mark.parametrize("system", [OWN, systems.get(BURGERS)], ids=["heat", "burgers"])
def test_a_users_system(system):
    check_system(system)


# ---------------------------------------------------------------------- what breaks a contract

NOT_HELD = (AssertionError, pytest.fail.Exception)


def mixed(u, after):
    return after + 0.1 * tf.reduce_mean(u, 0)


def random_part(u, after):
    return after + tf.random.normal(u.shape, stddev=1e-3, dtype=u.dtype)


WRONG_STEPS = {
    "mixes the batch": mixed,
    "is random": random_part,
    "ignores its parameter": lambda u, after: 0.9 * u,
    "keeps no float64": lambda u, after: tf.cast(after, tf.float32),
    "has half a gradient": lambda u, after: after + tf.stop_gradient(u),
    "loses a channel": lambda u, after: after[..., :0],
    "is not finite": lambda u, after: after / 0,
    "rounds": lambda u, after: tf.cast(tf.cast(after, tf.bfloat16), u.dtype),
}
WRONG_CLAIMS = {
    "frame_time is no whole number of dt": {"dt": 0.15},
    "XLA does compile it": {"compilable": False},
    "it has a gradient": {"differentiable": False},
    "another number of channels": {"channels": 2},
    "restrict does not undo prolong": {"restrict": lambda self, state: 0.9 * state},
}


@pytest.mark.parametrize("wrong", WRONG_STEPS.values(), ids=WRONG_STEPS)
def test_a_solver_that_steps_wrongly_is_found(wrong):
    class Wrong(Heat):
        def bind(self, params):
            step = super().bind(params)
            return lambda u: wrong(u, step(u))

    with pytest.raises(NOT_HELD):
        check_solver(Wrong(), HEAT, waves(HEAT, 1))


@pytest.mark.parametrize("claims", WRONG_CLAIMS.values(), ids=WRONG_CLAIMS)
def test_a_solver_that_claims_what_is_not_so_is_found(claims):
    with pytest.raises(NOT_HELD):
        check_solver(type("Wrong", (Heat,), claims)(), HEAT, waves(HEAT, 1))


@keras.saving.register_keras_serializable()
class Mixing(keras.layers.Layer):
    """Adds the mean of the batch."""

    def call(self, x):
        return x + keras.ops.mean(x, 0, keepdims=True)


def keras_net_with(layer, seed, policy):
    net = keras_net(seed, policy)
    net = keras.Sequential([*net.layers[:1], layer(policy), *net.layers[1:]])
    net.build((None, 16, 2))
    return net


@pytest.mark.parametrize(
    "make",
    [
        lambda seed, policy: keras_net_with(lambda p: Mixing(dtype=p), seed, policy),
        lambda seed, policy: keras_net_with(lambda p: keras.layers.ReLU(dtype=p), 0, policy),
        lambda seed, policy: keras_net(seed, "float32"),
        lambda seed, policy: keras_net(seed, policy, channels=(2, 3)),
        lambda seed, policy: keras_net_with(
            lambda p: keras.layers.Rescaling(0.0, 1.0, dtype=p), seed, policy
        ),
    ],
    ids=["mixes the batch", "one seed", "float32 always", "three channels", "dead weights"],
)
def test_a_network_that_breaks_its_contract_is_found(make, tmp_path):
    with pytest.raises(NOT_HELD):
        check_net(make, (16,), (2, 1), tmp_path)


def test_a_network_that_sees_what_the_mask_hides_is_found(tmp_path):
    with pytest.raises(AssertionError, match="mask hides"):
        check_net(keras_net, (16,), (2, 1), tmp_path, mask=np.arange(16) > 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda solve, net: solve + net + 0.1, "zero network"),
        (lambda solve, net: solve + tf.reduce_mean(net, 0), "depends on its neighbours"),
        (lambda solve, net: solve + tf.stop_gradient(net), "ONE"),
        (lambda solve, net: tf.cast(solve + net, tf.float64), "dtype"),
    ],
)
def test_a_stepper_that_breaks_its_contract_is_found(change, message):
    solver, features = Heat(), Features({"diffusivity": 1.0}, 1, 1)

    class Wrong(SequentialCorrection):
        def bind(self, params):
            solve, inputs = self.solver.bind(params), self.features.bind(params)
            return lambda u: change(solve(u), tf.cast(self.net(inputs(u)), u.dtype))

    with pytest.raises(AssertionError, match=message):
        check_stepper(
            lambda net: Wrong(solver, net, features),
            shaken(keras_net(0, "float64")),
            HEAT,
            waves(HEAT, 2),
            solver,
            solver,
        )


def other_splits(**changes):
    return {"splits": {**OWN.splits, **changes}}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "two words"},
        {"frame_time": 0.3},
        {"horizon": 50, "long_horizon": 20},
        {"metrics": ("mse", "enstrophy")},
        {"metrics": ("mse@near body",)},
        {"correction_channels": 2},
        {"coarse_kinds": {}},
        {"initial_state": lambda params, seed: waves(params, 0)},
        {"initial_state": lambda params, seed: waves(params, seed).astype(np.float32)},
        {"params": {"diffusivity": ParamRange(0.1, 2.0, 1e6)}},
        {"observables": {"mean": lambda states, params: states.mean((0, 2))}},
        other_splits(test_interpolation=(0.5,)),
        other_splits(test_interpolation=(1.5,)),
        other_splits(test_extrapolation=(0.8,)),
        other_splits(validation=(0.2,)),
        other_splits(train=(0.5, 3.0)),
        other_splits(train=()),
    ],
    ids=lambda changes: ",".join(changes),
)
def test_a_system_that_does_not_fit_together_is_found(changes):
    with pytest.raises((*NOT_HELD, InputError, ValueError)):
        check_system(dataclasses.replace(OWN, **changes))
