"""Metres by odometry: images and poses, in a thread of its own."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion
from nav_msgs.msg import Odometry
from std_msgs.msg import Header

from asyncmde_ros.ros.measuring import ImageView
from asyncmde_ros.ros.messages import from_nanoseconds
from asyncmde_ros.ros.odometry_source import OdometrySource
from asyncmde_ros.ros.worker import MOST_WAITING
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Measurement

SIZE = (240, 320)
FOCAL = 260.0
LENS = Lens(np.array([[FOCAL, 0, 160], [0, FOCAL, 120], [0, 0, 1]]), SIZE)
VIEW = ImageView(LENS, 'camera')
WALL_M = 2.0
STEP_M, DT_S = 0.03, 0.1
SOON_S = 20.0

SIDEWAYS = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0.3], [0, 0, 0, 1]])
"""From the optical frame to the robot's: x ahead, y to the left, z up."""


class Tf:
    """Knows how the camera is mounted, and where it is in the world."""

    def __init__(self) -> None:
        self.known = True

    def pose(self, target: str, source: str, stamp: Time | None = None) -> np.ndarray | None:
        if not self.known or source != 'camera':
            return None
        if target == 'base_link':
            return SIDEWAYS
        if target == 'odom' and stamp is not None:
            pose = SIDEWAYS.copy()
            pose[1, 3] = -STEP_M / DT_S * (stamp.sec + 1e-9 * stamp.nanosec - 1)
            return pose
        return None


def wall(number: int) -> np.ndarray:
    """Return the picture of a textured wall after ``number`` steps to the right."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (SIZE[0], 700, 3), np.uint8), (0, 0), 1.5)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    shift = np.array([[1, 0, -FOCAL * STEP_M * number / WALL_M], [0, 1, 0]], float)
    return cv2.warpAffine(texture, shift, SIZE[::-1], flags=cv2.INTER_LINEAR)


def header(number: int) -> Header:
    return Header(frame_id='camera', stamp=from_nanoseconds(int((1 + DT_S * number) * 1e9)))


def odometry(number: float, child: str = 'base_link') -> Odometry:
    return Odometry(
        header=Header(frame_id='odom', stamp=from_nanoseconds(int((1 + DT_S * number) * 1e9))),
        child_frame_id=child, pose=PoseWithCovariance(pose=Pose(
            position=Point(y=-STEP_M * number), orientation=Quaternion(w=1.0))))


@pytest.fixture
def made() -> Iterator[Callable[..., OdometrySource]]:
    sources: list[OdometrySource] = []

    def make(fixed: str = '', tf: Tf | None = None) -> OdometrySource:
        sources.append(OdometrySource(tf, fixed, 0.01))  # type: ignore[arg-type]
        return sources[-1]
    yield make
    for source in sources:
        source.close()
        source.join()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def drive(source: OdometrySource, poses: Callable[[int], object] = lambda number: None,
          count: int = 24) -> list[Measurement]:
    """Show the wall from place after place, and the pose a moment after each picture."""
    found: list[Measurement] = []
    for number in range(count):
        source.offer(header(number), wall(number), VIEW)
        poses(number)
        time.sleep(0.03)
        found += source.take()
    until(lambda: bool(found.extend(source.take()) or found))
    return found


@pytest.mark.parametrize('fixed', ['', 'odom'])
def test_a_wall_is_as_far_as_odometry_or_tf_have_it(made: Callable[..., OdometrySource],
                                                    fixed: str) -> None:
    source = made(fixed, Tf())
    # Poses of other moments than the images': between them.
    found = drive(source, lambda number: (source.offer_pose(odometry(number - 0.5)),
                                          source.offer_pose(odometry(number + 0.5))))
    seen = found[-1].seen_in(np.ones(SIZE, np.float32))
    assert seen.source == 'odometry' and len(seen.sigma) > 20
    assert np.median(1 / seen.inverse_depth) == pytest.approx(WALL_M, rel=0.05)
    assert not source.trouble


@pytest.mark.proves('scale-no-tf')
@pytest.mark.parametrize(('fixed', 'tf', 'words'), [
    ('', Tf(), 'no odometry'), ('odom', None, 'tf2_ros'), ('map', Tf(), 'map')])
def test_why_there_is_no_pose_is_said(made: Callable[..., OdometrySource], fixed: str,
                                      tf: Tf | None, words: str) -> None:
    source = made(fixed, tf)
    for number in range(2 * MOST_WAITING):
        source.offer(header(number), wall(number), VIEW)
    until(lambda: words in source.trouble)
    assert source.take() == []


def test_where_the_camera_is_on_the_robot_must_be_known(made: Callable[..., OdometrySource]
                                                        ) -> None:
    for tf, child, words in ((None, 'base_link', 'tf2_ros'), (Tf(), 'wheel', 'wheel'),
                             (Tf(), '', 'child_frame_id')):
        source = made('', tf)
        source.offer_pose(odometry(-1, child))
        source.offer_pose(odometry(1, child))
        source.offer(header(0), wall(0), VIEW)
        until(lambda source=source, words=words: words in source.trouble)
    source = made('', None)
    source.offer_pose(odometry(-1, 'camera'))
    source.offer_pose(odometry(1, 'camera'))
    source.offer(header(0), wall(0), VIEW)
    time.sleep(0.1)
    assert not source.trouble


@pytest.mark.proves('scale-bad-message')
def test_a_pose_that_is_none_is_said_and_not_taken(made: Callable[..., OdometrySource]) -> None:
    source = made('', Tf())
    bad = odometry(0)
    bad.pose.pose.orientation = Quaternion(w=0.0)
    source.offer_pose(bad)
    assert 'no pose' in source.trouble
    bad = odometry(0)
    bad.pose.pose.position.x = float('nan')
    source.offer_pose(bad)
    assert 'no pose' in source.trouble
    assert drive(source, lambda number: (source.offer_pose(odometry(number - 0.5)),
                                         source.offer_pose(odometry(number + 0.5))))


def test_any_picture_is_survived(made: Callable[..., OdometrySource]) -> None:
    source = made('odom', Tf())
    source.offer(header(0), np.zeros((8, 4000, 3), np.uint8), VIEW)
    source.offer(header(1), np.zeros((5, 5, 3), np.uint8), VIEW)
    assert drive(source)
