"""When frames are due, with a clock in the test's hands."""

import pytest

from asyncmde_ros.media.pace import LEAP_NS, Pace

SECOND_NS = 10**9


def test_frames_are_due_at_the_pace_of_their_stamps_whatever_each_took() -> None:
    now = [50.0]
    pace = Pace(lambda: now[0])
    assert pace.early_s(7 * SECOND_NS) == 0
    now[0] += 0.25
    assert pace.early_s(8 * SECOND_NS) == pytest.approx(0.75)
    now[0] += 2.75
    assert pace.early_s(9 * SECOND_NS) == pytest.approx(-1.0)


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
