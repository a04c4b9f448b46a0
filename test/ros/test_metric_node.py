"""Metres from the running node: sensors whose truth is known, over ROS 2."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, PointCloud2, Range
from std_msgs.msg import Header
from support.ros_rig import (
    NodeProcess,
    Peer,
    floor_picture,
    image_message,
    node_environment,
)

from asyncmde_ros.ros.messages import to_nanoseconds
from asyncmde_ros.ros.point_cloud import cloud_message, points_of
from asyncmde_ros.scale.cloud import Cloud

pytestmark = [pytest.mark.ros, pytest.mark.slow]

TF_STANDIN = """
from types import SimpleNamespace as N

TransformException = KeyError
TransformListener = lambda buffer, node: N(unregister=lambda: None)


class Buffer:
    def lookup_transform(self, target, source, time):
        if (target, source) != ('camera_optical_frame', 'lidar') or not time.nanoseconds:
            raise TransformException(target)
        return N(transform=N(translation=N(x=0.1, y=-0.2, z=0.05),
                             rotation=N(x=0.5, y=-0.5, z=0.5, w=0.5)))
"""
"""A lidar above the camera: x ahead, y to the left, z up."""

FOCAL, CENTRE = 500.0, (320.0, 240.0)
PERIOD_S = 0.1


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


class World:
    """A world that is the depth which the node sees, at a known scale and shift.

    1/m = ``a`` relative + ``b``, with b a tenth of a's part.
    """

    def __init__(self) -> None:
        self.level = 0.0

    def metres(self, relative: Image) -> np.ndarray:
        values = np.frombuffer(relative.data, np.float32).reshape(relative.height, relative.width)
        # Fixed at the first sight: 2 m where it is the mean.
        self.level = self.level or float(values.mean())
        return 2.2 / (2 * values / self.level + 0.2) * 2

    def points(self, relative: Image, seed: int, wrong: float = 0.1) -> PointCloud2:
        """Return what the lidar measures at the image's stamp."""
        metres, rng = self.metres(relative), np.random.default_rng(seed)
        rows, cols = rng.integers(0, 480, 200), rng.integers(0, 640, 200)
        z = metres[rows, cols] * (1 + 0.01 * rng.standard_normal(200))
        gross = rng.random(200) < wrong
        z[gross] = rng.uniform(0.3, 9, gross.sum())
        x, y = (cols - CENTRE[0]) / FOCAL * z, (rows - CENTRE[1]) / FOCAL * z
        points = np.stack([x, y, z], axis=1).astype(np.float32)
        points -= (0.1, -0.2, 0.05)
        points = points[:, [2, 0, 1]] * np.float32([1, -1, -1])
        points[:5] = np.nan
        return cloud_message(Header(frame_id='lidar', stamp=relative.header.stamp),
                             Cloud(points, None))


class Sensor:
    """Publishes what a world gives for each new depth image."""

    def __init__(self, peer: Peer, kind: type, topic: str) -> None:
        self.peer, self.answered, self.silent = peer, 0, False
        self.publisher = peer.node.create_publisher(kind, topic, 5)

    def see(self, measure: object) -> None:
        while len(self.peer.depths) > self.answered:
            relative = self.peer.depths[self.answered]
            self.answered += 1
            if not self.silent:
                self.publisher.publish(measure(relative, self.answered))


def newest_pair(peer: Peer, messages: list) -> tuple:
    """Return the newest message whose image's relative depth has come as well, and that."""
    relative = {to_nanoseconds(image.header.stamp): image for image in peer.depths}
    return next((message, relative[to_nanoseconds(message.header.stamp)])
                for message in reversed(messages)
                if to_nanoseconds(message.header.stamp) in relative)


def compared(peer: Peer, metric: list[Image], world: World) -> np.ndarray:
    """Return metric over true depth of the newest image that has both."""
    newest, relative = newest_pair(peer, metric)
    truth = world.metres(relative)
    assert (newest.encoding, newest.header.frame_id) == ('32FC1', 'camera_optical_frame')
    return np.frombuffer(newest.data, np.float32).reshape(truth.shape) / truth


def right_at_given_pixels(peer: Peer, metric: list[Image], world: World) -> bool:
    """Tell whether the newest metric depth is right to 5 % on the floor.

    The world is what the network sees, so it changes for a moment where another refresh does; how
    far the sky is may not be known.
    """
    given = compared(peer, metric, world)[260:480:40, 40:640:80]
    return bool(np.isfinite(given).mean() > 0.9 and np.nanmax(np.abs(given - 1)) < 0.05)


@pytest.mark.proves('lidar-stops')
def test_a_lidar_gives_metres_a_cloud_and_the_scale_until_it_stops(
        tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    (tmp_path / 'tf2_ros.py').write_text(TF_STANDIN)
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    node = NodeProcess(tmp_path / 'node.log', '-p', 'scale.source:=points',
                       '-p', 'scale.max_silence:=2.0', '-p', 'points.stride:=4',
                       '-p', 'refresh.size:=126x168',
                       environment=node_environment(PYTHONPATH=path))
    try:
        world, lidar = World(), Sensor(peer, PointCloud2, '/scale/points')
        metric = peer.listen('/depth/metric')
        clouds = peer.listen('/depth/points', PointCloud2)
        scales = peer.listen('/depth/scale', DiagnosticArray)
        message = image_message(floor_picture())

        def step() -> None:
            peer.show(message)
            lidar.see(world.points)
        peer.until(lambda: len(metric) >= 20 and len(clouds) >= 5 and len(scales) >= 5, step,
                   PERIOD_S)
        peer.until(lambda: right_at_given_pixels(peer, metric, world), step, PERIOD_S)

        cloud, seen = newest_pair(peer, clouds)
        truth = world.metres(seen)
        points = points_of(cloud)
        assert cloud.header.frame_id == 'camera_optical_frame' and len(points) > 1000
        cols = np.rint(points[:, 0] / points[:, 2] * FOCAL + CENTRE[0]).astype(int)
        rows = np.rint(points[:, 1] / points[:, 2] * FOCAL + CENTRE[1]).astype(int)
        assert set(cols % 4) == {0} and set(rows % 4) == {0}
        assert np.median(np.abs(points[:, 2] / truth[rows, cols] - 1)) < 0.05

        # Not with every image something new was measured.
        said = [{value.key: value.value for value in message.status[0].values}
                for message in scales]
        measured = [values for values in said if int(values['inliers']) > 100]
        assert measured and scales[-1].header.frame_id == 'camera_optical_frame'
        newest = measured[-1]
        assert float(newest['a']) == pytest.approx(1 / 2.2 / world.level, rel=0.1)
        assert 0 < float(newest['a_sigma']) < float(newest['a'])
        assert newest['source'] == 'points'

        peer.until(lambda: peer.newest(': scale').get('message') == 'metric depth is published',
                   step, PERIOD_S)
        lidar.silent = True
        peer.until(lambda: 'nothing was measured' in peer.newest(': scale').get('message', ''),
                   step, PERIOD_S)
        count, depths = len(metric), len(peer.depths)
        peer.until(lambda: len(peer.depths) > depths + 5, step, PERIOD_S)
        assert len(metric) <= count + 1, 'metres from a lidar that has stopped'
        lidar.silent = False
        peer.until(lambda: len(metric) > count + 5, step, PERIOD_S)
    finally:
        node.close()


def test_sources_encoding_and_fixed_scale_are_set_while_it_runs(
        tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    node = NodeProcess(tmp_path / 'node.log')
    try:
        metric = peer.listen('/depth/metric')
        message = image_message(floor_picture())
        peer.until(lambda: len(peer.depths) >= 3, lambda: peer.show(message), PERIOD_S)
        peer.until(lambda: 'scale.source' in peer.newest(': scale').get('message', ''),
                   lambda: peer.show(message), PERIOD_S)
        assert not metric
        node.wait_for('scale.source is none')
        for wrong in ('sonar', 'fixed,points', ['points', 'x']):
            refused = peer.set_parameter('scale.source', wrong)
            assert not refused.successful and 'scale.source' in refused.reason
        assert not peer.set_parameter('scale.fixed', [-1.0, 0.0]).successful
        assert peer.set_parameter('scale.source', ['fixed']).successful
        peer.until(lambda: 'scale.fixed' in peer.newest(': scale').get('message', ''),
                   lambda: peer.show(message), PERIOD_S)
        assert peer.set_parameter('scale.fixed', [0.5, 0.25]).successful
        assert peer.set_parameter('scale.encoding', '16UC1').successful
        peer.until(lambda: len(metric) >= 2, lambda: peer.show(message), PERIOD_S)
        assert metric[-1].encoding == '16UC1'
        newest, relative = newest_pair(peer, metric)
        values = np.frombuffer(relative.data, np.float32)
        found = np.frombuffer(newest.data, np.uint16)
        assert np.abs(found - 1000 / (0.5 * values + 0.25)).max() <= 0.51
        assert peer.set_parameter('scale.source', 'none').successful
        count = len(metric)
        depths = len(peer.depths)
        peer.until(lambda: len(peer.depths) > depths + 5, lambda: peer.show(message), PERIOD_S)
        assert len(metric) <= count + 1
    finally:
        node.close()


@pytest.mark.proves('scale-bad-message')
def test_what_cannot_be_used_is_said_and_depth_goes_on(
        tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    """A cloud in a frame that nobody knows, one without x, and one whose sizes do not agree."""
    node = NodeProcess(tmp_path / 'node.log', '-p', 'scale.source:=[points, range]')
    try:
        world, lidar = World(), Sensor(peer, PointCloud2, '/scale/points')
        sonar = peer.node.create_publisher(Range, '/scale/range', 5)
        metric = peer.listen('/depth/metric')
        message = image_message(floor_picture())

        def torn(relative: Image, number: int) -> PointCloud2:
            cloud = copy.deepcopy(world.points(relative, number))
            cloud.header.frame_id = 'camera_optical_frame'
            cloud.width *= 2
            return cloud

        def nameless(relative: Image, number: int) -> PointCloud2:
            cloud = copy.deepcopy(world.points(relative, number))
            cloud.header.frame_id = 'camera_optical_frame'
            cloud.fields[0].name = 'intensity'
            return cloud
        for measure, words in ((world.points, 'tf'), (torn, 'do not agree'),
                               (nameless, 'no field x')):
            def step(measure: object = measure) -> None:
                peer.show(message)
                lidar.see(measure)
            peer.until(lambda words=words: words in peer.newest(': scale').get('message', ''),
                       step, PERIOD_S)
        assert 'no source speaks' in peer.newest(': scale')['message'] and not metric
        depths = len(peer.depths)

        def ping() -> None:
            """A wall at 3 m, in a cone around the middle of the image."""
            peer.show(message)
            reading = Range(field_of_view=0.2, min_range=0.1, max_range=8.0, range=3.0)
            reading.header.frame_id = 'camera_optical_frame'
            reading.header.stamp = message.header.stamp
            sonar.publish(reading)
        peer.until(lambda: len(peer.depths) > depths + 5, ping, PERIOD_S)
    finally:
        node.close()


def test_the_floor_and_the_cameras_height_give_metres(tmp_path: Path, foundation_path: Path,
                                                      peer: Peer) -> None:
    """Whose height is known: the network sees the floor's shape, the height gives its size."""
    tilt = np.arctan((240 - 200) / FOCAL)
    node = NodeProcess(tmp_path / 'node.log', '-p', 'scale.source:=ground',
                       '-p', f'scale.ground_height:={1.2 * np.cos(tilt):.4f}',
                       '-p', f'scale.ground_tilt:={tilt:.4f}')
    try:
        metric = peer.listen('/depth/metric')
        message = image_message(floor_picture())
        peer.until(lambda: len(metric) >= 20, lambda: peer.show(message), PERIOD_S)
        found = np.frombuffer(metric[-1].data, np.float32).reshape(480, 640)
        rows = np.arange(280, 470, 10)
        truth = 1.2 * FOCAL / (rows - 200)
        assert np.nanmedian(found[rows], axis=1) / truth == pytest.approx(1, abs=0.15)
        assert np.isnan(found[:150]).all(), 'the sky is nowhere'
    finally:
        node.close()


def test_a_camera_that_drives_along_a_wall_knows_how_far_it_is(
        tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    """By its pictures and its odometry alone."""
    wall_m, step_m = 2.0, 0.03
    node = NodeProcess(tmp_path / 'node.log', '-p', 'scale.source:=odometry')
    try:
        metric = peer.listen('/depth/metric')
        motion = peer.node.create_publisher(Odometry, '/scale/odometry', 20)
        noise = np.random.default_rng(0).integers(0, 255, (480, 12000, 3), np.uint8)
        wall = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
        steps = 0

        def drive() -> None:
            nonlocal steps
            left = FOCAL * step_m * steps / wall_m
            shift = np.array([[1, 0, -left], [0, 1, 0]])
            message = image_message(cv2.warpAffine(wall, shift, (640, 480)))
            peer.show(message)
            odometry = Odometry(header=message.header, child_frame_id='camera_optical_frame')
            odometry.header.frame_id = 'odom'
            odometry.pose.pose.position.x = step_m * steps
            odometry.pose.pose.orientation.w = 1.0
            motion.publish(odometry)
            steps += 1

        def right() -> bool:
            found = np.frombuffer(metric[-1].data, np.float32)
            return bool(abs(np.nanmedian(found) / wall_m - 1) < 0.1)
        peer.until(lambda: len(metric) >= 30 and right(), drive, PERIOD_S)
        assert peer.newest(': scale')['source'] == 'odometry'
    finally:
        node.close()
