"""Turning, measured by a gyroscope: against rotations that are known exactly."""

import functools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pictures

from asyncmde_ros.pipeline.motion import MotionEstimator, Warp, resample, still
from asyncmde_ros.pipeline.rotation import (
    KEPT_NS,
    LARGEST_GAP_NS,
    MAX_RATE_RAD_S,
    MOST_KEPT,
    Gyroscope,
    Intrinsics,
    Missing,
    RotationSensor,
    quaternion_matrix,
    rotation_homography,
    rotation_matrix,
)
from asyncmde_ros.pipeline.settings import MotionCompensation

MS = 10**6
PERIOD_NS = 5 * MS
"""Of a 200 Hz IMU."""

K = np.array([[300.0, 0, 319.5], [0, 300.0, 239.5], [0, 0, 1]])
IMAGE = (480, 640)

vectors = st.lists(st.floats(-2, 2), min_size=3, max_size=3).map(np.array)


@given(vectors)
@settings(max_examples=50, deadline=None)
def test_rotation_matrices_are_opencvs(vector: np.ndarray) -> None:
    expected, _ = cv2.Rodrigues(vector)
    np.testing.assert_allclose(rotation_matrix(vector), expected, atol=1e-9)


def test_quaternions() -> None:
    half = np.sqrt(0.5)
    np.testing.assert_allclose(quaternion_matrix([0, 0, half, half]),
                               rotation_matrix(np.array([0, 0, np.pi / 2])), atol=1e-12)
    np.testing.assert_allclose(quaternion_matrix([0, 0, 0, 2]), np.eye(3), atol=1e-12)
    for wrong in ([0, 0, 0, 0], [1, 2, 3], [np.nan, 0, 0, 1]):
        with pytest.raises(ValueError, match='quaternion'):
            quaternion_matrix(wrong)


def measured(rate, start_ns: int, end_ns: int) -> Gyroscope:  # type: ignore[no-untyped-def]
    """Return a gyroscope that saw ``rate(seconds)`` every PERIOD_NS."""
    gyroscope = Gyroscope()
    for stamp in range(start_ns, end_ns + 1, PERIOD_NS):
        gyroscope.add(stamp, rate(stamp / 1e9))
    return gyroscope


@given(vectors, st.integers(20, 80))
@settings(max_examples=30, deadline=None)
def test_a_steady_turn_is_its_rate_times_the_time(rate: np.ndarray, length_ms: int) -> None:
    gyroscope = measured(lambda _: rate, 0, 200 * MS)
    start = 33 * MS + 1234
    turned = gyroscope.between(start, start + length_ms * MS)
    assert turned is not None
    np.testing.assert_allclose(turned, rotation_matrix(rate * length_ms / 1e3), atol=1e-6)


def test_a_turn_that_changes_its_axis_is_integrated_in_order() -> None:
    """Against the same integral in steps a thousand times as fine."""
    def rate(seconds: float) -> np.ndarray:
        return np.array([3 * np.sin(9 * seconds), 2 * np.cos(7 * seconds), 4 * seconds])
    gyroscope = measured(rate, 0, 300 * MS)
    exact, step = np.eye(3), 5e-6
    for index in range(int(0.1 / step)):
        exact = exact @ rotation_matrix(rate(0.1 + (index + 0.5) * step) * step)
    turned = gyroscope.between(100 * MS, 200 * MS)
    assert turned is not None
    np.testing.assert_allclose(turned, exact, atol=2e-4)
    first, second = gyroscope.between(100 * MS, 150 * MS), gyroscope.between(150 * MS, 200 * MS)
    assert first is not None and second is not None
    np.testing.assert_allclose(first @ second, turned, atol=1e-9)


def test_what_was_not_measured_is_not_known() -> None:
    gyroscope = measured(lambda _: np.ones(3), 100 * MS, 200 * MS)
    late, early = 200 * MS + LARGEST_GAP_NS, 100 * MS - LARGEST_GAP_NS
    assert gyroscope.between(early, 150 * MS) is not None
    assert gyroscope.between(150 * MS, late) is not None
    assert gyroscope.between(early - 1, 150 * MS) is None
    assert gyroscope.between(150 * MS, late + 1) is None
    assert gyroscope.between(150 * MS, 150 * MS) is None
    assert gyroscope.between(160 * MS, 150 * MS) is None
    assert Gyroscope().between(0, 1) is None
    gyroscope.add(200 * MS + 2 * LARGEST_GAP_NS, np.ones(3))
    assert gyroscope.between(150 * MS, 200 * MS + 2 * LARGEST_GAP_NS) is None, 'a gap inside'


def test_nonsense_is_ignored_time_that_goes_back_starts_anew_and_memory_is_bounded() -> None:
    gyroscope = measured(lambda _: np.ones(3), 0, 100 * MS)
    for nonsense in (np.nan, np.inf, 1e300, -2 * MAX_RATE_RAD_S):
        gyroscope.add(105 * MS, (nonsense, 0, 0))
    assert gyroscope.between(50 * MS, 100 * MS) is not None
    gyroscope.add(10 * MS, np.zeros(3))
    turned = gyroscope.between(10 * MS, 20 * MS)
    np.testing.assert_allclose(turned, np.eye(3), atol=1e-12)
    for stamp in range(0, 5 * KEPT_NS, 10 * PERIOD_NS):
        gyroscope.add(stamp + 20 * MS, np.ones(3))
    assert len(gyroscope) <= KEPT_NS // (10 * PERIOD_NS) + 1


@pytest.mark.proves('fast-imu')
def test_a_sensor_of_any_rate_is_kept_and_answered_in_bounds() -> None:
    gyroscope = Gyroscope()
    for stamp in range(3 * MOST_KEPT):
        gyroscope.add(stamp, np.ones(3))
    assert len(gyroscope) == MOST_KEPT
    turned = gyroscope.between(3 * MOST_KEPT - 100, 3 * MOST_KEPT)
    assert turned is not None
    np.testing.assert_allclose(turned, rotation_matrix(np.ones(3) * 1e-7), atol=1e-12)


texture = functools.partial(pictures.texture, IMAGE, (24, 32))


def turned_view(picture: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return what a camera sees after ``rotation``, which takes its directions to the old ones."""
    pixels = K @ rotation @ np.linalg.inv(K)  # of the new view to the old one
    return cv2.warpPerspective(picture, pixels, IMAGE[::-1],
                               flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                               borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize('vector', [(0, 0.05, 0), (0.04, 0, 0), (0, 0, 0.1), (0.02, -0.03, 0.05)])
def test_the_homography_moves_the_old_picture_onto_the_new_one(vector) -> None:  # type: ignore[no-untyped-def]
    rotation, before = rotation_matrix(np.array(vector)), texture()
    now = turned_view(before, rotation)
    step = Warp(rotation_homography(K, rotation, IMAGE).astype(np.float32), still(IMAGE).flow)
    grey = [cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).astype(np.float32) for view in (before, now)]
    inside = (slice(60, -60), slice(60, -60))
    error = np.abs(resample(grey[0], step) - grey[1])[inside].mean()
    unmoved = np.abs(grey[0] - grey[1])[inside].mean()
    assert error < 1.5 and error < unmoved / 8


def test_the_estimator_takes_the_measured_step_and_tracks_without_one() -> None:
    rotation, before = rotation_matrix(np.array([0, 0.05, 0])), texture()
    now = turned_view(before, rotation)
    homography = rotation_homography(K, rotation, IMAGE).astype(np.float32)
    for measured_step, tolerance in ((homography, 1e-6), (None, 0.02)):
        estimator = MotionEstimator()
        estimator.update(1, before, MotionCompensation.IMU)
        step, cut = estimator.update(2, now, MotionCompensation.IMU, measured_step)
        assert not cut and not step.flow.any()
        np.testing.assert_allclose(step.homography / step.homography[2, 2],
                                   homography / homography[2, 2], atol=tolerance)


def test_a_cut_is_noticed_even_if_the_camera_says_that_it_turned() -> None:
    rotation = rotation_matrix(np.array([0, 0.3, 0]))
    homography = rotation_homography(K, rotation, IMAGE).astype(np.float32)
    for after, cut in ((turned_view(texture(), rotation), False), (texture(7), True)):
        estimator = MotionEstimator()
        estimator.update(1, texture(), MotionCompensation.IMU)
        assert estimator.update(2, after, MotionCompensation.IMU, homography).cut is cut


# What the pipeline asks

INTRINSICS = Intrinsics(K, IMAGE)


def turning(rate: tuple[float, float, float]) -> RotationSensor:
    """A sensor of a camera that has turned at ``rate`` for a while."""
    sensor = RotationSensor()
    sensor.extrinsics, sensor.intrinsics = np.eye(3), INTRINSICS
    for stamp_ns in range(0, 200 * MS, 5 * MS):
        sensor.add(stamp_ns, rate)
    return sensor


def test_the_step_is_the_homography_of_the_turn() -> None:
    rate = (0.5, -0.2, 0.1)
    sensor = turning(rate)
    step = sensor.step(100 * MS, 133 * MS)
    assert step is not None and step.dtype == np.float32 and sensor.missing is None
    expected = rotation_homography(INTRINSICS.matrix, rotation_matrix(np.array(rate) * 0.033),
                                   INTRINSICS.image)
    np.testing.assert_allclose(step, expected, atol=1e-5)


@pytest.mark.parametrize(('left_out', 'missing'), [
    (('extrinsics',), Missing.EXTRINSICS), (('intrinsics',), Missing.INTRINSICS),
    (('extrinsics', 'intrinsics'), Missing.EXTRINSICS)])
def test_what_is_missing_is_told_until_it_is_there(left_out: tuple[str, ...], missing: Missing
                                                   ) -> None:
    sensor, whole = turning((0.5, 0.0, 0.0)), turning((0.5, 0.0, 0.0))
    for name in left_out:
        setattr(sensor, name, None)
    assert sensor.step(100 * MS, 133 * MS) is None and sensor.missing is missing
    assert sensor.step(900 * MS, 933 * MS) is None
    assert sensor.missing is Missing.ANGULAR_VELOCITY
    for name in left_out:
        setattr(sensor, name, getattr(whole, name))
    assert sensor.step(100 * MS, 133 * MS) is not None and sensor.missing is None


def test_a_sensor_that_is_cleared_knows_nothing() -> None:
    sensor = turning((0.5, 0.0, 0.0))
    sensor.clear()
    sensor.extrinsics, sensor.intrinsics = np.eye(3), INTRINSICS
    assert sensor.step(100 * MS, 133 * MS) is None
    assert sensor.missing is Missing.ANGULAR_VELOCITY
