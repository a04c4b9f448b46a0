"""What a lidar's, a laser scanner's or a range finder's message says of the image."""

import math
from typing import Any, TypeAlias

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import LaserScan, PointCloud2, Range

from asyncmde_ros.ros.messages import NANOSECONDS, to_nanoseconds
from asyncmde_ros.ros.point_cloud import points_of
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array, Measurement
from asyncmde_ros.scale.sources import RangeReading, of_points, scan_points, transformed

Message: TypeAlias = PointCloud2 | LaserScan | Range

LASER_SIGMA_M = 0.03
"""Standard deviation of a lidar's distances, by usual data sheets; the map's own error is more."""

RANGE_SIGMA_M = 0.03


def measurement(message: Message, source: str, lens: Lens, pose: Array) -> Measurement:
    """Return what a message measured; ``pose`` (4, 4) takes its frame to the camera's optical one.

    ValueError, with what is wrong, for a message that cannot be read.
    """
    stamp_s = to_nanoseconds(message.header.stamp) / NANOSECONDS
    if isinstance(message, Range):
        near = max(message.min_range, 0.0)
        # Out of range is infinite or beyond the limits (sensor_msgs/msg/Range.msg).
        distance = message.range if near <= message.range <= message.max_range else math.nan
        return RangeReading(lens, distance, message.field_of_view, pose, RANGE_SIGMA_M, stamp_s,
                            source)
    if isinstance(message, LaserScan):
        points = scan_points(np.asarray(message.ranges), message.angle_min,
                             message.angle_increment, message.range_min, message.range_max)
    else:
        points = points_of(message)
    return of_points(lens, transformed(points, pose), LASER_SIGMA_M, stamp_s, source)


KINDS: dict[str, Any] = {'points': PointCloud2, 'scan': LaserScan, 'range': Range}
"""Message types by source; each is listened to on ``scale/`` and the source's name."""


def topic_of(node: Node, source: str) -> str:
    """Return the full name of a source's topic, remapped."""
    return str(node.resolve_topic_name(f'scale/{source}'))
