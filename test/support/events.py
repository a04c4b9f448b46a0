"""Events as cameras and drivers encode them, one at a time, as the formats are described."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from asyncmde_ros.events.packets import Events
from asyncmde_ros.events.words import Raw


class Event(NamedTuple):
    """``t`` in microseconds."""

    x: int
    y: int
    t: int
    p: int


def listed(events: Events | Raw) -> list[Event]:
    """Return decoded events as they were made."""
    return [Event(int(x), int(y), int(t) // 1000, int(p)) for x, y, t, p in zip(
        events.x, events.y, events.t, events.p, strict=True)]


def evt2(events: Iterable[Event]) -> bytes:
    words, high = [], None
    for event in events:
        if event.t >> 6 != high:
            high = event.t >> 6
            words.append(0x8 << 28 | high & 0xFFFFFFF)
        words.append(event.p << 28 | (event.t & 0x3F) << 22 | event.x << 11 | event.y)
    return struct.pack(f'<{len(words)}I', *words)


def evt3(events: Iterable[Event], vectors: bool = False) -> bytes:
    """``vectors``: each event as a vector of its own, by turns of 12 and 8 places."""
    words: list[int] = []
    told: dict[int, int] = {}

    def tell(code: int, value: int) -> None:
        if told.get(code) != value:
            told[code] = value
            words.append(code << 12 | value)
    for index, event in enumerate(events):
        tell(0x8, event.t >> 12 & 0xFFF)
        tell(0x6, event.t & 0xFFF)
        tell(0x0, event.y)
        if not vectors:
            words.append(0x2 << 12 | event.p << 11 | event.x)
            continue
        base = max(0, event.x - 15)
        words.append(0x3 << 12 | event.p << 11 | base)
        far = event.x - base
        if far >= 12:
            words += [0x4 << 12, 0x5 << 12 | 1 << (far - 12)]
        elif far < 8 and index % 2:
            words.append(0x5 << 12 | 1 << far)
        else:
            words.append(0x4 << 12 | 1 << far)
    return struct.pack(f'<{len(words)}H', *words)


def libcaer(events: Iterable[Event]) -> bytes:
    return b''.join(struct.pack('<Ii', event.x << 17 | event.y << 2 | event.p << 1 | 1,
                                event.t & 0x7FFFFFFF) for event in events)


def libcaer_cmp(events: Iterable[Event], vectors: bool = False) -> bytes:
    """Times since the packet's."""
    words: list[int] = []
    for event in events:
        words += [event.t >> 12 & 0xFFF, 0x1 << 12 | event.t & 0xFFF, 0x2 << 12 | event.x]
        if vectors:
            base = event.y & ~7
            words.append(0x4 << 12 | event.p << 11 | max(0, base - 8))
            words += [0x5 << 12] * (base >= 8) + [0x5 << 12 | 1 << (event.y - base)]
        else:
            words.append(0x3 << 12 | event.p << 11 | event.y)
    return struct.pack(f'<{len(words)}H', *words)


def mono(events: Iterable[Event]) -> bytes:
    return b''.join(struct.pack('<Q', event.p << 63 | event.y << 48 | event.x << 32
                                | event.t * 1000) for event in events)


def raw_file(path: Path, body: bytes, *lines: str) -> Path:
    path.write_bytes(''.join(f'% {line}\n' for line in lines).encode() + body)
    return path


PACKET = 'event_camera_msgs/msg/EventPacket'
ARRAY = 'dvs_msgs/msg/EventArray'
TYPES = get_typestore(Stores.ROS2_JAZZY)
TYPES.register(get_types_from_msg(
    'std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\n'
    'string encoding\nbool is_bigendian\nuint8[] events', PACKET))
TYPES.register(get_types_from_msg(
    'uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity', 'dvs_msgs/msg/Event'))
TYPES.register(get_types_from_msg(
    'std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events', ARRAY))


def header(frame_id: str) -> object:
    stamp = TYPES.types['builtin_interfaces/msg/Time'](1, 2)
    return TYPES.types['std_msgs/msg/Header'](stamp, frame_id)


def packet(size: tuple[int, int], encoding: str, data: bytes, time_base: int = 0) -> object:
    return TYPES.types[PACKET](header('sensor'), *size, 7, time_base, encoding, False,
                               np.frombuffer(data, np.uint8))


def array(size: tuple[int, int], events: Sequence[Event], frame_id: str = 'sensor') -> object:
    time = TYPES.types['builtin_interfaces/msg/Time']
    return TYPES.types[ARRAY](header(frame_id), *size, [
        TYPES.types['dvs_msgs/msg/Event'](event.x, event.y, time(
            *divmod(event.t * 1000, 10**9)), bool(event.p)) for event in events])


def bag(path: Path, *messages: tuple[str, str, object]) -> Path:
    """Write (topic, type, message or its bytes)."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {}
        for index, (topic, kind, message) in enumerate(messages):
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(topics[topic], index, message if isinstance(message, bytes)
                         else TYPES.serialize_cdr(message, kind))
    return path
