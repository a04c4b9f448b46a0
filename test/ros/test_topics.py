"""What is published instead of what is listened to."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import sys
import time
from collections.abc import Iterator

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu

from asyncmde_ros.ros.topics import image_topic, instead, published_types, why_no_images

DEADLINE_S = 10.0


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node with the remappings that the test asks for."""
    monkeypatch.setenv('AMENT_PREFIX_PATH', sys.prefix)
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    context = rclpy.Context()
    words = [word for rule in getattr(request, 'param', ()) for word in ('-r', rule)]
    rclpy.init(args=['--ros-args', *words] if words else [], context=context)
    node = Node('topics', context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def publish(node: Node, **kinds: type) -> None:
    """Publish under names whose slashes are written as double underscores."""
    for name, kind in kinds.items():
        topic = '/' + name.replace('__', '/')
        node.create_publisher(kind, topic, 1)
        deadline = time.monotonic() + DEADLINE_S
        while not published_types(node, topic):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.proves('no-publisher', 'other-type')
@pytest.mark.parametrize(('published', 'topic', 'kind', 'said'), [
    ({'cam__compressed': CompressedImage}, '/cam/compressed', Image,
     '/cam/compressed carries sensor_msgs/CompressedImage: input.image_transport:=compressed '
     'and -r image:=/cam'),
    ({'jpeg': CompressedImage}, '/jpeg', Image,
     '/jpeg carries sensor_msgs/CompressedImage: input.image_transport:=compressed and '
     '-r image/compressed:=/jpeg'),
    ({'cam__compressed': CompressedImage}, '/cam', Image,
     'no publisher on /cam, but /cam/compressed carries sensor_msgs/CompressedImage: '
     'input.image_transport:=compressed'),
    ({'cam': Image}, '/cam/compressed', CompressedImage,
     'no publisher on /cam/compressed, but /cam carries sensor_msgs/Image: '
     'input.image_transport:=raw'),
    ({'raw': Image}, '/raw', CompressedImage,
     '/raw carries sensor_msgs/Image: input.image_transport:=raw and -r image:=/raw'),
    ({'cam__compressed': Image}, '/cam/compressed', CompressedImage,
     '/cam/compressed carries sensor_msgs/Image: input.image_transport:=raw and '
     '-r image:=/cam/compressed'),
    ({'cam__compressed': CompressedImage}, '/cam/compressed/compressed', CompressedImage,
     'no publisher on /cam/compressed/compressed, but /cam/compressed carries '
     'sensor_msgs/CompressedImage: input.image_transport:=compressed and -r image:=/cam'),
    ({'compressed': CompressedImage}, '/compressed', Image,
     '/compressed carries sensor_msgs/CompressedImage: input.image_transport:=compressed and '
     '-r image/compressed:=/compressed'),
    ({'imu': Imu}, '/imu', Image, '/imu carries sensor_msgs/Imu: which this node does not read'),
    ({'cam__compressedDepth': CompressedImage}, '/cam/compressedDepth', Image,
     '/cam/compressedDepth carries sensor_msgs/CompressedImage: which this node does not read'),
    ({'cam__theora': Imu}, '/cam', Image,
     'no publisher on /cam; /cam/theora carries sensor_msgs/Imu, which this node does not read'),
    ({'cam__ffmpeg': Imu}, '/cam/compressed', CompressedImage,
     'no publisher on /cam/compressed; /cam/ffmpeg carries sensor_msgs/Imu, which this node '
     'does not read'),
    ({}, '/cam', Image, "no publisher on /cam: is that the camera's topic?"),
    ({}, '/compressed', CompressedImage, 'no publisher on /compressed: is that')])
def test_what_is_there_is_named_with_what_to_set(published: dict[str, type], topic: str,
                                                 kind: type, said: str, node: Node) -> None:
    publish(node, **published)
    assert why_no_images(node, topic, kind).startswith(said)


@pytest.mark.proves('other-type')
def test_what_a_calibration_is_not(node: Node) -> None:
    publish(node, info=Imu, right=CameraInfo)
    assert instead(node, '/info', CameraInfo) == (
        ', which carries sensor_msgs/Imu and not sensor_msgs/CameraInfo')
    assert instead(node, '/right', CameraInfo) == instead(node, '/nobody', CameraInfo) == ''


@pytest.mark.parametrize(('node', 'transport', 'heard'), [
    ([], 'raw', '/image'), ([], 'compressed', '/image/compressed'),
    (['image:=/cam/picture'], 'raw', '/cam/picture'),
    (['image:=/cam/picture'], 'compressed', '/cam/picture/compressed'),
    (['image/compressed:=/jpeg'], 'compressed', '/jpeg'),
    (['image/compressed:=/jpeg'], 'raw', '/image'),
    (['image:=/cam', 'image/compressed:=/jpeg'], 'compressed', '/jpeg'),
    (['image:=/cam', '/cam:=/other'], 'raw', '/cam'),
    (['__ns:=/front'], 'compressed', '/front/image/compressed'),
    (['__ns:=/front', 'image:=picture'], 'raw', '/front/picture'),
    (['__ns:=/front', 'image/compressed:=jpeg'], 'compressed', '/front/jpeg')],
    indirect=['node'])
def test_the_name_in_the_log_is_the_subscriptions(node: Node, transport: str, heard: str) -> None:
    name = image_topic(node, transport)
    subscription = node.create_subscription(Image, name, lambda _: None, 1)
    assert subscription.topic_name == node.resolve_topic_name(name) == heard
    node.destroy_subscription(subscription)
