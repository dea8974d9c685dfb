"""What belongs to one architecture: the ResNet's forms, resolutions, obstacles, odd grids."""

import numpy as np
import pytest
import tensorflow as tf
from contracts import shaken

from tfunroll import nets
from tfunroll.core import Domain, InputError
from tfunroll.nets.fno import SpectralConv
from tfunroll.nets.graph import grid_graph
from tfunroll.nets.layers import leaky_relu
from tfunroll.nets.transformer import from_patches, relative_positions, to_patches
from tfunroll.nets.unet import double, halve

P, Z, R = ("periodic",) * 2, ("zero",) * 2, ("replicate",) * 2
PLANE = Domain((8, 6), (P, Z))


def normal(*shape, seed=1):
    return tf.constant(np.random.default_rng(seed).normal(size=shape))


# ------------------------------------------------------------------ ResNet


@pytest.mark.parametrize(
    ("widths", "weights"),
    [
        ((8, 20, 30, 20, 8), 32_376),
        ((8, 16, 32, 64, 32, 16, 8), 115_810),
        ((16, 32, 64, 128, 64, 32, 16), 461_250),
        ((16, 32, 64, 128, 128, 128, 64, 32, 16), 1_084_610),
    ],
)
def test_weight_counts_of_the_kolmogorov_study(widths, weights):
    plane = Domain((16, 16), (P, P))
    assert nets.build("resnet", plane, 4, 2, widths=widths).count_params() == weights


def test_resnet_of_a_list_of_widths_equals_its_formula():
    net = shaken(nets.build("resnet", PLANE, 2, 1, widths=(3, 5), dtype="float64"))
    x = normal(2, 8, 6, 2)
    h = x
    for (conv1, conv2), skip in zip(net.blocks, net.skips, strict=True):
        h = leaky_relu(conv2(leaky_relu(conv1(h))) + skip(h))
    np.testing.assert_allclose(net(x), net.last(h), atol=1e-14)


# ------------------------------------------------------------------ FNO


@pytest.mark.parametrize("shape", [(16,), (17,), (12, 16), (13, 11)])
def test_spectral_convolution_equals_the_fft(shape):
    """Against numpy's FFT: drop the other wavenumbers, multiply the kept ones by their matrices."""
    modes, width = 3, 2
    layer = SpectralConv(modes, len(shape), dtype="float64")
    x = normal(2, *shape, width)
    y = layer(x)
    kernel = layer.kernel.numpy()
    matrices = kernel[:, :, 0] + 1j * kernel[:, :, 1]
    axes = tuple(range(1, 1 + len(shape)))
    u_hat = np.fft.rfftn(x, axes=axes)
    v_hat = np.zeros_like(u_hat)
    if len(shape) == 1:
        v_hat[:, :modes] = np.einsum("bkc,kcd->bkd", u_hat[:, :modes], matrices)
    else:
        matrices = matrices.reshape(modes, 2 * modes - 1, width, width)
        for k in range(modes):
            for m in range(1 - modes, modes):
                v_hat[:, m, k] = u_hat[:, m, k] @ matrices[k, m + modes - 1]
    np.testing.assert_allclose(y, np.fft.irfftn(v_hat, s=shape, axes=axes), atol=1e-13)


def waves(shape, seed=0, channels=2):
    """A smooth periodic field of the wavenumbers up to 2, on any grid."""
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    field = 0
    for _ in range(5):
        k = rng.integers(-2, 3, len(shape))
        phase = 2 * np.pi * sum(a * b for a, b in zip(k, grids, strict=True))
        amplitude = rng.normal(size=(2, channels))
        field += amplitude[0] * np.cos(phase)[..., None] + amplitude[1] * np.sin(phase)[..., None]
    return tf.constant(field[None])


@pytest.mark.parametrize("dimensions", [1, 2])
def test_spectral_convolution_at_doubled_resolution_is_exact(dimensions):
    layer = SpectralConv(3, dimensions, dtype="float64")
    coarse, fine = (16,) * dimensions, (32,) * dimensions
    every_second = (slice(None), *[slice(None, None, 2)] * dimensions)
    np.testing.assert_allclose(
        layer(waves(fine))[every_second], layer(waves(coarse)), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("shape", [(48,), (32, 32)])
def test_fno_at_doubled_resolution(shape):
    """Its nonlinearities alias: measured 4e-10 and 5e-5 on this smooth field."""
    domain = Domain(shape, (P,) * len(shape))
    net = nets.build("fno", domain, 2, 1, size="demo", dtype="float64", initial="glorot")
    fine = net(waves([2 * n for n in shape]))[(slice(None), *[slice(None, None, 2)] * len(shape))]
    coarse = net(waves(shape))
    assert np.linalg.norm(fine - coarse) < 1e-3 * np.linalg.norm(coarse)


def test_fno_refuses_a_grid_too_coarse_for_its_modes():
    layer = SpectralConv(5, 1, dtype="float64")
    layer(tf.zeros((1, 10, 1), tf.float64))
    with pytest.raises(ValueError, match="modes=5: an axis of 8 points carries 4"):
        layer(tf.zeros((1, 8, 1), tf.float64))


# ------------------------------------------------------------------ graph net


def test_neighbours_on_a_ring_and_between_walls():
    ring = grid_graph((5,), (P,))
    np.testing.assert_array_equal(ring.neighbour[0], [4, 1])
    np.testing.assert_array_equal(ring.weight, 0.5)
    np.testing.assert_array_equal(ring.offset[:, :, 0], [[-1, 1]] * 5)
    line = grid_graph((5,), (Z,))
    np.testing.assert_array_equal(line.weight[[0, 2, 4]], [[0, 1], [0.5, 0.5], [1, 0]])


def test_distances_are_physical():
    plane = grid_graph((4, 3), (P, P), spacing=(1.0, 3.0))
    np.testing.assert_allclose(plane.offset[0], [[-0.5, 0], [0.5, 0], [0, -1.5], [0, 1.5]])
    angle = 2 * np.pi * np.arange(6)[:, None] / 6
    radius = np.array([1.0, 2.0])
    centres = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    ring = grid_graph((6, 2), (P, R), centres=centres)
    around = np.linalg.norm(ring.offset[:, :2], axis=-1).reshape(6, 2, 2)
    np.testing.assert_allclose(around[:, 1], 2 * around[:, 0])  # chords, across the seam too


def test_an_obstacle_is_left_out():
    mask = np.ones((6, 6), bool)
    mask[2:4, 2:4] = False
    domain = Domain((6, 6), (P, R), mask=mask)
    net = shaken(nets.build("graph", domain, 2, 1, width=4, depth=2, dtype="float64"))
    x = normal(2, 6, 6, 2)
    y = net(x)
    assert np.abs(y.numpy()[:, ~mask]).max() == 0
    assert np.abs(y.numpy()[:, mask]).min() > 0
    inside = tf.constant(np.where(mask, 0.0, 1.0)[..., None])
    np.testing.assert_array_equal(net(x + 7 * inside), y)
    graph = grid_graph((6, 6), domain.boundary, mask=mask)
    assert len(graph.cells) == 32
    np.testing.assert_allclose(graph.weight.sum(-1), 1)
    beside = list(graph.cells).index(2 * 6 + 1)  # its right neighbour is in the obstacle
    assert sorted(graph.weight[beside]) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])


def test_edge_convolution_equals_its_formula():
    domain = Domain((4, 5), (P, Z), spacing=(1.0, 2.0))
    net = shaken(nets.build("graph", domain, 2, 1, width=3, depth=1, dtype="float64"))
    graph, layer = grid_graph((4, 5), domain.boundary, domain.spacing), net.first
    x = normal(20, 2).numpy()
    wanted = np.zeros((20, 3))
    for i in range(20):
        for column, j in enumerate(graph.neighbour[i]):
            edge = np.concatenate([x[i], x[j] - x[i], graph.offset[i, column]])
            message = leaky_relu(tf.constant(edge @ layer.kernel.numpy() + layer.bias.numpy()))
            wanted[i] += graph.weight[i, column] * message.numpy()
    np.testing.assert_allclose(layer(tf.constant(x[None]), graph=graph)[0], wanted, atol=1e-14)


def test_domain_checks_its_arrays():
    with pytest.raises(InputError, match=r"mask has shape \(3,\), needs \(4,\)"):
        Domain((4,), (P,), mask=np.ones(3, bool))
    with pytest.raises(InputError, match="spacing has shape"):
        Domain((4,), (P,), spacing=(1.0, 1.0))


# ------------------------------------------------------------------ U-Net and transformer


def test_halving_and_doubling():
    x = tf.reshape(tf.range(5.0), [1, 5, 1])
    np.testing.assert_array_equal(halve(x, (P,))[0, :, 0], [0.5, 2.5, 2.0])
    np.testing.assert_array_equal(halve(x, (R,))[0, :, 0], [0.5, 2.5, 4.0])
    np.testing.assert_array_equal(double(x, (9,))[0, :, 0], [0, 0, 1, 1, 2, 2, 3, 3, 4])
    assert halve(tf.zeros((2, 7, 4, 3)), (P, P)).shape == (2, 4, 2, 3)


@pytest.mark.parametrize("shape", [(8,), (8, 12)])
def test_patches_round_trip(shape):
    x = normal(2, *shape, 3)
    patches = to_patches(x, 4)
    assert patches.shape == (2, *(n // 4 for n in shape), 3 * 4 ** len(shape))
    np.testing.assert_array_equal(from_patches(patches, 4), x)
    first = x[(0, *[slice(4)] * len(shape))]
    np.testing.assert_array_equal(patches[(0, *[0] * len(shape))], tf.reshape(first, [-1]))


def test_relative_positions():
    number, count = relative_positions((3,), (True,))
    np.testing.assert_array_equal(number, [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
    assert count == 3
    number, count = relative_positions((2, 3), (False, True))
    assert count == 3 * 3
    assert len(np.unique(number)) == 9


def test_transformer_refuses_another_grid():
    net = nets.build("transformer", Domain((8,), (P,)), 2, 1, width=4, depth=1)
    with pytest.raises(ValueError, match=r"built for \(8,\) cells cannot take \(16,\)"):
        net(tf.zeros((1, 16, 2)))
