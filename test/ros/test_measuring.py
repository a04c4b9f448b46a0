"""What sensors say, from messages and tf, in a thread of its own."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import LaserScan, PointCloud2, Range
from std_msgs.msg import Header

from asyncmde_ros.ros.measuring import ImageView, Measuring
from asyncmde_ros.ros.point_cloud import cloud_message
from asyncmde_ros.ros.worker import MOST_WAITING, PATIENCE_S
from asyncmde_ros.scale.cloud import Cloud
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Measurement

LENS = Lens(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), (480, 640))
LEVEL = np.array([[0.0, -1, 0, 0.1], [0, 0, -1, 0.2], [1, 0, 0, 0.05], [0, 0, 0, 1]])
"""From a frame with x ahead and z up, 0.1 m to the left of the camera, to the optical one."""

SOON_S = 10.0


class Tf:
    """Knows one pose, from a moment on."""

    def __init__(self) -> None:
        self.known, self.asked = True, []

    def pose(self, target: str, source: str, stamp: Time | None = None) -> np.ndarray | None:
        self.asked.append((target, source, None if stamp is None else stamp.sec))
        return LEVEL if self.known and source == 'lidar' else None

    def __call__(self, target: str, source: str) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


@pytest.fixture
def tf() -> Tf:
    return Tf()


@pytest.fixture
def measuring(tf: Tf) -> Iterator[Measuring]:
    made = Measuring(tf)
    made.look(ImageView(LENS, 'camera'))
    yield made
    made.close()
    made.join()


def header(frame: str = 'lidar', sec: int = 5) -> Header:
    return Header(frame_id=frame, stamp=Time(sec=sec))


def cloud(frame: str = 'lidar', sec: int = 5) -> PointCloud2:
    return cloud_message(header(frame, sec), Cloud(np.array([[3, 0, 0]], np.float32), None))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def taken(measuring: Measuring) -> list[Measurement]:
    found: list[Measurement] = []
    until(lambda: bool(found.extend(measuring.take()) or found))
    return found


def test_a_cloud_is_put_into_the_image_by_tf_at_its_own_stamp(measuring: Measuring, tf: Tf
                                                              ) -> None:
    measuring.offer('points', cloud(sec=7))
    (found,) = taken(measuring)
    assert tf.asked == [('camera', 'lidar', 7)] and found.stamp_s == 7
    seen = found.seen_in(np.ones((48, 64), np.float32))
    x, y, z = (LEVEL @ (3, 0, 0, 1))[:3]
    assert 1 / seen.inverse_depth == pytest.approx([z])
    assert seen.pixels.tolist()[0] == pytest.approx([500 * x / z + 320, 500 * y / z + 240])


def test_in_the_cameras_own_frame_tf_is_not_asked(measuring: Measuring, tf: Tf) -> None:
    ahead = cloud_message(header('camera'), Cloud(np.array([[0, 0, 2]], np.float32), None))
    measuring.offer('points', ahead)
    (found,) = taken(measuring)
    assert found.seen_in(np.ones((48, 64), np.float32)).inverse_depth.tolist() == [0.5]
    assert not tf.asked


def test_a_scan_and_a_range_are_distances_too(measuring: Measuring) -> None:
    measuring.offer('scan', LaserScan(
        header=header(), angle_min=-0.1, angle_max=0.1, angle_increment=0.1, range_min=0.2,
        range_max=9.0, ranges=[3.0, math.inf, 3.0]))
    (scan,) = taken(measuring)
    seen = scan.seen_in(np.ones((48, 64), np.float32))
    assert seen.source == 'scan'
    assert 1 / seen.inverse_depth == pytest.approx([3 * math.cos(0.1) + 0.05] * 2)
    for distance, count in ((3.0, 1), (9.0, 0), (0.05, 0), (math.inf, 0), (math.nan, 0)):
        measuring.offer('range', Range(header=header(), field_of_view=0.2, min_range=0.1,
                                       max_range=8.0, range=distance))
        (reading,) = taken(measuring)
        seen = reading.seen_in(np.ones((48, 64), np.float32))
        assert np.isfinite(seen.inverse_depth).sum() == count
        if count:
            assert 1 / seen.inverse_depth == pytest.approx([3.05], rel=0.02)


@pytest.mark.proves('scale-no-tf')
def test_a_transform_that_comes_after_the_message_is_waited_for(measuring: Measuring, tf: Tf
                                                                ) -> None:
    tf.known = False
    measuring.offer('points', cloud())
    until(lambda: len(tf.asked) >= 2)
    tf.known = True
    assert len(taken(measuring)) == 1 and not measuring.troubles


@pytest.mark.proves('scale-no-tf')
def test_a_transform_that_never_comes_is_said_and_nothing_piles_up(measuring: Measuring, tf: Tf
                                                                   ) -> None:
    tf.known = False
    for _ in range(5 * MOST_WAITING):
        measuring.offer('points', cloud())
    until(lambda: 'points' in measuring.troubles)
    assert 'lidar' in measuring.troubles['points'] and 'camera' in measuring.troubles['points']
    time.sleep(PATIENCE_S)
    asked = len(tf.asked)
    time.sleep(0.1)
    assert len(tf.asked) == asked, 'it still asks for what is long past'
    tf.known = True
    measuring.offer('points', cloud())
    taken(measuring)
    until(lambda: not measuring.troubles)


def test_without_tf2_ros_that_is_said() -> None:
    measuring = Measuring(None)
    try:
        measuring.look(ImageView(LENS, 'camera'))
        measuring.offer('points', cloud())
        until(lambda: 'tf2_ros' in measuring.troubles.get('points', ''))
        measuring.offer('points', cloud('camera'))
        assert len(taken(measuring)) == 1
    finally:
        measuring.close()
        measuring.join()


@pytest.mark.proves('scale-bad-message')
def test_a_message_that_cannot_be_read_is_named_and_the_next_one_is(measuring: Measuring) -> None:
    bad = cloud()
    bad.width = 1000
    measuring.offer('points', bad)
    until(lambda: 'do not agree' in measuring.troubles.get('points', ''))
    measuring.offer('points', cloud())
    assert len(taken(measuring)) == 1
    until(lambda: not measuring.troubles)


def test_before_the_first_image_messages_wait_and_are_dropped(tf: Tf) -> None:
    measuring = Measuring(tf)
    try:
        measuring.offer('points', cloud())
        measuring.look(ImageView(LENS, 'camera'))
        assert len(taken(measuring)) == 1
    finally:
        measuring.close()
        measuring.join()


def test_closed_it_ends_whatever_waits(tf: Tf) -> None:
    tf.known = False
    measuring = Measuring(tf)
    for _ in range(3):
        measuring.offer('points', cloud())
    measuring.close()
    measuring.join()
    measuring.offer('points', cloud())
    assert measuring.take() == []
