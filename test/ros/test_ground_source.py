"""Where the floor is, by parameters or tf."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import math

import numpy as np
from builtin_interfaces.msg import Time

from asyncmde_ros.ros import ground_source
from asyncmde_ros.ros.ground_source import GroundSource
from asyncmde_ros.ros.measuring import ImageView
from asyncmde_ros.ros.metric_settings import MetricSettings
from asyncmde_ros.scale.lens import Lens

LENS = Lens(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), (480, 640))
VIEW = ImageView(LENS, 'camera')
HEIGHT_M, TILT = 1.2, 0.3


class Tf:
    """Knows where the camera is above base_footprint, or does not."""

    def __init__(self, pose: np.ndarray | None) -> None:
        self.pose_known, self.asked = pose, 0

    def pose(self, target: str, source: str, stamp: Time | None = None) -> np.ndarray | None:
        self.asked += 1
        return self.pose_known if (target, source) == ('base_footprint', 'camera') else None


def mounted(height_m: float = HEIGHT_M) -> np.ndarray:
    """From the optical frame to one with x ahead and z up, the camera tilted down."""
    sine, cosine = math.sin(TILT), math.cos(TILT)
    pose = np.eye(4)
    pose[:3, :3] = np.array([[0, -sine, cosine], [-1, 0, 0], [0, -cosine, -sine]])
    pose[:3, 3] = 0.4, 0.1, height_m
    return pose


def floor() -> np.ndarray:
    """Return the relative map of an empty floor: inverse depth, doubled."""
    rays = LENS.scaled((120, 160)).ray_map()
    inverse = rays @ np.array([0, math.cos(TILT), math.sin(TILT)], np.float32) / HEIGHT_M
    return (2 * np.maximum(inverse, 0)).astype(np.float32)


@pytest.mark.parametrize('by_tf', [False, True])
def test_the_floor_is_where_parameters_or_tf_say(by_tf: bool) -> None:
    settings = MetricSettings() if by_tf else MetricSettings(ground_height_m=HEIGHT_M,
                                                             ground_tilt_rad=TILT)
    source = GroundSource(Tf(mounted()) if by_tf else None, settings)  # type: ignore[arg-type]
    assert source.largest_m == math.inf
    (sight,) = source.take(VIEW, 5.0)
    found = sight.seen_in(floor())
    assert (found.source, found.stamp_s, source.trouble) == ('ground', 5.0, '')
    assert len(found.sigma) > 50
    x, y = found.pixels.T
    expected = ((y - 240) / 500 * math.cos(TILT) + math.sin(TILT)) / HEIGHT_M
    assert found.inverse_depth == pytest.approx(expected)
    assert 3 < source.largest_m < 40


def test_without_tf_or_above_no_floor_the_trouble_is_said() -> None:
    for tf, words in ((None, 'scale.ground_height'), (Tf(None), 'base_footprint'),
                      (Tf(mounted(-0.3)), 'above')):
        source = GroundSource(tf, MetricSettings())  # type: ignore[arg-type]
        assert source.take(VIEW, 1.0) == [] and words in source.trouble
        assert source.largest_m == math.inf


def test_a_camera_that_moves_on_its_robot_is_followed_and_tf_not_asked_each_frame(
        monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(ground_source.time, 'monotonic', lambda: now[0])
    tf = Tf(mounted())
    source = GroundSource(tf, MetricSettings())  # type: ignore[arg-type]
    for _ in range(30):
        source.take(VIEW, 1.0)
    assert tf.asked == 1
    before = source.largest_m
    tf.pose_known = mounted(2 * HEIGHT_M)
    now[0] += 1
    source.take(VIEW, 2.0)
    assert source.largest_m > 1.5 * before
