"""Messages of each kind to packets of events."""

import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2

from asyncmde_ros.events import ros_messages
from asyncmde_ros.events.live import Packet
from asyncmde_ros.events.node.settings import CLOUD, PACKET
from asyncmde_ros.events.words import Raw
from asyncmde_ros.model.geometry import Size, check_aspect
from asyncmde_ros.ros.messages import image_stamp_ns
from asyncmde_ros.ros.point_cloud import INTEGERS, table_of

FIELDS = ('x', 'y', 't', 'p')
"""Of a cloud: column, row, nanoseconds since the header's stamp, and polarity."""

MOST_PIXELS = 1 << 23
"""Of a sensor; the largest have 0.9 million, and whatever says more is damaged."""

NO_SIZE = "a cloud does not tell the sensor's size: set events.sensor, as in 640x480"


class Decoder:
    """Decodes the messages of one topic, in their order."""

    def __init__(self, sensor: Size | None = None) -> None:
        """``sensor`` is the (rows, cols) of one whose messages do not tell it."""
        self._sensor = sensor
        self._messages = ros_messages.MessageDecoder()

    def packet(self, kind: str, serialised: bytes) -> Packet:
        """Return the events of a message of a ``kind``: packet, array or cloud.

        Raises ValueError, of which AsyncMDEErrors are some, with what is wrong with it.
        """
        if kind == CLOUD:
            return self._of_cloud(deserialize_message(serialised, PointCloud2))
        try:
            message = ros_messages.opened(
                ros_messages.PACKET if kind == PACKET else ros_messages.ARRAY, serialised)
        except ValueError as error:
            raise ValueError(f'the message {error}') from None
        _check(message.size)
        # Of a packet that nobody stamped the sensor's own time is all that there is.
        stamp_ns = message.stamp_ns or None if kind == PACKET else None
        return Packet(message.size, message.frame_id, self._messages.events(message), stamp_ns)

    def _of_cloud(self, cloud: PointCloud2) -> Packet:
        if self._sensor is None:
            raise ValueError(NO_SIZE)
        _check(self._sensor)
        table = table_of(cloud, FIELDS, INTEGERS, 'whole numbers')
        x, y, t, p = (table[name].ravel() for name in FIELDS)
        stamped = image_stamp_ns(cloud.header) + t.astype(np.int64)
        return Packet(self._sensor, cloud.header.frame_id, Raw(x, y, stamped, p != 0))


def _check(size: Size) -> None:
    check_aspect(size)
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f'a sensor of {size[1]} x {size[0]} pixels: there is none')
