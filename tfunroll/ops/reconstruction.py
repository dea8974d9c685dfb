"""Values at faces from cell averages: the κ = 1/3 scheme, limited where pressure jumps."""

import tensorflow as tf

SMALL = 1e-12  # differences whose square is below this count as none


def faces(
    cells: tuple[tf.Tensor, ...], pressure: int, sensor: float | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """States on both sides of each face, from the two cells on either side along one axis.

        φ_L = φ_1 + (1 − θ_1) [(φ_1 − φ_0) + 2 (φ_2 − φ_1)] / 6 + θ_1 Λ / 2

    and its mirror image φ_R. The first bracket is the κ = 1/3 (third-order upwind-biased) scheme, Λ
    van Albada's limited slope, and θ = min(1, s / sensor)² with the pressure sensor of Jameson,

        s = |p_+ − 2p + p_−| / (p_+ + 2p + p_−)

    so that smooth flow meets no limiter at all.

    Args:
      cells: (φ_0, φ_1, φ_2, φ_3), each [field, ...]; the face lies between φ_1 and φ_2.
      pressure: number of the field that the sensor watches.
      sensor: s at which the limiter is on fully; good value 0.01; None: never.
    References: van Leer (1985), Upwind-difference methods for aerodynamic problems; van Albada, van
      Leer & Roberts (1982); Jameson, Schmidt & Turkel (1981), doi:10.2514/6.1981-1259.
    """
    f0, f1, f2, f3 = cells
    low, middle, high = f1 - f0, f2 - f1, f3 - f2
    left, right = (low + 2 * middle) / 6, (high + 2 * middle) / 6
    if sensor is not None:
        at_1, at_2 = (
            _theta(low[pressure], middle[pressure], f1[pressure], sensor),
            _theta(middle[pressure], high[pressure], f2[pressure], sensor),
        )
        left += at_1 * (van_albada(low, middle) / 2 - left)
        right += at_2 * (van_albada(middle, high) / 2 - right)
    return f1 + left, f2 - right


def van_albada(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """(a² b + b² a) / (a² + b²) where a and b have one sign, else 0; continuous."""
    return tf.maximum(a * b, 0) * (a + b) / (a * a + b * b + SMALL)


def _theta(before, after, value, sensor):
    """θ of a cell from its differences of pressure; p_+ + 2p + p_− = 4p + after − before."""
    ratio = tf.abs(after - before) / ((4 * value + after - before) * sensor)
    return tf.square(tf.minimum(ratio, 1))
