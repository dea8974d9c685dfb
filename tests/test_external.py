"""Solvers outside TensorFlow: plugged in they train alike, and what they do wrong is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfunroll import systems
from tfunroll.config import RunConfig
from tfunroll.data import Dataset, Trajectories
from tfunroll.training import Job, Trainer
from tfunroll.unrolling import rollout

ROOT = Path(__file__).parent.parent
KS = systems.get("ks")
NUMPY = f"{ROOT / 'examples' / 'ks_numpy.py'}:SYSTEM"
CONFIG = RunConfig(
    width=4,
    depth=1,
    curriculum="3:20",
    batch_size=4,
    learning_rate=1e-3,
    horizon=5,
    precision="float64",
    jit="off",
)


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


def losses(config, dataset, modality, folder):
    """The loss of every update of a training, and the norms of its gradients."""
    trainer = Trainer(config.resolved(), dataset)
    compiled, stage = trainer.compiled, trainer.stages[0]
    compiled.reset(0)
    call = compiled.call(config.unrolling(modality, stage), config.batch(modality, stage))
    found = []
    for update in range(stage.updates):
        position = (tf.constant(n, tf.int64) for n in (0, 0, update + 1))
        rates = (tf.constant(x, tf.float32) for x in (stage.learning_rate, 0))
        out = call(*position, *rates)
        found.append((float(compiled.loss), float(out["gradient_norm"])))
    return np.array(found)
