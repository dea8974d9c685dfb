"""Fourier bases of one periodic axis and the phi functions of exponential integrators."""

import abc

import numpy as np
import tensorflow as tf

MATRIX_LIMIT = 128  # grid points up to which two dense matmuls beat two FFTs on CPU and GPU


def phi1(z: tf.Tensor) -> tf.Tensor:
    """(e^z - 1) / z, with its limit 1 at z = 0.

    Reference: Cox & Matthews (2002), doi:10.1006/jcph.2002.6995.
    """
    safe = tf.where(tf.abs(z) < 1e-8, tf.ones_like(z), z)
    return tf.where(tf.abs(z) < 1e-8, 1 + z / 2, tf.math.expm1(safe) / safe)


def phi2(z: tf.Tensor) -> tf.Tensor:
    """(e^z - 1 - z) / z², with its limit 1/2 at z = 0.

    The closed formula loses half the digits near zero, so a Taylor series of 14 terms replaces it
    for |z| < 0.5 (error below 1e-15 in float64).
    """
    small = tf.abs(z) < 0.5
    inner = tf.where(small, z, tf.zeros_like(z))
    series = tf.zeros_like(z)
    for n in range(15, 1, -1):  # Horner form of sum_n z^(n-2) / n!
        series = series * inner + 1.0 / float(np.prod(np.arange(1.0, n + 1)))
    outer = tf.where(small, tf.ones_like(z), z)
    return tf.where(small, series, (tf.math.expm1(outer) - outer) / (outer * outer))


class Fourier(abc.ABC):
    """Fourier coefficients of real fields on N equidistant points of one period, N even.

    Fields are [batch, N]. How coefficients are laid out is the subclass's own business; they are a
    tensor or a tuple of tensors. ``derivative_of_square`` gives the coefficients of ∂(u²)/∂θ, where
    θ runs from 0 to 2π over the period; the Nyquist mode of the derivative is zero. ``times``
    multiplies coefficients by real numbers [batch, wavenumber].
    """

    def __init__(self, points: int):
        self.points = points
        self.wavenumbers = np.arange(points // 2 + 1, dtype=np.float64)
        self.derivative_wavenumbers = self.wavenumbers.copy()
        self.derivative_wavenumbers[-1] = 0.0

    @abc.abstractmethod
    def forward(self, field: tf.Tensor): ...

    @abc.abstractmethod
    def inverse(self, u_hat) -> tf.Tensor: ...

    @abc.abstractmethod
    def derivative_of_square(self, u_hat): ...

    @abc.abstractmethod
    def times(self, symbol: tf.Tensor): ...


class FFTFourier(Fourier):
    """Complex coefficients by tf.signal.rfft, [batch, wavenumber]; the choice for large grids."""

    def forward(self, field):
        return tf.signal.rfft(field)

    def inverse(self, u_hat):
        return tf.signal.irfft(u_hat, [self.points])

    def derivative_of_square(self, u_hat):
        squared = tf.signal.rfft(tf.square(self.inverse(u_hat)))
        return squared * tf.constant(1j * self.derivative_wavenumbers, squared.dtype)

    def times(self, symbol):
        factors = tf.cast(symbol, tf.complex64 if symbol.dtype == tf.float32 else tf.complex128)
        return lambda u_hat: factors * u_hat


class MatrixFourier(Fourier):
    """Real and imaginary parts by dense matrices, each [wavenumber, batch]; for small grids.

    The real parts belong to the even part of a field (about its first point), the imaginary ones to
    its odd part, and each part is known from half the grid, [N/2 + 1, batch]: the matrices have a
    quarter of the size, and u² is taken part by part. All is real, so it runs on any device, in any
    float type, and differentiates as plain matmuls.
    """

    def __init__(self, points):
        super().__init__(points)
        half = points // 2
        j = np.arange(half + 1)
        unfold = np.zeros((2, points, half + 1))  # half a part -> its values on the whole grid
        unfold[:, j, j] = unfold[0, -j, j] = 1
        unfold[1, -j[1:-1], j[1:-1]] = -1
        unfold[1, [0, half], [0, half]] = 0
        modes = np.eye(half + 1)
        waves = np.stack([np.fft.irfft(factor * modes, points).T for factor in (1, 1j)])
        u_hat = np.fft.rfft(np.eye(points), axis=0)
        self._unfold, self._fold = unfold, np.linalg.pinv(unfold)
        self._forward, self._inverse = np.stack([u_hat.real, u_hat.imag]), waves
        self._half_forward = self._forward @ unfold
        self._half_inverse = self._fold @ waves
        # ∂/∂θ takes the odd part to real coefficients and the even part to imaginary ones
        signed = np.array([-1, 1])[:, None, None] * self.derivative_wavenumbers[:, None]
        self._half_derivative = signed * self._half_forward[::-1]

    def forward(self, field):
        matrices = tf.constant(self._forward, field.dtype)
        return tuple(tf.matmul(matrices[p], field, transpose_b=True) for p in range(2))

    def inverse(self, u_hat):
        return _from_parts(self._inverse, u_hat)

    def derivative_of_square(self, u_hat):
        even, odd = _each(self._half_inverse, u_hat)
        return _each(self._half_derivative, self.square((even, odd))[::-1])

    def times(self, symbol):
        factors = tf.transpose(symbol)
        return lambda u_hat: (factors * u_hat[0], factors * u_hat[1])

    # Where all samples share the symbols, the field's even and odd part are a better state than
    # coefficients: one product in place of a transform, a multiplication and a transform back.

    def parts(self, field: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The even and the odd part of a field, on half the grid."""
        fold = tf.constant(self._fold, field.dtype)
        return tuple(tf.matmul(fold[p], field, transpose_b=True) for p in range(2))

    def from_parts(self, parts) -> tf.Tensor:
        """The inverse of ``parts``."""
        return _from_parts(self._unfold, parts)

    @staticmethod
    def square(parts):
        """The parts of u²."""
        even, odd = parts
        return even * even + odd * odd, 2 * even * odd

    def times_on_parts(self, symbol: tf.Tensor, dtype: tf.DType, derivative: bool = False):
        """Multiplies a field or its derivative, given by parts, by a symbol [1, wavenumber]."""
        first = self._half_derivative if derivative else self._half_forward
        scaled = tf.transpose(symbol) * tf.constant(first, symbol.dtype)
        matrices = tf.cast(tf.constant(self._half_inverse, symbol.dtype) @ scaled, dtype)
        return lambda parts: _each(matrices, parts[::-1] if derivative else parts)


def _each(matrices, parts):
    matrices = tf.convert_to_tensor(matrices, parts[0].dtype)
    return matrices[0] @ parts[0], matrices[1] @ parts[1]


def _from_parts(matrices, parts):
    matrices = tf.constant(np.concatenate(matrices, 1), parts[0].dtype)
    return tf.matmul(tf.concat(parts, 0), matrices, transpose_a=True, transpose_b=True)


def fourier(points: int) -> Fourier:
    """The faster basis for this grid: dense matrices up to MATRIX_LIMIT points, FFTs beyond."""
    return MatrixFourier(points) if points <= MATRIX_LIMIT else FFTFourier(points)
