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
    """Real fields on N equidistant points of one period, and their Fourier coefficients.

    ``forward`` and ``inverse`` go between [..., N] and the coefficients; ``derivative`` gives the
    coefficients of ∂f/∂θ, where θ runs from 0 to 2π over the period; the Nyquist mode of the
    derivative is zero. ``spread`` lays one real number per wavenumber out like the coefficients.
    """

    def __init__(self, points: int):
        self.points = points
        self.wavenumbers = np.arange(points // 2 + 1, dtype=np.float64)
        self.derivative_wavenumbers = self.wavenumbers.copy()
        if points % 2 == 0:
            self.derivative_wavenumbers[-1] = 0.0

    @abc.abstractmethod
    def forward(self, field: tf.Tensor) -> tf.Tensor: ...

    @abc.abstractmethod
    def derivative(self, field: tf.Tensor) -> tf.Tensor: ...

    @abc.abstractmethod
    def inverse(self, u_hat: tf.Tensor) -> tf.Tensor: ...

    @abc.abstractmethod
    def spread(self, symbol: tf.Tensor) -> tf.Tensor: ...


class FFTFourier(Fourier):
    """Complex coefficients by tf.signal.rfft; the choice for large grids."""

    def forward(self, field):
        return tf.signal.rfft(field)

    def derivative(self, field):
        u_hat = tf.signal.rfft(field)
        return u_hat * tf.constant(1j * self.derivative_wavenumbers, u_hat.dtype)

    def inverse(self, u_hat):
        return tf.signal.irfft(u_hat, [self.points])

    def spread(self, symbol):
        return tf.cast(symbol, tf.complex64 if symbol.dtype == tf.float32 else tf.complex128)


class MatrixFourier(Fourier):
    """Real coefficients (real parts, then imaginary parts) by dense matrices; for small grids.

    All is real, so it runs on any device, in any float type, and differentiates as plain matmuls.
    """

    def __init__(self, points):
        super().__init__(points)
        identity = np.eye(points)
        u_hat = np.fft.rfft(identity, axis=-1)
        d_hat = 1j * self.derivative_wavenumbers * u_hat
        self._forward = np.concatenate([u_hat.real, u_hat.imag], -1)
        self._derivative = np.concatenate([d_hat.real, d_hat.imag], -1)
        modes = np.eye(len(self.wavenumbers))
        self._inverse = np.concatenate(
            [np.fft.irfft(modes, points), np.fft.irfft(1j * modes, points)], 0
        )

    def forward(self, field):
        return field @ tf.constant(self._forward, field.dtype)

    def derivative(self, field):
        return field @ tf.constant(self._derivative, field.dtype)

    def inverse(self, u_hat):
        return u_hat @ tf.constant(self._inverse, u_hat.dtype)

    def spread(self, symbol):
        return tf.concat([symbol, symbol], -1)


def fourier(points: int) -> Fourier:
    """The faster basis for this grid: dense matrices up to MATRIX_LIMIT points, FFTs beyond."""
    return MatrixFourier(points) if points <= MATRIX_LIMIT else FFTFourier(points)
