"""The background thread: publishes, obeys its settings, survives its engine."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from support.fakes import FakeEngine, fake_engines

from asyncmde_ros.errors import EngineError
from asyncmde_ros.pipeline import slow_path
from asyncmde_ros.pipeline.clock import Clock
from asyncmde_ros.pipeline.feature_cache import FeatureCache
from asyncmde_ros.pipeline.mailbox import Mailbox
from asyncmde_ros.pipeline.refresher import FeatureRefresher, make_slot
from asyncmde_ros.pipeline.settings import Settings
from asyncmde_ros.pipeline.slow_path import (
    Frame,
    RefreshPlan,
    SlowPath,
    SlowPathState,
    SlowPathStatus,
)

SIZE = (28, 42)
DEADLINE_S = 60.0


class Rig:
    """A slow path on fake engines, with the reader's side in the test's hands."""

    def __init__(self) -> None:
        engines = fake_engines(SIZE)
        assert isinstance(engines.slow, FakeEngine)
        self.engine = engines.slow
        self.settings = Settings()
        self.mailbox: Mailbox[Frame] = Mailbox()
        self.cache = FeatureCache(make_slot(engines.slow), make_slot(engines.slow))
        refresher = FeatureRefresher(engines)

        def plan() -> RefreshPlan | None:
            rate_hz = self.settings.slow_path_max_rate_hz
            return (RefreshPlan(refresher, 1 / rate_hz if rate_hz else 0.0)
                    if self.settings.slow_path_enabled else None)
        self.slow = SlowPath(self.cache, self.mailbox, plan, clock=Clock(refresh_retry_s=0.01))
        self.slow.start()

    def offer(self, frame_id: int) -> None:
        self.mailbox.put(Frame(frame_id, frame_id * 1000, 0,
                               np.full((*SIZE, 3), frame_id, np.uint8)))

    def until_keyframe(self, frame_id: int) -> None:
        self.until(lambda: self.keyframe_id() == frame_id)

    def keyframe_id(self) -> int | None:
        slot = self.cache.front()
        return slot.keyframe.frame_id if slot and slot.keyframe else None

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, 'did not happen in time'
            time.sleep(0.002)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    assert rig.slow.stop(DEADLINE_S)
    assert rig.slow.status.state is SlowPathState.STOPPED


def test_the_newest_frame_is_refreshed_and_published(rig: Rig) -> None:
    for frame_id in (1, 2, 3):
        rig.offer(frame_id)
        rig.until_keyframe(frame_id)
    slot = rig.cache.front()
    assert slot is not None and slot.keyframe is not None
    assert (slot.keyframe.stamp_ns, slot.keyframe.generation) == (3000, 3)
    assert rig.slow.status.refreshes == 3
    assert rig.slow.status.refreshes_of == {SIZE: 3} and rig.slow.status.stamp_ns == 3000


def test_another_slow_path_goes_on_with_the_counts(rig: Rig) -> None:
    earlier = SlowPathStatus(refreshes=5, failures=1, refreshes_of={SIZE: 2, (14, 14): 3})
    rig.slow.count_on_from(earlier)
    rig.offer(1)
    rig.until_keyframe(1)
    assert rig.slow.status.refreshes_of == {SIZE: 3, (14, 14): 3}
    assert (rig.slow.status.refreshes, rig.slow.status.failures) == (6, 1)
    assert earlier.refreshes_of == {SIZE: 2, (14, 14): 3}


@pytest.mark.proves('foundation-fails')
@pytest.mark.parametrize(('error', 'words'), [
    (EngineError('injected'), 'injected'), (MemoryError(), 'MemoryError')])
def test_an_engine_that_raises_is_counted_reported_and_tried_again(
        rig: Rig, error: Exception, words: str) -> None:
    working, failures = rig.engine.compute, iter(range(2))

    def flaky(arrays: object) -> None:
        if next(failures, None) is not None:
            raise error
        working(arrays)
    rig.engine.compute = flaky
    for failure in (1, 2):
        rig.offer(5)
        rig.until(lambda wanted=failure: rig.slow.status.failures == wanted)
    assert rig.keyframe_id() is None and rig.slow.status.last_error == words
    rig.offer(6)
    rig.until_keyframe(6)


@pytest.mark.proves('foundation-fails')
def test_it_fails_until_a_refresh_is_complete(rig: Rig) -> None:
    working, started, go_on = rig.engine.compute, threading.Event(), threading.Event()

    def broken(arrays: object) -> None:
        raise EngineError('injected')

    def slow(arrays: Mapping[str, np.ndarray]) -> None:
        started.set()
        assert go_on.wait(DEADLINE_S)
        working(arrays)
    assert not rig.slow.status.failing
    rig.engine.compute = broken
    rig.offer(1)
    rig.until(lambda: rig.slow.status.failing)
    rig.engine.compute = slow
    rig.offer(2)
    assert started.wait(DEADLINE_S)
    assert rig.slow.status.state is SlowPathState.RUNNING and rig.slow.status.failing
    go_on.set()
    rig.until_keyframe(2)
    rig.until(lambda: not rig.slow.status.failing)


@pytest.mark.proves('features-not-finite')
def test_features_that_are_not_finite_are_never_published(rig: Rig) -> None:
    rig.offer(1)
    rig.until_keyframe(1)
    working = rig.engine.compute

    def poison(arrays: dict[str, np.ndarray]) -> None:
        arrays['m1'][0, 0, 1, 1] = np.nan
    rig.engine.compute = poison
    rig.offer(2)
    rig.until(lambda: rig.slow.status.failures == 1)
    assert rig.keyframe_id() == 1 and 'not finite' in rig.slow.status.last_error
    rig.engine.compute = working
    rig.offer(3)
    rig.until_keyframe(3)


def test_switched_off_it_refreshes_nothing_until_switched_on(rig: Rig) -> None:
    rig.settings = replace(rig.settings, slow_path_enabled=False)
    rig.until(lambda: rig.slow.status.state is SlowPathState.DISABLED)
    rig.offer(1)
    time.sleep(3 * slow_path.POLL_S)
    assert rig.keyframe_id() is None
    rig.settings = replace(rig.settings, slow_path_enabled=True)
    rig.until_keyframe(1)


def test_a_rate_limit_spaces_the_refreshes(rig: Rig) -> None:
    rate_hz, refreshes = 20.0, 5
    rig.settings = replace(rig.settings, slow_path_max_rate_hz=rate_hz)
    times: list[float] = []
    for frame_id in range(1, refreshes + 1):
        rig.offer(frame_id)
        rig.until_keyframe(frame_id)
        times.append(time.monotonic())
    # A lower bound only: a busy machine may be slower, never faster.
    assert times[-1] - times[0] >= (refreshes - 1) / rate_hz * 0.9


def test_a_rate_set_live_acts_on_the_pause_that_is_under_way(rig: Rig) -> None:
    rig.settings = replace(rig.settings, slow_path_max_rate_hz=1 / (4 * DEADLINE_S))
    rig.offer(1)
    rig.until_keyframe(1)
    rig.offer(2)
    time.sleep(2 * slow_path.POLL_S)
    assert rig.keyframe_id() == 1
    rig.settings = replace(rig.settings, slow_path_max_rate_hz=0.0)
    rig.until_keyframe(2)


@pytest.mark.proves('no-priority')
def test_without_the_right_to_lower_its_priority_it_runs_all_the_same(
        monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError('injected')
    monkeypatch.setattr('os.setpriority', refuse)
    rig = Rig()
    rig.offer(1)
    rig.until_keyframe(1)
    assert rig.slow.stop(DEADLINE_S)


@pytest.mark.proves('ctrl-c')
def test_stopping_does_not_wait_for_a_frame() -> None:
    rig = Rig()
    started = time.monotonic()
    assert rig.slow.stop(DEADLINE_S)
    assert time.monotonic() - started < DEADLINE_S / 2
