"""Which frames are late on a simulated machine and camera."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.pipeline.overload import (
    LATENCY_PERIODS,
    LEAST_WAIT_PERIODS,
    MOST_IN_A_ROW,
    Overload,
)

SECOND = 1e3
WAITING = 2
"""As many images wait for the node."""


@dataclass
class Played:
    """What became of each frame of a run: its age when answered [ms], None where it was lost."""

    ages_ms: list[float | None]
    late: list[bool]

    def after_start(self) -> 'Played':
        return Played(self.ages_ms[40:], self.late[40:])


def play(period_ms: float, network_ms: float, warp_ms: float, frames: int = 300) -> Played:
    """Let frames arrive evenly; answer them in order, with the newest two of those that wait."""
    overload, now_ms = Overload(), 0.0
    ages: list[float | None] = [None] * frames
    late = [False] * frames
    waiting: list[int] = []
    arriving = 0
    while arriving < frames or waiting:
        if not waiting:
            now_ms = max(now_ms, arriving * period_ms)
        while arriving < frames and arriving * period_ms <= now_ms:
            waiting = [*waiting, arriving][-WAITING:]
            arriving += 1
        frame = waiting.pop(0)
        came = frame * period_ms
        late[frame] = overload.late(round(1e6 * came), round(1e6 * now_ms))
        now_ms += warp_ms if late[frame] else network_ms
        if late[frame]:
            overload.extrapolated()
        else:
            overload.took(network_ms)
        ages[frame] = now_ms - came
    return Played(ages, late)


@pytest.mark.parametrize('network_ms', [5, 20, 32])
def test_on_a_machine_that_keeps_up_no_frame_is_late(network_ms: float) -> None:
    played = play(33.3, network_ms, 5)
    assert not any(played.late) and None not in played.ages_ms


@given(period_ms=st.floats(8, 100), share=st.floats(1.02, 1.3))
@settings(deadline=None, max_examples=50)
def test_a_machine_a_little_too_slow_answers_every_frame_in_time(period_ms: float,
                                                                 share: float) -> None:
    """And about as many get the network as there is time for."""
    network_ms, warp_ms = share * period_ms, 0.15 * period_ms
    played = play(period_ms, network_ms, warp_ms).after_start()
    assert None not in played.ages_ms
    assert max(age for age in played.ages_ms if age is not None) <= 1.6 * period_ms
    with_network = played.late.count(False) / len(played.late)
    affordable = (period_ms - warp_ms) / (network_ms - warp_ms)
    # A late frame is answered before the next one comes: the time until then is left unused.
    assert with_network > 0.6 * affordable


@pytest.mark.proves('slow-machine')
@pytest.mark.parametrize('times', [1.8, 2.5])
def test_far_too_slow_a_machine_answers_every_frame_and_goes_on_looking(times: float) -> None:
    played = play(33.3, 33.3 * times, 4).after_start()
    assert None not in played.ages_ms
    assert 1 / 8 < played.late.count(False) / len(played.late) < 1 / times


@pytest.mark.proves('slow-machine')
@pytest.mark.parametrize('period_ms', [2.0, 4.0, 8.0])
def test_a_camera_faster_than_frames_can_be_moved_leaves_the_network_its_turn(
        period_ms: float) -> None:
    played = play(period_ms, 30, 6, frames=3000).after_start()
    answered = [late for late, age in zip(played.late, played.ages_ms, strict=True)
                if age is not None]
    assert answered.count(False) / len(answered) > 1 / 6
    assert max(age for age in played.ages_ms if age is not None) < 2 * 30


def test_frames_that_all_waited_are_not_all_late() -> None:
    overload, late = Overload(), []
    for frame in range(120):
        late.append(overload.late(10**6 * frame, 10**6 * (frame + 500)))
        if late[-1]:
            overload.extrapolated()
        else:
            overload.took(5)
    settled = late[40:]
    assert settled.count(False) == len(settled) / (MOST_IN_A_ROW + 1)


def test_late_frames_that_were_not_extrapolated_do_not_count() -> None:
    """Since there was nothing to move, or it would be no quicker."""
    overload = Overload()
    for frame in range(40):
        overload.late(10**6 * frame, 10**6 * (frame + 500))
        overload.took(5)
    for frame in range(40, 80):
        assert overload.late(10**6 * frame, 10**6 * (frame + 500))


def test_the_first_frames_are_not_judged() -> None:
    overload = Overload()
    for frame in range(10):
        assert not overload.late(frame, frame + round(SECOND * 1e6))
        overload.took(5)


def test_a_frame_is_late_once_it_waited_longer_than_the_network_leaves_time_for() -> None:
    overload, period_ms, network_ms = Overload(), 30.0, 30.0
    for frame in range(30):
        assert not overload.late(round(1e6 * frame * period_ms), round(1e6 * frame * period_ms))
        overload.took(network_ms)
    spare = max(LATENCY_PERIODS * period_ms - network_ms, LEAST_WAIT_PERIODS * period_ms)
    for extra, expected in ((-0.5, False), (0.5, True)):
        came = 1e6 * 31 * period_ms
        assert overload.late(round(came), round(came + 1e6 * (spare + extra))) is expected
