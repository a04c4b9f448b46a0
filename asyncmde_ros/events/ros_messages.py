"""Serialised event_camera_msgs/EventPacket and dvs_msgs/EventArray to events, without ROS."""

from typing import NamedTuple

import numpy as np

from asyncmde_ros.events.packets import LARGEST_SIDE
from asyncmde_ros.events.ros_packets import PacketDecoder, event_array, packet_decoder
from asyncmde_ros.events.words import Raw
from asyncmde_ros.model.geometry import Size

PACKET, ARRAY = 'EventPacket', 'EventArray'
TYPES = {'event_camera_msgs/msg/EventPacket': PACKET,
         'event_array_msgs/msg/EventArray': PACKET,  # what it was called before 2023
         'dvs_msgs/msg/EventArray': ARRAY,
         'prophesee_event_msgs/msg/EventArray': ARRAY}
"""What messages of these types are read as."""

NANOSECONDS = 10**9

LATEST_NS = 1 << 62
"""In the year 2116; times are signed, and those of events come on top."""


class Opened(NamedTuple):
    """What a message tells: its header, the sensor's (rows, cols), and events still encoded.

    Of a packet there is ``data``, of an array ``number`` of events from ``at`` on in ``body``.
    """

    stamp_ns: int
    frame_id: str
    size: Size
    body: bytes
    at: int = 0
    number: int = 0
    encoding: str | None = None
    time_base: int = 0
    data: bytes = b''


class _Cursor:
    """Reads CDR fields one after the other.  Raises ValueError where there are no more bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.at = 0

    def number(self, kind: str) -> int:
        width = np.dtype(kind).itemsize
        self.at += -self.at % width
        return int(np.frombuffer(self._taken(width), kind)[0])

    def sequence(self) -> bytes:
        return self._taken(self.number('<u4'))

    def text(self) -> str:
        return self.sequence().rstrip(b'\0').decode('utf-8', 'replace')

    def _taken(self, count: int) -> bytes:
        if self.at + count > len(self._body):
            raise ValueError(f'has {len(self._body)} bytes and tells of more')
        self.at += count
        return self._body[self.at - count:self.at]


def opened(kind: str, serialised: bytes) -> Opened:
    """Read what a message tells before its events.  Raises ValueError, which says what it does.

    Both types begin with a std_msgs/Header, height and width, as uint32.
    """
    if serialised[:2] != b'\x00\x01':
        raise ValueError('is not serialised as little-endian CDR')
    cursor = _Cursor(serialised[4:])
    stamp_ns = cursor.number('<i4') * NANOSECONDS + cursor.number('<u4')
    frame_id = cursor.text()
    size = cursor.number('<u4'), cursor.number('<u4')
    if not all(0 < side <= LARGEST_SIDE for side in size):
        raise ValueError(f'tells of a sensor of {size[1]} x {size[0]} pixels')
    if kind == ARRAY:
        number = cursor.number('<u4')
        return Opened(stamp_ns, frame_id, size, serialised[4:], cursor.at, number)
    cursor.number('<u8')  # seq
    time_base = cursor.number('<u8')
    if time_base > LATEST_NS:
        raise ValueError(f'tells of the time {time_base} ns')
    encoding = cursor.text()
    cursor.number('u1')  # is_bigendian
    return Opened(stamp_ns, frame_id, size, b'', encoding=encoding, time_base=time_base,
                  data=cursor.sequence())


class MessageDecoder:
    """Decodes the messages of one topic, in their order."""

    def __init__(self) -> None:
        self._decoders: dict[str, PacketDecoder] = {}

    def events(self, message: Opened) -> Raw:
        """Return a message's events; MediaError for an encoding that is not known."""
        if message.encoding is None:
            return event_array(message.body, message.at, message.number)
        if message.encoding not in self._decoders:
            self._decoders[message.encoding] = packet_decoder(message.encoding)
        return self._decoders[message.encoding](message.data, message.time_base)
