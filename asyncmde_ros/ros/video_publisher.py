"""Play a video, camera or bag as a ROS camera would: images on ``image``, stamped now."""

import argparse
import sys
import threading
import time

import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image

from asyncmde_ros.errors import MediaError
from asyncmde_ros.media.arguments import add_source_arguments, open_source
from asyncmde_ros.media.codec import RGB
from asyncmde_ros.media.sources import FrameSource
from asyncmde_ros.ros.messages import NANOSECONDS, set_data
from asyncmde_ros.ros.signals import stop_on_signal

SUBSCRIBER_TIMEOUT_S = 120.0
"""Longest wait for the subscribers; the depth node may load for a while."""

POLL_S = 0.05


def image_message(rgb: RGB, frame_id: str, stamp: Time) -> Image:
    """Return (H, W, 3) uint8 as an rgb8 image."""
    rows, cols = rgb.shape[:2]
    message = Image(height=rows, width=cols, encoding='rgb8', step=3 * cols)
    message.header.frame_id = frame_id
    message.header.stamp = stamp
    set_data(message, rgb)
    return message


def wait_for_subscribers(node: Node, publisher: Publisher, count: int,
                         stop: threading.Event) -> None:
    """Return once ``count`` subscribers are there, or after a time that says so in the log."""
    deadline = time.monotonic() + SUBSCRIBER_TIMEOUT_S
    while publisher.get_subscription_count() < count and not stop.is_set():
        if time.monotonic() > deadline:
            node.get_logger().warning('nobody listens; playing all the same')
            return
        time.sleep(POLL_S)


def play(node: Node, source: FrameSource, frame_id: str, seconds: float | None,
         subscribers: int, stop: threading.Event) -> int:
    """Publish ``source`` at its own pace; return how many frames were published."""
    publisher = node.create_publisher(
        Image, 'image', QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE))
    wait_for_subscribers(node, publisher, subscribers, stop)
    started, first_ns, published = time.monotonic(), None, 0
    for frame in source:
        first_ns = frame.stamp_ns if first_ns is None else first_ns
        since_start = (frame.stamp_ns - first_ns) / NANOSECONDS
        if stop.is_set() or (seconds is not None and since_start >= seconds):
            break
        early = started + since_start - time.monotonic()
        if early > 0:
            stop.wait(early)
        publisher.publish(image_message(frame.image, frame_id, node.get_clock().now().to_msg()))
        published += 1
    return published


def main() -> int:
    stop = stop_on_signal()
    parser = argparse.ArgumentParser(prog='python -m asyncmde_ros.ros.video_publisher',
                                     description=__doc__)
    add_source_arguments(parser)
    parser.add_argument('--frame-id', default='camera_optical_frame')
    parser.add_argument('--seconds', type=float, help='stop after this time')
    parser.add_argument('--subscribers', type=int, default=1,
                        help='wait until so many listen (default: 1)')
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Node('video_publisher')
    try:
        with open_source(args) as source:
            count = play(node, source, args.frame_id, args.seconds, args.subscribers, stop)
        node.get_logger().info(f'published {count} images')
        return 0
    except MediaError as error:
        node.get_logger().error(str(error))
        return 1
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
