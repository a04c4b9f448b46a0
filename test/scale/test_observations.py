"""What was measured, beside what the map says there."""

import numpy as np
import pytest

from asyncmde_ros.scale.observations import Map, Observations, PastMap, Samples
from asyncmde_ros.scale.observations import sample as sample_moments

IMAGE = (48, 64)


def seen(pixels: list[list[float]], depth_m: list[float], sigma_m: float = 0.01) -> Observations:
    return Observations.of_depth(pixels, depth_m, sigma_m, IMAGE, 0.0, 'test')


def sample(relative: Map, some: list[Observations]) -> Samples:
    """Sample one map, which is the present one."""
    return sample_moments([(PastMap(0.0, relative, 1.0, 0.0), one) for one in some])


def test_of_an_earlier_map_the_values_are_the_presents() -> None:
    earlier = PastMap(0.0, np.full(IMAGE, 3, np.float32), 2.0, -1.0)
    now = PastMap(0.1, np.full(IMAGE, 5, np.float32), 1.0, 0.0)
    some = seen([[1, 1]], [1])
    assert sample_moments([(earlier, some), (now, some)]).relative.tolist() == [5, 5]


def test_sigma_is_that_of_the_inverse() -> None:
    some = seen([[1, 2]], [4.0], 0.16)
    assert (some.inverse_depth[0], some.sigma[0]) == (0.25, pytest.approx(0.01))


def test_a_map_of_another_size_is_read_at_the_same_place() -> None:
    """A map that grows along x by 1 a pixel of the image, whatever its own size."""
    for scale in (1, 2, 4):
        centres = (np.arange(IMAGE[1] // scale) + 0.5) * scale - 0.5
        relative = np.tile(centres.astype(np.float32), (IMAGE[0] // scale, 1))
        found = sample(relative, [seen([[10, 5], [33.25, 40]], [1, 1])])
        assert found.relative == pytest.approx([10, 33.25], abs=0.05)


def test_what_cannot_be_used_is_left_out() -> None:
    relative = np.ones(IMAGE, np.float32)
    relative[:, 32:] = np.nan
    pixels = [[5, 5], [np.nan, 5], [-3, 5], [5, 48], [50, 5], [6, 6], [7, 7], [8, 8]]
    depths = [2.0, 2, 2, 2, 2, np.nan, -1, np.inf]
    found = sample(relative, [seen(pixels, depths)])
    assert found.inverse_depth.tolist() == [0.5]


def test_neighbours_count_as_one() -> None:
    relative = np.ones(IMAGE, np.float32)
    found = sample(relative, [seen([[1, 1], [2, 1], [40, 30]], [1, 1, 1]),
                              seen([[1, 2]], [1])])
    assert found.weight == pytest.approx([1 / 3, 1 / 3, 1, 1 / 3])


def test_nothing_is_nothing() -> None:
    relative = np.ones(IMAGE, np.float32)
    for observations in ([], [seen([], [])]):
        assert sample(relative, observations).relative.size == 0


def test_of_very_many_points_every_part_of_the_image_keeps_some() -> None:
    count = 40_000  # more than OpenCV's remap takes at once
    pixels = np.random.default_rng(0).uniform(0, (63, 47), (count, 2))
    some = Observations.of_depth(pixels, np.ones(count), 0.1, IMAGE, 0.0, 'lidar')
    relative = np.tile(np.arange(IMAGE[1], dtype=np.float32), (IMAGE[0], 1))
    found = sample(relative, [some])
    assert found.relative.size == 1000
    assert np.histogram(found.relative, 16, (0, 63))[0].min() > 30


def test_errors_in_common_are_those_of_their_source() -> None:
    """Two moments of one source share them; another source has its own, a third has none."""
    def some(x: float, common: list[float] | None, source: str) -> Observations:
        return Observations(np.array([[x, 5.0], [np.nan, 5]]), np.ones(2), np.full(2, 0.1), IMAGE,
                            0.0, source, None if common is None else np.array([common, common]))
    found = sample(np.ones(IMAGE, np.float32), [
        some(1, [0.1, 0.2], 'ground'), some(9, None, 'points'), some(20, [0.3], 'odometry'),
        some(30, [0.4, 0.5], 'ground')])
    assert found.errors == (('ground', 0), ('ground', 1), ('odometry', 0))
    assert found.common is not None
    assert found.common.tolist() == [[0.1, 0.2, 0], [0, 0, 0], [0, 0, 0.3], [0.4, 0.5, 0]]
    assert sample(np.ones(IMAGE, np.float32), [some(9, None, 'points')]).common is None


@pytest.mark.parametrize(('inverse_depth', 'common'), [(3, None), (2, (3, 1)), (2, (2,))])
def test_shapes_must_agree(inverse_depth: int, common: tuple[int, ...] | None) -> None:
    with pytest.raises(ValueError, match='shapes differ'):
        Observations(np.zeros((2, 2)), np.zeros(inverse_depth), np.zeros(inverse_depth), IMAGE,
                     0.0, 'test', None if common is None else np.zeros(common))
