"""The Fourier neural operator."""

import keras
import numpy as np
import tensorflow as tf

from tfunroll.nets.base import Net
from tfunroll.nets.lanes import seeds
from tfunroll.ops.boundary import pad

PADDING = 8  # a non-periodic axis of N cells is extended by N // 8 cells on both sides


@keras.saving.register_keras_serializable("tfunroll")
class FNO(Net):
    """Fourier neural operator: lifting, ``depth`` spectral blocks, projection.

        x ← P x;   x ← σ(F⁻¹(R_k · F(x)) + W x + b);   y = Q₂ σ(Q₁ x)

    σ is GELU, left out in the last block. P, W, Q act on the channels of each point; R_k is a
    complex matrix for each kept wavenumber k. The weights belong to wavenumbers and not to points,
    so the network runs on other grids than it was trained on. A non-periodic axis is extended by an
    eighth on each side, by its boundary, and cut at the end.

    Args:
      width: channels inside.
      depth: spectral blocks.
      modes: wavenumbers kept per axis, |k| < modes; at most half the (extended) grid's points.
      out_channels, boundary, seed, initial: see Net.
    Reference: Li et al. (2021), arXiv:2010.08895.
    """

    ARGUMENTS = ("width", "depth", "modes", *Net.ARGUMENTS)

    def __init__(self, width, depth, modes, **kwargs):
        super().__init__(**kwargs)
        self.width, self.depth, self.modes = width, depth, modes
        self.lift = self.dense(width)
        self.spectral = [self._spectral(len(self.boundary)) for _ in range(depth)]
        self.local = [self.dense(width) for _ in range(depth)]
        self.projection = (
            self.dense(width),
            self.dense(self.out_channels, dtype=self.variable_dtype),
        )

    @property
    def last_layer(self):
        """See Net."""
        return self.projection[1]

    def _spectral(self, dimensions):
        seed = next(self._seeds)
        return SpectralConv(self.modes, dimensions, seed=seed, dtype=self.variable_dtype)

    def call(self, x):
        extended = padding(x.shape[1:-1], self.boundary)
        inside = [
            slice(lower, lower + n) for (lower, _), n in zip(extended, x.shape[1:-1], strict=True)
        ]
        x = pad(self.lift(x), extended, self.boundary)
        for number, (spectral, local) in enumerate(zip(self.spectral, self.local, strict=True)):
            x = tf.cast(spectral(x), x.dtype) + local(x)
            x = tf.nn.gelu(x, approximate=True) if number < self.depth - 1 else x
        inner, last = self.projection
        return last(tf.nn.gelu(inner(x[(slice(None), *inside)]), approximate=True))


def padding(shape, boundary) -> list[tuple[int, int]]:
    """Cells by which each axis is extended at its lower and upper side."""
    return [
        (0, 0) if kinds == ("periodic", "periodic") else (n // PADDING, n // PADDING)
        for n, kinds in zip(shape, boundary, strict=True)
    ]


def most_modes(shape, boundary) -> int:
    """The most modes that a grid carries: wavenumbers below the Nyquist number in every axis."""
    extended = padding(shape, boundary)
    return min((n + sum(cells) + 1) // 2 for n, cells in zip(shape, extended, strict=True))


@keras.saving.register_keras_serializable("tfunroll")
class SpectralConv(keras.layers.Layer):
    """Multiplies the Fourier coefficients of the kept wavenumbers by complex matrices.

        y = F⁻¹(R_k · F(x)_k),  |k_y| < modes, 0 ≤ k_x < modes;  the others are dropped

    in one or two dimensions, channels unchanged. Only the kept coefficients are computed, by dense
    real matrices, one axis after the other: for few modes that is less work than an FFT of all, it
    runs in any real type, and XLA compiles it and its gradient everywhere.

    Args:
      modes: wavenumbers kept per axis.
      dimensions: 1 or 2.
    """

    def __init__(self, modes, dimensions, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.modes, self.dimensions, self.seed = modes, dimensions, seed

    def build(self, input_shape):
        width = input_shape[-1]
        kept = self.modes * (2 * self.modes - 1) ** (self.dimensions - 1)
        limit = (3.0 / (4 * width)) ** 0.5  # half of the variance; the local part adds the other
        self.kernel = self.add_weight(  # [wavenumber, in, real or imaginary, out]
            name="kernel",
            shape=(kept, width, 2, width),
            initializer=keras.initializers.RandomUniform(-limit, limit, seed=self.seed),
        )

    def call(self, x):
        forward_x, inverse_x = (tf.constant(m, x.dtype) for m in real_axis(x.shape[-2], self.modes))
        # r, s: real and imaginary part; k, m: wavenumbers along x and y
        if self.dimensions == 1:
            u_hat = tf.einsum("rkx,bxc->krbc", forward_x, x)
            return tf.einsum("xrk,krbc->bxc", inverse_x, self._multiply(u_hat))
        forward_y, inverse_y = (
            tf.constant(m, x.dtype) for m in complex_axis(x.shape[1], self.modes)
        )
        u_hat = tf.einsum("rkx,byxc->krybc", forward_x, x)
        u_hat = tf.einsum("smry,krybc->kmsbc", forward_y, u_hat)
        shape = [self.modes, 2 * self.modes - 1, 2, -1, x.shape[-1]]
        v_hat = tf.reshape(self._multiply(u_hat), shape)
        v_hat = tf.einsum("ryms,kmsbc->krybc", inverse_y, v_hat)
        return tf.einsum("xrk,krybc->byxc", inverse_x, v_hat)

    def _multiply(self, u_hat):
        """The coefficients of each wavenumber times its matrix, [wavenumber, r, b, c]."""
        kept, width = self.kernel.shape[:2]
        count = seeds(self.kernel)
        if count:  # the seeds' axis first, as the kernel has it
            u_hat = tf.reshape(u_hat, [kept, 2, *count, -1, width])
            u_hat = tf.transpose(u_hat, [2, 0, 1, 3, 4])
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), [*count, kept, width, 2 * width])
        products = tf.matmul(tf.reshape(u_hat, [*count, kept, -1, width]), kernel)
        parts = [*count, kept, 2, -1, 2, width]  # of u and of the matrix: real and imaginary
        products = tf.reshape(products, parts)
        real = products[..., 0, :, 0, :] - products[..., 1, :, 1, :]
        imaginary = products[..., 0, :, 1, :] + products[..., 1, :, 0, :]
        v_hat = tf.stack([real, imaginary], -3)
        if count:
            v_hat = tf.transpose(v_hat, [1, 2, 0, 3, 4])
            v_hat = tf.reshape(v_hat, [kept, 2, -1, width])
        return v_hat

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        names = ("modes", "dimensions", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def real_axis(points: int, modes: int) -> tuple[np.ndarray, np.ndarray]:
    """Real fields on an axis to the coefficients of 0 ≤ k < modes, and back.

    Returns:
      forward [part, k, x], u_k = 1/N Σ_x u(x) e^(−2πikx/N);  inverse [x, part, k], the real part of
      Σ_k c_k u_k e^(2πikx/N), c_0 = 1, else 2.
    Raises:
      ValueError: if the axis does not carry so many wavenumbers.
    """
    wave = _waves(points, np.arange(modes))  # [k, x]
    twice = np.where(np.arange(modes) > 0, 2.0, 1.0)[:, None]
    forward = np.stack([wave.real, -wave.imag]) / points
    return forward, np.stack([twice * wave.real, -twice * wave.imag]).transpose(2, 0, 1)


def complex_axis(points: int, modes: int) -> tuple[np.ndarray, np.ndarray]:
    """Complex fields on an axis to the coefficients of |m| < modes, and back.

    Returns:
      forward [part, m, part of the field, y];  inverse [part of the field, y, m, part].
    """
    wave = _waves(points, np.arange(1 - modes, modes))  # [m, y]
    forward = np.stack(  # (a + ib) e^(−iφ): real a cos φ + b sin φ, imaginary b cos φ − a sin φ
        [np.stack([wave.real, wave.imag], 1), np.stack([-wave.imag, wave.real], 1)]
    )
    return forward / points, forward.transpose(2, 3, 1, 0)


def _waves(points, wavenumbers):
    if 2 * wavenumbers[-1] >= points:
        most = (points + 1) // 2
        raise ValueError(f"modes={len(wavenumbers)}: an axis of {points} points carries {most}")
    return np.exp(2j * np.pi * np.outer(wavenumbers, np.arange(points)) / points)
