"""TFDS builder of the dataset transonic_aerofoil; its data card is README.md."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds
from tfunroll.datasets.base import TrajectoryBuilder, TrajectoryConfig, counts
from tfunroll.datasets.transonic_aerofoil import simulated
from tfunroll.datasets.transonic_aerofoil.simulated import Grid

from tfunroll.systems import aerofoil

CPU_NANOSECONDS = 70  # per cell and right-hand side, one CPU core: benchmarks/aerofoil.py
MACH = aerofoil.SYSTEM.splits
HARDER = {
    "train": (0.72, 0.74, 0.76, 0.78, 0.82, 0.84),
    "validation": (0.73, 0.83),
    "test_interpolation": (0.80,),
    "test_extrapolation": (0.70, 0.86),
}


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(TrajectoryConfig):
    """A variant of the dataset.

    Attributes:
      spin_up: time units (c/U) dropped from each trajectory.
      mach: split -> Mach numbers. incidence: in degrees.
      grid: of the reference solver.
      batched: all Mach numbers of a split are stepped together, on a GPU if there is one.
    """

    spin_up: int = 20
    mach: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=lambda: MACH)
    incidence: float = aerofoil.INCIDENCE
    grid: Grid = dataclasses.field(default_factory=Grid)
    batched: bool = False

    def on_grid(self, system):
        """The same mesh with all cells smaller by one factor, and the sub-steps that it needs."""
        scale = system.resolution.points / aerofoil.POINTS
        cells, layers = (round(n * scale) for n in (self.grid.cells, self.grid.layers))
        first = self.grid.first / scale
        substeps = aerofoil.substeps(aerofoil.mesh(cells, layers, first))
        return {"grid": Grid(cells, layers, first, substeps, self.grid.refinement)}


class Builder(TrajectoryBuilder):
    """Flow around a NACA0012 aerofoil on 12 x 32 averaged cells, a frame per 0.05 c/U."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012
        "1.0.0": "First release.",
        "2.0.0": "Validation at Mach numbers of its own; one test trajectory of each in `study`.",
    }
    SYSTEM = "aerofoil"
    DIAGNOSTICS = {  # noqa: RUF012
        "forces": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
        "spin_up_forces": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
        "steady": np.bool_,
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        Config(
            name="tiny",
            description="A small set for tests: reference on 64 x 24 cells, hardly spun up.",
            splits=counts(train=(1, 40), validation=(1, 40), tests=(1, 210)),
            spin_up=1,
            grid=Grid(64, 24, 1.2e-2, 32, 2),
            parallel=False,
        ),
        Config(
            name="default",
            description="400 training frames per Mach number, spin-up of 20 c/U, incidence 8°.",
            splits=counts(train=(1, 400), validation=(1, 200), tests=(1, 300)),
        ),
        Config(
            name="study",
            description="Planned, for a GPU: 512 x 192 cells, 1200 training frames at each of six "
            "transonic Mach numbers, incidence 8°.",
            splits=counts(train=(1, 1200), validation=(1, 300), tests=(1, 600)),
            spin_up=20,
            mach=HARDER,
            grid=Grid(512, 192, 1e-3, 400, 16),
            parallel=False,
            batched=True,
        ),
    ]

    def groups(self, manual_dir):
        config = self.builder_config
        return [
            simulated.SimulatedGroup(
                split=split,
                mach=mach,
                incidence=config.incidence,
                trajectory=trajectory,
                frames=frames,
                spin_up=config.spin_up,
                grid=config.grid,
                on_cpu=not config.batched,
            )
            for split, (trajectories, frames) in config.splits.items()
            for trajectory in range(trajectories)
            for mach in ([config.mach[split]] if config.batched else zip(config.mach[split]))
        ]

    def cost_estimate(self):
        grid = self.builder_config.grid
        frames = sum(
            len(g.mach) * (g.spin_up * simulated.UNIT + g.frames) for g in self.groups(None)
        )
        work = frames * grid.substeps * 3 * grid.cells * grid.layers
        hours = work * CPU_NANOSECONDS * 1e-9 / 3600
        return (
            f"{work:.2g} right-hand sides of cells: about {hours:.2g} hours of one CPU core at "
            f"{CPU_NANOSECONDS} ns each"
        )

    def solver_metadata(self):
        config = self.builder_config
        mesh = config.grid.mesh()
        return {
            "parameter_values": {split: list(values) for split, values in config.mach.items()},
            "equation": "compressible Navier-Stokes, ideal gas, gamma 1.4, Pr 0.72, viscosity "
            "1/reynolds; free stream density and velocity 1, chord 1, pressure 1/(gamma mach^2)",
            "scheme": "finite volumes, kappa = 1/3 with pressure sensor, HLLC, SSPRK3",
            "section": f"NACA {aerofoil.CODE}, sharp trailing edge",
            "incidence": config.incidence,
            "solver_cells": [config.grid.layers, config.grid.cells],
            "dt": aerofoil.FRAME_TIME / config.grid.substeps,
            "substeps": config.grid.substeps,
            "spin_up_time": config.spin_up,
            "averaged_cells": config.grid.refinement,
            "steady_below_rms_lift": simulated.STEADY,
            "mesh_quality": mesh.quality(),
            "mesh_nodes": mesh.nodes.tolist(),
        }
