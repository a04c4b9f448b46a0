"""Depth where it is asked for, from the running node over ROS 2."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from geometry_msgs.msg import Point, Point32, Polygon, PolygonStamped
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from support.clouds import table
from support.ros_rig import NodeProcess, Peer, floor_picture, image_message

from asyncmde_ros.ros.messages import from_nanoseconds, to_nanoseconds
from asyncmde_ros.ros.query_messages import Kind, Reason

pytestmark = [pytest.mark.ros, pytest.mark.slow]

PERIOD_S = 1 / 30

MOST_APART = 1e-3
"""Of the dense map's largest value: what float32 makes of the same sum in another order."""


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer(dense=False)
    yield peer
    peer.close()


def stamp_of(message: Image | PointCloud2) -> int:
    return to_nanoseconds(message.header.stamp)


def of_kind(answers: list[PointCloud2], kind: Kind) -> list[PointCloud2]:
    return [answer for answer in answers if set(table(answer)['kind']) == {kind}]


def known(answers: list[PointCloud2]) -> list[PointCloud2]:
    """Return those that know every point."""
    return [answer for answer in answers if set(table(answer)['reason']) == {Reason.KNOWN}]


def test_a_grid_and_messages_of_points_are_answered_at_the_cameras_rate_without_a_map(
        tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    node = NodeProcess(tmp_path / 'node.log', '-p', 'query.grid:=8x6',
                       '-p', 'scale.source:=fixed', '-p', 'scale.fixed:=[0.2, 0.05]')
    try:
        answers = peer.listen('/query/depth', PointCloud2, 20)
        asked = peer.node.create_publisher(PolygonStamped, '/query', 10)
        clicked = peer.node.create_publisher(Point, '/query/click', 10)
        rng = np.random.default_rng(0)
        pixels = np.float32(rng.uniform(0, [639, 479], (256, 2)))
        polygon = Polygon(points=[Point32(x=float(x), y=float(y)) for x, y in pixels])
        message, shown = image_message(floor_picture()), []

        def step() -> None:
            shown.append(peer.show(message))
            asked.publish(PolygonStamped(header=Header(stamp=from_nanoseconds(shown[-1])),
                                         polygon=polygon))
        peer.until(lambda: len(known(of_kind(answers, Kind.POINTS))) >= 40, step, PERIOD_S)
        grids, points = of_kind(answers, Kind.GRID), of_kind(answers, Kind.POINTS)
        # On a busy machine an image may be lost, whose points are unknown then, or a message.
        stamps = [stamp_of(answer) for answer in points]
        assert stamps == sorted(set(stamps)) and set(stamps) <= set(shown)
        by_grid = {stamp_of(answer) for answer in known(grids)}
        assert by_grid >= {stamp_of(answer) for answer in known(points)}
        assert {(answer.height, answer.width) for answer in grids} == {(6, 8)}
        rows = table(known(points)[-1])
        np.testing.assert_array_equal(rows['u'], pixels[:, 0])
        np.testing.assert_array_equal(rows['v'], pixels[:, 1])
        assert (rows['age'] >= 0).all() and np.isfinite(rows['trust']).all()
        np.testing.assert_allclose(rows['z'], 1 / (0.2 * rows['inverse_depth'] + 0.05), rtol=1e-5)
        np.testing.assert_allclose(rows['x'], (rows['u'] - 320) / 500 * rows['z'], rtol=1e-4)

        clicked.publish(Point(x=320.0, y=1e9))
        peer.until(lambda: len(of_kind(answers, Kind.CLICK)) == 1, step, PERIOD_S)
        assert table(of_kind(answers, Kind.CLICK)[0])['reason'].tolist() == [Reason.OUTSIDE]

        # What is asked by stamp is what the map shows, which is made now that somebody listens.
        depths = peer.listen('/depth/relative')
        assert peer.set_parameter('query.grid', 'none').successful

        def compared() -> bool:
            stamps = {stamp_of(answer) for answer in known(of_kind(answers, Kind.POINTS))}
            return any(stamp_of(depth) in stamps for depth in depths)
        peer.until(compared, step, PERIOD_S)
        by_stamp = {stamp_of(answer): answer for answer in known(of_kind(answers, Kind.POINTS))}
        depth = next(depth for depth in depths if stamp_of(depth) in by_stamp)
        dense = np.frombuffer(depth.data, np.float32).reshape(480, 640)
        found = table(by_stamp[stamp_of(depth)])['inverse_depth']
        off = np.abs(found - bilinear(dense, pixels)) / dense.max()
        assert np.median(off) < MOST_APART and np.mean(off < MOST_APART) > 0.9, 'but at edges'

        refused = peer.set_parameter('query.grid', '8 by 6')
        assert not refused.successful and 'columns x rows' in refused.reason
    finally:
        node.close()


def bilinear(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    left, top = np.floor(pixels).astype(int).T
    right, bottom = np.minimum(left + 1, 639), np.minimum(top + 1, 479)
    across, down = pixels[:, 0] - left, pixels[:, 1] - top
    return ((1 - down) * ((1 - across) * values[top, left] + across * values[top, right])
            + down * ((1 - across) * values[bottom, left] + across * values[bottom, right]))
