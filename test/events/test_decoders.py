"""Words and packets to events, wherever a stream is cut and whatever is in it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import events as encode
from support.events import TYPES, Event, listed

from asyncmde_ros.errors import MediaError
from asyncmde_ros.events.evt import Decoder, Evt2, Evt3
from asyncmde_ros.events.ros_packets import event_array, packet_decoder


def some(times: st.SearchStrategy[int], most: int = 0x7FF, sort: bool = True
         ) -> st.SearchStrategy[list[Event]]:
    events = st.lists(st.builds(Event, st.integers(0, most), st.integers(0, most), times,
                                st.integers(0, 1)), max_size=12)
    return events.map(lambda found: sorted(found, key=lambda event: event.t)) if sort else events


SHORT = st.integers(0, 10_000)
STREAMS = {
    'evt2': (Evt2, encode.evt2), 'evt3': (Evt3, encode.evt3),
    'evt3 vectors': (Evt3, lambda events: encode.evt3(events, vectors=True))}


@pytest.mark.parametrize('kind', STREAMS)
@given(some(SHORT), st.integers(1, 9))
def test_a_stream_is_decoded_wherever_it_is_cut(kind: str, events: list[Event], length: int
                                                ) -> None:
    make, encoded = STREAMS[kind]
    decoder, data = make(), encoded(events)
    found = []
    for begin in range(0, len(data), length):
        found += listed(decoder.decode(data[begin:begin + length]))
    assert found == events


@pytest.mark.parametrize(('decoder', 'encoded', 'period'), [
    (Evt2(), encode.evt2, 1 << 34), (Evt3(), encode.evt3, 1 << 24)])
def test_the_time_goes_on_where_its_counter_begins_anew(
        decoder: Decoder, encoded: Callable[[list[Event]], bytes], period: int) -> None:
    events = [Event(1, 2, t, 1) for t in (period - 70_000, period - 1, period, period + 9_000,
                                          2 * period - 70_000, 2 * period + 5)]
    assert listed(decoder.decode(encoded(events[:3]))) == events[:3]
    assert listed(decoder.decode(encoded(events[3:]))) == events[3:]


def test_a_time_that_goes_back_a_little_is_no_new_beginning() -> None:
    events = [Event(1, 2, t, 1) for t in (50_000, 45_000, 60_000)]
    assert listed(Evt3().decode(encode.evt3(events))) == events


def words(*values: int) -> bytes:
    return np.array(values, '<u2').tobytes()


def test_one_vector_has_several_events_and_the_next_goes_on_behind_it() -> None:
    found = Evt3().decode(words(0x8000, 0x6007, 0x0005, 0x3800 | 100, 0x4801, 0x5081, 0x4002))
    assert listed(found) == [Event(x, 5, 7, 1) for x in (100, 111, 112, 119, 121)]


def test_a_single_event_does_not_move_the_place_of_vectors() -> None:
    found = Evt3().decode(words(0x8000, 0x6007, 0x0005, 0x3000 | 100, 0x4001, 0x2800 | 3, 0x5001))
    assert listed(found) == [Event(100, 5, 7, 0), Event(3, 5, 7, 1), Event(112, 5, 7, 0)]


@pytest.mark.parametrize('missing', [0x8000, 0x6001, 0x0001, 0x3001])
def test_events_of_which_something_is_not_known_yet_are_left_out(missing: int) -> None:
    told = [word for word in (0x8000, 0x6001, 0x0001, 0x3001) if word != missing]
    decoder = Evt3()
    assert len(decoder.decode(words(*told, 0x5001)).t) == 0
    assert len(decoder.decode(words(missing, 0x5001)).t) == 1


def test_before_the_first_time_evt2_has_no_events() -> None:
    data = encode.evt2([Event(1, 2, 100, 1)])
    assert len(Evt2().decode(data[4:] + data).t) == 1


@pytest.mark.proves('event-recording')
@pytest.mark.parametrize('make', [Evt2, Evt3])
@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_no_error(make: type[Evt2] | type[Evt3], data: bytes) -> None:
    found = make().decode(data)
    assert len(found.x) == len(found.y) == len(found.t) == len(found.p)


PACKETS = {
    'libcaer': ('libcaer', encode.libcaer, 0x7FFF),
    'libcaer_cmp': ('libcaer_cmp', encode.libcaer_cmp, 0x7FF),
    'vectors': ('libcaer_cmp', lambda events: encode.libcaer_cmp(events, vectors=True), 0x7FF),
    'mono': ('mono', encode.mono, 0x7FFF)}


@pytest.mark.parametrize('kind', PACKETS)
@given(st.data(), st.integers(0, 2 * 10**15))
def test_packets_have_times_from_their_base_on(kind: str, data: st.DataObject, base_us: int
                                               ) -> None:
    encoding, encoded, most = PACKETS[kind]
    events = data.draw(some(SHORT, most))
    decode = packet_decoder(encoding)
    for _ in range(2):  # the second one stands for itself
        found = listed(decode(encoded(events), base_us * 1000))
        assert found == [event._replace(t=event.t + base_us) for event in events]


def test_libcaer_counts_on_within_a_packet() -> None:
    events = [Event(1, 2, t, 1) for t in (0x7FFFFFFE, 0x80000003)]
    assert listed(packet_decoder('libcaer')(encode.libcaer(events), 0)) == events


def test_a_vector_of_libcaer_cmp_that_follows_goes_on_below() -> None:
    found = packet_decoder('libcaer_cmp')(words(0x2005, 0x4808, 0x5081, 0x5001), 9000)
    assert listed(found) == [Event(5, y, 9, 1) for y in (8, 15, 16)]


@pytest.mark.proves('event-recording')
@pytest.mark.parametrize('encoding', ['libcaer', 'libcaer_cmp', 'mono', 'evt3'])
@given(st.binary(max_size=40))
def test_packets_of_any_bytes_are_no_error(encoding: str, data: bytes) -> None:
    found = packet_decoder(encoding)(data, 0)
    assert len(found.x) == len(found.y) == len(found.t) == len(found.p)


def test_an_encoding_that_is_not_known_is_named() -> None:
    with pytest.raises(MediaError, match="'trigger': known are evt3, libcaer"):
        packet_decoder('trigger')


@given(some(SHORT, 0xFFFF), st.integers(0, 9))
def test_an_event_array_is_decoded_as_ros_has_serialised_it(events: list[Event], name: int
                                                            ) -> None:
    message = encode.array((480, 640), events, 'n' * name)
    body = bytes(TYPES.serialize_cdr(message, encode.ARRAY))[4:]
    at = 8 + 4 + name + 1
    at += -at % 4 + 12  # height, width, and how many
    assert listed(event_array(body, at, len(events))) == events
    # Of one that is cut, what is complete.
    cut = event_array(body[:-3], at, len(events))
    assert listed(cut) == events[:len(cut.t)]
    assert len(cut.t) >= len(events) - 1
