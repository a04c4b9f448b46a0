"""Play a video, camera or bag as a ROS camera would: images on ``image``, stamped now."""

import argparse
import os
import sys
import threading
import time

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image, TimeReference
from std_msgs.msg import Header

from asyncmde_ros.errors import AsyncMDEError, MediaError
from asyncmde_ros.files import printable
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.lab.arguments import positive_number
from asyncmde_ros.lab.media.arguments import add_source_arguments, open_source
from asyncmde_ros.lab.media.frames import ASSUMED_RATE_HZ, FrameSource
from asyncmde_ros.lab.media.pace import Pace
from asyncmde_ros.ros.messages import from_nanoseconds, rgb_image
from asyncmde_ros.ros.qos import newest_only
from asyncmde_ros.ros.signals import stop_on_signal
from asyncmde_ros.ros.startup import start_ros
from asyncmde_ros.streams import secure_streams

SUBSCRIBER_TIMEOUT_S = 120.0
"""Longest wait for the subscribers; the depth node may load for a while."""

HOLD_TIMEOUT_S = 30.0
"""Longest wait for the first depth map."""

SEEN_TOPIC = 'demo/seen'
"""Where a listener names the depth maps that reached it."""

ACKNOWLEDGED_S = 2.0
"""Longest wait for the subscribers to have the last picture."""

POLL_S = 0.05

LONGEST_HOLD_S = 0.1
"""Between two showings of the picture that is held, so that Ctrl-C is heard."""


def image_message(rgb: RGB, frame_id: str, stamp: Time) -> Image:
    """Return (H, W, 3) uint8 as an rgb8 image."""
    return rgb_image(Header(frame_id=frame_id, stamp=stamp), rgb)


class VideoPublisher:
    """Publishes pictures as a camera driver does: reliable, newest only, stamped now."""

    def __init__(self, node: Node, frame_id: str, stop: threading.Event) -> None:
        self.published = 0
        self._node = node
        self._frame_id = frame_id
        self._stop = stop
        self._stamp_ns = 0
        self._publisher = node.create_publisher(Image, 'image', newest_only(
            ReliabilityPolicy.RELIABLE))

    def show(self, rgb: RGB) -> None:
        # A clock may be coarse or set back; depth maps name their images by the stamp.
        self._stamp_ns = max(self._stamp_ns + 1, self._node.get_clock().now().nanoseconds)
        self._publisher.publish(image_message(rgb, self._frame_id,
                                              from_nanoseconds(self._stamp_ns)))
        self.published += 1

    def wait_for_subscribers(self, count: int) -> None:
        """Return once ``count`` subscribers are there, or after a time that is told in the log."""
        deadline = time.monotonic() + SUBSCRIBER_TIMEOUT_S
        while self._publisher.get_subscription_count() < count and not self._stop.is_set():
            if time.monotonic() > deadline:
                self._node.get_logger().warning('nobody listens; playing all the same')
                return
            self._stop.wait(POLL_S)

    def hold(self, rgb: RGB, period_s: float) -> None:
        """Show one picture until its depth was seen twice: as a robot that stands still at first.

        Whoever looks says so on SEEN_TOPIC: discovery can take seconds for each pair of
        processes, and depth that nobody hears of yet is no start.  Twice, so that even a
        recording of a single picture has a rate.
        """
        answered: list[TimeReference] = []
        self._node.create_subscription(TimeReference, SEEN_TOPIC, answered.append, 10)
        deadline = time.monotonic() + HOLD_TIMEOUT_S
        while len(answered) < 2 and not self._stop.is_set() and time.monotonic() < deadline:
            self.show(rgb)
            rclpy.spin_once(self._node, timeout_sec=period_s)
            self._stop.wait(period_s)

    def play(self, source: FrameSource, seconds: float | None, hold_first: bool) -> None:
        """Publish ``source`` at its own pace."""
        pace = Pace()
        for frame in source:
            if hold_first:
                self.hold(frame.image, min(LONGEST_HOLD_S,
                                           1 / (source.rate_hz or ASSUMED_RATE_HZ)))
                hold_first = False
            early_s = pace.early_s(frame.stamp_ns)
            if self._stop.is_set() or (seconds is not None and pace.played_s >= seconds):
                break
            self._stop.wait(max(0.0, early_s))
            self.show(frame.image)
        # A publisher that goes away takes with it what was not delivered yet.
        self._publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_S))


def main() -> int:
    secure_streams()
    stop = stop_on_signal()
    parser = argparse.ArgumentParser(prog='python -m asyncmde_ros.lab.runs.video_publisher',
                                     description=__doc__)
    add_source_arguments(parser)
    parser.add_argument('--frame-id', default='camera_optical_frame')
    parser.add_argument('--seconds', type=positive_number, help='stop after this time')
    parser.add_argument('--subscribers', type=int, default=1,
                        help='wait until so many listen (default: 1)')
    parser.add_argument('--loop', action='store_true', help='start over at the end, until Ctrl-C')
    parser.add_argument('--hold-first', action='store_true',
                        help=f'show the first picture until its depth is seen ({SEEN_TOPIC})')
    # rclpy takes no words that are not UTF-8, which a file's name may be.
    words = remove_ros_args([os.fsencode(word).decode('latin-1') for word in sys.argv])
    args = parser.parse_args([os.fsdecode(word.encode('latin-1')) for word in words[1:]])
    try:
        start_ros([printable(word) for word in sys.argv])
    except AsyncMDEError as error:
        print(f'video_publisher: {error}', file=sys.stderr)
        return 1
    node = Node('video_publisher')
    publisher = VideoPublisher(node, args.frame_id, stop)
    try:
        again = False
        while not again or args.loop and not stop.is_set():
            with open_source(args) as source:
                if not again:
                    publisher.wait_for_subscribers(args.subscribers)
                publisher.play(source, args.seconds, args.hold_first and not again)
            again = True
        node.get_logger().info(f'published {publisher.published} images')
        return 0
    except MediaError as error:
        node.get_logger().error(printable(str(error)))
        return 1
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
