"""What Systems on a staggered grid share: fields of their descriptions, options, the sub-step."""

from dataclasses import dataclass

import numpy as np

from tfunroll.core import InputError
from tfunroll.options import Options, option
from tfunroll.systems.base import rates_of_change


@dataclass(frozen=True)
class Pressure(Options):
    """Options of how a coarse solver solves for the pressure."""

    cg: int = option(0, 0, 1000, "iterations of plain conjugate gradients; 0: a direct solve")
    warm: int = option(0, 0, 1, "1: conjugate gradients begin with the pressure so far")

    def arguments(self) -> dict[str, object]:
        """Those of Incompressible."""
        kind = "cg" if self.cg else "direct"
        return {"pressure": kind, "iterations": self.cg, "warm_start": bool(self.warm)}


def velocity_and_pressure(frame_time: float) -> dict[str, object]:
    """Fields of a System whose networks correct the velocity and predict the pressure with it."""
    return {
        "channels": ("u", "v", "p"),
        "correction_channels": 2,
        "prediction_channels": 3,
        **rates_of_change(frame_time),
    }


def count_substeps(
    dt: float, frame_time: float, shape: tuple[int, int], h: float, speed: float
) -> int:
    """Sub-steps of a frame.

    Args:
      shape, h: cells (y, x) and their size. speed: what |u| + |v| reaches.
    Raises:
      InputError: a dt that does not divide the frame or is beyond the stable limit; it names the
        largest stable one.
    """
    if not dt > 0:
        raise InputError(f"dt={dt} must be positive")
    if dt * speed > h:
        raise InputError(
            f"dt={dt:g} is beyond the stable limit: the largest stable dt on {shape[0]} x "
            f"{shape[1]} cells is {h / speed:.3g}, where (|u| + |v|) dt / h = 1 at speeds up to "
            f"{speed:g}"
        )
    substeps = round(frame_time / dt)
    if not np.isclose(substeps * dt, frame_time):
        raise InputError(
            f"dt={dt:g} must divide the frame of {frame_time:g}; near: {frame_time / substeps:g}"
        )
    return substeps
