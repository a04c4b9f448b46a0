"""What the node publishes; nothing is computed that nobody listens to."""

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image, TimeReference
from std_msgs.msg import Header

from asyncmde_ros.images.picture import colorize
from asyncmde_ros.images.tone import RangeTracker
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import at_size
from asyncmde_ros.pipeline.results import DepthResult
from asyncmde_ros.ros.camera_info import view_of
from asyncmde_ros.ros.messages import (
    float_image,
    from_nanoseconds,
    rgb_image,
    scaled_camera_info,
)
from asyncmde_ros.ros.publishers import depth_publisher
from asyncmde_ros.ros.tokens import MemorySource

DOUBTFUL_FRAMES = 3
"""The first images of another size may come before their calibration."""

MOST_DOUBTS = 10
"""Said at all: two cameras on one topic could go on for ever."""


class Outputs:
    """The publishers under ``depth/``."""

    def __init__(self, node: LifecycleNode) -> None:
        self._relative = depth_publisher(node, Image, 'relative')
        self._info = depth_publisher(node, CameraInfo, 'camera_info')
        self._memory = depth_publisher(node, TimeReference, 'memory')
        self._colored = depth_publisher(node, Image, 'colored')
        self._trust = depth_publisher(node, Image, 'trust')
        self._range = RangeTracker()
        self._node = node
        self._doubt, self._doubtful_frames = '', 0
        self._told: set[str] = set()

    @property
    def wanted(self) -> bool:
        """Tell whether somebody listens to what needs the whole map, or belongs to it."""
        return any(publisher.get_subscription_count() for publisher in
                   (self._relative, self._info, self._colored, self._trust))

    def publish(self, header: Header, image: Size, info: CameraInfo | None,
                result: DepthResult) -> None:
        """Publish a result that has depth, for an ``image`` (rows, cols) with ``header``.

        Without its maps, where nobody had :attr:`wanted` them, its age alone.
        """
        depth, keyframe = result.depth, result.keyframe
        assert keyframe is not None
        # Small messages first: whoever gets the depth has its age and calibration already.
        self._memory.publish(TimeReference(
            header=header, time_ref=from_nanoseconds(keyframe.stamp_ns),
            source=str(MemorySource(result.source, result.stale))))
        if depth is None or result.trust is None:
            return
        if info is not None and self._info.get_subscription_count():
            view = view_of(info, image)
            self._tell(view.doubt)
            if view.fits:
                self._info.publish(scaled_camera_info(info, header, view.expected, depth.shape))
        if self._relative.get_subscription_count():
            self._relative.publish(float_image(header, depth))
        if self._trust.get_subscription_count():
            trust = np.ascontiguousarray(result.trust)
            self._trust.publish(float_image(header, at_size(trust, depth.shape)))
        if self._colored.get_subscription_count():
            low, high = self._range.update(depth)
            self._colored.publish(rgb_image(header, colorize(depth, low, high)))

    def _tell(self, doubt: str) -> None:
        """Say what is doubtful about the calibration, once, where it stays so."""
        if doubt != self._doubt:
            self._doubt, self._doubtful_frames = doubt, 0
        self._doubtful_frames += 1
        if (doubt and self._doubtful_frames == DOUBTFUL_FRAMES and doubt not in self._told
                and len(self._told) < MOST_DOUBTS):
            self._told.add(doubt)
            self._node.get_logger().warning(doubt)
