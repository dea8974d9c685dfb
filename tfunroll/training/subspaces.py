"""Lines and simplexes of networks from one training, every point of which is a trained network.

    θ(α) = Σ_i α_i θ_i,   α drawn anew in each update, evenly from the simplex Σ_i α_i = 1, α_i ≥ 0

so an end θ_i has the gradient α_i ∂ℓ/∂θ at θ(α); plus that of

    repulsion · mean over pairs i < j of cos²(θ_i, θ_j)

which moves the ends apart. The middle is the network; points of the subspace make an ensemble.
Reference: Wortsman, Horton, Guestrin, Farhadi & Rastegari, ICML 2021, arXiv:2102.10472.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfunroll import options
from tfunroll.core import InputError
from tfunroll.options import Options, option

POINTS = 5  # of a line, in an ensemble of it
STREAM = 1  # of the random numbers of one (seed, update): 0 is the input noise's


@dataclass(frozen=True)
class Subspace(Options):
    """A line: two ends.

    Weights of a training are those of all ends, one after the other, [ends · P] or [K, ends · P].

    Attributes:
      repulsion: weight of the cosines, in the gradient alone; 0 for none.
      ends: networks that span it.
      spans: whether the ends are trained as ONE and as the stage's own unrolling, see Modalities.
    """

    repulsion: float = option(1.0, 0.0, 1e6, "weight of the squared cosines between the ends")
    ends = 2
    spans = False

    def coordinates(self, keys: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """α of an update, [ends], or of K seeds, [K, ends]. Args: keys: [2] or [K, 2]."""

        def drawn(key):
            key = tf.random.experimental.stateless_fold_in(key, STREAM)
            uniform = tf.random.stateless_uniform([self.ends], key, dtype=dtype)
            parts = -tf.math.log1p(-uniform)  # exponential: normalised, even on the simplex
            return parts / tf.reduce_sum(parts)

        if keys.shape.rank == 1:
            return drawn(keys)
        return tf.stack([drawn(key) for key in tf.unstack(keys)])

    def point(self, flat: tf.Tensor, coordinates: tf.Tensor) -> tf.Tensor:
        """The weights there, [..., ends · P] and [..., ends] to [..., P]."""
        return tf.reduce_sum(coordinates[..., None] * self.apart(flat), -2)

    def middle(self, flat: tf.Tensor) -> tf.Tensor:
        """The mean of the ends, [..., P]."""
        return tf.reduce_mean(self.apart(flat), -2)

    def points(self) -> np.ndarray:
        """Coordinates that an ensemble of the subspace takes, [points, ends]: POINTS evenly along a
        line; the ends of a simplex, and its middle."""
        if self.ends == 2:
            share = np.linspace(0, 1, POINTS)
            return np.stack([1 - share, share], -1)
        return np.concatenate([np.eye(self.ends), np.full((1, self.ends), 1 / self.ends)])

    def apart(self, flat: tf.Tensor) -> tf.Tensor:
        """[..., ends · P] -> [..., ends, P]."""
        return tf.reshape(flat, [*flat.shape[:-1], self.ends, -1])

    def pull(self, flat: tf.Tensor) -> tf.Tensor:
        """repulsion · mean of cos² over pairs of ends, [...]."""
        ends = tf.unstack(self.apart(flat), axis=-2)

        def dot(a, b):
            return tf.reduce_sum(a * b, -1)

        pairs = list(itertools.combinations(ends, 2))
        squares = [tf.square(dot(a, b)) / (dot(a, a) * dot(b, b)) for a, b in pairs]
        return self.repulsion * tf.add_n(squares) / len(pairs)


@dataclass(frozen=True)
class Line(Subspace):
    """Two ends."""


@dataclass(frozen=True)
class Simplex(Subspace):
    """Several ends, a triangle by default."""

    ends: int = option(3, 2, 6, "networks that span it")


@dataclass(frozen=True)
class Modalities(Subspace):
    """A line from ONE to another modality: the gradient at α = (1 − a, a) is

        (1 − a) g_ONE + a g

    with g that of the stage's unrolling, WIG as a rule, and g_ONE that of the single steps from
    all reference frames of the same windows. So an update takes up to twice as long.
    """

    spans = True


KINDS = {"line": Line, "simplex": Simplex, "modalities": Modalities}


def read(text: str) -> Subspace | None:
    """The value that a text such as "simplex:ends=3" names, None for an empty one; InputError."""
    return options.read("subspace", text, KINDS)[1] if text else None


def plain(text: str) -> str:
    """The one text of all that mean the same."""
    return options.write(text.partition(":")[0], read(text)) if text else ""


def mixed(ends: np.ndarray, alpha: float | Sequence[float] | None = None) -> np.ndarray:
    """The weights at a point of a subspace, [P].

    Args:
      ends: [ends, P].
      alpha: of a line a number in [0, 1], the share of the second end; of any subspace its
        coordinates, [ends], at least 0 with sum 1; None: the middle.
    Raises: InputError: for other coordinates, or a network that is no subspace.
    """
    if alpha is None:
        return ends.mean(0) if len(ends) > 1 else ends[0]
    if len(ends) == 1:
        raise InputError(
            f"alpha={alpha!r}: this network was not trained as a subspace (--subspace=line)"
        )
    try:
        given = np.asarray(alpha, np.float64)
    except (TypeError, ValueError):
        given = np.array(np.nan)
    if given.ndim == 0 and len(ends) == 2:
        given = np.stack([1 - given, given])
    fine = given.shape == (len(ends),) and np.isfinite(given).all() and (given >= 0).all()
    if not fine or abs(given.sum() - 1) > 1e-6:
        number = "a number in [0, 1], or " if len(ends) == 2 else ""
        raise InputError(
            f"alpha={alpha!r} must be {number}{len(ends)} numbers of at least 0 with sum 1"
        )
    return (given @ ends).astype(ends.dtype)
