"""Windows of time and of number over streams with gaps and new beginnings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.events.packets import Events
from asyncmde_ros.events.window import GAP_NS, HELD, Window, Windows

SIZE = (4, 4)


def at(*times: int) -> Events:
    count = len(times)
    return Events(np.zeros(count, np.uint16), np.zeros(count, np.uint16),
                  np.array(times, np.int64), np.ones(count, np.bool_), SIZE)


def cut(windows: Windows, *packets: Events) -> list[Window]:
    found = [window for packet in packets for window in windows.push(packet)]
    return found + list(windows.finish())


def times(found: list[Window]) -> list[list[int]]:
    return [window.events.t.tolist() for window in found]


def test_windows_of_a_duration_follow_on_one_another() -> None:
    found = cut(Windows(SIZE, duration_ns=10), at(5, 14), at(15, 16, 47), at(50))
    assert times(found) == [[5, 14], [15, 16], [], [], [47, 50]]
    assert [(window.begin_ns, window.end_ns) for window in found] == [
        (5, 15), (15, 25), (25, 35), (35, 45), (45, 51)]
    assert [window.begins_anew for window in found] == [True, False, False, False, False]


def test_windows_of_a_count_end_with_their_last_event() -> None:
    found = cut(Windows(SIZE, count=3), at(1, 2), at(5, 6, 8, 9, 10), at(20))
    assert times(found) == [[1, 2, 5], [6, 8, 9], [10, 20]]
    assert [(window.begin_ns, window.end_ns) for window in found] == [(1, 6), (6, 10), (10, 21)]


@pytest.mark.proves('event-time')
@pytest.mark.parametrize('windows', [Windows(SIZE, duration_ns=GAP_NS), Windows(SIZE, count=9)])
def test_after_a_gap_a_stream_begins_anew(windows: Windows) -> None:
    late = 5 + GAP_NS + 1
    found = cut(windows, at(4, 5, late), at(late + 1))
    assert times(found) == [[4, 5], [late, late + 1]]
    assert [window.begins_anew for window in found] == [True, True]
    assert found[0].end_ns == 6


@pytest.mark.proves('event-time')
@pytest.mark.parametrize('windows', [Windows(SIZE, duration_ns=10), Windows(SIZE, count=9)])
def test_where_time_goes_back_a_stream_begins_anew(windows: Windows) -> None:
    found = cut(windows, at(104, 105), at(3, 4))
    assert times(found) == [[104, 105], [3, 4]]
    assert [window.begins_anew for window in found] == [True, True]


@pytest.mark.proves('event-flood')
def test_too_many_events_are_thinned_evenly_and_never_held_without_end() -> None:
    found = cut(Windows(SIZE, duration_ns=1000, most=10), at(*range(20)), at(2000))
    assert found[0].events.t.tolist() == list(range(0, 20, 2))
    assert (found[0].thinned, found[1].thinned) == (10, 0)
    windows = Windows(SIZE, duration_ns=1000, most=10)
    found = cut(windows, *[at(*range(20))] * 1, *[at(*[19] * 20)] * 10)
    assert len(found[0].events) == 10
    assert len(found[0].events) + found[0].thinned == 220
    assert found[0].events.t[-1] == 19
    assert HELD * 10 < 220


def test_of_a_window_that_is_counted_too_many_are_thinned_as_well() -> None:
    found = cut(Windows(SIZE, count=50, most=10), at(*range(120)))
    assert [len(window.events) for window in found] == [10, 10, 10]
    assert [window.thinned for window in found] == [40, 40, 10]
    assert [window.begin_ns for window in found] == [0, 50, 100]


def test_no_events_make_no_window() -> None:
    assert cut(Windows(SIZE, duration_ns=5), at(), at()) == []


@given(st.lists(st.lists(st.integers(0, 60).map(lambda t: t * GAP_NS // 20), max_size=6)
                .map(sorted), max_size=5),
       st.one_of(st.tuples(st.integers(1, 3).map(lambda n: n * GAP_NS // 7), st.none()),
                 st.tuples(st.none(), st.integers(1, 4))))
def test_each_event_is_in_one_window_in_its_order(
        packets: list[list[int]], kind: tuple[int | None, int | None]) -> None:
    found = cut(Windows(SIZE, *kind), *(at(*packet) for packet in packets))
    assert sum(times(found), []) == sum(packets, [])
    for window in found:
        if len(window.events):
            assert window.events.t[-1] < window.end_ns
    for before, after in zip(found, found[1:], strict=False):
        assert after.begins_anew or after.begin_ns == before.end_ns


@pytest.mark.parametrize('wrong', [{}, {'duration_ns': 1, 'count': 1}, {'duration_ns': 0},
                                   {'count': -1}, {'count': 1, 'most': 0}])
def test_windows_without_a_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match='a window has'):
        Windows(SIZE, **wrong)
