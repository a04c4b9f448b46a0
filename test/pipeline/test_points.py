"""Depth at single pixels: the numbers of the whole map, and one of two sides at an edge."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import at_size
from asyncmde_ros.pipeline.field import MapField
from asyncmde_ros.pipeline.motion import Warp, flow_size, source_of
from asyncmde_ros.pipeline.moved_depth import Base, MovedField
from asyncmde_ros.pipeline.points import ImageField
from asyncmde_ros.pipeline.upright import Rotation

NETWORK: Size = (84, 112)
IMAGE: Size = (150, 200)

ROUNDING = 1e-4
"""float32, for values up to about ten."""


def rolling(size: Size = NETWORK, seed: int = 0) -> np.ndarray:
    """A map without an edge: two waves over an offset."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size[0], 0:size[1]] / min(size)
    wave = sum(np.sin(rng.uniform(1, 3) * x + rng.uniform(1, 3) * y + rng.uniform(0, 6))
               for _ in range(2))
    return np.asarray(5 + wave, np.float32)


def field_of(depth: np.ndarray, image: Size = IMAGE, rotation: Rotation = Rotation.NONE
             ) -> ImageField:
    return ImageField(MapField(depth, np.clip(depth / 10, 0, 1)), image, rotation)


def bilinear(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The textbook's formula, point by point."""
    rows, cols = values.shape
    found = []
    for x, y in np.clip(points, 0, [cols - 1, rows - 1]):
        left, top = int(x), int(y)
        right, bottom = min(left + 1, cols - 1), min(top + 1, rows - 1)
        across, down = x - left, y - top
        found.append((1 - down) * ((1 - across) * values[top, left] + across * values[top, right])
                     + down * ((1 - across) * values[bottom, left]
                               + across * values[bottom, right]))
    return np.array(found)


@pytest.mark.parametrize('rotation', list(Rotation))
@pytest.mark.parametrize('image', [IMAGE, (84, 112), (60, 47)])
def test_points_have_the_numbers_of_the_whole_map_sampled_bilinearly(image: Size,
                                                                     rotation: Rotation) -> None:
    depth = rolling()
    whole = at_size(np.ascontiguousarray(rotation.inverse.turn(depth)), image)
    points = np.random.default_rng(1).uniform(-0.5, np.array(image[::-1]) - 0.5, (300, 2))
    corners = [[-0.5, -0.5], [0, 0], [image[1] - 1, image[0] - 1], [image[1] - 0.51, 3]]
    points = np.concatenate([points, corners])
    found = field_of(depth, image, rotation).at(points)
    np.testing.assert_allclose(found.inverse_depth, bilinear(whole, points), atol=ROUNDING)
    np.testing.assert_allclose(found.trust, bilinear(whole, points) / 10, atol=ROUNDING)


@pytest.mark.proves('query-bad')
@settings(max_examples=30)
@given(seed=st.integers(0, 1000), count=st.integers(0, 40))
def test_what_is_outside_or_no_number_is_not_known_and_changes_nothing_else(seed: int, count: int
                                                                            ) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, np.array(IMAGE[::-1]) - 1, (count, 2))
    wrong = np.array([[np.nan, 3], [3, np.inf], [-0.6, 3], [3, -1e30], [IMAGE[1] - 0.5, 3],
                      [3, IMAGE[0] + 7]])
    order = rng.permutation(count + len(wrong))
    field = field_of(rolling())
    found = field.at(np.concatenate([points, wrong])[order])
    expected = field.at(points)
    bad = order >= count
    assert np.isnan(found.inverse_depth[bad]).all() and np.isnan(found.trust[bad]).all()
    np.testing.assert_array_equal(found.inverse_depth[~bad],
                                  expected.inverse_depth[order[~bad]])
    np.testing.assert_array_equal(found.trust[~bad], expected.trust[order[~bad]])


@pytest.mark.parametrize('shape', [(3,), (3, 3), (2, 2, 2)])
def test_points_of_another_shape_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match='is wanted'):
        field_of(rolling()).at(np.zeros(shape))


def ramp_between(near: float, far: float, at: int, width: int) -> np.ndarray:
    """Two surfaces, with the ramp between them that a network makes, along the columns."""
    line = np.interp(np.arange(NETWORK[1]), [at - width / 2, at + width / 2], [near, far])
    return np.tile(line, (NETWORK[0], 1)).astype(np.float32)


@pytest.mark.parametrize('width', [1, 2, 4])
@pytest.mark.parametrize('transposed', [False, True])
def test_a_point_at_an_edge_is_on_one_of_its_two_sides(width: int, transposed: bool) -> None:
    depth = ramp_between(8, 1, 50, width)
    image = IMAGE
    if transposed:
        depth, image = np.ascontiguousarray(depth.T), (IMAGE[1], IMAGE[0])
    along = np.linspace(70, 110, 401)
    points = np.stack([along, np.full_like(along, 40)], axis=1)
    found = field_of(depth, image).at(points[:, ::-1] if transposed else points).inverse_depth
    assert np.minimum(np.abs(found - 8), np.abs(found - 1)).max() < ROUNDING
    change = along[np.flatnonzero(np.diff(found))]
    assert len(change) == 1 and abs(change[0] - 50.5 * IMAGE[1] / NETWORK[1] + 0.5) < 1


def test_a_thin_thing_is_no_mean_of_it_and_what_is_behind() -> None:
    depth = np.full(NETWORK, 1, np.float32)
    depth[:, 50:53] = 8
    along = np.linspace(70, 110, 401)
    found = field_of(depth).at(np.stack([along, np.full_like(along, 40)], axis=1)).inverse_depth
    assert set(np.round(found, 3)) == {1, 8}
    assert np.count_nonzero(found > 4) / 10 == pytest.approx(3 * IMAGE[1] / NETWORK[1], abs=1)


def test_a_floor_up_to_its_horizon_has_no_edges() -> None:
    """Inverse depth of a plane is affine in the pixel, however steep that is by ratio."""
    rows = np.arange(NETWORK[0], dtype=np.float32)
    depth = np.tile(0.05 * np.maximum(rows - 20.25, -10)[:, None] + 1, (1, NETWORK[1]))
    points = np.stack([np.full(400, 60.3), np.linspace(45, 149, 400)], axis=1)
    whole = at_size(depth.astype(np.float32), IMAGE)
    found = field_of(depth.astype(np.float32)).at(points).inverse_depth
    np.testing.assert_allclose(found, bilinear(whole, points), atol=ROUNDING)


def test_a_moved_memory_tells_points_what_its_map_would() -> None:
    """Few points are followed one by one; many are looked up in the map."""
    rng = np.random.default_rng(2)
    homography = np.eye(3) + rng.uniform(-1, 1, (3, 3)) * [[0.05, 0.05, 0.1], [0.05, 0.05, 0.1],
                                                           [0.05, 0.05, 0]]
    flow = cv2.GaussianBlur(rng.normal(0, 0.1, (*flow_size(NETWORK), 2)), (0, 0), 3)
    warp = Warp(homography.astype(np.float32), flow.transpose(2, 0, 1).astype(np.float32))
    depth, small = rolling(), (42, 56)
    base = Base(1, depth, np.ones(small, np.float32), at_size(depth / 10, small),
                np.zeros(small, np.uint8))
    source = source_of(warp, small)
    moved = MovedField(base, warp, source, np.full(small, 0.5, np.float32))
    field, made = ImageField(moved, IMAGE), ImageField(MapField(*moved.maps()), IMAGE)
    assert np.abs(moved.depth() - depth).max() > 0.3, 'it moves'
    many = rng.uniform(0, np.array(IMAGE[::-1]) - 1, (moved.many, 2))
    for points in (many[:100], many):
        for ours, theirs in zip(field.at(points), made.at(points), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
