"""What each frame finds, in simulated time: cases done by hand, and what must always hold."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.lab.evaluation.schedule import Asynchronous
from asyncmde_ros.lab.evaluation.simulation import (
    BackgroundCosts,
    BackgroundThread,
    Job,
    Sight,
    Turn,
    pass_time,
)
from asyncmde_ros.pipeline.refresh_policy import BEARABLE, SLOPE
from asyncmde_ros.pipeline.session import GLANCE_INTERVAL_SHARE
from asyncmde_ros.pipeline.slow_path import POLL_S

SMALL, LARGE = (252, 336), (336, 448)
TOLERANCE_S = 1e-6
RATES = st.sampled_from([10.0, 25.0, 30.0, 60.0])


def closed_form(rate_hz: float, latency_ms: float, frames: int) -> list[int | None]:
    return Asynchronous(rate_hz, latency_ms).keyframes(frames, lambda: math.nan)


def shown(plan: Callable[[], Job], rate_hz: float, frames: int) -> list[int | None]:
    thread = BackgroundThread(plan, TOLERANCE_S / rate_hz)
    found = []
    for index in range(frames):
        pass_time([thread], index, rate_hz)
        found.append(thread.shown)
    return found


@given(rate=RATES, latency=st.floats(1, 900), frames=st.integers(1, 120))
def test_a_thread_that_never_rests_keeps_the_closed_form(rate: float, latency: float,
                                                         frames: int) -> None:
    assert shown(lambda: Job(SMALL, latency / 1e3, 0.0), rate, frames) == closed_form(
        rate, latency, frames)


def test_a_thread_rests_for_its_interval_and_takes_the_newest_frame_then() -> None:
    # At 10 Hz: 0 starts at 0 s and is there at frame 1; the next may start at 0.25 s, with frame
    # 2, ends at 0.3 s and is there for frame 3; the one after starts at 0.5 s, with frame 5.
    assert shown(lambda: Job(SMALL, 0.05, 0.25), 10, 8) == [None, 0, 0, 2, 2, 2, 5, 5]


def test_what_a_thread_does_next_is_planned_when_it_is_done_and_again_while_it_rests() -> None:
    asked: list[int] = []
    times = iter([(0.25, 0.0), (0.05, 0.55), (0.05, 0.55), (0.05, 0.0), (0.05, 9.0)])

    def plan() -> Job:
        asked.append(len(asked))
        takes_s, interval_s = next(times)
        return Job(SMALL, takes_s, interval_s)
    # Done at 0.25 s it would rest until 0.55 s, but looks every POLL_S = 0.1 s: at 0.45 s it is
    # told to go on, with frame 4, which is there for frame 5.
    found = shown(plan, 10, 6)
    assert POLL_S == 0.1 and found == [None, None, None, 0, 0, 4]


@given(rate=RATES, latency=st.floats(1, 400), interval=st.floats(0, 1),
       frames=st.integers(2, 90))
def test_what_is_shown_is_never_newer_nor_older_than_can_be(
        rate: float, latency: float, interval: float, frames: int) -> None:
    found = shown(lambda: Job(SMALL, latency / 1e3, interval), rate, frames)
    least = max(1, math.ceil(latency * rate / 1e3 - TOLERANCE_S))
    # It rests or works, and waits for the frame that takes the result; then works again.
    most = math.ceil(max(interval, latency / 1e3) * rate) + least + 2
    for index, keyframe in enumerate(found):
        if keyframe is not None:
            assert least <= index - keyframe <= most
        else:
            assert index < least + 1
    known = [keyframe for keyframe in found if keyframe is not None]
    assert known == sorted(known)
    starts = sorted(set(known))
    for earlier, later in zip(starts, starts[1:], strict=False):
        assert (later - earlier + 1) / rate > interval  # a frame is up to a period old


def test_threads_that_take_turns_never_work_at_once_and_both_get_on() -> None:
    turn = Turn()
    threads = [BackgroundThread(lambda: Job(SMALL, 0.07, 0.0), 1e-9, turn),
               BackgroundThread(lambda: Job(None, 0.02, 0.0), 1e-9, turn)]
    found = []
    for index in range(8):
        pass_time(threads, index, 1 / 0.04)
        found.append(tuple(thread.shown for thread in threads))
    # Refresh of 0: 0 to 70 ms, seen by frame 2.  Glance of 1 then, to 90 ms, seen by frame 3.
    # Frame 2, at 80 ms, frees the refresh's slot: of 2, from 90 to 160 ms, seen by frame 4.  The
    # glance of 4, since its slot was freed at frame 3: from 160 to 180 ms, seen by frame 5.
    # The refresh of 4 then, to 250 ms, and the glance of 6 to 270 ms, both seen by frame 7.
    assert found == [(None, None), (None, None), (0, None), (0, 1), (2, 1), (2, 4), (2, 4),
                     (4, 6)]


@given(refresh=st.floats(1, 300), glance=st.floats(1, 100), rate=RATES)
def test_with_turns_each_is_no_sooner_done_than_without(refresh: float, glance: float,
                                                        rate: float) -> None:
    def keyframes(turn: Turn | None) -> list[list[int | None]]:
        threads = [BackgroundThread(lambda: Job(SMALL, refresh / 1e3, 0.0), 1e-9, turn),
                   BackgroundThread(lambda: Job(None, glance / 1e3, 0.0), 1e-9, turn)]
        seen = []
        for index in range(60):
            pass_time(threads, index, rate)
            seen.append([thread.shown for thread in threads])
        return [list(column) for column in zip(*seen, strict=True)]
    for shared, apart in zip(keyframes(Turn()), keyframes(None), strict=True):
        ages = [[index - frame for index, frame in enumerate(column) if frame is not None]
                for column in (shared, apart)]
        assert ages[0] and max(ages[0]) >= max(ages[1]) - 1
        assert all(b >= a for a, b in zip(shared[40:], shared[41:], strict=False))


def sights(frames: int, change_per_s: float, sizes: tuple[tuple[int, int], ...], small_ms: float,
           large_ms: float, glance_ms: float, trust: float = 1.0,
           stated_ms: float | None = None, in_turn: bool = False) -> list[Sight]:
    """Return what frames at 30 Hz find, whose picture changes by so much a second."""
    def background(rate_hz: float, stated_ms: float | None) -> BackgroundCosts:
        share = 1.0 if stated_ms is None else stated_ms / small_ms
        return BackgroundCosts({SMALL: share * small_ms, LARGE: share * large_ms},
                               share * glance_ms, in_turn)
    watch = Asynchronous(30, stated_ms).watch(sizes, background)
    found = []
    for _ in range(frames):
        found.append(watch.frame())
        watch.judged(trust, change_per_s / 30)
    return found


def test_while_it_changes_refreshes_and_glances_follow_one_another_each_at_its_own_pace() -> None:
    found = sights(60, 2.0, (SMALL,), 90, 170, 40)
    assert [sight.keyframe for sight in found] == closed_form(30, 90, 60)
    assert [sight.glance for sight in found] == closed_form(30, 40, 60)
    assert {sight.size for sight in found} == {None, SMALL}


def test_the_policy_chooses_the_size_of_a_refresh_by_the_change() -> None:
    def sizes(per_s: float) -> set[tuple[int, int] | None]:
        found = sights(90, per_s, (SMALL, LARGE), 90, 170, 40)
        return {sight.size for sight in found[30:]}
    assert (sizes(0.0), sizes(9.0)) == ({LARGE}, {SMALL})


@pytest.mark.parametrize(('what', 'share'), [('keyframe', 1.0),
                                             ('glance', GLANCE_INTERVAL_SHARE)])
def test_where_little_changes_refreshes_and_glances_are_rare(what: str, share: float) -> None:
    per_s = 0.05
    least_s = share * BEARABLE / (SLOPE * per_s)
    found = sights(300, per_s, (SMALL,), 30, 60, 10)
    gaps_s = np.diff(sorted({getattr(sight, what) for sight in found[60:]})) / 30
    assert least_s - 1 / 30 < gaps_s.min() and gaps_s.max() < least_s + 2 / 30
    unsure = sights(300, per_s, (SMALL,), 30, 60, 10, trust=0.5)
    assert len({getattr(sight, what) for sight in unsure}) > 200, 'what changed is looked at again'


def test_a_stated_latency_is_the_smallest_refreshs_and_the_others_keep_their_proportion() -> None:
    assert sights(61, 2.0, (SMALL, LARGE), 45, 85, 20, stated_ms=90) == sights(
        61, 2.0, (SMALL, LARGE), 90, 170, 40)
