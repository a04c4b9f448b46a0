"""When frames are due, with a clock in the test's hands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.lab.media.pace import LEAP_NS, Pace, PlaybackClock, clock_of

SECOND_NS = 10**9


def test_frames_are_due_at_the_pace_of_their_stamps_whatever_each_took() -> None:
    now = [50.0]
    pace = Pace(lambda: now[0])
    assert pace.early_s(7 * SECOND_NS) == 0
    now[0] += 0.25
    assert pace.early_s(8 * SECOND_NS) == pytest.approx(0.75)
    now[0] += 2.75
    assert pace.early_s(9 * SECOND_NS) == pytest.approx(-1.0)


@pytest.mark.proves('recording-leaps')
@pytest.mark.parametrize('leap_ns', [LEAP_NS + 1, 1_760_000_000 * SECOND_NS, -1, -5 * SECOND_NS])
def test_where_stamps_leap_or_go_back_nobody_waits(leap_ns: int) -> None:
    now = [50.0]
    pace = Pace(lambda: now[0])
    pace.early_s(10 * SECOND_NS)
    now[0] += 0.5
    assert pace.early_s(10 * SECOND_NS + leap_ns) == 0
    assert pace.early_s(11 * SECOND_NS + leap_ns) == pytest.approx(1.0), 'and on from there'


def test_a_pause_is_waited_for() -> None:
    pace = Pace(lambda: 0.0)
    pace.early_s(0)
    assert pace.early_s(LEAP_NS) == pytest.approx(LEAP_NS / 1e9)


def test_what_was_played_does_not_count_leaps() -> None:
    pace = Pace(lambda: 0.0)
    assert pace.played_s == 0
    for stamp_ns in (10, 11, 3611, 3612, 5, 7):
        pace.early_s(stamp_ns * SECOND_NS)
    assert pace.played_s == 1 + 1 + 2


EPOCH_NS = 1_700_000_000 * SECOND_NS
CAMERAS_NS = st.integers(SECOND_NS // 240, SECOND_NS)
LENGTHS = st.integers(3, 20)
JITTER = st.lists(st.floats(-0.4, 0.4), min_size=20, max_size=20)


@pytest.mark.proves('recording-stamps')
@given(CAMERAS_NS, LENGTHS, JITTER, JITTER, st.sampled_from([-9, -6, -5, -3, 3, 6, 9]))
def test_stamps_in_a_wrong_unit_are_not_gone_by(period_ns: int, length: int,
                                                early: list[float], late: list[float],
                                                power: int) -> None:
    times = [(EPOCH_NS + int((index + early[index]) * period_ns * 10.0 ** power),
              EPOCH_NS + int((index + late[index]) * period_ns)) for index in range(length)]
    assert clock_of(times) is not PlaybackClock.HEADERS


@pytest.mark.proves('recording-stamps')
@given(CAMERAS_NS, LENGTHS, JITTER, JITTER, st.floats(0.1, 10))
def test_right_stamps_are_gone_by_at_whatever_rate_they_were_recorded(
        period_ns: int, length: int, early: list[float], late: list[float], rate: float) -> None:
    """``rate`` is that of ``ros2 bag play``, or of a simulation."""
    times = [(EPOCH_NS + int((index + early[index] / 2) * period_ns),
              EPOCH_NS + int((index + late[index] / 2) * period_ns / rate))
             for index in range(length)]
    assert clock_of(times) is PlaybackClock.HEADERS


@pytest.mark.proves('recording-stamps')
@given(CAMERAS_NS, LENGTHS, st.integers(0, 10**6), st.integers(1, 8))
def test_right_stamps_are_gone_by_where_many_were_recorded_at_once(
        period_ns: int, length: int, apart_ns: int, burst: int) -> None:
    times = [(EPOCH_NS + index * period_ns,
              EPOCH_NS + index // burst * burst * period_ns + index % burst * apart_ns)
             for index in range(length)]
    assert clock_of(times) is PlaybackClock.HEADERS


@given(st.integers(SECOND_NS, 600 * SECOND_NS), LENGTHS, st.integers(0, 10**8))
def test_a_slow_camera_is_believed_though_it_was_recorded_at_once(
        period_ns: int, length: int, apart_ns: int) -> None:
    end_ns = EPOCH_NS + length * period_ns
    times = [(EPOCH_NS + index * period_ns, end_ns + index * apart_ns) for index in range(length)]
    assert clock_of(times) is PlaybackClock.HEADERS


@pytest.mark.parametrize('rate_hz', [1.5, 2, 5, 30])
def test_stamps_of_whole_seconds_are_not_gone_by(rate_hz: float) -> None:
    received = [EPOCH_NS + int(index * SECOND_NS / rate_hz) for index in range(20)]
    assert clock_of([(at // SECOND_NS * SECOND_NS, at) for at in received]) is PlaybackClock.STILL


def test_a_loop_or_a_leap_or_a_lost_stamp_makes_no_stamps_wrong() -> None:
    times = [(EPOCH_NS + index * SECOND_NS // 30,) * 2 for index in range(20)]
    for place, stamp_ns in ((5, 0), (9, 1), (15, 2 * EPOCH_NS), (19, EPOCH_NS)):
        changed = [(stamp_ns if index == place else stamp, received)
                   for index, (stamp, received) in enumerate(times)]
        assert clock_of(changed) is PlaybackClock.HEADERS


@pytest.mark.parametrize('times', [[], [(0, 5)], [(5, 9)], [(5, 9), (5, 9)]])
def test_of_too_few_stamps_nothing_is_said_but_that_there_is_none(
        times: list[tuple[int, int]]) -> None:
    assert clock_of(times) is (PlaybackClock.UNSTAMPED if times == [(0, 5)] else
                               PlaybackClock.HEADERS)
