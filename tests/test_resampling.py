"""Down- and up-sampling of staggered states."""

import numpy as np
import pytest
import tensorflow as tf

from tfunroll.core import InputError
from tfunroll.ops.resampling import coarsen, refine
from tfunroll.ops.stencils import divergence

RNG = np.random.default_rng(0)


def div(state, h):
    return divergence(tf.transpose(tf.constant(state), [3, 0, 1, 2]), h).numpy()


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_coarse_divergence_is_the_block_mean_of_the_fine_one(factor):
    state, h = RNG.normal(size=(2, 16, 24, 3)), 0.3
    coarse = coarsen(tf.constant(state), factor)
    blocks = div(state, h).reshape(2, 16 // factor, factor, 24 // factor, factor)
    np.testing.assert_allclose(div(coarse, h * factor), blocks.mean((2, 4)), atol=1e-13)


def test_coarse_values_are_means_over_faces_and_cells():
    state = RNG.normal(size=(1, 8, 8, 3))
    coarse = coarsen(tf.constant(state), 4)[0, 1, 0].numpy()  # the block of rows 4-7, columns 0-3
    block = state[0, 4:8, 0:4]
    wanted = [block[:, 3, 0].mean(), block[3, :, 1].mean(), block[..., 2].mean()]
    np.testing.assert_allclose(coarse, wanted, atol=1e-15)


@pytest.mark.parametrize("shape", [(8, 8), (9, 6)])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_refine_is_undone_by_coarsen(shape, factor):
    state = tf.constant(RNG.normal(size=(2, *shape, 3)))
    fine = refine(state, factor)
    assert fine.shape == (2, shape[0] * factor, shape[1] * factor, 3)
    np.testing.assert_allclose(coarsen(fine, factor), state, atol=1e-12)


def test_refine_is_exact_for_resolved_waves():
    def wave(n):
        h = 2 * np.pi / n
        face, centre = (np.arange(n) + 1) * h, (np.arange(n) + 0.5) * h

        def field(x, y):
            return np.sin(2 * x[None, :] - 3 * y[:, None] + 0.4) + np.cos(y)[:, None]

        parts = field(face, centre), field(centre, face), field(centre, centre)
        return tf.constant(np.stack(parts, -1)[None])

    fine = wave(48)
    np.testing.assert_allclose(refine(coarsen(fine, 4), 4), fine, atol=1e-13)


def test_grids_that_do_not_down_sample():
    with pytest.raises(InputError, match="12 x 16 cells does not down-sample by a factor of 8"):
        coarsen(tf.zeros([1, 12, 16, 3]), 8)
