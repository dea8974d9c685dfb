"""TFDS builder of the dataset kuramoto_sivashinsky; its data card is README.md."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from tfunroll.datasets.base import TrajectoryBuilder, TrajectoryConfig, counts
from tfunroll.datasets.kuramoto_sivashinsky import published, simulated

from tfunroll.systems import ks


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(TrajectoryConfig):
    """A variant of the dataset.

    Attributes:
      points, dt, substeps: grid, sub-step and sub-steps per frame of the solver.
      spin_up: frames dropped from each trajectory.
    """

    points: int = ks.POINTS
    dt: float = 0.5
    substeps: int = 2
    spin_up: int = ks.SYSTEM.spin_up_frames

    def on_grid(self, system):
        return {"points": self.points * system.resolution.points // ks.POINTS}


_STUDY_SPLITS = counts(train=(6, 5000), validation=(2, 1000), tests=(20, 1000))


class Builder(TrajectoryBuilder):
    """Trajectories of the Kuramoto-Sivashinsky equation on 48 points, one frame per time unit."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012
        "1.0.0": "First release.",
        "2.0.0": "start_time is that of the first frame, 201; it was one frame early.",
    }
    SYSTEM = "ks"
    DIAGNOSTICS = {"chaotic": tfds.features.Tensor(shape=(None,), dtype=np.bool_)}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = published.INSTRUCTIONS
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(
            name="tiny",
            description="A small set for tests and demonstrations, made in seconds.",
            splits=counts(train=(6, 1000), validation=(1, 300), tests=(4, 300)),
            parallel=False,
        ),
        Config(
            name="study",
            description="The recipe of the paper: 48 points, ETDRK2 with dt = 0.5.",
            splits=_STUDY_SPLITS,
        ),
        Config(
            name="fine",
            description="Converged reference: 96 points, dt = 0.05, truncated to 48 points.",
            splits=_STUDY_SPLITS,
            points=96,
            dt=0.05,
            substeps=20,
        ),
        Config(
            name="published",
            description="The paper's own arrays, read from the manual directory.",
            parallel=False,
            manual=True,
            spin_up=0,
        ),
    ]

    def groups(self, manual_dir):
        config = self.builder_config
        if config.manual:
            return published.groups(manual_dir)
        return [
            simulated.SimulatedGroup(
                split=split,
                domain_size=size,
                trajectories=trajectories,
                frames=frames,
                spin_up=config.spin_up,
                points=config.points,
                dt=config.dt,
                substeps=config.substeps,
                stored_points=self.system.resolution.points,
            )
            for split, (trajectories, frames) in config.splits.items()
            for size in self.system.splits[split]
        ]

    def solver_metadata(self):
        config = self.builder_config
        return {
            "equation": "u_t + u u_x + u_xx + u_xxxx = 0, periodic on [0, 2 pi domain_size)",
            "scheme": "etdrk2",
            "solver_points": config.points,
            "dt": config.dt,
            "substeps": config.substeps,
            "spin_up_frames": config.spin_up,
            "chaotic_every": simulated.STRIDE,
            "chaotic_window": simulated.WINDOW,
            "chaotic_threshold": simulated.THRESHOLD,
        }
