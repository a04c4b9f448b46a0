"""The numpy resize of the positional embedding against torch's."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')

import numpy as np
import torch

from asyncmde_ros.engine.positions import OFFSET, resize_positions

SIDE = 37


@pytest.mark.parametrize('grid', [(18, 24), (18, 32), (37, 49), (19, 11), (2, 60)])
def test_equals_torch(grid: tuple[int, int], rng: np.random.Generator) -> None:
    pos_embed = rng.normal(size=(1, 1 + SIDE**2, 8)).astype(np.float32)
    trained = torch.from_numpy(pos_embed[:, 1:]).reshape(1, SIDE, SIDE, 8).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(
        trained, scale_factor=tuple((side + OFFSET) / SIDE for side in grid), mode='bicubic')
    result = resize_positions(pos_embed, grid)
    assert result.shape == (1, *grid, 8)
    np.testing.assert_allclose(result, expected.permute(0, 2, 3, 1), atol=2e-5)


def test_the_trained_grid_is_left_alone(rng: np.random.Generator) -> None:
    pos_embed = rng.normal(size=(1, 1 + SIDE**2, 8)).astype(np.float16)
    result = resize_positions(pos_embed, (SIDE, SIDE))
    np.testing.assert_array_equal(result.reshape(-1, 8), pos_embed[0, 1:].astype(np.float32))
