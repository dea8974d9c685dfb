"""A user's dataset: trajectories of examples/burgers_numpy.py by its reference solver."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tfunroll.datasets.base import TrajectoryBuilder, TrajectoryConfig, counts, energy
from tfunroll.datasets.generation import SPLIT_SEEDS, Group

from tfunroll import systems
from tfunroll.stepping.unrolling import rollout

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@dataclasses.dataclass(frozen=True)
class Waves(Group):
    """One trajectory."""

    split: str
    viscosity: float
    frames: int

    @property
    def label(self):
        return f"viscosity={self.viscosity:g}"

    def generate(self):
        system, params = systems.get(Builder.SYSTEM), {"viscosity": np.array([self.viscosity])}
        start = system.initial_state(params, SPLIT_SEEDS[self.split])
        step = system.reference().bind({n: tf.constant(v) for n, v in params.items()})
        states = rollout(step, tf.constant(start), self.frames).numpy().astype(np.float32)
        return {
            "state": states,
            "start_time": np.full(1, system.frame_time, np.float32),
            "params/viscosity": params["viscosity"].astype(np.float32),
            "diagnostics/energy": energy(states),
        }


class Builder(TrajectoryBuilder):
    """Waves that steepen."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    SYSTEM = f"{EXAMPLES / 'burgers_numpy.py'}:SYSTEM"
    BUILDER_CONFIGS = [  # noqa: RUF012
        TrajectoryConfig(
            name="tiny",
            description="A few frames.",
            splits=counts(train=(1, 4), validation=(1, 3), tests=(1, 3)),
            parallel=False,
        )
    ]

    def groups(self, manual_dir):
        return [
            Waves(split, viscosity, frames)
            for split, (_, frames) in self.builder_config.splits.items()
            for viscosity in systems.get(self.SYSTEM).splits[split]
        ]

    def solver_metadata(self):
        return {"scheme": "RK45"}
