"""What each frame finds: against a simulation of the pipeline itself, and cases done by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.evaluation.schedule import (
    Asynchronous,
    Background,
    BackgroundThread,
    Fixed,
    Job,
    Sight,
    parse,
)
from asyncmde_ros.pipeline.motion import Warp, still
from asyncmde_ros.pipeline.refresh_policy import BEARABLE, LONGEST_INTERVAL_S, SLOPE
from asyncmde_ros.pipeline.session import GLANCE_INTERVAL_SHARE
from asyncmde_ros.pipeline.slow_path import POLL_S

SMALL, LARGE = (252, 336), (336, 448)
TOLERANCE_S = 1e-6
RATES = st.sampled_from([10.0, 25.0, 30.0, 60.0])


def unused() -> float:
    raise AssertionError('no latency is needed here')


def test_fixed_interval_cycles_through_lags() -> None:
    assert Fixed(4).keyframes(10, unused) == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]


def test_what_is_there_at_once_is_of_the_largest_size_and_of_the_frame_itself() -> None:
    def no_background(rate_hz: float, stated_ms: float | None) -> Background:
        raise AssertionError('what is there at once has no latency')
    steps = [still(SMALL)] * 5
    assert Fixed(3).sights(steps, (SMALL, LARGE), no_background) == [
        Sight(index - index % 3, LARGE, index) for index in range(5)]
    assert Fixed(3).sights(steps, (SMALL,), no_background)[4] == Sight(3, SMALL, 4)


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


@given(rate=RATES, latency=st.floats(1, 900), frames=st.integers(1, 120))
def test_asynchronous_is_the_pipelines_own_schedule(rate: float, latency: float,
                                                    frames: int) -> None:
    expected = simulate(rate, latency, frames)
    assert Asynchronous(rate).keyframes(frames, lambda: latency) == expected
    assert Asynchronous(rate, latency).keyframes(frames, unused) == expected


def test_a_refresh_that_ends_exactly_at_a_frame_is_there_for_it() -> None:
    schedule = Asynchronous(30, 100)
    assert schedule.delay(100) == 3
    assert schedule.keyframes(9, unused) == [None, None, None, 0, 0, 0, 3, 3, 3]


def shown(plan: Callable[[], Job], rate_hz: float, frames: int) -> list[int | None]:
    thread = BackgroundThread(plan, TOLERANCE_S / rate_hz)
    found = []
    for index in range(frames):
        thread.until(index / rate_hz)
        thread.frame(index, index / rate_hz)
        found.append(thread.shown)
    return found


@given(rate=RATES, latency=st.floats(1, 900), frames=st.integers(1, 120))
def test_a_thread_that_never_rests_keeps_the_closed_form(rate: float, latency: float,
                                                         frames: int) -> None:
    assert shown(lambda: Job(SMALL, latency / 1e3, 0.0), rate, frames) == Asynchronous(
        rate, latency).keyframes(frames, unused)


def test_a_thread_rests_for_its_interval_and_takes_the_newest_frame_then() -> None:
    # At 10 Hz: 0 starts at 0 s and is there at frame 1; the next may start at 0.25 s, with frame
    # 2, ends at 0.3 s and is there for frame 3; the one after starts at 0.5 s, with frame 5.
    assert shown(lambda: Job(SMALL, 0.05, 0.25), 10, 8) == [None, 0, 0, 2, 2, 2, 5, 5]


@given(rate=RATES, latency=st.floats(1, 400), interval=st.floats(0, 1),
       frames=st.integers(2, 90))
def test_what_is_shown_is_never_newer_nor_older_than_can_be(
        rate: float, latency: float, interval: float, frames: int) -> None:
    found = shown(lambda: Job(SMALL, latency / 1e3, interval), rate, frames)
    least = max(1, math.ceil(latency * rate / 1e3 - TOLERANCE_S))
    # It rests, works, and waits for the frame that takes the result; the same before that.
    most = least + math.ceil(max(interval, latency / 1e3) * rate) + 2
    for index, keyframe in enumerate(found):
        if keyframe is not None:
            assert least <= index - keyframe <= least + most
        else:
            assert index < least + 1
    known = [keyframe for keyframe in found if keyframe is not None]
    assert known == sorted(known)
    starts = sorted(set(known))
    for earlier, later in zip(starts, starts[1:], strict=False):
        assert (later - earlier + 1) / rate > interval  # a frame is up to a period old


def moving(frames: int, per_s: float, rate_hz: float) -> list[Warp]:
    """Return steps to the side at ``per_s`` halves of the image's side."""
    step = still(SMALL)
    homography = step.homography.copy()
    homography[0, 2] = per_s / rate_hz
    return [step, *[step._replace(homography=homography)] * (frames - 1)]


def at_30_hz(small_ms: float, large_ms: float, glance_ms: float) -> Callable[
        [float, float | None], Background]:
    def background(rate_hz: float, stated_ms: float | None) -> Background:
        assert rate_hz == 30
        share = 1.0 if stated_ms is None else stated_ms / small_ms
        return Background({SMALL: share * small_ms, LARGE: share * large_ms}, share * glance_ms)
    return background


def test_while_it_moves_refreshes_and_glances_follow_one_another_each_at_its_own_pace() -> None:
    steps = moving(31, 2.0, 30)
    sights = Asynchronous(30).sights(steps, (SMALL,), at_30_hz(90, 170, 40))
    # Before it moved there was nothing to hurry for: the first pause is that of a still camera,
    # which is looked at again after POLL_S.
    assert [sight.keyframe for sight in sights[:7]] == [None, None, None, 0, 0, 0, 3]
    assert [sight.glance for sight in sights[20:]] == [
        index - index % 2 - 2 for index in range(20, 31)] or [
        sight.glance for sight in sights[20:]] == [
        index - 2 - (index + 1) % 2 for index in range(20, 31)]
    assert all(2 <= index - sight.glance <= 3 for index, sight in enumerate(sights[10:], 10)
               if sight.glance is not None)


def test_the_policy_chooses_the_size_of_a_refresh_by_the_motion() -> None:
    background = at_30_hz(90, 170, 40)
    still_sizes = {sight.size for sight in Asynchronous(30).sights(
        moving(90, 0.0, 30), (SMALL, LARGE), background)[10:]}
    fast_sizes = {sight.size for sight in Asynchronous(30).sights(
        moving(90, 2.0, 30), (SMALL, LARGE), background)[30:]}
    assert (still_sizes, fast_sizes) == ({LARGE}, {SMALL})


def test_where_little_moves_refreshes_and_glances_are_rare() -> None:
    per_s = 0.05
    interval_s = BEARABLE / (SLOPE * per_s)
    sights = Asynchronous(30).sights(moving(300, per_s, 30), (SMALL,), at_30_hz(30, 60, 10))
    for name, least_s in (('keyframe', interval_s),
                          ('glance', GLANCE_INTERVAL_SHARE * interval_s)):
        starts = sorted({getattr(sight, name) for sight in sights[30:]})
        gaps = np.diff(starts) / 30
        assert gaps.min() > least_s - 1 / 30 and gaps.max() <= least_s + POLL_S + 2 / 30
    resting = Asynchronous(30).sights(moving(120, 0.0, 30), (SMALL,), at_30_hz(30, 60, 10))
    starts = sorted({sight.keyframe for sight in resting if sight.keyframe is not None})
    assert np.diff(starts).min() >= LONGEST_INTERVAL_S * 30 - 1


def test_a_stated_latency_is_the_smallest_refreshs_and_the_others_keep_their_proportion() -> None:
    steps = moving(61, 2.0, 30)
    background = at_30_hz(45, 85, 20)
    assert Asynchronous(30, 90).sights(steps, (SMALL, LARGE), background) == Asynchronous(
        30).sights(steps, (SMALL, LARGE), at_30_hz(90, 170, 40))


def test_parse() -> None:
    assert parse('fixed:10') == Fixed(10)
    assert parse('async:30') == Asynchronous(30)
    assert parse('async:25:200') == Asynchronous(25, 200)
    assert (Fixed(10).name, Asynchronous(30, 150).name) == ('fixed:10', 'async:30')
    for text in ('fixed:0', 'fixed:x', 'async:', 'async:-1', 'async:30:0', 'async:30:nan',
                 'weekly'):
        with pytest.raises(AsyncMDEError, match='fixed:N'):
            parse(text)
