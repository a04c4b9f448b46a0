"""What a running depth node publishes, shown: image, depth, trust, points, the memory's age."""

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, TimeReference

from asyncmde_ros.errors import ImageError
from asyncmde_ros.images.codec import Stream
from asyncmde_ros.lab.runs.hosting import hosted
from asyncmde_ros.lab.view.recording import Recording
from asyncmde_ros.lab.view.timing import RefreshRate, Timing
from asyncmde_ros.ros.images import to_rgb
from asyncmde_ros.ros.messages import to_nanoseconds
from asyncmde_ros.ros.point_cloud import points_of
from asyncmde_ros.ros.qos import newest_only, offered_reliability
from asyncmde_ros.ros.startup import absolute_namespace, absolute_topic

DEPTH_NODE = 'depth_node'

DISCOVERY_PERIOD_S = 0.5
"""How often the node and the publishers are looked up."""

PATIENCE_S = 5.0
"""After so long without what is needed, the log says what is missing."""

QUIET_S = 2.0
"""Images that come while no depth does for so long are worth a word."""

SPIN_S = 0.05
THROTTLE_S = 5.0
MEMORY_QUEUE = 50
"""The curves want every frame, pictures only the newest."""

FRAMES_KEPT = 1000
"""Stamps kept to count a lag in frames; a longer lag is not counted."""

MAX_RECEIPT_MS = 10_000.0
"""Stamps further from this machine's clock are of another one: a bag's or a simulation's."""

IMAGE_KINDS = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}


class Viewer(Node):
    """Subscribes to a depth node's topics under one namespace and logs what comes.

    Each topic is subscribed to once it has a publisher, with the reliability that it offers.
    ``started_s`` is the monotonic time of the first message, None before.
    """

    def __init__(self, recording: Recording, namespace: str, image_topic: str | None) -> None:
        """Both names are full ones; ``image_topic`` None is what the node itself listens to.

        Names ending in ``/compressed`` are CompressedImages.
        """
        super().__init__('asyncmde_view', namespace=namespace)
        self.started_s: float | None = None
        self._recording = recording
        self._stream = Stream()
        self._refreshes = RefreshRate()
        self._answered_ns: deque[int] = deque(maxlen=FRAMES_KEPT)
        self._subscriptions_by_topic: dict[str, tuple[Subscription, ReliabilityPolicy]] = {}
        self._image: tuple[str, type] | None = None
        if image_topic is not None:
            self._image = image_topic, (
                CompressedImage if image_topic.endswith('/compressed') else Image)
        self._created_s = self._depth_s = time.monotonic()
        self.create_timer(DISCOVERY_PERIOD_S, self._discover)

    # Discovery

    def _discover(self) -> None:
        """Subscribe to what is published and not yet heard, again where an offer has changed."""
        if self._image is None:
            self._image = self._image_of_the_node()
        if self._image is not None:
            self._listen(*self._image, self._on_image)
        self._listen('depth/relative', Image, self._on_depth)
        self._listen('depth/trust', Image, self._on_trust)
        self._listen('depth/points', PointCloud2, self._on_points)
        self._listen('depth/memory', TimeReference, self._on_memory, MEMORY_QUEUE)
        if self.started_s is None and time.monotonic() - self._created_s > PATIENCE_S:
            self.get_logger().warning(self._missing(), throttle_duration_sec=PATIENCE_S)

    def _image_of_the_node(self) -> tuple[str, type] | None:
        try:
            topics = self.get_subscriber_names_and_types_by_node(DEPTH_NODE, self.get_namespace())
        except Exception:  # rclpy raises its own error while the node is not there
            return None
        for topic, kinds in topics:
            if kinds[0] in IMAGE_KINDS:
                return topic, IMAGE_KINDS[kinds[0]]
        return None

    def _listen(self, topic: str, kind: type, callback: Callable[[Any], None],
                depth: int = 1) -> None:
        offers = [info.qos_profile.reliability
                  for info in self.get_publishers_info_by_topic(self.resolve_topic_name(topic))]
        if not offers:
            return
        reliability = offered_reliability(offers)
        known = self._subscriptions_by_topic.get(topic)
        if known is not None:
            if known[1] is reliability:
                return
            self.destroy_subscription(known[0])
        self._subscriptions_by_topic[topic] = self.create_subscription(
            kind, topic, self._guarded(callback), newest_only(reliability, depth)), reliability

    def _missing(self) -> str:
        depth = self.resolve_topic_name('depth/relative')
        if self._image is None:
            return (f'waiting for a {DEPTH_NODE} in the namespace {self.get_namespace()}: is it '
                    'running, on this ROS_DOMAIN_ID, and active? --namespace and --topic-image '
                    'name others')
        return f'waiting for messages on {self._image[0]} or {depth}'

    # Messages

    def _guarded(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """Let a message that cannot be shown cost no more than itself."""
        def guarded(message: Any) -> None:
            if self.started_s is None:
                self.started_s = self._depth_s = time.monotonic()
            try:
                callback(message)
            except ImageError as error:
                self.get_logger().warning(f'not shown: {error}',
                                          throttle_duration_sec=THROTTLE_S)
        return guarded

    def _on_image(self, message: Image | CompressedImage) -> None:
        stamp_ns = to_nanoseconds(message.header.stamp)
        if time.monotonic() - self._depth_s > QUIET_S:
            self._recording.log_state(stamp_ns, 'images, but no depth')
            self._recording.log_no_depth(stamp_ns)
        self._recording.log_image(stamp_ns, to_rgb(message, self._stream))

    def _on_depth(self, message: Image) -> None:
        stamp_ns = to_nanoseconds(message.header.stamp)
        self._depth_s = time.monotonic()
        receipt_ms = (self.get_clock().now().nanoseconds - stamp_ns) / 1e6
        self._recording.log_depth(stamp_ns, float_pixels(message))
        if 0 <= receipt_ms < MAX_RECEIPT_MS:
            self._recording.log_timing(stamp_ns, Timing(receipt_ms=receipt_ms))

    def _on_trust(self, message: Image) -> None:
        self._recording.log_trust(to_nanoseconds(message.header.stamp), float_pixels(message))

    def _on_points(self, message: PointCloud2) -> None:
        try:
            points = points_of(message)
        except ValueError as error:
            raise ImageError('data', str(error)) from error
        self._recording.log_points(to_nanoseconds(message.header.stamp),
                                   points.astype(np.float32))

    def _on_memory(self, message: TimeReference) -> None:
        stamp_ns = to_nanoseconds(message.header.stamp)
        keyframe_ns = to_nanoseconds(message.time_ref)
        self._recording.log_state(stamp_ns, f'depth: {message.source}')
        self._recording.log_timing(stamp_ns, Timing(
            self._lag_frames(stamp_ns, keyframe_ns), (stamp_ns - keyframe_ns) / 1e6,
            refresh_hz=self._refreshes.update(stamp_ns, keyframe_ns)))

    def _lag_frames(self, stamp_ns: int, keyframe_ns: int) -> int | None:
        """Count the answered frames after the keyframe; None where not all were seen."""
        answered = self._answered_ns
        if answered and stamp_ns <= answered[-1]:  # a bag that loops
            answered.clear()
        answered.append(stamp_ns)
        if keyframe_ns < answered[0]:
            return None
        return len(answered) - bisect_right(answered, keyframe_ns)


def float_pixels(message: Image) -> npt.NDArray[np.float32]:
    """Return a 32FC1 image as (H, W) float32, without a copy.  Raises ImageError."""
    if message.encoding != '32FC1':
        raise ImageError('encoding', f'a depth map with encoding {message.encoding!r}; expected '
                                     '32FC1')
    pixels = np.frombuffer(message.data, np.float32)
    if pixels.size != message.height * message.width:
        raise ImageError('data', f'a {message.height}x{message.width} depth map of {pixels.size} '
                                 'pixels')
    return pixels.reshape(message.height, message.width)


def full_names(namespace: str, image_topic: str | None) -> tuple[str, str | None]:
    """Return both as ROS writes them; AsyncMDEError for one that is none."""
    namespace = absolute_namespace(namespace)
    return namespace, (None if image_topic is None else
                       absolute_topic(image_topic, namespace))


def run_view(recording: Recording, namespace: str, image_topic: str | None,
             seconds: float | None = None) -> None:
    """Show the topics until Ctrl-C, or for ``seconds`` after the first message."""
    with hosted(lambda: Viewer(recording, namespace, image_topic)) as (viewer, executor, stop):
        while not stop.is_set():
            executor.spin_once(timeout_sec=SPIN_S)
            if (seconds is not None and viewer.started_s is not None
                    and time.monotonic() - viewer.started_s >= seconds):
                return
