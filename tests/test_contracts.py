"""The contracts of tests/contracts.py, held by all that tfunroll has and by a user's own."""

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
from tfunroll.core import Domain, Solver
from tfunroll.features import Features
from tfunroll.solvers.external import ExternalSolver
from tfunroll.steppers import SequentialCorrection
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
    lifted = slice(None)
    if "near body" in system.regions and name == "wake":  # a cut face has no unique fine state
        lifted = ~system.regions["near body"] & system.domain.mask
    return solver, params, solver.lift(tf.constant(state)).numpy(), lifted


def coarse_solvers():
    for name in systems.MODULES:
        for kind in systems.get(name).coarse_kinds:
            yield pytest.param(name, lambda s, kind=kind: s.coarse(kind, 1.0), id=f"{name}-{kind}")


FINER = {"reference": lambda s: s.reference(), "refined": lambda s: s.refined(2)}


def finer_solvers():
    for name in systems.MODULES:
        for what, make in FINER.items():
            marks = [] if name == "ks" else pytest.mark.slow
            yield pytest.param(name, make, id=f"{name}-{what}", marks=marks)


@pytest.mark.parametrize(("name", "make"), [*coarse_solvers(), *finer_solvers()])
def test_solvers_of_the_systems(name, make):
    solver, params, state, lifted = of_system(name, make)
    check_solver(solver, params, state, xla=name == "ks", lifted=lifted)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "make"), coarse_solvers())
def test_solvers_of_the_systems_compiled(name, make):
    solver, params, state, lifted = of_system(name, make)
    check_solver(solver, params, state, xla=True, lifted=lifted)


@pytest.mark.parametrize("solver", [Heat(), EXTERNAL], ids=["in TensorFlow", "with a gradient"])
def test_a_users_solver(solver):
    check_solver(solver, HEAT, waves(HEAT, 1))


@pytest.mark.parametrize("make", [lambda s: s.coarse("external", 1.0), lambda s: s.reference()])
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
        pytest.param(d, id=name, marks=[pytest.mark.slow] if name == "torus" else [])
        for name, d in DOMAINS.items()
    ],
)
def test_networks(name, domain, tmp_path):
    def make(seed, policy):
        return nets.build(name, domain, 2, 1, **SMALL[name], seed=seed, dtype=policy)

    check_net(make, domain.shape, (2, 1), tmp_path)


def test_a_network_that_leaves_out_an_obstacle(tmp_path):
    mask = np.ones((6, 6), bool)
    mask[2:4, 2:4] = False
    domain = Domain((6, 6), (P, R), mask=mask)

    def make(seed, policy):
        return nets.build("graph", domain, 2, 1, **SMALL["graph"], seed=seed, dtype=policy)

    check_net(make, (6, 6), (2, 1), tmp_path, mask)


def test_a_users_network(tmp_path):
    check_net(keras_net, (16,), (2, 1), tmp_path)


# ---------------------------------------------------------------------- steppers


def kinds(names):
    for name in names:
        system = systems.get(name)
        for coarse in system.coarse_kinds:
            for correction in system.corrections:
                yield name, "correction", correction, coarse
        yield name, "prediction", next(iter(system.corrections)), system.coarse_kinds[0]


@pytest.mark.parametrize(
    "kind", kinds((*systems.MODULES, BURGERS)), ids=lambda k: "-".join(k[-60:])
)
def test_steppers_of_the_systems(kind):
    name, mode, correction, coarse = kind
    system, features = systems.get(name), systems.get(name).features(mode)
    net = nets.build(
        "resnet", system.domain, features.in_channels, features.out_channels, width=3, depth=1,
        dtype="float64",
    )  # fmt: skip
    fraction = 0.5 if correction == "graded" and coarse == "etdrk2" else 1.0
    if correction == "graded" and fraction == 1:  # the solver does it all
        pytest.skip("the network has no part in it")
    _, params, state, _ = of_system(name, lambda s: s.coarse(coarse, 1.0))

    def make(net):
        return system.stepper(net, features, mode, correction, coarse, fraction, residual=True)

    solver = system.coarse(coarse, fraction) if mode == "correction" else None
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
