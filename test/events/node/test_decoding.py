"""Messages of each kind to events, what is wrong with others, and which types can be read."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import sys
from types import ModuleType

import hypothesis
import numpy as np
from hypothesis import strategies
from rclpy.serialization import serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header
from support import events as encode
from support.event_clouds import SIZE, cloud
from support.events import Event, listed

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.events.node import inputs
from asyncmde_ros.events.node.decoding import Decoder
from asyncmde_ros.events.node.inputs import KINDS, message_class, readable
from asyncmde_ros.events.node.settings import ARRAY, CLOUD, PACKET
from asyncmde_ros.events.packets import Events
from asyncmde_ros.ros.messages import from_nanoseconds

SEEN = [Event(3, 5, 1_000, 1), Event(159, 0, 1_250, 0), Event(40, 119, 2_000, 1)]
STAMP_NS = 1_000_000_002
"""Of the header that support.events writes."""


def cdr(message: object, kind: str) -> bytes:
    return bytes(encode.TYPES.serialize_cdr(message, kind))


@pytest.mark.parametrize(('encoding', 'encoder'), [
    ('evt3', encode.evt3), ('libcaer', encode.libcaer), ('libcaer_cmp', encode.libcaer_cmp),
    ('mono', encode.mono)])
def test_a_packet_has_its_sensors_size_and_time(encoding: str, encoder: object) -> None:
    data = cdr(encode.packet(SIZE, encoding, encoder(SEEN)), encode.PACKET)  # type: ignore[operator]
    found = Decoder((9, 9)).packet(PACKET, data)
    assert listed(found.events) == SEEN
    assert (found.size, found.frame_id, found.stamp_ns) == (SIZE, 'sensor', STAMP_NS)


def test_a_packet_without_a_stamp_has_the_sensors_own_time() -> None:
    data = bytearray(cdr(encode.packet(SIZE, 'evt3', encode.evt3(SEEN)), encode.PACKET))
    data[4:12] = bytes(8)
    assert Decoder().packet(PACKET, bytes(data)).stamp_ns is None


def test_an_array_has_times_by_the_headers_clock() -> None:
    found = Decoder().packet(ARRAY, cdr(encode.array(SIZE, SEEN), encode.ARRAY))
    assert listed(found.events) == SEEN
    assert (found.size, found.frame_id, found.stamp_ns) == (SIZE, 'sensor', None)


def cloud_of(seen: list[Event]) -> PointCloud2:
    x, y, t, p = np.array(seen).reshape(-1, 4).T
    return cloud(Events(x.astype(np.uint16), y.astype(np.uint16), t * 1000, p == 1, SIZE),
                 from_nanoseconds(5 * 10**9))


def test_a_cloud_has_times_since_its_stamp_and_the_size_that_was_set() -> None:
    found = Decoder(SIZE).packet(CLOUD, serialize_message(cloud_of(SEEN)))
    assert listed(found.events) == [event._replace(t=event.t + 5_000_000) for event in SEEN]
    assert (found.size, found.frame_id, found.stamp_ns) == (SIZE, 'event_camera', None)
    assert not len(Decoder(SIZE).packet(CLOUD, serialize_message(cloud_of([]))).events.t)


def broken(**changes: object) -> PointCloud2:
    message = cloud_of(SEEN)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


FLOATS = [PointField(name=name, datatype=PointField.FLOAT32, count=1) for name in 'xytp']


@pytest.mark.proves('event-message')
@pytest.mark.parametrize(('message', 'words'), [
    (broken(fields=[]), 'no field x'),
    (broken(fields=FLOATS), 'field x has the type 7: whole numbers are wanted'),
    (broken(width=10**6), 'sizes do not agree'),
    (broken(header=Header(stamp=from_nanoseconds(0))), '')])
def test_a_cloud_that_cannot_be_read_says_why(message: PointCloud2, words: str) -> None:
    if not words:
        message.header.stamp.nanosec = 2 * 10**9
        words = 'stamp has 2000000000 nanoseconds'
    with pytest.raises(ValueError, match=words):
        Decoder(SIZE).packet(CLOUD, serialize_message(message))


@pytest.mark.proves('event-message')
def test_a_cloud_of_an_unknown_sensor_says_what_to_set() -> None:
    with pytest.raises(ValueError, match='set events.sensor'):
        Decoder().packet(CLOUD, serialize_message(cloud_of(SEEN)))


@pytest.mark.proves('event-message')
@pytest.mark.parametrize(('size', 'encoding', 'words'), [
    (SIZE, 'evt21', "encoded as 'evt21'"), (SIZE, '', "encoded as ''"),
    ((10, 50), 'evt3', 'over 4 times as long as wide'), ((9000, 9000), 'evt3', 'there is none')])
def test_a_packet_that_cannot_be_read_says_why(size: tuple[int, int], encoding: str, words: str
                                               ) -> None:
    data = cdr(encode.packet(size, encoding, b'1234'), encode.PACKET)
    with pytest.raises((ValueError, AsyncMDEError), match=words):
        Decoder().packet(PACKET, data)


@pytest.mark.proves('event-message')
@pytest.mark.parametrize('kind', [PACKET, ARRAY, CLOUD])
@hypothesis.given(strategies.data())
@hypothesis.settings(max_examples=40)
def test_any_damage_is_events_or_an_error(kind: str, data: strategies.DataObject) -> None:
    good = {PACKET: cdr(encode.packet(SIZE, 'evt3', encode.evt3(SEEN)), encode.PACKET),
            ARRAY: cdr(encode.array(SIZE, SEEN), encode.ARRAY),
            CLOUD: serialize_message(cloud_of(SEEN))}[kind]
    damaged = bytearray(good[:data.draw(strategies.integers(4, len(good)))])
    at = data.draw(strategies.integers(4, max(4, len(damaged) - 1)))
    if kind != CLOUD and at < len(damaged):  # DDS never hands over other than whole messages
        damaged[at] = data.draw(strategies.integers(0, 255))
    try:
        found = Decoder(SIZE).packet(kind, bytes(damaged))
    except Exception as error:
        assert str(error)
    else:
        assert len(found.events.t) <= 200


@pytest.mark.proves('event-type')
def test_a_type_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch
                                                           ) -> None:
    monkeypatch.setattr(inputs, 'message_class',
                        lambda name: PointCloud2 if 'sensor_msgs' in name else None)
    assert readable(CLOUD) == ['sensor_msgs/msg/PointCloud2']
    assert set(readable('auto')) == set(KINDS)
    with pytest.raises(AsyncMDEError, match=r'ros-\$ROS_DISTRO-event-camera-msgs'):
        readable(PACKET)
    with pytest.raises(AsyncMDEError, match=r'ros-\$ROS_DISTRO-dvs-msgs'):
        readable(ARRAY)


def test_a_type_that_is_installed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert message_class('sensor_msgs/msg/PointCloud2') is PointCloud2
    assert message_class('no_such_msgs/msg/Thing') is None
    package, module = ModuleType('dvs_msgs'), ModuleType('dvs_msgs.msg')
    module.EventArray = PointCloud2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'dvs_msgs', package)
    monkeypatch.setitem(sys.modules, 'dvs_msgs.msg', module)
    assert message_class('dvs_msgs/msg/EventArray') is PointCloud2
