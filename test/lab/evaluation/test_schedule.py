"""Which memory each frame sees: against a simulation of the pipeline itself, event by event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation.schedule import Asynchronous, Fixed, parse
from asyncmde_ros.lab.evaluation.simulation import BackgroundCosts, Sight

SMALL, LARGE = (252, 336), (336, 448)


def unused() -> float:
    raise AssertionError('no latency is needed here')


def test_fixed_interval_cycles_through_lags() -> None:
    assert Fixed(4).keyframes(10, unused) == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]


def test_what_is_there_at_once_is_of_the_largest_size_and_of_the_frame_itself() -> None:
    def no_background(rate_hz: float, stated_ms: float | None) -> BackgroundCosts:
        raise AssertionError('what is there at once has no latency')
    watch = Fixed(3).watch((SMALL, LARGE), no_background)
    assert [watch.frame() for _ in range(5)] == [
        Sight(index - index % 3, LARGE, index) for index in range(5)]
    assert Fixed(3).watch((SMALL,), no_background).frame() == Sight(0, SMALL, 0)


def simulate(rate_hz: float, latency_ms: float, frames: int) -> list[int | None]:
    """The pipeline's rules in time: one back slot, newest frame wins, swaps at frames only."""
    seen: list[int | None] = []
    front = pending = None
    running: tuple[int, float] | None = None
    for index in range(frames):
        now = index / rate_hz
        if running is not None and running[1] <= now + 1e-9:
            pending, running = running[0], None
        if pending is not None:
            front, pending = pending, None
        if running is None:  # the slot is free and this frame is the newest
            running = index, now + latency_ms / 1e3
        seen.append(front)
    return seen


@given(rate=st.sampled_from([10.0, 25.0, 30.0, 60.0]), latency=st.floats(1, 900),
       frames=st.integers(1, 120))
def test_asynchronous_is_the_pipelines_own_schedule(rate: float, latency: float,
                                                    frames: int) -> None:
    expected = simulate(rate, latency, frames)
    assert Asynchronous(rate).keyframes(frames, lambda: latency) == expected
    assert Asynchronous(rate, latency).keyframes(frames, unused) == expected


def test_a_refresh_that_ends_exactly_at_a_frame_is_there_for_it() -> None:
    schedule = Asynchronous(30, 100)
    assert schedule.delay(100) == 3
    assert schedule.keyframes(9, unused) == [None, None, None, 0, 0, 0, 3, 3, 3]


def test_parse() -> None:
    assert parse('fixed:10') == Fixed(10)
    assert parse('async:30') == Asynchronous(30)
    assert parse('async:25:200') == Asynchronous(25, 200)
    assert (Fixed(10).name, Asynchronous(30, 150).name) == ('fixed:10', 'async:30')
    for text in ('fixed:0', 'fixed:x', 'async:', 'async:-1', 'async:30:0', 'async:30:nan',
                 'weekly'):
        with pytest.raises(AsyncMDEError, match='fixed:N'):
            parse(text)


def test_only_what_takes_time_has_a_foundation_model_at_its_own_rate() -> None:
    assert not Fixed(4).takes_time and Fixed(4).alone() is None
    assert Asynchronous(30, 150).takes_time
    assert Asynchronous(30, 150).alone() == Asynchronous(30), 'stated is a refresh in the node'
