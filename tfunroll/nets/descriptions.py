"""Architectures as plain descriptions: ``ResNet(width=16, depth=4).build_for(system)``."""

from dataclasses import dataclass, fields
from typing import ClassVar

from tfunroll.core import InputError
from tfunroll.nets.base import Net
from tfunroll.nets.building import build


@dataclass(frozen=True, kw_only=True)
class Description:
    """Size and start of a network; ``build_for`` takes grid and channels from a System.

    Attributes:
      width, depth: as the architecture says; those of ``size`` where None.
      size: a label of nets.SIZES, by number of weights: "1k" … "5M"; "demo", about 6,000, if None.
      initial: how the weights are drawn, of nets.INITIAL; the architecture's own if None.
    Raises:
      InputError: for an argument that the architecture has not.
    """

    NAME: ClassVar[str]  # of nets.NETS

    width: int | None = None
    depth: int | None = None
    size: str | None = None
    initial: str | None = None

    def __new__(cls, *arguments, **options):
        allowed = [field.name for field in fields(cls)]
        for name in options:
            if name not in allowed:
                raise InputError(
                    f"{name}: {cls.__name__} has no such argument; allowed: {', '.join(allowed)}"
                )
        if arguments:
            raise InputError(
                f"{cls.__name__}: arguments go by name, not by position; allowed: "
                f"{', '.join(allowed)}"
            )
        return super().__new__(cls)

    def build_for(
        self,
        system,
        mode: str = "correction",
        seed: int = 0,
        dtype: str = "float32",
        stochastic: bool = False,
    ) -> Net:
        """The Keras model for a System's grid, boundaries and channels.

        Args:
          system: of systems.get, or a System of your own.
          mode: "correction" of a coarse solver or "prediction", which may have other channels.
          seed: of the initial weights.
          dtype: of nets.DTYPES.
          stochastic: for a Stochastic stepper, with twice the channels.
        Returns: the model, built; ``features`` says what it sees and what its output means.
        Raises:
          InputError: as nets.build, and for an unknown mode.
        """
        if not hasattr(system, "features"):
            raise InputError(f"system={system!r}; needed: a System, such as systems.get('ks')")
        features = system.features(mode)
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        net = build(
            self.NAME,
            system.domain,
            features.in_channels,
            features.out_channels * (2 if stochastic else 1),
            seed=seed,
            dtype=dtype,
            **options,
        )
        net.features = features
        return net


@dataclass(frozen=True, kw_only=True)
class ResNet(Description):
    """Residual blocks of two convolutions over three cells per axis; nets.resnet has the equations.

    ``width`` channels in ``depth`` blocks; or ``widths``, the channels of each block, in place of
    width, depth and size. (26, 8) is List et al.'s for Kuramoto-Sivashinsky, 33,125 weights,
    (8, 20, 30, 20, 8) for Kolmogorov flow, 32,376. Starts from "zero", see initial.set_initial.
    """

    NAME = "resnet"

    widths: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class UNet(Description):
    """Down ``depth`` levels by 2 cells per axis and up again, skips concatenated; see nets.unet.

    ``width`` channels at the finest level, twice as many at each next; each axis needs 2^depth
    cells.
    """

    NAME = "unet"


@dataclass(frozen=True, kw_only=True)
class AttentionUNet(Description):
    """A UNet whose skips are gated by the coarser level; see nets.unet."""

    NAME = "attention_unet"


@dataclass(frozen=True, kw_only=True)
class FNO(Description):
    """Fourier neural operator: ``depth`` spectral blocks of ``width`` channels; see nets.fno.

    ``modes`` wavenumbers are kept per axis, at most half the grid's points; those of ``size`` if
    None. It runs on other grids than it was trained on.
    """

    NAME = "fno"

    modes: int | None = None


@dataclass(frozen=True, kw_only=True)
class GraphNet(Description):
    """Messages between neighbouring cells, ``depth`` residual pairs of them; see nets.graph.

    ``width`` channels inside. It leaves out obstacles and sees the physical distances of cells.
    """

    NAME = "graph"


@dataclass(frozen=True, kw_only=True)
class Transformer(Description):
    """Attention between patches of 4 cells per axis, ``depth`` blocks; see nets.transformer.

    ``width`` channels of a token, even. It belongs to the grid that it was built for.
    """

    NAME = "transformer"
