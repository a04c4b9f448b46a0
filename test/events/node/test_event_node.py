"""The real event node over real DDS, in a process of its own."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from geometry_msgs.msg import Point32, Polygon, PolygonStamped
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from support.clouds import table
from support.event_clouds import SIZE, STEP_NS, Swaying
from support.ros_rig import DEADLINE_S, NodeProcess, Peer

from asyncmde_ros.events.node.diagnostics import NO_EVENTS, NOTHING_MOVES
from asyncmde_ros.ros.messages import to_nanoseconds
from asyncmde_ros.ros.query_messages import Kind, Reason

pytestmark = [pytest.mark.ros, pytest.mark.slow]

PERIOD_S = STEP_NS / 1e9
WINDOW_NS = 33_000_000
END_S = 1.0
PROGRAM = ('-m', 'asyncmde_ros.events.node.main')


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer(dense=False, of='event_depth_node')
    yield peer
    peer.close()


def of_kind(answers: list[PointCloud2], kind: Kind) -> list[PointCloud2]:
    return [answer for answer in answers if set(table(answer)['kind']) == {kind}]


def reasons(answer: PointCloud2) -> set[int]:
    return set(table(answer)['reason'].tolist())


@pytest.mark.proves('event-message', 'event-silence')
def test_events_give_depth_at_a_grid_and_at_points_until_the_sensor_stands_still(
        tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    node = NodeProcess(tmp_path / 'node.log', '-p', 'query.grid:=8x6',
                       '-p', f'events.sensor:={SIZE[1]}x{SIZE[0]}', '-p', 'events.decay:=0.1',
                       program=PROGRAM)
    try:
        _converse(node, peer)
        status, took_s = node.interrupt()
        assert status == 0 and took_s < END_S
        assert 'Traceback' not in node.text(), node.text()
    finally:
        node.close()


def _converse(node: NodeProcess, peer: Peer) -> None:
    answers = peer.listen('/query/depth', PointCloud2, 20)
    pictures = peer.listen('/events/image')
    sensor = peer.node.create_publisher(PointCloud2, '/events', 50)
    asked = peer.node.create_publisher(PolygonStamped, '/query', 10)
    node.wait_for('networks loaded')
    step = Swaying(peer.node.get_clock().now().nanoseconds)
    began_ns = step.now_ns

    def see() -> None:
        step.now_ns = max(step.now_ns, peer.node.get_clock().now().nanoseconds)
        sensor.publish(step())

    def known() -> list[PointCloud2]:
        return [answer for answer in of_kind(answers, Kind.GRID) if reasons(answer) == {0}]
    peer.until(lambda: len(known()) >= 10, see, PERIOD_S)
    stamps = np.array([to_nanoseconds(answer.header.stamp)
                       for answer in of_kind(answers, Kind.GRID)])
    # On a busy machine windows are skipped, and now and then begin anew.
    assert np.mean(np.diff(stamps) % WINDOW_NS == 0) > 0.5
    assert began_ns < stamps[0] <= step.now_ns + WINDOW_NS
    newest = known()[-1]
    assert (newest.height, newest.width, newest.header.frame_id) == (6, 8, 'event_camera')
    values = table(newest)
    assert np.isfinite(values['inverse_depth']).all() and values['u'].max() < SIZE[1]
    assert (pictures[-1].encoding, pictures[-1].height, pictures[-1].width) == ('mono8', *SIZE)
    assert np.frombuffer(pictures[-1].data, np.uint8).std() > 10

    points = Polygon(points=[Point32(x=80.0, y=60.0), Point32(x=500.0, y=3.0)])

    def see_and_ask() -> None:
        see()
        asked.publish(PolygonStamped(header=Header(), polygon=points))
    peer.until(lambda: any(reasons(answer) == {0, Reason.OUTSIDE}
                           for answer in of_kind(answers, Kind.POINTS)), see_and_ask, PERIOD_S)
    maps = peer.listen('/depth/relative')
    peer.until(lambda: bool(maps), see, PERIOD_S)
    assert (maps[-1].height, maps[-1].width) == SIZE

    # What cannot be read is counted, and the next message can be.
    for damaged in (PointCloud2(), step()):
        damaged.point_step = 3
        sensor.publish(damaged)
    before = len(known())
    peer.until(lambda: len(known()) >= before + 5, see, PERIOD_S)
    peer.until(lambda: peer.newest(': events').get('dropped_messages_damaged') == '2', see,
               PERIOD_S)
    assert peer.newest(': events')['sensor'] == '160x120'
    assert peer.newest(': events')['message_type'] == 'cloud'

    # It stands still: answers go on, without depth and with a reason.
    answers.clear()
    peer.until(lambda: len(answers) >= 10 and all(
        reasons(answer) == {Reason.WITHHELD} for answer in answers[-10:]))
    peer.until(lambda: peer.newest(': depth').get('message', '') in (NOTHING_MOVES, NO_EVENTS))
    assert int(peer.newest(': depth')['dropped_blind']) > 0

    # It moves again, and the node goes through its states.
    answers.clear()
    peer.until(lambda: bool(known()), see, PERIOD_S)
    assert peer.transition('deactivate') and peer.state() == 'inactive'
    answers.clear()
    assert peer.transition('activate')
    peer.until(lambda: bool(known()), see, PERIOD_S)

    # Something else is published under the name.
    peer.node.destroy_publisher(sensor)
    peer.node.create_publisher(Image, '/events', 1)
    peer.until(lambda: 'sensor_msgs/Image' in peer.newest(': events').get('message', ''))


@pytest.mark.proves('event-type')
@pytest.mark.skipif(find_spec('dvs_msgs') is not None, reason='left out: dvs_msgs is installed')
def test_a_type_that_is_asked_for_and_not_installed_ends_the_node_with_what_to_install(
        tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / 'node.log', '-p', 'events.message:=array', program=PROGRAM)
    try:
        assert node.process.wait(DEADLINE_S) == 1
        assert 'cannot configure' in node.text() and 'ros-$ROS_DISTRO-dvs-msgs' in node.text()
        assert 'Traceback' not in node.text()
    finally:
        node.close()


def test_an_adapter_that_is_none_ends_the_node_with_its_name(tmp_path: Path,
                                                             foundation_path: Path) -> None:
    (tmp_path / 'other.safetensors').write_bytes(b'?')
    for file, words in (('absent', 'does not exist'), ('other', 'cannot')):
        path = tmp_path / f'{file}.safetensors'
        node = NodeProcess(tmp_path / f'{file}.log', '-p', f'events.adapter:={path}',
                           program=PROGRAM)
        try:
            assert node.process.wait(DEADLINE_S) == 1
            assert f'cannot configure: {path} {words}' in node.text()
            assert 'Traceback' not in node.text()
        finally:
            node.close()
