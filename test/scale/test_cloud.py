"""Point clouds of known planes and steps."""

import numpy as np
import pytest

from asyncmde_ros.scale.cloud import cloud, flying
from asyncmde_ros.scale.lens import Lens

SIZE = (120, 160)
LENS = Lens(np.array([[100.0, 0, 79.5], [0, 100, 59.5], [0, 0, 1]]), SIZE)


def floor(height_m: float = 0.5) -> np.ndarray:
    """Return the depth of a floor below a level camera; unknown above the horizon."""
    below = np.arange(SIZE[0]) - 59.5
    depth = np.where(below > 0, height_m * 100 / np.maximum(below, 0.5), np.nan)
    return np.repeat(depth[:, None], SIZE[1], axis=1).astype(np.float32)


def step(width: int) -> np.ndarray:
    """Return a wall 4 m away behind one 1 m away, with a ramp between them."""
    inverse = np.interp(np.arange(SIZE[1]), (80, 80 + width), (1, 0.25))
    return np.tile(1 / inverse, (SIZE[0], 1)).astype(np.float32)


@pytest.mark.parametrize('stride', [1, 3])
def test_a_floor_is_flat_and_whole(stride: int) -> None:
    found = cloud(floor(), LENS.ray_map(stride), stride)
    assert found.colors is None and found.points.dtype == np.float32
    assert found.points[:, 1] == pytest.approx(0.5, abs=1e-4)
    assert len(found.points) == np.isfinite(floor()[::stride, ::stride]).sum()


@pytest.mark.parametrize('width', [2, 4, 6])
def test_nothing_hangs_between_two_walls(width: int) -> None:
    z = cloud(step(width), LENS.ray_map()).points[:, 2]
    assert ((np.abs(z - 1) < 0.01) | (np.abs(z - 4) < 0.05)).all()
    assert len(z) > 0.9 * SIZE[0] * SIZE[1], 'the walls stay'


@pytest.mark.parametrize('stride', [2, 5])
def test_a_stride_thins_and_changes_nothing_else(stride: int) -> None:
    assert np.array_equal(flying(step(4), stride), flying(step(4))[::stride, ::stride])


def test_an_organised_cloud_keeps_its_shape() -> None:
    depth = step(4)
    depth[:10] = np.nan
    image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    found = cloud(depth, LENS.ray_map(2), 2, organised=True, image=image)
    assert found.points.shape == (60, 80, 3)
    assert np.isnan(found.points[:5]).all() and np.isnan(found.points[:, 41]).all()
    assert found.points[30, 20] == pytest.approx(LENS.rays([[40, 60]])[0])
    assert found.colors is not None and np.array_equal(found.colors, image[::2, ::2])
    loose = cloud(depth, LENS.ray_map(2), 2, image=image)
    known = np.isfinite(found.points).all(axis=2)
    assert np.array_equal(loose.points, found.points[known])
    assert loose.colors is not None and np.array_equal(loose.colors, found.colors[known])


def test_no_depth_is_no_points() -> None:
    depth = np.full(SIZE, np.nan, np.float32)
    assert cloud(depth, LENS.ray_map()).points.shape == (0, 3)


@pytest.mark.parametrize('size', [(1, 160), (120, 1), (1, 1)])
@pytest.mark.parametrize('stride', [1, 3])
def test_a_single_row_or_column_is_a_cloud_too(size: tuple[int, int], stride: int) -> None:
    depth = step(4)[:size[0], :size[1]]
    rays = LENS.ray_map(stride)[:-(-size[0] // stride), :-(-size[1] // stride)]
    points = cloud(depth, np.ascontiguousarray(rays), stride).points
    wanted = depth[::stride, ::stride][~flying(depth, stride)]
    assert np.array_equal(points[:, 2], wanted) and len(points) > 0


def test_rays_of_another_stride_are_refused() -> None:
    with pytest.raises(ValueError, match='shapes differ'):
        cloud(floor(), LENS.ray_map(2), 3)
