"""The real node over real DDS, in a process of its own."""

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from rclpy.qos import ReliabilityPolicy
from ros_rig import (
    DEADLINE_S,
    SMALL,
    NodeProcess,
    Peer,
    image_message,
    node_environment,
    picture,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from asyncmde_ros.pipeline.depth_pipeline import DepthSource
from asyncmde_ros.ros.messages import MEMORY_SOURCE, to_nanoseconds

pytestmark = [pytest.mark.ros, pytest.mark.slow]

RATE_HZ = 30.0
MIN_SHARE = 0.5
"""Depth maps per image; generous, since a busy machine drops frames by design."""

END_S = 1.0
"""Ctrl-C must end the node within a second; what the machine adds is allowed for below."""

MACHINE_S = 2.0


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def node(tmp_path: Path, foundation_path: Path) -> Iterator[NodeProcess]:
    node = NodeProcess(tmp_path / 'node.log')
    yield node
    node.close()


def test_depth_comes_with_the_images_stamp_frame_and_size_at_its_rate(
        node: NodeProcess, peer: Peer) -> None:
    message, stamps = image_message(picture()), []
    peer.until(lambda: len(peer.depths) >= 3, lambda: stamps.append(peer.show(message)),
               1 / RATE_HZ)
    before, shown_before = len(peer.depths), len(stamps)
    end = time.monotonic() + 4
    peer.until(lambda: time.monotonic() > end, lambda: stamps.append(peer.show(message)),
               1 / RATE_HZ)
    assert len(peer.depths) - before >= MIN_SHARE * (len(stamps) - shown_before)

    peer.until(lambda: len(peer.memories) == len(peer.depths))
    received = [to_nanoseconds(depth.header.stamp) for depth in peer.depths]
    assert set(received) <= set(stamps), 'a stamp that no image had'
    assert received == sorted(set(received)), 'stamps repeat or go back'
    for depth in peer.depths:
        assert depth.header.frame_id == 'camera_optical_frame'
        assert (depth.encoding, depth.height, depth.width, depth.step) == ('32FC1', 480, 640, 2560)
        values = np.frombuffer(depth.data, np.float32)
        assert values.size == 480 * 640 and np.isfinite(values).all() and (values >= 0).all()
    assert values.std() > 0

    assert [to_nanoseconds(m.header.stamp) for m in peer.memories] == received
    for memory in peer.memories:
        assert to_nanoseconds(memory.time_ref) in stamps
        assert to_nanoseconds(memory.time_ref) < to_nanoseconds(memory.header.stamp)
    info = peer.infos[-1]
    assert (info.height, info.width, info.k[0]) == (480, 640, 500.0)
    assert info.header.stamp in [depth.header.stamp for depth in peer.depths]


def test_an_image_that_waited_for_the_network_gets_the_last_depth_moved(
        node: NodeProcess, peer: Peer) -> None:
    """Two images at once, again and again: the second one waits while the first is computed."""
    message, pairs = image_message(picture()), []
    peer.until(lambda: len(peer.depths) >= 3, lambda: peer.show(message), 1 / RATE_HZ)
    peer.until(lambda: len(pairs) == 40,
               lambda: pairs.append((peer.show(message), peer.show(message))), 0.15)
    settled = pairs[20:]  # before, the node has yet to learn how often images come
    peer.until(lambda: to_nanoseconds(peer.memories[-1].header.stamp) >= settled[-1][0])
    said = {to_nanoseconds(m.header.stamp): m for m in peer.memories}
    moved = [second for _, second in settled
             if second in said and said[second].source == MEMORY_SOURCE[DepthSource.WARPED]]
    assert len(moved) >= MIN_SHARE * len(settled)
    for first, second in settled:
        if second in moved and first in said:
            assert to_nanoseconds(said[second].time_ref) <= to_nanoseconds(said[first].time_ref)
    answered = {to_nanoseconds(depth.header.stamp): depth for depth in peer.depths}
    assert set(moved) <= set(answered)
    assert all(np.frombuffer(answered[stamp].data, np.float32).std() > 0 for stamp in moved)
    node.wait_for('no time for the network')


def test_parameters_set_over_the_service_change_the_running_node(
        node: NodeProcess, peer: Peer) -> None:
    message = image_message(picture())
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message))

    assert peer.set_parameter('output.resolution', 'network').successful
    peer.until(lambda: (peer.depths[-1].height, peer.depths[-1].width) == (126, 168),
               lambda: peer.show(message))
    peer.until(lambda: bool(peer.infos) and peer.infos[-1].width == 168,
               lambda: peer.show(message))
    assert peer.infos[-1].k[0] == pytest.approx(500 * 168 / 640)
    assert peer.infos[-1].k[5] == pytest.approx(240 * 126 / 480)

    assert peer.set_parameter('slow_path.enabled', False).successful
    time.sleep(1)  # a refresh that is under way may still arrive
    peer.until(lambda: len(peer.memories) >= 4, lambda: peer.show(message))
    peer.memories.clear()
    peer.until(lambda: len(peer.memories) >= 10, lambda: peer.show(message))
    assert len({to_nanoseconds(m.time_ref) for m in peer.memories[2:]}) == 1, 'still refreshing'
    assert peer.set_parameter('slow_path.enabled', True).successful
    held = to_nanoseconds(peer.memories[-1].time_ref)
    peer.until(lambda: to_nanoseconds(peer.memories[-1].time_ref) > held,
               lambda: peer.show(message))

    for name, value in (('memory.temporal_smoothing', 0.9), ('memory.gate_temperature', 2),
                        ('memory.motion_compensation', 'off'), ('slow_path.max_rate', 5.0)):
        assert peer.set_parameter(name, value).successful, name
    for name, value, why in (('memory.temporal_smoothing', 1.5, 'range'),
                             ('memory.temporal_smoothing', 2, 'range'),
                             ('memory.temporal_smoothing', float('nan'), 'range'),
                             ('memory.gate_temperature', 'hot', 'number'),
                             ('memory.motion_compensation', 'magic', 'one of'),
                             ('input.size', '126x168', 'read'), ('backend', 'torch', 'read')):
        result = peer.set_parameter(name, value)
        assert not result.successful and why in result.reason, (name, result.reason)
    descriptors = peer.describe(['memory.temporal_smoothing', 'backend'])
    assert descriptors[0].floating_point_range[0].to_value == 1.0 and descriptors[0].description
    assert descriptors[1].read_only and 'openvino' in descriptors[1].additional_constraints


@pytest.mark.parametrize('reliability', [ReliabilityPolicy.BEST_EFFORT,
                                         ReliabilityPolicy.RELIABLE])
def test_a_camera_without_our_dds_profile_is_heard_whatever_it_offers(
        reliability: ReliabilityPolicy, tmp_path: Path, foundation_path: Path) -> None:
    peer = Peer(reliability)
    node = NodeProcess(tmp_path / 'node.log')
    try:
        message = image_message(picture((240, 320)))
        peer.until(lambda: len(peer.depths) >= 5, lambda: peer.show(message))
        node.wait_for(f'({reliability.name.lower()})')
    finally:
        node.close()
        peer.close()


def test_bad_images_are_dropped_named_and_do_no_harm(node: NodeProcess, peer: Peer) -> None:
    good = image_message(picture())
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(good))
    bad = [Image(height=480, width=640, encoding='fancy', step=1920, data=b'\0' * 10),
           Image(height=480, width=640, encoding='rgb8', step=1920, data=b'\0' * 10),
           Image(height=480, width=640, encoding='rgb8', step=3, data=b'\0' * 10),
           Image(height=0, width=0, encoding='rgb8')]
    shown: list[int] = []
    for message in bad:  # spaced, since the newest message replaces one that was not taken yet
        for _ in range(3):
            shown.append(peer.show(message))
            time.sleep(0.1)
    last = peer.show(good)
    peer.until(lambda: to_nanoseconds(peer.depths[-1].header.stamp) >= last,
               lambda: peer.show(good))
    assert not {to_nanoseconds(d.header.stamp) for d in peer.depths} & set(shown)
    assert 'image dropped' in node.text() and node.process.poll() is None


def test_a_nonsense_calibration_harms_nothing(node: NodeProcess, peer: Peer) -> None:
    message = image_message(picture())
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message))
    assert peer.set_parameter('output.resolution', 'network').successful

    def show() -> None:
        message.header.stamp = peer.node.get_clock().now().to_msg()
        peer.info.publish(CameraInfo(height=480, width=0, k=[float('nan')] * 9))
        peer.camera.publish(message)
    peer.depths.clear()
    peer.until(lambda: len(peer.depths) >= 10, show)
    assert node.process.poll() is None


def test_time_going_backwards_gives_right_stamps_again(node: NodeProcess, peer: Peer) -> None:
    message = image_message(picture())
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message))
    stamps: list[int] = []

    def show_the_past() -> None:
        message.header.stamp.sec = 1000 + len(stamps) // 100
        message.header.stamp.nanosec = len(stamps) % 100 * 10_000_000
        stamps.append(to_nanoseconds(message.header.stamp))
        peer.camera.publish(message)
    peer.depths.clear()
    peer.until(lambda: any(to_nanoseconds(d.header.stamp) in stamps for d in peer.depths),
               show_the_past)
    memory = {to_nanoseconds(m.header.stamp): to_nanoseconds(m.time_ref) for m in peer.memories}
    for stamp in stamps:
        assert memory.get(stamp, stamps[0]) in stamps, 'depth from a memory of the future'


def test_compressed_images(tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    node = NodeProcess(tmp_path / 'node.log', '-p', 'input.image_transport:=compressed')
    try:
        jpeg = cv2.imencode('.jpg', picture((240, 320)))[1].tobytes()
        message = CompressedImage(format='rgb8; jpeg compressed bgr8', data=jpeg)

        def show() -> None:
            message.header.stamp = peer.node.get_clock().now().to_msg()
            peer.compressed.publish(message)
        peer.until(lambda: len(peer.depths) >= 3, show)
        assert (peer.depths[-1].height, peer.depths[-1].width) == (240, 320)
    finally:
        node.close()


def test_lifecycle_services_drive_the_node(tmp_path: Path, foundation_path: Path,
                                           peer: Peer) -> None:
    node = NodeProcess(tmp_path / 'node.log', '-p', 'autostart:=false')
    try:
        message = image_message(picture())
        assert peer.state() == 'unconfigured'
        assert peer.transition('configure') and peer.state() == 'inactive'
        for _ in range(2):
            assert peer.transition('activate') and peer.state() == 'active'
            peer.depths.clear()
            peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message))
            assert peer.transition('deactivate') and peer.state() == 'inactive'
            peer.until(lambda: True)
        assert peer.transition('cleanup') and peer.state() == 'unconfigured'
        assert node.text().count('loading the networks') == 1, 'deactivate lost the model'
        assert node.interrupt()[0] == 0
    finally:
        node.close()


@pytest.mark.parametrize('moment', ['at once', 'importing', 'loading', 'building', 'running'])
def test_ctrl_c_ends_cleanly_at_any_moment(moment: str, tmp_path: Path, foundation_path: Path,
                                           peer: Peer) -> None:
    node = NodeProcess(tmp_path / 'node.log', size='auto' if moment == 'building' else SMALL)
    try:
        if moment == 'at once':
            time.sleep(0.25)
        elif moment == 'importing':
            time.sleep(0.7)
        elif moment == 'loading':
            node.wait_for('loading the networks')
            time.sleep(0.2)
        elif moment == 'building':
            message = image_message(picture((360, 640)))
            peer.until(lambda: 'building engines' in node.text(), lambda: peer.show(message))
        else:
            message = image_message(picture())
            peer.until(lambda: len(peer.depths) >= 3, lambda: peer.show(message))
        status, took = node.interrupt()
        assert status == 0, node.text()
        assert 'Traceback' not in node.text()
        assert took < END_S + MACHINE_S
    finally:
        node.close()


def test_yamls_off_is_the_word_off(tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    """YAML reads a bare off as false, on the command line and in parameter files alike."""
    node = NodeProcess(tmp_path / 'node.log', '-p', 'memory.motion_compensation:=off')
    try:
        node.wait_for('listening')
        assert peer.set_parameter('memory.motion_compensation', False).successful
        assert not peer.set_parameter('memory.motion_compensation', True).successful
    finally:
        node.close()


def test_without_weights_the_node_says_what_to_do_and_fails(tmp_path: Path) -> None:
    environment = node_environment(ASYNCMDE_MODELS=str(tmp_path / 'none'),
                                   XDG_CACHE_HOME=str(tmp_path / 'cache'))
    node = NodeProcess(tmp_path / 'node.log', environment=environment)
    try:
        assert node.process.wait(DEADLINE_S) == 1
        assert 'asyncmde weights fetch' in node.text() and 'Traceback' not in node.text()
    finally:
        node.close()


@pytest.mark.parametrize('override', ['input.size:=100x100', 'backend:=abacus',
                                      'memory.temporal_smoothing:=3.0', 'slow_path.threads:=x'])
def test_a_wrong_parameter_is_one_clear_line(override: str, tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / 'node.log', '-p', override)
    try:
        assert node.process.wait(DEADLINE_S) == 1
        assert override.split(':=')[0] in node.text() and 'Traceback' not in node.text()
    finally:
        node.close()
