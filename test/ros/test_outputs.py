"""What is published, and that nothing is computed that nobody listens to."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

from collections.abc import Callable, Iterator

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from support.publishers import PublishingNode

from asyncmde_ros.pipeline.feature_cache import Keyframe
from asyncmde_ros.pipeline.results import DepthResult, DepthSource, PipelineState
from asyncmde_ros.ros import outputs
from asyncmde_ros.ros.outputs import DOUBTFUL_FRAMES, MOST_DOUBTS, Outputs
from asyncmde_ros.ros.tokens import MemorySource

TOPICS = {'relative', 'camera_info', 'memory', 'colored', 'trust'}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the functions that made a message."""
    made: list[str] = []
    for name in ('float_image', 'rgb_image', 'colorize', 'scaled_camera_info', 'at_size'):
        monkeypatch.setattr(outputs, name, _counted(name, getattr(outputs, name), made))
    yield made


def _counted(name: str, function: Callable[..., object], made: list[str]
             ) -> Callable[..., object]:
    def counted(*arguments: object) -> object:
        made.append(name)
        return function(*arguments)
    return counted


def result(source: DepthSource = DepthSource.NETWORK, stale: bool = False) -> DepthResult:
    depth = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    return DepthResult(PipelineState.READY, 9, depth, np.full((3, 4), 0.5, np.float32),
                       Keyframe(1, 5, 0, 1, 0.0), 3, source, stale)


def test_each_topic_is_published_exactly_while_somebody_listens(made: list[str]) -> None:
    node = PublishingNode()
    sender = Outputs(node)  # type: ignore[arg-type]
    assert set(node.publishers) == TOPICS
    header, info = Header(frame_id='camera'), CameraInfo(height=6, width=8)
    for listened in (set(), {'relative'}, {'trust'}, {'colored'}, {'camera_info'}, TOPICS):
        for name, publisher in node.publishers.items():
            publisher.subscribers = int(name in listened)
            publisher.sent.clear()
        made.clear()
        sender.publish(header, (6, 8), info, result())
        assert {name for name, publisher in node.publishers.items() if publisher.sent} == (
            listened | {'memory'})  # small, and every depth map's age for whoever records it
        if not listened:
            assert not made
    sent = {name: publisher.sent[0] for name, publisher in node.publishers.items()}
    assert (sent['relative'].encoding, sent['relative'].height) == ('32FC1', 6)
    assert (sent['trust'].encoding, sent['trust'].width) == ('32FC1', 8)
    assert (sent['colored'].encoding, sent['colored'].step) == ('rgb8', 24)
    assert all(message.header == header for message in sent.values())
    assert sent['memory'].time_ref.nanosec == 5 and sent['memory'].source == 'network'


@pytest.mark.proves('calibration-size')
def test_a_calibration_of_another_size_is_scaled_or_withheld_and_said_once() -> None:
    node = PublishingNode()
    sender = Outputs(node)  # type: ignore[arg-type]
    node.publishers['camera_info'].subscribers = 1
    sent = node.publishers['camera_info'].sent
    for _ in range(3):
        sender.publish(Header(), (6, 8), CameraInfo(height=6, width=8), result())
    assert [(info.height, info.width) for info in sent] == [(6, 8)] * 3 and not node.warnings
    for _ in range(DOUBTFUL_FRAMES - 1):
        sender.publish(Header(), (6, 8), CameraInfo(height=12, width=16), result())
    assert not node.warnings, 'a calibration that came after the image of a new size'
    for _ in range(4):
        sender.publish(Header(), (6, 8), CameraInfo(height=12, width=16), result())
    assert [(info.height, info.width) for info in sent] == [(6, 8)] * (6 + DOUBTFUL_FRAMES)
    (said,) = node.warnings
    assert '16x12' in said and '8x6' in said and 'scaled' in said
    for size in range(12, 60):
        for _ in range(DOUBTFUL_FRAMES):
            sender.publish(Header(), (6, 8), CameraInfo(height=size, width=size), result())
    assert len(sent) == 6 + DOUBTFUL_FRAMES and 'without depth/camera_info' in node.warnings[1]
    assert len(node.warnings) == MOST_DOUBTS


@pytest.mark.parametrize(('source', 'stale', 'said'), [
    (DepthSource.MEMORY, False, 'memory'), (DepthSource.MEMORY, True, 'memory,stale'),
    (DepthSource.NETWORK, True, 'network,stale'), (DepthSource.WARPED, False, 'warped'),
    (DepthSource.WARPED, True, 'warped,stale')])
def test_where_depth_is_from_and_whether_its_memory_is_too_old_are_said_apart(
        source: DepthSource, stale: bool, said: str) -> None:
    node = PublishingNode()
    Outputs(node).publish(Header(), (6, 8), None,  # type: ignore[arg-type]
                          result(source=source, stale=stale))
    (sent,) = node.publishers['memory'].sent
    assert sent.source == said and MemorySource.parse(said) == (source, stale)
