"""The bytes of event_camera_msgs/EventPacket and of dvs_msgs/EventArray to events, without ROS.

Encodings as the drivers write them: ``evt3`` of metavision_driver; ``libcaer`` and ``libcaer_cmp``
of libcaer_driver (its message_converter.cpp); ``mono``, which old recordings have.  All words are
little-endian, whatever ``is_bigendian`` says (the decoders of event_camera_codecs take it so).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import MediaError
from asyncmde_ros.events.evt import Evt3
from asyncmde_ros.events.words import NOTHING, NS_PER_US, UNKNOWN, Data, Raw, Standing, spread

OVERFLOW_US = 1 << 31
"""Where the time of libcaer's events begins anew."""

PacketDecoder = Callable[[Data, int], Raw]
"""Takes a packet's bytes and its ``time_base`` in nanoseconds."""


def packet_decoder(encoding: str) -> PacketDecoder:
    """Return what decodes the packets of one topic, in their order.

    Times are in nanoseconds of the sensor's clock.  Raises MediaError for an encoding that is not
    known.
    """
    if encoding == 'evt3':
        decoder = Evt3()
        return lambda data, _: decoder.decode(data)
    if encoding not in _BY_ENCODING:
        raise MediaError(f'event packets are encoded as {encoding!r}: known are evt3, '
                         f'{", ".join(_BY_ENCODING)}')
    return _BY_ENCODING[encoding]


def _libcaer(data: Data, time_base: int) -> Raw:
    """Decode pairs of 32 bits: x, y and polarity, and the time's lower 31 bits in microseconds."""
    words = _pairs(data)
    where, lower = words[:, 0], words[:, 1].astype(np.int64)
    begun = np.cumsum(np.diff(lower, prepend=lower[:1]) < 0)
    t = time_base + (lower + begun * OVERFLOW_US) * NS_PER_US
    return Raw(where >> 17 & 0x7FFF, where >> 2 & 0x7FFF, t, (where >> 1 & 1) == 1)


def _mono(data: Data, time_base: int) -> Raw:
    """Decode 64 bits: nanoseconds since the packet's time (32), x (16), y (15), polarity."""
    words = _pairs(data)
    where = words[:, 1]
    return Raw(where & 0xFFFF, where >> 16 & 0x7FFF, time_base + words[:, 0].astype(np.int64),
               where >> 31 == 1)


def _pairs(data: Data) -> npt.NDArray[np.uint32]:
    return np.frombuffer(bytes(data), '<u4', len(data) // 8 * 2).reshape(-1, 2)


TIME_HIGH, TIME_LOW, ADDR_X, ADDR_Y, VECT_BASE_Y, VECT_8 = range(6)


def _libcaer_cmp(data: Data, time_base: int) -> Raw:
    """Decode words like those of EVT 3.0, in columns, with the time since the packet's."""
    words = np.frombuffer(bytes(data), '<u2', len(data) // 2)
    code, value = words >> 12, (words & 0xFFF).astype(np.int64)
    row, polarity = value & 0x7FF, value >> 11 & 1
    at = np.flatnonzero((code == ADDR_Y) | (code == VECT_8))
    single = code[at] == ADDR_Y
    bases, columns = np.flatnonzero(code == VECT_BASE_Y), np.flatnonzero(code == ADDR_X)
    # A vector that follows on another goes on eight rows below.
    begins = 8 * np.cumsum(code == VECT_8) - 8
    y = np.where(single, row[at], begins[at] + Standing().standing(
        bases, row[bases] - begins[bases] - 8, at))
    p = np.where(single, polarity[at], Standing().standing(bases, polarity[bases], at))
    x = Standing().standing(columns, row[columns], at)
    high, low = (Standing(0).standing(told, value[told], at) for told in (
        np.flatnonzero(code == TIME_HIGH), np.flatnonzero(code == TIME_LOW)))
    bits = np.where(single, 1, value[at] & 0xFF)
    known = (x != UNKNOWN) & (p != UNKNOWN)
    which, bit = spread(np.where(known, bits, 0))
    t = time_base + (high << 12 | low) * NS_PER_US
    return Raw(x[which], y[which] + bit, t[which], p[which] == 1)


_BY_ENCODING = {'libcaer': _libcaer, 'libcaer_cmp': _libcaer_cmp, 'mono': _mono}

EVENT_BYTES = 16
"""From one event to the next in CDR, but for the first, which is not as far."""

EVENT = np.dtype({'names': ['x', 'y', 'sec', 'nanosec', 'polarity'],
                  'formats': ['<u2', '<u2', '<i4', '<u4', 'u1'],
                  'offsets': [0, 2, 6, 10, 14], 'itemsize': EVENT_BYTES})
"""Of dvs_msgs/Event as the second and later ones lie: at two bytes over a multiple of four."""


def event_array(body: bytes, at: int, count: int) -> Raw:
    """Decode the ``count`` events of a serialised dvs_msgs/EventArray, which begin at ``at``.

    ``body`` is the little-endian CDR message after its four bytes of header, ``at`` a multiple of
    four.  Events that the message is too short for are left out.
    """
    if count < 1 or len(body) < at + 13:
        return NOTHING
    # The first one has no gap between row and time: move its beginning to where others have it.
    first = body[at:at + 4] + bytes(2) + body[at + 4:at + 14]
    rest = body[at + 14:]
    packed = first.ljust(EVENT_BYTES, b'\0') + rest
    # The last one ends with its polarity.
    whole = min(count, (len(packed) + 1) // EVENT_BYTES)
    events = np.frombuffer(packed.ljust(whole * EVENT_BYTES, b'\0'), EVENT, whole)
    t = events['sec'].astype(np.int64) * 10**9 + events['nanosec']
    return Raw(events['x'], events['y'], t, events['polarity'] != 0)
