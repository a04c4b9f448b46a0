"""Floors, walls and boxes of known geometry."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.scale.estimator import Scale, ScaleEstimator
from asyncmde_ros.scale.fit import fit
from asyncmde_ros.scale.ground import LARGEST_ERROR, Ground, Plane
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Map, Observations, PastMap, sample

SIZE = (240, 320)
K = np.array([[200.0, 0, 159.5], [0, 200, 119.5], [0, 0, 1]])
LENS = Lens(K, SIZE)
BENT = {'plumb_bob': Lens(K, SIZE, 'plumb_bob', (-0.25, 0.05, 0.001, -0.001, 0)),
        'equidistant': Lens(K, SIZE, 'equidistant', (-0.02, 0.01, -0.003, 0.0005))}
A, B = 0.2, 0.1
DEGREE = math.radians(1)


class View:
    """What a camera above a floor sees, as inverse depth; what is nearest hides the rest."""

    def __init__(self, plane: Plane, lens: Lens = LENS) -> None:
        self.plane, self.lens = plane, lens
        self._rays = lens.ray_map().astype(float)
        self._ahead, self._aside = self._rays @ plane.across.T[:, 0], self._rays @ plane.across[1]
        self.floor = self._rays @ plane.down / plane.height_m
        self.inverse = np.nan_to_num(np.maximum(self.floor, 0))

    def stand(self, at_m: float, height_m: float = 100.0, left_m: float = -100.0,
              right_m: float = 100.0, deep_m: float = 0.0) -> 'View':
        """Put a box on the floor, a wall unless it has sides, ``at_m`` along the floor."""
        with np.errstate(divide='ignore', invalid='ignore'):
            for inverse, low_m, high_m in (
                    (self._ahead / at_m, 0, height_m),
                    (self.floor * self.plane.height_m / (self.plane.height_m - height_m),
                     height_m - 1e-6, height_m + 1e-6)):
                across, along = self._aside / inverse, self._ahead / inverse
                up = self.plane.height_m * (1 - self.floor / inverse)
                hit = ((inverse > self.inverse) & (across >= left_m) & (across <= right_m)
                       & (up >= low_m) & (up <= high_m) & (along >= at_m - 1e-6)
                       & (along <= at_m + deep_m + 1e-6))
                self.inverse[hit] = inverse[hit]
        return self

    def relative(self, noise: float = 0.01) -> Map:
        wrong = 1 + noise * np.random.default_rng(0).standard_normal(SIZE)
        return ((self.inverse * wrong - B) / A).astype(np.float32)

    def on_floor(self, observations: Observations) -> float:
        """Return the share of observations that see the floor."""
        col, row = np.rint(observations.pixels).astype(int).T
        return float(np.mean(np.isclose(self.inverse[row, col], self.floor[row, col], 0.01)))


def scale_of(observations: Observations, relative: Map) -> Scale:
    found = ScaleEstimator().update(observations.stamp_s, relative, [observations])
    assert found is not None
    return found


def turned(plane: Plane, pitch_rad: float, roll_rad: float = 0.0) -> Plane:
    """Return the plane as it seems to who has the camera's tilt wrong."""
    wrong = plane.across[1] * pitch_rad + plane.across[0] * roll_rad
    return Plane(cv2.Rodrigues(wrong)[0] @ plane.down, plane.height_m)


def test_a_plane_by_hand() -> None:
    level = Plane.of_tilt(0.5, 0)
    assert level.down == pytest.approx([0, 1, 0])
    assert level.across[0] == pytest.approx([0, 0, 1])
    assert Plane.of_tilt(1, math.pi / 2).down == pytest.approx([0, 0, 1])
    assert Plane.of_tilt(1, 0, math.pi / 2).down == pytest.approx([1, 0, 0])
    straight = Plane.of_tilt(1, math.pi / 2).across
    assert straight @ straight.T == pytest.approx(np.eye(2))
    assert straight @ [0, 0, 1] == pytest.approx([0, 0])


def test_a_pose_above_the_floors_frame_is_the_same_plane() -> None:
    """A camera 0.4 m up that looks 20 degrees down, from a frame with x ahead and z up."""
    tilt = math.radians(20)
    pose = np.eye(4)
    pose[:3, 2] = math.cos(tilt), 0, -math.sin(tilt)
    pose[:3, 0] = 0, -1, 0
    pose[:3, 1] = np.cross(pose[:3, 2], pose[:3, 0])
    pose[:3, 3] = 0.1, 0.2, 0.4
    found, wanted = Plane.of_pose(pose), Plane.of_tilt(0.4, tilt)
    assert found.down == pytest.approx(wanted.down) and found.height_m == wanted.height_m


@pytest.mark.parametrize('height_m', [0, -0.3, math.nan, math.inf])
def test_a_camera_that_is_not_above_the_floor_says_so(height_m: float) -> None:
    with pytest.raises(ValueError, match='above the floor'):
        Plane.of_tilt(height_m, 0)


@pytest.mark.parametrize('height_m', [0.12, 0.3, 1.6])
@pytest.mark.parametrize(('tilt_deg', 'roll_deg'), [(0, 0), (25, 0), (-8, 0), (10, 20), (5, 180)])
def test_a_floor_gives_scale_and_shift(height_m: float, tilt_deg: float, roll_deg: float) -> None:
    view = View(Plane.of_tilt(height_m, math.radians(tilt_deg), math.radians(roll_deg)))
    relative = view.relative()
    found = Ground(LENS).observe(relative, view.plane, 2.0)
    assert (found.source, found.stamp_s, found.image) == ('ground', 2.0, SIZE)
    assert len(found.sigma) > 50 and view.on_floor(found) == 1
    scale = scale_of(found, relative)
    assert not scale.degenerate
    assert scale.a == pytest.approx(A, rel=0.03)
    assert scale.b == pytest.approx(B, abs=0.03 / height_m)


@pytest.mark.parametrize('name', BENT)
def test_through_a_lens_that_bends(name: str) -> None:
    view = View(Plane.of_tilt(0.5, 0.2), BENT[name])
    relative = view.relative()
    scale = scale_of(Ground(BENT[name]).observe(relative, view.plane, 0.0), relative)
    assert (scale.a, scale.b) == (pytest.approx(A, rel=0.03), pytest.approx(B, abs=0.05))


def test_a_map_without_any_error() -> None:
    view = View(Plane.of_tilt(0.5, 0.2))
    scale = scale_of(Ground(LENS).observe(view.relative(0), view.plane, 0.0), view.relative(0))
    assert (scale.a, scale.b) == (pytest.approx(A, rel=0.01), pytest.approx(B, abs=0.01))


def test_a_map_of_another_size_than_the_image() -> None:
    view = View(Plane.of_tilt(0.5, 0.2))
    relative = cv2.resize(view.relative(), (168, 126), interpolation=cv2.INTER_AREA)
    scale = scale_of(Ground(LENS).observe(relative, view.plane, 0.0), relative)
    assert (scale.a, scale.b) == (pytest.approx(A, rel=0.03), pytest.approx(B, abs=0.05))


def test_walls_and_boxes_are_not_floor() -> None:
    view = View(Plane.of_tilt(0.5, 0.2)).stand(4).stand(1.2, 0.4, -1, 0).stand(2, 1.5, 0.3, 1.2)
    relative = view.relative()
    found = Ground(LENS).observe(relative, view.plane, 0.0)
    # Where a box meets the floor it is as far as the floor.
    assert view.on_floor(found) > 0.9 and len(found.sigma) > 100
    scale = scale_of(found, relative)
    assert (scale.a, scale.b) == (pytest.approx(A, rel=0.03), pytest.approx(B, abs=0.05))


def test_a_table_beside_which_the_floor_is_seen_is_none() -> None:
    """Its top is more of the image than the floor is, and as flat."""
    view = View(Plane.of_tilt(1.0, 0.5)).stand(0.3, 0.4, -10, 0.15, 10)
    below = view.floor > 0
    assert (view.inverse > 1.2 * view.floor)[below].mean() > 0.52
    found = Ground(LENS).observe(view.relative(), view.plane, 0.0)
    assert view.on_floor(found) > 0.95 and len(found.sigma) > 50


def wall_seen_from_below() -> Map:
    return View(Plane.of_tilt(1.0, -0.3)).stand(0.8).relative()


@pytest.mark.proves('scale-no-floor')
@pytest.mark.parametrize(('relative', 'tilt_rad'), [
    (np.full(SIZE, 3, np.float32), 0.1),
    (np.full(SIZE, np.nan, np.float32), 0.1),
    (np.full(SIZE, np.inf, np.float32), 0.1),
    (np.random.default_rng(0).uniform(0, 9, SIZE).astype(np.float32), 0.1),
    (View(Plane.of_tilt(0.5, 0.1)).stand(0.4).relative(), 0.1),
    (View(Plane.of_tilt(0.5, 0.1)).stand(0.4, right_m=0.2).stand(0.9).relative(), 0.1),
    (wall_seen_from_below(), -0.3),
    (View(Plane.of_tilt(0.5, 1.0)).relative(), -1.0),
    (View(Plane.of_tilt(0.5, math.pi / 2)).relative(), math.pi / 2),
    (-View(Plane.of_tilt(0.5, 0.1)).relative(), 0.1)],
    ids=['constant', 'unknown', 'infinite', 'noise', 'wall', 'two walls', 'wall from below',
         'looks up', 'straight down', 'far is near'])
def test_where_there_is_no_floor_nothing_is_said(relative: Map, tilt_rad: float) -> None:
    found = Ground(LENS).observe(relative, Plane.of_tilt(0.5, tilt_rad), 0.0)
    assert len(found.sigma) == 0
    assert ScaleEstimator().update(0.0, relative, [found]) is None


def test_what_the_map_does_not_know_is_left_out() -> None:
    view = View(Plane.of_tilt(0.5, 0.2))
    relative = view.relative()
    relative[:, 100:180] = np.nan
    found = Ground(LENS).observe(relative, view.plane, 0.0)
    x = found.pixels[:, 0]
    assert len(x) > 100 and not ((x > 100) & (x < 179)).any()


def test_a_degree_is_6_percent_at_1_m_and_23_percent_at_3_m() -> None:
    """Of a small robot's camera; depth comes out too far when the pitch is wrong that way."""
    plane = Plane.of_tilt(0.28, 0.0)
    for distance_m, share in ((1, 0.065), (3, 0.23)):
        ray = LENS.rays(LENS.project([[0, 0.28, distance_m]]))[0]
        wrong = turned(plane, DEGREE), turned(plane, -DEGREE)
        depth = [0.28 / float(ray @ some.down) for some in wrong]
        assert max(depth) / distance_m - 1 == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize('tilt_rad', [0.0, 0.4, -0.15])
@pytest.mark.parametrize('wrong', [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_sigma_is_what_a_degree_does(tilt_rad: float, wrong: tuple[int, int]) -> None:
    truth = Plane.of_tilt(0.28, tilt_rad)
    seems = turned(truth, *(DEGREE * share for share in wrong))
    found = Ground(LENS, DEGREE, 0).observe(View(truth).relative(0), seems, 0.0)
    error = found.inverse_depth - LENS.rays(found.pixels) @ truth.down / truth.height_m
    assert len(error) > 50
    assert (np.abs(error) <= 1.03 * found.sigma).all()
    assert (found.sigma <= LARGEST_ERROR * found.inverse_depth).all()
    column = found.common[:, 0 if wrong[0] else 1]  # type: ignore[index]
    assert np.abs(error) == pytest.approx(np.abs(column), rel=0.05, abs=0.01)


def test_the_height_is_as_uncertain_as_it_is() -> None:
    view = View(Plane.of_tilt(0.5, 0.3))
    found = Ground(LENS, 0, 0.02).observe(view.relative(), view.plane, 0.0)
    assert found.sigma == pytest.approx(0.04 * found.inverse_depth)


@pytest.mark.parametrize('tilt_rad', [0.0, 0.5, -0.3])
def test_beyond_the_largest_range_a_wrong_pitch_is_worth_more(tilt_rad: float) -> None:
    """On the floor itself, straight ahead."""
    plane, sigma_rad = Plane.of_tilt(0.3, tilt_rad), 1e-4
    largest = Ground(LENS, sigma_rad, 0).largest_m(plane)
    ray = np.array([0, math.cos(tilt_rad), math.sin(tilt_rad)])
    ray = np.array([0, (0.3 / largest - ray[2]) / ray[1], 1])
    wrong = turned(plane, sigma_rad).down @ ray / 0.3
    assert abs(wrong * largest - 1) == pytest.approx(LARGEST_ERROR, rel=0.01)


def test_the_largest_range_of_common_robots() -> None:
    small = Ground(LENS, DEGREE).largest_m(Plane.of_tilt(0.28, 0))
    assert small == pytest.approx(4, rel=0.02)
    assert Ground(LENS, DEGREE / 2).largest_m(Plane.of_tilt(1.5, 0)) == pytest.approx(43, rel=0.02)
    assert Ground(LENS, 0).largest_m(Plane.of_tilt(0.28, 0)) == math.inf
    assert Ground(LENS, DEGREE, 0.2).largest_m(Plane.of_tilt(0.28, 0)) == 0, 'no height is known'
    assert Ground(LENS).largest_m(Plane.of_tilt(0.28, -1.56)) == 0


def over_time(frames: int, observed: object, relative: Map) -> Scale:
    estimator = ScaleEstimator()
    for index in range(frames):
        found = estimator.update(index / 30, relative, observed(index / 30))  # type: ignore
    assert found is not None
    return found


@pytest.mark.parametrize(('pitch', 'roll', 'height'), [(1, 0, 0), (-1, 0, 0), (0, 1, 0),
                                                       (0, 0, 1), (1, 0, -1)])
@pytest.mark.parametrize('tilt_rad', [0.05, 0.4])
def test_what_is_wrong_all_the_time_does_not_average_out(pitch: int, roll: int, height: int,
                                                         tilt_rad: float) -> None:
    """After 3 s of frames with the same error, the error is within two standard deviations."""
    truth = Plane.of_tilt(0.5, tilt_rad)
    relative = View(truth).relative()
    seems = turned(truth, pitch * DEGREE, roll * DEGREE)
    seems = Plane(seems.down, seems.height_m + height * 0.02)
    ground = Ground(LENS, DEGREE, 0.02)
    scale = over_time(90, lambda stamp_s: [ground.observe(relative, seems, stamp_s)], relative)
    for inverse in (0.2, 0.5, 1.0, 2.0):
        row = np.array([(inverse - B) / A, 1])
        sigma = math.sqrt(row @ scale.covariance @ row)
        assert abs(row @ (scale.a, scale.b) - inverse) < 2 * sigma
        least = DEGREE / 0.5 * abs(1 / math.cos(tilt_rad) - math.tan(tilt_rad) * 0.5 * inverse)
        assert sigma > 0.9 * least


def test_points_that_are_measured_count_for_more_than_a_floor() -> None:
    """Fifty points from 1.5 to 8 m, beside a floor of which the pitch is a degree wrong."""
    truth = Plane.of_tilt(0.28, 0.0)
    view = View(truth).stand(8)
    relative = view.relative()
    ground, seems = Ground(LENS, DEGREE), turned(truth, DEGREE)
    rng = np.random.default_rng(1)

    def points(stamp_s: float) -> Observations:
        x, y = rng.integers(0, 320, 50), rng.integers(0, 157, 50)
        depth = 1 / view.inverse[y, x] * (1 + 0.01 * rng.standard_normal(50))
        return Observations.of_depth(np.stack([x, y], 1), depth, 0.01 * depth, SIZE, stamp_s,
                                     'points')
    alone = over_time(30, lambda stamp_s: [ground.observe(relative, seems, stamp_s)], relative)
    both = over_time(30, lambda stamp_s: [ground.observe(relative, seems, stamp_s),
                                          points(stamp_s)], relative)
    after = over_time(60, lambda stamp_s: [
        ground.observe(relative, seems, stamp_s) if stamp_s < 1 else points(stamp_s)], relative)
    far = (0.2 - B) / A
    wrong = [abs(scale.a * far + scale.b - 0.2) for scale in (alone, both, after)]
    assert wrong[0] > 0.025
    assert wrong[1] < 0.6 * wrong[0]
    assert wrong[2] < 0.1 * wrong[0]


@settings(max_examples=60, deadline=None)
@given(height_m=st.floats(0.05, 5), tilt=st.floats(-0.6, 1.6), roll=st.floats(-math.pi, math.pi),
       wall_m=st.floats(0.2, 50), sigma=st.floats(0, 0.1), offset=st.floats(-5, 5))
def test_whatever_the_camera_what_is_said_is_true(height_m: float, tilt: float, roll: float,
                                                  wall_m: float, sigma: float,
                                                  offset: float) -> None:
    view = View(Plane.of_tilt(height_m, tilt, roll)).stand(wall_m)
    ground = Ground(LENS, sigma)
    assert ground.largest_m(view.plane) >= 0
    relative = view.relative() + np.float32(offset)
    found = ground.observe(relative, view.plane, 0.0)
    if not len(found.sigma):
        return
    assert (found.inverse_depth > 0).all() and np.isfinite(found.sigma).all()
    scale = fit(sample([(PastMap(0.0, relative, 1.0, 0.0), found)]), 0.0)
    assert scale is not None
    middle = np.median(found.inverse_depth)
    assert scale.a * ((middle - B) / A + offset) + scale.b == pytest.approx(middle, rel=0.05)
    assert view.on_floor(found) > 0.7
