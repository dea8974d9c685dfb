"""Training with solvers outside TensorFlow equals training with the built-in one."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import systems
from tfunroll.config import RunConfig
from tfunroll.core import InputError
from tfunroll.data import Dataset, Trajectories
from tfunroll.solvers.external import ExternalSolver
from tfunroll.training import Trainer
from tfunroll.unrolling import rollout

ROOT = Path(__file__).parent.parent
KS = systems.get("ks")
CONFIG = RunConfig(
    width=4,
    depth=1,
    curriculum="3:20:1e-4",
    batch_size=4,
    modalities=("ONE", "NOG"),
    horizon=5,
    precision="float64",
    jit="off",
)


def example(name):
    return f"{ROOT / 'examples' / name}.py:SYSTEM"


def trajectories(seed, frames=30):
    sizes = np.array([7.2, 8.0, 9.6])
    u = tf.constant(KS.initial_state({"domain_size": sizes}, seed))
    states = rollout(KS.reference().bind({"domain_size": tf.constant(sizes)}), u, 60 + frames)
    return Trajectories(
        states=states[:, 60:].numpy().astype(np.float32),
        params={"domain_size": sizes.astype(np.float32)},
        ids=("a", "b", "c"),
        start_times=np.zeros(3),
        diagnostics={},
    )


@pytest.fixture(scope="module")
def dataset():
    splits = {"train": trajectories(0), "validation": trajectories(1)}
    return Dataset("kuramoto_sivashinsky", "tiny", splits, 1.0, "")


def losses(config, dataset, modality, every_update=lambda: None):
    """Loss and gradient norm of every update of a training, and the weights it ends with."""
    trainer = Trainer(config.resolved(), dataset)
    compiled, found, before = trainer.compiled, [], 0
    compiled.reset(0)
    for stage in trainer.stages:
        unrolling, batch = config.unrolling(modality, stage), config.batch(modality, stage)
        call = compiled.call(unrolling, batch)

        @tf.function(autograph=False)
        def loss_of(position, update, batch=batch, unrolling=unrolling):  # in float64
            drawn = compiled.windows.draw(0, position, batch, unrolling.steps)
            samples = compiled._samples(drawn, 0, update, unrolling.steps)
            return compiled.loss_and_gradients(*samples, unrolling)[0]

        first = config.drawn(modality, trainer.stages.index(stage))
        for update in range(stage.updates):
            every_update()
            at = first + update * batch
            numbers = (at, before + update, 0, before, first, before + update + 1)
            position, now, *arguments = (tf.constant(n, tf.int64) for n in numbers)
            loss = float(loss_of(position, now))
            rates = (tf.constant(x, tf.float32) for x in (stage.learning_rate, 0))
            found.append((loss, float(call(*arguments, *rates)["gradient_norm"])))
        before += stage.updates
    assert int(compiled.state.skipped) == 0
    return np.array(found), [v.numpy() for v in compiled.net.variables]


@pytest.mark.slow
@pytest.mark.parametrize("jit", ["off", "auto"])
@pytest.mark.parametrize(
    "curriculum",
    ["3:200:1e-4", "1:100:1e-2,6:100:1e-4"],  # unrolled; looped, which needs a trained start
)
def test_numpy_solver_trains_as_the_built_in_one(dataset, curriculum, jit):
    config = replace(CONFIG, curriculum=curriculum, jit=jit)
    (ours, w), (theirs, v) = (
        losses(replace(config, system=s), dataset, "NOG") for s in ("ks", example("ks_numpy"))
    )
    np.testing.assert_allclose(theirs, ours, rtol=1e-9)
    assert len(ours) == 200
    assert np.ptp(ours[:, 0]) > 0
    for a, b in zip(w, v, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_numpy_solver_trains_as_the_built_in_one_for_some_updates(dataset):
    (ours, _), (theirs, _) = (
        losses(replace(CONFIG, system=s), dataset, "NOG") for s in ("ks", example("ks_numpy"))
    )
    np.testing.assert_allclose(theirs, ours, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "precision", "tolerance"),
    [
        ("ks_jax", "float64", 1e-10),
        ("ks_jax", "float32", 1e-4),
        ("ks_tesseract", "float64", 1e-10),
    ],
)
def test_wig_through_an_adapter_equals_wig_through_the_built_in_solver(
    dataset, name, precision, tolerance
):
    pytest.importorskip("jax")
    if name == "ks_tesseract":
        pytest.importorskip("tesseract_core.runtime.cli")
    config = replace(CONFIG, modalities=("WIG",), precision=precision)
    found = []
    for system in ("ks", example(name)):
        compiled = Trainer(replace(config, system=system).resolved(), dataset).compiled
        compiled.reset(0)
        drawn = compiled.windows.draw(0, tf.constant(0, tf.int64), 4, 3)
        samples = compiled._samples(drawn, 0, tf.constant(0, tf.int64), 3)
        unrolling = config.unrolling("WIG", config.stages()[0])
        loss, gradients, by_step = tf.function(
            lambda c=compiled, s=samples, u=unrolling: c.loss_and_gradients(*s, u), autograph=False
        )()
        found.append(np.concatenate([np.ravel(g) for g in (loss, by_step, *gradients)]))
    ours, theirs = found
    assert np.abs(theirs - ours).max() < tolerance * np.abs(ours).max()
    assert ours.all()


def test_wig_needs_gradients_and_says_so():
    config = replace(CONFIG, system=example("ks_numpy"), modalities=("ONE", "NOG", "WIG"))
    with pytest.raises(InputError, match="WIG.*'ks_numpy', which has none.*allowed: ONE, NOG"):
        config.resolved()
    replace(config, modalities=("WIG",), cut_every=1).resolved()  # that is NOG
    replace(config, mode="prediction").resolved()


def test_nog_asks_for_no_gradient_of_a_solver_that_has_one(dataset, monkeypatch):
    calls = []

    def counted(state, params, cotangent):
        calls.append(len(state))
        return cotangent

    sizes = {"domain_size": np.array([7.2, 10.4])}
    states = KS.initial_state(sizes, 0)
    external = ExternalSolver(lambda s, p: s.copy(), counted, example=(states, sizes))
    system = replace(KS, coarse_kinds={"external": external})
    monkeypatch.setattr(systems, "get", lambda name: system)
    for modality, steps in (("NOG", 3), ("NOG", 6), ("WIG", 3)):
        config = replace(CONFIG, curriculum=f"{steps}:2:1e-4", modalities=(modality,))
        calls.clear()
        losses(config, dataset, modality)
        assert len(calls) == (2 * steps if modality == "WIG" else 0)


@pytest.mark.slow
def test_killing_workers_during_training_loses_nothing(dataset):
    pool = systems.get(example("ks_worker")).coarse("worker").step
    config = replace(CONFIG, system=example("ks_worker"), curriculum="3:12:1e-4")
    whole, weights = losses(config, dataset, "NOG")
    before = pool.restarts

    def kill():
        os.kill(pool.processes[0], signal.SIGKILL)

    again, others = losses(config, dataset, "NOG", every_update=kill)
    assert pool.restarts - before == 12
    np.testing.assert_array_equal(again, whole)
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_array_equal(a, b)
