"""The thread that reads messages: bounded, and alive whatever comes."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image, PointCloud2

from asyncmde_ros.events.live import LiveEvents, Packet
from asyncmde_ros.events.node.diagnostics import Rates, diagnose_events
from asyncmde_ros.events.node.inputs import EventInput
from asyncmde_ros.events.node.stream import Backlog, EventStream, Heard, _Letter
from asyncmde_ros.events.words import Raw

SIZE = (24, 32)
MS = 10**6
DEADLINE_S = 30.0


def letter(size: int, name: str = 'cloud') -> _Letter:
    return _Letter(name, bytes(size), 0)


@pytest.mark.proves('event-overload')
def test_of_messages_that_wait_the_oldest_go_and_the_newest_stays_whatever_its_size() -> None:
    backlog = Backlog(100)
    assert [backlog.put(letter(size)) for size in (40, 40, 40, 10, 900)] == [0, 0, 1, 0, 3]
    assert backlog.take() == ([letter(900)], None)
    assert backlog.put(letter(100)) == 0, 'what was taken does not count any more'
    backlog.passed(7)
    assert backlog.take() == ([letter(100)], 7)
    backlog.passed(8)
    assert backlog.take() == ([], 8)
    backlog.close()
    assert backlog.take() is None and backlog.closed


class Slow:
    """Stands for a decoder: one event a message, at the time that its bytes count [ms].

    The first message keeps it until ``go_on``.
    """

    def __init__(self) -> None:
        self.go_on, self.began = threading.Event(), threading.Event()

    def packet(self, kind: str, serialised: bytes) -> Packet:
        self.began.set()
        assert self.go_on.wait(DEADLINE_S)
        if kind == 'bad':
            raise ValueError('no such events')
        pixel = np.zeros(1, np.int64)
        return Packet(SIZE, 'sensor', Raw(pixel, pixel, pixel + len(serialised) * MS, pixel == 0))


@pytest.mark.proves('event-overload', 'event-message')
def test_whatever_comes_meanwhile_and_is_not_fetched_is_one_picture() -> None:
    decoder, ready, warned = Slow(), threading.Semaphore(0), list[str]()
    stream = EventStream(decoder, LiveEvents(10 * MS, 100 * MS),  # type: ignore[arg-type]
                         ready.release, warned.append)
    try:
        stream.offer('cloud', bytes(1))
        assert decoder.began.wait(DEADLINE_S) and stream.fetch() is None
        for step in (11, 21):
            stream.offer('cloud', bytes(step))
        stream.offer('bad', b'')
        for step in (31, 41):
            stream.offer('cloud', bytes(step))
        stream.lost(2)
        decoder.go_on.set()
        while (moment := stream.fetch()) is None or moment.stamp_ns < 41 * MS:
            assert ready.acquire(timeout=DEADLINE_S)  # of windows that begin at 1, 11, 21, 31 ms
        heard = stream.heard
        assert (heard.messages, heard.events, heard.sensor) == (6, 5, '32x24')
        assert heard.dropped == {'overrun': 2, 'damaged': 1} and heard.trouble == ''
        assert warned == ['events dropped: no such events']
    finally:
        stream.close()
    assert not stream._thread.is_alive()


def test_rates_are_of_the_last_seconds() -> None:
    now = [0.0]
    rates = Rates(lambda: now[0])
    found = []
    for second in range(1, 21):
        now[0] = float(second)
        found.append(rates.of(10 * second, 1000 * min(second, 10), second))
    assert found[0] == (10.0, 1000.0, 1.0) and found[9] == (10.0, 1000.0, 1.0)
    assert found[-1] == (10.0, 0.0, 1.0), 'the sensor has stood still since'


def heard(trouble: str = '') -> Heard:
    return Heard(5, 900, Counter(damaged=2), Counter(late=3), '346x260', trouble)


def test_what_diagnostics_say_of_events() -> None:
    def said(*arguments: Any) -> tuple[bytes, str, dict[str, str]]:
        status = diagnose_events('node', *arguments)
        assert status.name == 'node: events'
        return status.level, status.message, {v.key: v.value for v in status.values}
    well = said(heard(), (100.0, 2.5e6, 30.0), 'packet', 0.25, '')
    assert well[:2] == (DiagnosticStatus.OK, '2.50 million events a second')
    assert well[2] == {
        'message_type': 'packet', 'sensor': '346x260', 'messages_hz': '100.0',
        'events_hz': '2500000', 'windows_hz': '30.0', 'seen_percent': '25.0',
        'dropped_messages_damaged': '2', 'events_late': '3'}
    for trouble, of, events_hz, words in (
            ('nobody', heard('odd'), 0.0, 'nobody'),
            ('', heard('odd'), 9.0, 'messages are dropped: odd'), ('', heard(), 0.0, 'no events')):
        assert said(of, (1.0, events_hz, 1.0), '', None, trouble)[:2] == (
            DiagnosticStatus.WARN, words)


class Published:
    """A node on whose topic something is published, by type."""

    def __init__(self, *types: str) -> None:
        self.types = types
        self.warnings: list[str] = []

    def get_publishers_info_by_topic(self, topic: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(topic_type=name) for name in self.types]


@pytest.mark.proves('event-type')
@pytest.mark.parametrize(('types', 'words'), [
    ((), 'no publisher on /events'),
    (('sensor_msgs/msg/Image',), '/events carries sensor_msgs/Image, and this node takes'),
    (('event_camera_msgs/msg/EventPacket',), 'needs the package event_camera_msgs, which is not')])
def test_why_no_events_come_is_said(types: tuple[str, ...], words: str,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    events = object.__new__(EventInput)
    events._node, events.topic = Published(*types), '/events'  # type: ignore[assignment]
    events._names, events.message = ['sensor_msgs/msg/PointCloud2',
                                     'event_camera_msgs/msg/EventPacket'], ''
    monkeypatch.setattr('asyncmde_ros.events.node.inputs.message_class',
                        {'sensor_msgs/msg/PointCloud2': PointCloud2}.get)
    assert words in events.why_nothing()
    assert events.kind(types) is None and events.message == ''
    assert events.kind([*types, 'sensor_msgs/msg/PointCloud2']) is PointCloud2
    assert events.message == 'cloud' and Image is not PointCloud2
