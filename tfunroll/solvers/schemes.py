"""Where a step of incompressible flow evaluates convection: what is convected, and what by.

w is the velocity in the open part of a face. The iterations of a step get what ``kept`` returns
back at every iterate; ``inflow`` is that of ops.stencils.fluxes.
"""

import tensorflow as tf

from tfunroll.ops.grid import Grid
from tfunroll.ops.stencils import fluxes


class Piso:
    """The latest iterate is convected by the step's beginning."""

    implicit = 1.0  # part of the new velocity where H and F are evaluated
    least = 2  # sweeps and correctors in all

    @staticmethod
    def kept(w, mean, grid, inflow):
        """Tensors of the step's beginning, of whose faces ``mean`` is the velocity."""
        return fluxes(mean, grid, inflow)

    @staticmethod
    def evaluated(w, kept, grid, inflow):
        """The convected velocity at the iterate w, and the fluxes that convect it."""
        return w, kept


class Midpoint:
    """Both stand half-way between the step's beginning and the latest iterate."""

    implicit = 0.5
    least = 3

    @staticmethod
    def kept(w, mean, grid, inflow):
        return [w]

    @staticmethod
    def evaluated(w, kept, grid, inflow):
        middle = (w + kept[0]) / 2
        return middle, fluxes(through(middle, grid), grid, inflow)


SCHEMES = {"piso": Piso, "midpoint": Midpoint}


def through(w: tf.Tensor, grid: Grid) -> tf.Tensor:
    """The mean over each face of the velocity in its open part."""
    return w if grid.open is None else w * tf.constant(grid.open[:, None], w.dtype)
