"""The real node over real DDS: what tests see of one process that answers all of them."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from sensor_msgs.msg import CameraInfo, Image
from support import shared_memory
from support.ros_rig import SMALL, NodeProcess, Peer, image_message, picture

from asyncmde_ros.pipeline.results import DepthSource
from asyncmde_ros.pipeline.slow_path import SlowPathState
from asyncmde_ros.ros.messages import to_nanoseconds
from asyncmde_ros.ros.tokens import MemorySource

pytestmark = [pytest.mark.ros, pytest.mark.slow]

RATE_HZ = 30.0

SEGMENT_BYTES = 2**25
"""Of config/fastdds.xml."""

MAX_AGE_S = 2.0
"""Of a memory: more than a refresh takes on a busy machine, and soon over."""

FOCAL_PX = 1000.0
"""No other test's camera has as much."""

SET_BY_TESTS = ('memory.gate_temperature', 'memory.max_age', 'memory.motion_compensation',
                'memory.temporal_smoothing', 'memory.when_too_old', 'output.resolution',
                'slow_path.enabled', 'slow_path.max_rate')


@pytest.fixture(scope='module')
def process(tmp_path_factory: pytest.TempPathFactory, foundation_path: Path
            ) -> Iterator[NodeProcess]:
    node = NodeProcess(tmp_path_factory.mktemp('running') / 'node.log')
    try:
        node.wait_for('listening to')
        yield node
    finally:
        node.close()


@pytest.fixture
def node(process: NodeProcess, peer: Peer) -> Iterator[NodeProcess]:
    """The node, before another camera; what a test sets is set back."""
    values = peer.call(GetParameters, 'get_parameters',
                       GetParameters.Request(names=SET_BY_TESTS)).values
    yield process
    before = [Parameter(name=name, value=value)
              for name, value in zip(SET_BY_TESTS, values, strict=True)]
    results = peer.call(SetParameters, 'set_parameters',
                        SetParameters.Request(parameters=before)).results
    assert all(result.successful for result in results)


@pytest.mark.proves('wrong-parameter')
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
    # A refresh that is under way may still arrive; the first image after it that the network sees
    # takes it up.
    peer.until(lambda: peer.diagnosed('slow_path') == SlowPathState.DISABLED.value,
               lambda: peer.show(message))
    after = peer.show(message)

    def rested() -> list[int]:
        return [to_nanoseconds(m.time_ref) for m in peer.memories
                if to_nanoseconds(m.header.stamp) > after
                and MemorySource.parse(m.source).depth is not DepthSource.WARPED]
    peer.until(lambda: len(rested()) >= 10, lambda: peer.show(message))
    assert len(set(rested())) == 1, 'still refreshing'
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
                             ('input.size', '84x112', 'cleanup'),
                             ('backend', 'torch', 'cleanup')):
        result = peer.set_parameter(name, value)
        assert not result.successful and why in result.reason, (name, result.reason)
    descriptors = peer.describe(['memory.temporal_smoothing', 'backend'])
    assert descriptors[0].floating_point_range[0].to_value == 1.0 and descriptors[0].description
    assert 'openvino' in descriptors[1].additional_constraints
    assert 'unconfigured' in descriptors[1].additional_constraints


def test_its_shared_memory_holds_several_images(node: NodeProcess) -> None:
    segments = shared_memory.segments(node.process.pid)
    # Those of a camera that has gone are mapped for a while, and have no file any more.
    assert max(segment.stat().st_size for segment in segments
               if segment.exists()) >= SEGMENT_BYTES
    assert 'deprecated' not in node.text()


def test_what_nobody_listens_to_is_published_once_somebody_does(node: NodeProcess, peer: Peer
                                                                ) -> None:
    message = image_message(picture())
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message))
    colored, trust = peer.listen('/depth/colored'), peer.listen('/depth/trust')
    peer.until(lambda: len(colored) >= 2 and len(trust) >= 2, lambda: peer.show(message))
    stamps = {to_nanoseconds(depth.header.stamp) for depth in peer.depths}
    for images, encoding, step in ((colored, 'rgb8', 1920), (trust, '32FC1', 2560)):
        for shown in images:
            assert (shown.encoding, shown.height, shown.width, shown.step) == (
                encoding, 480, 640, step)
            assert shown.header.frame_id == 'camera_optical_frame'
            assert to_nanoseconds(shown.header.stamp) in stamps
    values = np.frombuffer(trust[-1].data, np.float32)
    assert ((values >= 0) & (values <= 1)).all() and values.mean() > 0.1
    assert np.frombuffer(colored[-1].data, np.uint8).std() > 0


def test_diagnostics_say_how_it_goes(node: NodeProcess, peer: Peer) -> None:
    message = image_message(picture())
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message), 1 / RATE_HZ)
    peer.until(lambda: bool(peer.diagnostics)
               and peer.diagnostics[-1].level == DiagnosticStatus.OK
               and float(peer.diagnosed('refresh_hz') or 0) > 0,
               lambda: peer.show(message), 1 / RATE_HZ)
    assert peer.diagnostics[-1].name == '/depth_node: depth'
    assert 'openvino' in peer.diagnostics[-1].hardware_id
    assert 0 < float(peer.diagnosed('output_hz')) <= float(
        peer.diagnosed('input_hz')) + 1
    p50, p99 = (float(peer.diagnosed(f'latency_{name}_ms'))
                for name in ('p50', 'p99'))
    assert 0 < p50 <= p99
    assert int(peer.diagnosed('lag_frames')) >= 0
    assert float(peer.diagnosed('memory_age_ms')) > 0
    assert peer.diagnosed('network_size') == SMALL
    assert int(peer.diagnosed('slow_path_refreshes')) > 0

    wrong = Image(height=480, width=640, encoding='fancy', step=1920, data=b'\0' * 10)
    peer.until(lambda: int(peer.diagnosed('dropped_encoding') or 0) > 0,
               lambda: peer.show(wrong), 0.2)
    peer.until(lambda: peer.diagnostics[-1].level == DiagnosticStatus.WARN
               and 'no images' in peer.diagnostics[-1].message)


@pytest.mark.proves('scene-cut')
def test_a_scene_cut_drops_the_memory_and_asks_for_another(node: NodeProcess, peer: Peer) -> None:
    first, second = image_message(picture()), image_message(picture(seed=5))
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(first))
    cut_at = peer.show(second)
    peer.until(lambda: int(peer.diagnosed('scene_cuts') or 0) >= 1, lambda: peer.show(second))
    peer.until(lambda: to_nanoseconds(peer.memories[-1].header.stamp) > cut_at,
               lambda: peer.show(second))
    for memory in peer.memories:
        if to_nanoseconds(memory.header.stamp) >= cut_at:
            assert to_nanoseconds(memory.time_ref) >= cut_at, 'depth from before the cut'


@pytest.mark.proves('refresh-hangs')
def test_a_memory_that_is_too_old_is_marked_or_withheld(node: NodeProcess, peer: Peer) -> None:
    message = image_message(picture())
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message))
    assert peer.set_parameter('memory.max_age', MAX_AGE_S).successful
    assert peer.set_parameter('slow_path.enabled', False).successful
    peer.until(lambda: MemorySource.parse(peer.memories[-1].source).stale,
               lambda: peer.show(message))
    peer.until(lambda: 'too old' in peer.diagnostics[-1].message, lambda: peer.show(message))
    memory = peer.memories[-1]
    assert to_nanoseconds(memory.header.stamp) - to_nanoseconds(memory.time_ref) > 1e9 * MAX_AGE_S
    assert peer.set_parameter('memory.when_too_old', 'withhold').successful
    peer.until(lambda: 'too old' in node.text(), lambda: peer.show(message))
    withheld = peer.show(message)
    end = time.monotonic() + 1
    peer.until(lambda: time.monotonic() > end, lambda: peer.show(message))
    assert all(to_nanoseconds(depth.header.stamp) < withheld for depth in peer.depths)
    assert peer.set_parameter('slow_path.enabled', True).successful
    peer.depths.clear()
    peer.until(lambda: len(peer.depths) >= 3, lambda: peer.show(message))
    peer.until(lambda: to_nanoseconds(peer.memories[-1].header.stamp) > withheld)
    assert not MemorySource.parse(peer.memories[-1].source).stale


def test_each_depth_has_the_calibration_of_its_own_image(node: NodeProcess, peer: Peer) -> None:
    message, focal_px = image_message(picture()), {}

    def show() -> None:
        focal = FOCAL_PX + len(focal_px)
        focal_px[peer.show(message, focal)] = focal
    # At first the node may have heard of the last test's camera alone.
    peer.until(lambda: bool(peer.infos) and peer.infos[-1].k[0] >= FOCAL_PX, show)
    peer.infos.clear()
    peer.until(lambda: len(peer.infos) >= 20, show)
    behind = [focal_px[to_nanoseconds(info.header.stamp)] - info.k[0] for info in peer.infos]
    # A calibration that comes after its image is not waited for: then it is one from before.
    assert behind.count(0) > 0 and min(behind) >= 0


@pytest.mark.proves('two-publishers')
def test_with_two_publishers_overrun_is_said_to_be_unknown(node: NodeProcess, peer: Peer) -> None:
    other = peer.node.create_publisher(Image, '/camera/image_raw', 1)
    peer.until(lambda: (peer.diagnosed('overrun'), peer.diagnosed('image_publishers'))
               == ('unknown', '2'))
    peer.node.destroy_publisher(other)
    peer.until(lambda: peer.diagnosed('overrun') == '')


@pytest.mark.proves('nonsense-calibration')
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


@pytest.mark.proves('stamps-jump')
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


@pytest.mark.proves('bad-request')
def test_a_request_that_goes_wrong_is_refused_and_the_node_lives(node: NodeProcess, peer: Peer
                                                                 ) -> None:
    message = image_message(picture())
    peer.until(lambda: len(peer.depths) >= 1, lambda: peer.show(message))
    by_id = ChangeState.Request()
    by_id.transition.id = Transition.TRANSITION_CONFIGURE  # which an active node has not
    assert not peer.call(ChangeState, 'change_state', by_id).success
    no_type = Parameter(name='memory.max_age', value=ParameterValue(type=77))
    (result,) = peer.call(SetParameters, 'set_parameters',
                          SetParameters.Request(parameters=[no_type])).results
    assert not result.successful and result.reason
    result = peer.call(SetParametersAtomically, 'set_parameters_atomically',
                       SetParametersAtomically.Request(parameters=[no_type])).result
    assert not result.successful and result.reason
    assert peer.state() == 'active' and peer.set_parameter('memory.max_age', 4.0).successful
    count = len(peer.depths)
    peer.until(lambda: len(peer.depths) >= count + 3, lambda: peer.show(message))


@pytest.mark.proves('bad-image')
def test_bad_images_are_dropped_named_and_do_no_harm(node: NodeProcess, peer: Peer) -> None:
    good = image_message(picture())
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(good))
    bad = [Image(height=480, width=640, encoding='fancy', step=1920, data=b'\0' * 10),
           Image(height=480, width=640, encoding='rgb8', step=1920, data=b'\0' * 10),
           Image(height=480, width=640, encoding='rgb8', step=3, data=b'\0' * 10),
           Image(height=0, width=0, encoding='rgb8')]
    shown: list[int] = []
    said = len(node.text())
    turns = itertools.cycle(bad)
    # Spaced and repeated, since the newest message replaces one that was not taken yet.
    peer.until(lambda: len(shown) >= 3 * len(bad) and 'image dropped' in node.text()[said:],
               lambda: shown.append(peer.show(next(turns))), 0.1)
    last = peer.show(good)
    peer.until(lambda: to_nanoseconds(peer.depths[-1].header.stamp) >= last,
               lambda: peer.show(good))
    assert not {to_nanoseconds(d.header.stamp) for d in peer.depths} & set(shown)
    assert node.process.poll() is None
