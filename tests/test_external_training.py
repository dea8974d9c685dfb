"""Training with solvers outside TensorFlow equals training with the built-in one."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import trainings

from tfunroll import systems
from tfunroll.core import InputError
from tfunroll.runs.config import RunConfig
from tfunroll.solvers.external import ExternalSolver
from tfunroll.stepping.unrolling import WIG
from tfunroll.training.callbacks import Callback

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


@pytest.fixture(scope="module")
def dataset():
    return trainings.dataset()


def losses(config, dataset, modality, every_update=lambda: None):
    """Loss and gradient norm of every update of a training, and the weights it ends with."""
    found = []

    class EveryUpdate(Callback):
        every = 1

        def called(self, fit):
            every_update()

        def recorded(self, fit, scalars):
            if "training/loss" in scalars:
                found.append((scalars["training/loss"], scalars["training/gradient_norm"]))

    done = trainings.trainer_of(config, dataset, EveryUpdate(), modality=modality).fit(0)
    assert done.skipped == 0
    return np.array(found), done.weights


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
    np.testing.assert_allclose(w, v, atol=1e-9)


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
        trainer = trainings.trainer_of(replace(config, system=system), dataset)
        zero = tf.constant(0, tf.int64)
        batch = trainer._sample(trainer.windows.draw(0, zero, 4, 3), zero, zero, 3)
        flat = tf.constant(trainer._initial(0))
        gradient = tf.function(trainer.objective.gradient, autograph=False)(flat, batch, WIG(3))
        found.append(np.concatenate([np.ravel(g) for g in gradient]))
    ours, theirs = found
    assert np.abs(theirs - ours).max() < tolerance * np.abs(ours).max()
    assert ours.all()


def test_wig_needs_gradients_and_says_so():
    config = replace(CONFIG, system=example("ks_numpy"), modalities=("ONE", "NOG", "WIG"))
    with pytest.raises(InputError, match="WIG.*'ks_numpy', which has none.*allowed: ONE, NOG"):
        config.resolved()
    replace(config, modalities=("WIG",), cut_every=1).resolved()  # that is NOG
    with pytest.raises(InputError, match="allowed: ONE, NOG, or WIG with through=network"):
        replace(config, through="solver").resolved()
    replace(config, through="identity").resolved()
    replace(config, mode="prediction").resolved()


@pytest.mark.parametrize("rematerialise", [False, True])
@pytest.mark.parametrize("route", ["network", "identity"])
def test_two_routes_give_wig_to_a_solver_without_gradients(dataset, route, rematerialise):
    config = replace(CONFIG, modalities=("WIG",), through=route, rematerialise=rematerialise)
    (ours, _), (theirs, _) = (
        losses(replace(config, system=s, curriculum="3:3:1e-4"), dataset, "WIG")
        for s in ("ks", example("ks_numpy"))
    )
    np.testing.assert_allclose(theirs, ours, rtol=1e-9)


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
    np.testing.assert_array_equal(weights, others)
