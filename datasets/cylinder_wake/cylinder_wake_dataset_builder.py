"""TFDS builder of the dataset cylinder_wake; its data card is README.md."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from tfunroll.datasets.base import TrajectoryBuilder, TrajectoryConfig, counts
from tfunroll.datasets.cylinder_wake import simulated

from tfunroll.systems import wake


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(TrajectoryConfig):
    """A variant of the dataset.

    Attributes:
      spin_up: time units dropped from each trajectory.
      refinement: cells of the reference solver per cell of the networks' grid, along each axis.
      stored_refinement: of the stored states.
      points: cells of the networks' grid across the channel.
    """

    spin_up: int = 80
    refinement: int = wake.REFINEMENT
    stored_refinement: int = 1
    points: int = wake.POINTS

    def on_grid(self, system):
        return {"points": system.resolution.points}

    @property
    def dt(self) -> float:
        """Of the reference solver."""
        return wake.FRAME_TIME / (self.refinement * wake.least_substeps(self.points))


_DEFAULT_SPLITS = counts(train=(1, 500), validation=(1, 200), tests=(1, 500))


class Builder(TrajectoryBuilder):
    """Trajectories of the flow around a cylinder on 32 x 64 cells, a frame per 0.05 time units."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012
        "1.0.0": "First release.",
        "2.0.0": "Validation at Reynolds numbers of its own; one trajectory of each in `study`, as "
        "others end on the same limit cycle.",
    }
    SYSTEM = "wake"
    DIAGNOSTICS = {  # noqa: RUF012
        "forces": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
        "spin_up_forces": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(
            name="tiny",
            description="A small set for tests: reference on 64 x 128 cells, hardly spun up.",
            splits=counts(train=(1, 120), validation=(1, 110), tests=(1, 420)),
            spin_up=10,
            refinement=2,
            parallel=False,
        ),
        Config(
            name="default",
            description="500 training frames per Reynolds number, spin-up of 40 time units.",
            splits=_DEFAULT_SPLITS,
            spin_up=40,
        ),
        Config(
            name="study",
            description="500 training frames per Reynolds number, spin-up of 100 time units.",
            splits=counts(train=(1, 500), validation=(1, 500), tests=(1, 500)),
            spin_up=100,
        ),
        Config(
            name="full",
            description="The trajectories of `default` on the reference's own 128 x 256 cells.",
            splits=_DEFAULT_SPLITS,
            spin_up=40,
            stored_refinement=wake.REFINEMENT,
        ),
    ]

    @property
    def grid(self):
        config = self.builder_config
        return tuple(n * config.stored_refinement for n in wake.shape_of(config.points))

    def groups(self, manual_dir):
        config = self.builder_config
        return [
            simulated.SimulatedGroup(
                split=split,
                reynolds=reynolds,
                trajectory=trajectory,
                frames=frames,
                spin_up=config.spin_up,
                refinement=config.refinement,
                dt=config.dt,
                stored_refinement=config.stored_refinement,
                networks_points=config.points,
            )
            for split, (trajectories, frames) in config.splits.items()
            for reynolds in self.system.splits[split]
            for trajectory in range(trajectories)
        ]

    def solver_metadata(self):
        config = self.builder_config
        stored = simulated.active(config.stored_refinement, config.points)
        return {
            "equation": "u_t + div(u u) = -grad p + lap u / reynolds, div u = 0; u = (1, 0) at "
            "x = 0, slip walls at y = 0 and 5, convective outflow with p = 0 at x = 10",
            "scheme": "piso",
            "staggering": "u: right face, v: upper face, p: centre; mean over the whole face",
            "geometry": {
                "domain": [wake.LENGTH, wake.HEIGHT],
                "body": "circle",
                "centre": list(wake.CENTRE),
                "radius": wake.RADIUS,
            },
            "mask": stored[..., 2].astype(int).tolist(),
            "solver_grid": [n * config.refinement for n in wake.shape_of(config.points)],
            "dt": config.dt,
            "substeps": round(wake.FRAME_TIME / config.dt),
            "spin_up_time": config.spin_up,
            "forces": "drag and lift coefficient, F / (rho U^2 D / 2), by the solver on its grid",
        }
