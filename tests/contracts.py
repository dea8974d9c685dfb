"""What every solver, network, stepper and system must do, whoever wrote it: one function each.

tests/test_contracts.py runs them over all that tfunroll has and over a user's own. A check takes
what it cannot make itself (states, parameters, how to build one) and raises AssertionError.
"""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfunroll import core, metrics
from tfunroll.nets.weights import Weights
from tfunroll.solvers.external import solver_errors
from tfunroll.stepping.losses import Supervised
from tfunroll.stepping.unrolling import of_modality, unroll
from tfunroll.systems.base import SPLITS, TEST_SPLITS

SMALL = {  # of each architecture
    "resnet": {"width": 5, "depth": 2},
    "unet": {"width": 4, "depth": 2},
    "attention_unet": {"width": 4, "depth": 2},
    "fno": {"width": 5, "depth": 2, "modes": 3},
    "graph": {"width": 5, "depth": 2},
    "transformer": {"width": 8, "depth": 2},
}


def tensors(params, dtype="float64"):
    return {name: tf.constant(values, dtype) for name, values in params.items()}


def near(got, wanted, tolerance, what):
    """Largest difference below ``tolerance`` times the largest number."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max(), what


def shaken(net, seed=0):
    """Random weights, biases too, so that nothing hides behind initial zeros."""
    rng = np.random.default_rng(seed)
    for variable in net.variables:
        variable.assign(variable + 0.1 * rng.normal(size=variable.shape))
    return net


# ---------------------------------------------------------------------- solvers


def check_solver(solver, params, state, xla=True, prolonged=slice(None)):
    """Of a core.Solver.

    Args:
      params: name -> [batch], all of a batch different. state: [batch, *space, channel] of the
        solver's own grid, NumPy, float64, smooth enough for one frame.
      xla: whether to compile it; ``compilable`` is believed where not.
      prolonged: numbers, [*space, channel], that ``restrict`` gives back from ``prolong``.
    """
    batch = len(state)
    assert batch > 1
    assert all(len(set(values)) == batch for values in params.values())
    steps = solver.frame_time / solver.dt
    assert steps > 0.5
    assert steps == pytest.approx(round(steps), rel=1e-9), "frame_time is no whole number of dt"
    assert state.shape[-1] == solver.channels

    @tf.function(autograph=False)
    def stepped(state, params):
        return solver.bind(params)(state)

    def after(state, params, dtype="float64"):
        return stepped(tf.constant(state, dtype), tensors(params, dtype)).numpy()

    together = after(state, params)
    single = after(state, params, "float32")
    for out, dtype in ((together, np.float64), (single, np.float32)):
        assert out.shape == state.shape
        assert out.dtype == dtype
        assert np.isfinite(out).all()
    near(single, together, 1e-3, "float32 is far from float64")
    assert np.abs(together - state).max() > 0, "a frame changes nothing"

    np.testing.assert_array_equal(after(state, params), together, "the second step differs")
    bound = tf.function(solver.bind(tensors(params)), autograph=False)  # outside of the graph
    near(bound(tf.constant(state)), together, 1e-9, "another binding steps otherwise")

    for i in range(batch):
        alone = after(state[i : i + 1], {n: v[i : i + 1] for n, v in params.items()})
        near(alone[0], together[i], 1e-11, f"sample {i} depends on its neighbours")
    for name, values in params.items():
        moved = np.array(values, np.float64)
        moved[1] *= 1.02
        changed = after(state, {**params, name: moved})
        near(changed[0], together[0], 1e-11, f"{name} of one sample changes another")
        assert np.abs(changed[1] - together[1]).max() > 0, f"{name} changes nothing"

    coarse = solver.restrict(tf.constant(state))
    fine = solver.prolong(coarse)
    assert fine.shape == state.shape
    assert fine.dtype == coarse.dtype == tf.float64
    back = solver.restrict(fine).numpy()
    near(back[:, prolonged], coarse.numpy()[:, prolonged], 1e-10, "restrict does not undo prolong")

    check_solver_gradient(stepped, params, state, solver.differentiable)
    if not xla:
        return
    compiled = tf.function(lambda u, p: solver.bind(p)(u), jit_compile=True, autograph=False)
    if solver.compilable:
        out = compiled(tf.constant(state), tensors(params))
        near(out, together, 1e-9, "XLA computes something else")
    else:
        with pytest.raises((tf.errors.OpError, ValueError)):
            compiled(tf.constant(state), tensors(params))


def check_solver_gradient(stepped, params, state, differentiable):
    """∂(weight · step)/∂state along a random direction against central differences, or refused.

    To 1e-3, as limiters have kinks.
    """
    rng = np.random.default_rng(0)
    weight, direction = (tf.constant(rng.normal(size=state.shape)) for _ in range(2))
    direction *= np.sqrt(np.mean(np.square(state)))
    given, u = tensors(params), tf.constant(state)

    @tf.function(autograph=False)
    def gradient(u):
        with tf.GradientTape() as tape:
            tape.watch(u)
            value = tf.reduce_sum(weight * stepped(u, given))
        return tape.gradient(value, u)

    if not differentiable:
        with pytest.raises(core.InputError, match="ONE, NOG"), solver_errors():
            gradient(u)
        return
    h = 1e-6
    ends = [tf.reduce_sum(weight * stepped(u + s * h * direction, given)) for s in (1, -1)]
    exact = float(tf.reduce_sum(gradient(u) * direction))
    np.testing.assert_allclose(exact, (ends[0] - ends[1]) / (2 * h), rtol=1e-3)


# ---------------------------------------------------------------------- networks


def check_net(make, shape, channels, folder, mask=None):
    """Of a network: a Keras model of one tensor.

    Args:
      make: (seed, dtype policy) -> the built model. shape: of its grid. channels: (in, out).
      folder: for a saved one.
      mask: False in the cells whose input it must not see, [*space]; None: it sees all.
    """
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=(3, *shape, channels[0]))
    outputs = {}
    for policy in ("float32", "float64", "mixed_bfloat16"):
        dtype = "float64" if policy == "float64" else "float32"
        net, x = make(0, policy), tf.constant(numbers, dtype)
        assert {v.dtype for v in net.variables} == {dtype}
        outputs[policy] = y = net(x).numpy()
        assert y.shape == (3, *shape, channels[1])
        assert y.dtype == dtype, policy
        assert np.isfinite(y).all()
    near(outputs["mixed_bfloat16"], outputs["float32"], 0.1, "bfloat16 is another network")
    assert (outputs["mixed_bfloat16"] != outputs["float32"]).any(), "it does not use bfloat16"

    net, x = make(7, "float64"), tf.constant(numbers)
    np.testing.assert_array_equal(make(7, "float64")(x), net(x), "the same seed, other weights")
    assert np.abs(make(8, "float64")(x) - net(x)).max() > 1e-3, "another seed, the same weights"
    again = type(net).from_config(net.get_config())
    again.build((None, *shape, channels[0]))
    np.testing.assert_array_equal(again(x), net(x), "its configuration loses something")
    kernels = [  # of a stack of layers each
        v.numpy()[k]
        for v in net.variables
        if v.ndim > 1 and np.ptp(v) > 0
        for k in np.ndindex(tuple(v.shape[:-2]))
    ]
    for a, b in itertools.combinations(kernels, 2):
        assert a.shape != b.shape or (a != b).any(), "two layers start alike"

    net = shaken(net)
    y = net(x)
    for i in range(3):
        near(net(x[i : i + 1])[0], y[i], 1e-12, f"sample {i} depends on its neighbours")
    weights = [v.value for v in net.trainable_variables]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(net(x)))
    for variable, slope in zip(net.trainable_variables, tape.gradient(loss, weights), strict=True):
        assert slope is not None, f"no gradient reaches {variable.path}"
        assert np.abs(slope).max() > 1e-12, f"no gradient reaches {variable.path}"
    if mask is not None:
        inside = np.where(mask, 0.0, 1.0)[..., None]
        np.testing.assert_array_equal(net(x + 7 * inside), y, "it sees what the mask hides")

    check_weights(net, x)

    net.save(folder / "net.keras")
    loaded = keras.models.load_model(folder / "net.keras")
    np.testing.assert_array_equal(loaded(x), y, "the saved network computes something else")


def check_weights(net, x):
    """Of a float64 network as a function of its weights: of one vector, and of those of K seeds.

    Values and gradients of K seeds, in a compiled loop too, are those of each seed by itself.
    """
    weights = Weights(net)
    np.testing.assert_array_equal(weights.at(weights.read())(x), net(x), "not itself at its own")
    rng = np.random.default_rng(3)
    flat = tf.stack([weights.read() + 0.05 * rng.normal(size=weights.size) for _ in range(2)])
    samples = tf.concat([x, 0.7 * x[::-1] + 0.1], 0)
    cotangent = tf.constant(rng.normal(size=(*samples.shape[:-1], net(x).shape[-1])))

    def both(flat, x, cotangent):
        with tf.GradientTape() as tape:
            tape.watch([flat, x])
            y = weights.at(flat)(x)
            loss = tf.reduce_sum(cotangent * y)
        return y, *tape.gradient(loss, [flat, x])

    @tf.function(jit_compile=True, autograph=False)
    def looped(flat):
        def body(k, *_):
            return k + 1, *both(flat, samples, cotangent)

        start = (0, tf.zeros_like(cotangent), tf.zeros_like(flat), tf.zeros_like(samples))
        return tf.while_loop(lambda k, *_: k < 2, body, start)[1:]

    parts = (tf.split(t, 2) for t in (samples, cotangent))
    alone = [both(f, *part) for f, *part in zip(tf.unstack(flat), *parts, strict=True)]
    values, by_flat, by_x = zip(*alone, strict=True)
    wanted = tf.concat(values, 0), tf.stack(by_flat), tf.concat(by_x, 0)
    for run in (lambda f: both(f, samples, cotangent), looped):
        for got, one, what in zip(run(flat), wanted, ("values", "slopes", "∂/∂x"), strict=True):
            near(got, one, 1e-12, f"{what} of seeds side by side")


# ---------------------------------------------------------------------- steppers


def check_stepper(make, net, params, state, solver=None, off=None):
    """Of a core.Stepper with a network.

    Args:
      make: network -> stepper, which has it as ``net``.
      net: the network, float64, of random weights.
      params, state: as in check_solver, on the networks' grid.
      solver: the solver it corrects; without gradients there is no WIG.
      off: the stepper that it is with a network of zeros; None: the state stays.
    """
    u, given = tf.constant(state), tensors(params)
    stepper = make(net)
    assert stepper.net is net
    assert core.compilable(stepper) == (solver is None or solver.compilable)
    for dtype in ("float64", "float32"):
        out = stepper.bind(tensors(params, dtype))(tf.constant(state, dtype))
        assert out.shape == state.shape
        assert out.dtype == dtype, "the state's dtype is not kept"
        assert np.isfinite(out).all()
    together = stepper.bind(given)(u)
    for i in range(len(state)):
        alone = stepper.bind({n: v[i : i + 1] for n, v in given.items()})(u[i : i + 1])
        near(alone[0], together[i], 1e-11, f"sample {i} depends on its neighbours")

    zero = make(lambda x: 0 * net(x)).bind(given)(u)
    np.testing.assert_array_equal(zero, u if off is None else off.bind(given)(u), "zero network")

    weights = [v.value for v in net.trainable_variables]
    targets = tf.stack([u, u], 1)
    wig = solver is None or solver.differentiable
    for modality in ("ONE", "NOG", "WIG") if wig else ("ONE", "NOG"):
        plan = of_modality(modality, 2)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = Supervised().bind(given)
            loss, *_ = unroll(
                stepper.bind(given), u, targets[:, : plan.steps], loss, plan, loop=False
            )
        slopes = tape.gradient(loss, weights)
        assert all(s is not None and np.isfinite(s).all() for s in slopes), modality
        assert min(np.abs(s).max() for s in slopes) > 0, modality


# ---------------------------------------------------------------------- systems


def some_params(system, batch=2):
    """Parameters of the first training values, others from the middle of their ranges."""
    first, *others = system.params
    values = np.array(system.splits["train"][:batch], np.float64)
    assert len(values) == batch
    fixed = {n: (system.params[n].low + system.params[n].high) / 2 for n in others}
    return {first: values, **{n: v * (1 + 0.01 * np.arange(batch)) for n, v in fixed.items()}}


def check_system(system):
    """Of a System that can make its own data: every field, and that they fit each other."""
    space, count = system.domain.shape, len(system.channels)
    assert system.name.removesuffix(f":{system.resolution}").isidentifier()
    with pytest.raises(dataclasses.FrozenInstanceError):
        system.name = "other"
    assert system.title
    assert len(set(system.channels)) == count
    assert system.frame_time > 0
    assert system.spin_up_frames >= 0
    assert 1 <= system.horizon <= system.long_horizon
    assert system.lyapunov_time is None or system.lyapunov_time > 0
    for name, allowed in system.params.items():
        assert allowed.low < allowed.high, name
        assert allowed.scale > 0, name

    assert set(system.splits) == set(SPLITS)
    low, high = min(system.splits["train"]), max(system.splits["train"])
    for split, values in system.splits.items():
        assert values, split
        assert len(set(values)) == len(values), split
        next(iter(system.params.values())).check(split, values)
    tests = {v for split in TEST_SPLITS for v in system.splits[split]}
    assert not tests & {*system.splits["train"], *system.splits["validation"]}
    assert all(low < v < high for v in system.splits["test_interpolation"])
    assert not any(low <= v <= high for v in system.splits["test_extrapolation"])

    params = some_params(system)
    system.check_params(params)
    for name in params:
        with pytest.raises(core.InputError, match=f"{name} is missing"):
            system.check_params({n: v for n, v in params.items() if n != name})
        with pytest.raises(core.InputError, match=f"{name}=.* is outside the allowed range"):
            system.check_params({**params, name: [np.nan, 1.0]})

    state = system.initial_state(params, 3)
    assert state.shape == (2, *space, count)
    assert state.dtype == np.float64
    assert np.isfinite(state).all()
    np.testing.assert_array_equal(system.initial_state(params, 3), state)
    assert np.abs(system.initial_state(params, 4) - state).max() > 1e-3

    solvers = {kind: system.coarse(kind) for kind in system.coarse_kinds}
    assert solvers
    solvers |= {"reference": system.reference()}
    if system.refined is not None:
        solvers |= {"refined": system.refined(1)}
    for name, solver in solvers.items():
        assert isinstance(solver, core.Solver), name
        assert solver.frame_time == pytest.approx(system.frame_time), name
        assert solver.channels == count, name
        prolonged = solver.prolong(tf.constant(state))
        assert solver.restrict(prolonged).shape == state.shape, name
        assert all(a % b == 0 for a, b in zip(prolonged.shape[1:-1], space, strict=True)), name

    for mode, channels in (
        ("correction", system.correction_channels),
        ("prediction", system.prediction_channels),
    ):
        features = system.features(mode)
        assert 1 <= channels == features.out_channels <= count
        seen = features.bind(tensors(params))(tf.constant(state))
        assert seen.shape == (2, *space, features.in_channels)
        assert np.isfinite(seen).all()
        typical = np.abs(seen.numpy()[..., count : count + len(params)]).max()
        assert 1e-3 < typical < 1e3, "scaled parameters are not of order one"
    for kind, coarse in itertools.product(system.corrections, system.coarse_kinds):
        system.stepper(lambda x: x, system.features("correction"), "correction", kind, coarse)

    metrics.check_metrics(system.metrics)
    has_forces = system.forces is not None
    metrics.check_defined(system.metrics, system.flow, system.parts, has_forces, system.observables)
    frames = np.stack([state, state], 1).astype(np.float32)
    if has_forces:
        assert system.forces(frames, params).shape == (2, 2, 2)
    for name, measure in system.observables.items():
        assert measure(frames, params).shape == (2, 2), name
    if (drawn := system.pictures) is not None:
        assert drawn.nodes.shape == (*(n + 1 for n in space), len(space))
        for name, values in drawn.fields.items():
            assert values(frames).shape == frames.shape[:-1], name
        assert drawn.surface[1](frames, params).shape == (2, 2, *drawn.places.shape)
