"""Windows as time passes, with events and without, and their stamps."""

import numpy as np
import pytest

from asyncmde_ros.events.live import PATIENCE_NS, LiveEvents, Packet, SensorClock
from asyncmde_ros.events.words import NOTHING, Raw

SIZE = (24, 32)
MS = 10**6
WINDOW_NS = 10 * MS


def packet(*times_ms: float, stamp_ns: int | None = None, size: tuple[int, int] = SIZE) -> Packet:
    count = len(times_ms)
    return Packet(size, 'sensor', Raw(
        np.arange(count), np.arange(count), np.array([int(t * MS) for t in times_ms]),
        np.ones(count, np.bool_)), stamp_ns)


@pytest.fixture
def live() -> LiveEvents:
    return LiveEvents(WINDOW_NS, 100 * MS)


def ends(live: LiveEvents) -> list[float]:
    """Return the ends [ms] of the windows that have ended, one picture for each."""
    ended, live._ended = live._ended, []
    found = []
    for window in ended:
        live._ended = [window]
        moment = live.look()
        assert moment is not None
        found.append(moment.stamp_ns / MS)
    return found


def test_each_window_has_its_end_in_the_order_of_time(live: LiveEvents) -> None:
    live.push(packet(0, 4, 8), 0)
    assert live.look() is None, 'the window goes on'
    live.push(packet(11, 35), 0)
    assert ends(live) == [10, 20, 30]
    assert live.events == 5


@pytest.mark.proves('event-silence')
def test_windows_end_without_events_once_time_has_passed(live: LiveEvents) -> None:
    live.wait(10**12)
    assert live.look() is None, 'nothing is known of a sensor that was never heard'
    live.push(packet(0, 4), 1000 * MS)
    # The newest event, of 4 ms, came at 1000: the window's end is due 6 ms later.
    live.wait(1006 * MS + PATIENCE_NS - 1)
    assert ends(live) == []
    live.wait(1006 * MS + PATIENCE_NS)
    assert ends(live) == [10]
    live.wait(1028 * MS + PATIENCE_NS)
    assert ends(live) == [20, 30]
    # Events go on where time has come to, and nothing begins anew.
    live.push(packet(131, 145), 1200 * MS)
    assert ends(live) == [40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140]
    assert live.faults['restarts'] == 0


@pytest.mark.proves('event-silence')
def test_events_of_windows_that_are_over_are_late(live: LiveEvents) -> None:
    live.push(packet(0, 4), 0)
    live.wait(30 * MS + PATIENCE_NS)
    assert ends(live) == [10, 20, 30]
    live.push(packet(15, 25, 31, 42), 200 * MS)
    assert ends(live) == [40] and live.faults['late'] == 2


@pytest.mark.proves('event-silence')
def test_a_sensor_whose_time_stood_still_begins_anew_after_a_moment(live: LiveEvents) -> None:
    live.push(packet(0, 4), 0)
    live.wait(3000 * MS + PATIENCE_NS)
    assert len(ends(live)) == 300
    for step in range(60):
        live.push(packet(10 + 10 * step, 12 + 10 * step), 3000 * MS)
    assert live.faults['late'] == 2 * 51 - 2, 'those of half a second'
    moment = live.look()
    assert moment is not None and moment.begins_anew and moment.stamp_ns < 700 * MS


def test_a_recording_that_is_played_slowly_is_not_cut_short(live: LiveEvents) -> None:
    for step in range(20):
        live.wait(step * 90 * MS)
        live.push(packet(step * 3), step * 90 * MS)
    assert live.faults['late'] == 0 and ends(live) == [10, 20, 30, 40, 50]


def test_whoever_is_late_gets_one_picture_of_all_and_loses_no_event(live: LiveEvents) -> None:
    one_by_one = LiveEvents(WINDOW_NS, 100 * MS)
    rng = np.random.default_rng(0)
    for step in range(6):
        times = np.sort(rng.uniform(10 * step, 10 * step + 10, 40)) * MS
        events = Packet(SIZE, 'sensor', Raw(rng.integers(0, 32, 40), rng.integers(0, 24, 40),
                                            times.astype(np.int64), rng.random(40) < 0.5))
        live.push(events, 0)
        one_by_one.push(events, 0)
        one_by_one.look()
    first = live.look()
    assert first is not None and (first.skipped, first.events, first.begins_anew) == (4, 200, True)
    for both in (live, one_by_one):
        both.push(packet(79), 0)
    late, early = live.look(), one_by_one.look()
    assert late is not None and early is not None and late.stamp_ns == early.stamp_ns
    np.testing.assert_allclose(live._reconstruction._brighter,
                               one_by_one._reconstruction._brighter, rtol=1e-4, atol=1e-6)


def test_what_was_before_a_new_beginning_is_not_in_the_picture(live: LiveEvents) -> None:
    live.push(packet(5000, 5011), 0)
    live.push(packet(0, 1, 2, 11), 0)
    moment = live.look()
    assert moment is not None and moment.begins_anew and live.faults['restarts'] == 1
    assert (moment.events, moment.stamp_ns, moment.skipped) == (3, 10 * MS, 2)


def test_another_sensor_begins_anew(live: LiveEvents) -> None:
    live.push(packet(0, 11), 0)
    live.push(packet(20, 31, size=(12, 16)), 0)
    moment = live.look()
    assert moment is not None and moment.picture.grey.shape == (12, 16) and moment.begins_anew
    with pytest.raises(ValueError, match='sides are'):
        live.push(packet(40, size=(0, 9)), 0)


def test_a_message_without_events_is_one(live: LiveEvents) -> None:
    live.push(Packet(SIZE, 'sensor', NOTHING, 5), 0)
    live.wait(10**10)
    assert live.look() is None and live.size == SIZE


def test_stamps_are_those_of_the_headers_clock(live: LiveEvents) -> None:
    live.push(packet(3, 9, stamp_ns=7000 * MS), 0)
    live.push(packet(14, stamp_ns=7011 * MS), 0)
    moment = live.look()
    assert moment is not None and moment.stamp_ns == 7010 * MS and moment.frame_id == 'sensor'


def test_uneven_stamps_move_the_clocks_slowly_and_never_back() -> None:
    clock, rng, told = SensorClock(), np.random.default_rng(0), []
    for step in range(4000):
        sensor_ns = step * MS
        clock.saw(sensor_ns, 10**12 + sensor_ns + int(rng.uniform(0, 20 * MS)))
        told.append(clock(sensor_ns) - sensor_ns - 10**12)
    steps = np.diff(told)
    assert np.abs(steps).max() <= 0.01 * MS, 'a hundredth of the time that passed'
    assert 5 * MS < told[-1] < 15 * MS, 'near the middle of the jitter'


def test_a_clock_that_was_set_is_followed_at_once() -> None:
    clock = SensorClock()
    clock.saw(0, 10**12)
    clock.saw(10 * MS, 5 * 10**12)
    assert clock(10 * MS) == 5 * 10**12
