"""Events that cannot be true are left out and counted, and those that can pass in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.events.packets import LATE_NS, Events, Sieve, joined, no_events

SIZE = (3, 4)


def sifted(sieve: Sieve, *events: tuple[int, int, int, int]) -> Events:
    x, y, t, p = np.array(events, np.int64).reshape(-1, 4).T
    return sieve.sift(x, y, t, p)


def test_what_is_in_order_and_on_the_sensor_passes_as_it_is() -> None:
    sieve = Sieve(SIZE)
    events = sifted(sieve, (0, 2, 5, 1), (3, 0, 5, 0), (1, 1, 9, 1))
    assert (events.x.tolist(), events.y.tolist()) == ([0, 3, 1], [2, 0, 1])
    assert (events.t.tolist(), events.p.tolist()) == ([5, 5, 9], [True, False, True])
    assert (events.x.dtype, events.t.dtype, events.p.dtype) == (np.uint16, np.int64, np.bool_)
    assert events.pixels.tolist() == [8, 3, 5]
    assert not sieve.faults


@pytest.mark.proves('event-impossible')
def test_events_outside_of_the_sensor_are_left_out() -> None:
    sieve = Sieve(SIZE)
    events = sifted(sieve, (4, 0, 1, 1), (-1, 0, 2, 1), (0, 3, 3, 1), (3, 2, 4, 1))
    assert (events.x.tolist(), events.y.tolist()) == ([3], [2])
    assert sieve.faults == {'outside': 3}


@pytest.mark.proves('event-impossible')
def test_within_a_packet_events_are_sorted_and_equal_times_stay_as_they_came() -> None:
    sieve = Sieve(SIZE)
    events = sifted(sieve, (0, 0, 7, 1), (1, 0, 3, 1), (2, 0, 7, 1), (3, 0, 3, 1))
    assert events.t.tolist() == [3, 3, 7, 7]
    assert events.x.tolist() == [1, 3, 0, 2]
    assert sieve.faults == {'unsorted': 2}


@pytest.mark.proves('event-impossible')
def test_a_late_packet_loses_what_is_before_the_last_event() -> None:
    sieve = Sieve(SIZE)
    sifted(sieve, (0, 0, LATE_NS, 1))
    events = sifted(sieve, (1, 0, LATE_NS - 5, 1), (2, 0, LATE_NS, 1), (3, 0, LATE_NS + 1, 1))
    assert events.t.tolist() == [LATE_NS, LATE_NS + 1]
    assert len(sifted(sieve, (1, 0, LATE_NS, 1))) == 0
    assert sieve.faults == {'late': 2}


@pytest.mark.proves('event-time')
def test_a_recording_that_starts_again_passes() -> None:
    sieve = Sieve(SIZE)
    sifted(sieve, (0, 0, LATE_NS + 1, 1))
    assert sifted(sieve, (0, 0, 0, 1), (1, 0, 4, 1)).t.tolist() == [0, 4]
    assert sifted(sieve, (0, 0, 5, 1)).t.tolist() == [5]
    assert sieve.faults == {'restarts': 1}


def test_no_events_are_none() -> None:
    sieve = Sieve(SIZE)
    assert len(sifted(sieve)) == 0
    assert len(joined([], SIZE)) == len(no_events(SIZE)) == 0
    assert not sieve.faults


@given(st.lists(st.lists(st.tuples(
    st.integers(-3, 6), st.integers(-3, 6), st.integers(-2 * LATE_NS, 2 * LATE_NS),
    st.integers(0, 1)), max_size=8), max_size=5))
def test_each_event_passes_or_is_counted(packets: list[list[tuple[int, int, int, int]]]) -> None:
    sieve = Sieve(SIZE)
    passed = [sifted(sieve, *packet) for packet in packets]
    for events in passed:
        assert (np.diff(events.t) >= 0).all()
        assert (events.x < 4).all() and (events.y < 3).all()
    lost = sieve.faults['outside'] + sieve.faults['late']
    assert sum(map(len, passed)) + lost == sum(map(len, packets))
    starts = [events.t[0] for events in passed if len(events)]
    ends = [events.t[-1] for events in passed if len(events)]
    back = sum(start < end for end, start in zip(ends, starts[1:], strict=False))
    assert back == sieve.faults['restarts']


def test_arrays_of_several_lengths_are_no_events() -> None:
    none = no_events(SIZE)
    with pytest.raises(ValueError, match='one length'):
        Events(none.x, none.y, np.zeros(1, np.int64), none.p, SIZE)


@pytest.mark.parametrize('size', [(0, 4), (3, -1), (3, 2 ** 14 + 1)])
def test_a_sensor_has_a_size(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match='sides are 1 to'):
        Sieve(size)
