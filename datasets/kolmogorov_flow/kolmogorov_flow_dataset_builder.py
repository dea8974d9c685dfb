"""TFDS builder of the dataset kolmogorov_flow; its data card is README.md."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from tfunroll.datasets.base import TrajectoryBuilder, TrajectoryConfig, counts
from tfunroll.datasets.kolmogorov_flow import simulated

from tfunroll.systems import kolmogorov


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(TrajectoryConfig):
    """A variant of the dataset.

    Attributes:
      spin_up: time units dropped from each trajectory; test trajectories start later by the
        training trajectories' duration, so that their times are unseen too.
      points, dt: of the reference solver.
      stored_points: of the stored states.
    """

    spin_up: int = 300
    points: int = kolmogorov.POINTS * kolmogorov.REFINEMENT
    dt: float = kolmogorov.FRAME_TIME / kolmogorov.REFINEMENT
    stored_points: int = kolmogorov.POINTS

    def on_grid(self, system):
        points, refinement = system.resolution.points, self.points // kolmogorov.POINTS
        return {
            "points": points * refinement,
            "dt": kolmogorov.FRAME_TIME / (refinement * kolmogorov.least_substeps(points)),
            "stored_points": points * (self.stored_points // kolmogorov.POINTS),
        }


_DEFAULT_SPLITS = counts(train=(3, 500), validation=(1, 300), tests=(3, 500))


class Builder(TrajectoryBuilder):
    """Trajectories of Kolmogorov flow on 32 x 32 cells, one frame per 0.02 time units."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    SYSTEM = "kolmogorov"
    DIAGNOSTICS = {  # noqa: RUF012
        "spin_up_energy": tfds.features.Tensor(shape=(None,), dtype=np.float32)
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(
            name="tiny",
            description="A small set for tests: reference on 64 x 64 cells, hardly spun up.",
            splits=counts(train=(1, 150), validation=(1, 60), tests=(2, 280)),
            spin_up=10,
            points=64,
            dt=0.01,
            parallel=False,
        ),
        Config(
            name="default",
            description="1500 training frames per Reynolds number, spin-up of 100 time units.",
            splits=_DEFAULT_SPLITS,
            spin_up=100,
        ),
        Config(
            name="study",
            description="6000 training frames per Reynolds number, spin-up of 300 time units.",
            splits=counts(train=(4, 1500), validation=(1, 500), tests=(3, 800)),
        ),
        Config(
            name="paper",
            description="One trajectory of 6000 training frames per Reynolds number, as in the "
            "paper, after its spin-up of 50 time units.",
            splits=counts(train=(1, 6000), validation=(1, 500), tests=(3, 800)),
            spin_up=50,
        ),
        Config(
            name="full",
            description="The trajectories of `default` on the reference's own 128 x 128 cells.",
            splits=_DEFAULT_SPLITS,
            spin_up=100,
            stored_points=kolmogorov.POINTS * kolmogorov.REFINEMENT,
        ),
    ]

    @property
    def grid(self):
        return (self.builder_config.stored_points,) * 2

    def groups(self, manual_dir):
        config = self.builder_config
        later = simulated.time_units(config.splits["train"][1])
        return [
            simulated.SimulatedGroup(
                split=split,
                reynolds=reynolds,
                trajectory=trajectory,
                frames=frames,
                spin_up=config.spin_up + (later if split.startswith("test") else 0),
                points=config.points,
                dt=config.dt,
                stored_points=config.stored_points,
            )
            for split, (trajectories, frames) in config.splits.items()
            for reynolds in self.system.splits[split]
            for trajectory in range(trajectories)
        ]

    def solver_metadata(self):
        config = self.builder_config
        return {
            "equation": "u_t + div(u u) = -grad p + lap u / reynolds + (sin 6y, 0), div u = 0, "
            "periodic on [0, 2 pi)^2",
            "scheme": "piso",
            "staggering": "u: right face, v: upper face, p: centre",
            "solver_points": config.points,
            "dt": config.dt,
            "substeps": round(kolmogorov.FRAME_TIME / config.dt),
            "spin_up_time": config.spin_up,
            "spin_up_energy_every": 1.0,
        }
