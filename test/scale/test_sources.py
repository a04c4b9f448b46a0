"""Sensors beside a camera, with hand-made geometry."""

import math

import numpy as np
import pytest

from asyncmde_ros.scale.estimator import ScaleEstimator
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Observations
from asyncmde_ros.scale.sources import of_points, of_range, scan_points, transformed

SIZE = (480, 640)
LENS = Lens(np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]]), SIZE)
FORWARD = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], float)
"""From a sensor's axes, x forward and z up (REP-103), to the camera's."""


def pose(x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    """Return the pose of a sensor that looks as the camera does, from (x, y, z) in its frame."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = FORWARD, (x, y, z)
    return matrix


def test_a_lidar_on_a_wall() -> None:
    """A wall 5 m ahead of the camera, seen by a lidar 0.2 m behind and 0.5 m above it."""
    angles = np.radians(np.linspace(-30, 30, 61))
    wall = np.stack([np.full(61, 5.2), 5.2 * np.tan(angles), np.full(61, -0.5)], axis=1)
    found = of_points(LENS, transformed(wall, pose(y=-0.5, z=-0.2)), 0.05, 3.0, 'lidar')
    assert len(found.inverse_depth) == 61
    assert 1 / found.inverse_depth == pytest.approx(5)
    assert found.pixels[:, 1] == pytest.approx(240)
    assert found.pixels[:, 0] == pytest.approx(320 - 400 * 5.2 / 5 * np.tan(angles))
    assert found.sigma == pytest.approx(0.05 / 25)
    assert (found.stamp_s, found.source, found.image) == (3.0, 'lidar', SIZE)


@pytest.mark.proves('scale-wrong-points')
def test_what_a_box_hides_from_the_camera_does_not_count() -> None:
    """The lidar, 1 m to the right, sees a wall past a box; the camera sees the box there."""
    y, x = np.mgrid[-0.5:0.5:21j, -0.5:0.5:21j]
    box = np.stack([x.ravel(), y.ravel(), np.full(x.size, 2.0)], axis=1)
    y, x = np.mgrid[-2:2:41j, -3:3:61j]
    wall = np.stack([x.ravel(), y.ravel(), np.full(x.size, 6.0)], axis=1)
    found = of_points(LENS, np.concatenate([wall, box]), 0.02, 0.0, 'lidar')
    depth = 1 / found.inverse_depth
    from_middle = np.abs(found.pixels - (320, 240)).max(axis=1)
    assert depth[from_middle < 90] == pytest.approx(2), 'behind the box nothing is seen'
    assert depth[from_middle > 130] == pytest.approx(6) and (from_middle > 130).sum() > 500
    assert (np.abs(depth - 2) < 1e-6).sum() == len(box)


def test_a_slanted_floor_does_not_hide_itself() -> None:
    x, z = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(1.5, 5, 71))
    floor = np.stack([x.ravel(), np.full(x.size, 0.5), z.ravel()], axis=1)
    seen = np.isfinite(LENS.project(floor)[:, 0]).sum()
    assert len(of_points(LENS, floor, 0.02, 0.0, 'lidar').inverse_depth) > 0.95 * seen


@pytest.mark.proves('scale-bad-message')
@pytest.mark.parametrize('points', [
    np.zeros((0, 3)), [[0, 0, -1.0], [1, 1, -5]], [[np.nan, 0, 1], [np.inf, 1, 1]],
    [[50, 0, 1]]], ids=['none', 'behind', 'NaN', 'outside'])
def test_points_that_the_camera_cannot_see_are_no_observations(points: list) -> None:
    assert len(of_points(LENS, points, 0.01, 0.0, 'lidar').inverse_depth) == 0


def test_a_scan_is_in_its_own_plane() -> None:
    found = scan_points([1, 2, np.inf, np.nan, 0.01, 3], -math.pi / 2, math.pi / 4, 0.1, 10)
    assert found == pytest.approx(np.array([
        [0, -1, 0], [math.sqrt(2), -math.sqrt(2), 0],
        [3 * math.cos(3 * math.pi / 4), 3 * math.sin(3 * math.pi / 4), 0]]))
    assert scan_points([], 0, 1, 0, 1).shape == (0, 3)


def test_a_range_is_that_of_the_nearest_thing_in_its_cone() -> None:
    relative = np.full((120, 160), 1.0, np.float32)
    relative[55:65, 85:95] = 5.0  # near, 10 pixels right of the middle
    relative[:20] = 9.0  # nearer, and outside the cone
    found = of_range(LENS, relative, 2.0, math.radians(15), pose(), 0.05, 1.0, 'sonar')
    (x, y), = found.pixels
    assert 4 * 85 <= x < 4 * 95 and 4 * 55 <= y < 4 * 65
    ray = np.array([(x - 320) / 400, (y - 240) / 400, 1])
    assert np.linalg.norm(ray / found.inverse_depth[0]) == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize('at', [(0.0, 0.0), (0.31, -0.2), (-0.4, 0.37)])
def test_a_beam_that_is_narrower_than_a_pixel_is_its_axis(at: tuple[float, float]) -> None:
    beam = pose(*at, 0)
    relative = np.ones((480, 640), np.float32)
    found = of_range(LENS, relative, 2.0, 0.0, beam, 0.05, 1.0, 'altimeter')
    assert found.pixels[0] == pytest.approx([320 + 200 * at[0], 240 + 200 * at[1]])
    assert found.inverse_depth == pytest.approx(0.5)


@pytest.mark.parametrize('range_m', [0, -1, math.inf, math.nan])
def test_a_range_that_is_none_is_no_observation(range_m: float) -> None:
    relative = np.ones((12, 16), np.float32)
    assert len(of_range(LENS, relative, range_m, 0.3, pose(), 0.05, 1.0, 'sonar').sigma) == 0


def test_a_range_finder_that_looks_elsewhere_says_nothing() -> None:
    relative = np.ones((12, 16), np.float32)
    backwards = pose()
    backwards[:3, :3] = FORWARD @ np.diag([-1, -1, 1])
    down = pose()
    down[:3, 0] = (0, 1, 0)
    for turned in (backwards, down):
        assert len(of_range(LENS, relative, 1.0, 0.3, turned, 0.05, 1.0, 'sonar').sigma) == 0
    unknown = np.full((12, 16), np.nan, np.float32)
    assert len(of_range(LENS, unknown, 1.0, 0.3, pose(), 0.05, 1.0, 'sonar').sigma) == 0


@pytest.mark.proves('scale-degenerate')
def test_a_range_alone_moves_the_scale_and_holds_the_shift() -> None:
    """Points tell both; then a sonar is left, in front of which a wall comes nearer.

    One that is right says what was known, and one that reads 10 % less is a larger scale.
    """
    rows, cols = np.mgrid[:120, :160]
    relative = (1 + 3 * np.exp(-((rows - 60) ** 2 + (cols - 80) ** 2) / 800)).astype(np.float32)
    a, b = 0.1, 0.1
    x, y = np.random.default_rng(0).integers(0, (160, 120), (200, 2)).T
    depth = 1 / (a * relative[y, x] + b)
    points = Observations.of_depth(np.stack([4 * x, 4 * y], 1) + 1.5, depth, 0.01 * depth, SIZE,
                                   0.0, 'points')
    for share in (1.0, 0.9):
        estimator = ScaleEstimator()
        before = estimator.update(0.0, relative, [points])
        assert before is not None and not before.degenerate
        for index in range(1, 31):
            sonar = of_range(LENS, relative, 2.0 * share, math.radians(10), pose(), 0.02,
                             index / 30, 'sonar')
            assert len(sonar.sigma) == 1
            after = estimator.update(index / 30, relative, [sonar])
        assert after is not None and after.degenerate and after.observations == 1
        assert after.inliers == 1 and after.sources == ('sonar',)
        assert after.b == before.b
        measured = 1 / sonar.inverse_depth[0]
        at = relative[tuple(np.rint((sonar.pixels[0, ::-1] - 1.5) / 4).astype(int))]
        assert 1 / (after.a * at + after.b) == pytest.approx(measured, rel=0.01)
        assert after.a == pytest.approx(before.a if share == 1 else 1.14 * before.a, rel=0.04)
