"""Events from a recorded ROS 2 bag, read without ROS."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asyncmde_ros.errors import MediaError, in_words
from asyncmde_ros.events.recording import Recording
from asyncmde_ros.events.ros_packets import PacketDecoder, event_array, packet_decoder
from asyncmde_ros.events.words import Raw
from asyncmde_ros.model.geometry import Size

try:
    from asyncmde_ros.lab.media.bag_files import BagFiles
except ImportError as error:
    raise MediaError('reading bags needs rosbags: pip install "rosbags>=0.11.7"') from error

LOG = logging.getLogger(__name__)

PACKET, ARRAY = 'EventPacket', 'EventArray'
TYPES = {'event_camera_msgs/msg/EventPacket': PACKET,
         'event_array_msgs/msg/EventArray': PACKET,  # what it was called before 2023
         'dvs_msgs/msg/EventArray': ARRAY,
         'prophesee_event_msgs/msg/EventArray': ARRAY}


class EventBag(Recording):
    """The events of one topic; damaged messages are left out with a warning."""

    def __init__(self, path: Path, topic: str | None) -> None:
        """``topic`` may be None where the bag has one with events."""
        self._path = path
        with self._damage_named():
            self._files = BagFiles(path)
        try:
            with self._damage_named():
                self._topic = self._choose(topic)
                size = self._first_size()
        except MediaError:
            self.close()
            raise
        super().__init__(size)
        for note in self._files.notes:
            LOG.warning('%s', note)

    def close(self) -> None:
        self._files.close()

    def _choose(self, topic: str | None) -> str:
        topics = sorted({name for name, kind in self._files.counts if kind in TYPES})
        if not topics:
            raise MediaError(f'{self._path} has no events: none of its topics is of a type that '
                             f'has them: {", ".join(TYPES)}')
        if topic is None and len(topics) > 1:
            raise MediaError(f'{self._path} has several topics with events, name one (--topic): '
                             f'{", ".join(topics)}')
        chosen = topics[0] if topic is None else topic
        if chosen not in topics:
            raise MediaError(f'{self._path} has no events on {chosen}; its topics with events: '
                             f'{", ".join(topics)}')
        return chosen

    def _messages(self) -> Iterator[tuple[str, bytes]]:
        for kind, _, serialised in self._files.messages(self._topic):
            if kind in TYPES:
                yield TYPES[kind], bytes(serialised)

    def _first_size(self) -> Size:
        for kind, serialised in self._messages():
            try:
                return _opened(kind, serialised).size
            except ValueError:
                continue
        raise MediaError(f'{self._path}: {self._topic}: none of its messages can be read')

    def _read(self) -> Iterator[Raw]:
        decoders: dict[str, PacketDecoder] = {}
        with self._damage_named():
            for kind, serialised in self._messages():
                try:
                    message = _opened(kind, serialised)
                    if message.size != self.size:
                        raise ValueError(f'is of a sensor of {message.size[1]} x '
                                         f'{message.size[0]} pixels, the others are not')
                except ValueError as error:
                    if not self.faults['damaged']:
                        LOG.warning('%s: %s: message left out: it %s', self._path, self._topic,
                                    error)
                    self.faults['damaged'] += 1
                    continue
                if kind == ARRAY:
                    yield event_array(message.body, message.at, message.number)
                    continue
                if message.encoding not in decoders:
                    decoders[message.encoding] = packet_decoder(message.encoding)
                yield decoders[message.encoding](message.data, message.time_base)
        if self._files.damaged:
            self.faults['damaged'] += self._files.damaged

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Turn whatever is raised on a damaged bag into a MediaError."""
        try:
            yield
        except MediaError:
            raise
        except Exception as error:
            raise MediaError(f'{self._path} cannot be read as a ROS 2 bag: '
                             f'{in_words(error)}') from error


class _Message(NamedTuple):
    # Of either type; `data` of the one, `number` of events from `at` on in `body` of the other.
    size: Size
    body: bytes
    at: int = 0
    number: int = 0
    encoding: str = ''
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

    def _taken(self, count: int) -> bytes:
        if self.at + count > len(self._body):
            raise ValueError(f'has {len(self._body)} bytes and tells of more')
        self.at += count
        return self._body[self.at - count:self.at]


def _opened(kind: str, serialised: bytes) -> _Message:
    """Read what a message tells before its events.  Raises ValueError, which says what it does.

    Both types begin with a std_msgs/Header, height and width, as uint32.
    """
    if serialised[:2] != b'\x00\x01':
        raise ValueError('is not serialised as little-endian CDR')
    cursor = _Cursor(serialised[4:])
    cursor.number('<i4'), cursor.number('<u4'), cursor.sequence()
    size = cursor.number('<u4'), cursor.number('<u4')
    if not 0 < size[0] * size[1]:
        raise ValueError('tells of a sensor without pixels')
    if kind == ARRAY:
        number = cursor.number('<u4')
        return _Message(size, serialised[4:], cursor.at, number)
    cursor.number('<u8')  # seq
    time_base = cursor.number('<u8')
    encoding = cursor.sequence().rstrip(b'\0').decode('ascii', 'replace')
    cursor.number('u1')  # is_bigendian
    return _Message(size, b'', encoding=encoding, time_base=time_base, data=cursor.sequence())
