"""Engines for another size and for a slow path that hangs, on sessions that compute nothing."""

import threading

import pytest

from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.clock import Clock
from asyncmde_ros.pipeline.engine_manager import MOST_RESTARTS, EngineManager

SMALL, WIDE = (28, 42), (28, 70)
DEADLINE_S = 60.0


class FakeSession:
    """Counts what is done to it; ``hanging`` as a test says."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.hanging = False
        self.started = self.stopped = 0
        self.replaced: object = None

    def start(self) -> None:
        self.started += 1

    def stop(self, timeout_s: float | None) -> bool:
        self.stopped += 1
        return not self.hanging

    def hangs(self) -> bool:
        return self.hanging

    def replace(self, earlier: object) -> None:
        assert not self.started, 'counts go on before the start'
        self.replaced = earlier


class Works:
    """Where sessions are built: at once, but for what a test sets."""

    def __init__(self) -> None:
        self.built: list[FakeSession] = []
        self.now_s = 0.0
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.manager = EngineManager(self.build, SMALL,  # type: ignore[arg-type]
                                     Clock(lambda: self.now_s, build_retry_s=5.0, join_s=0.1))

    def build(self, size: Size) -> FakeSession:
        assert self.go_on.wait(DEADLINE_S)
        if self.error is not None:
            raise self.error
        self.built.append(FakeSession(size))
        return self.built[-1]

    def frame(self, wanted: Size) -> tuple[bool, bool]:
        """Do what a frame does: return whether engines were adopted, and whether they fit."""
        return self.manager.adopt(wanted), self.manager.fit(wanted)

    def built_now(self) -> None:
        """Return once nothing is being built."""
        for thread in threading.enumerate():
            if thread.name == 'engine_builder':
                thread.join(DEADLINE_S)


def test_the_first_session_is_there_and_started() -> None:
    works = Works()
    assert works.frame(SMALL) == (False, True)
    assert [session.started for session in works.built] == [1]


def test_engines_for_another_size_are_adopted_once_they_are_built() -> None:
    works = Works()
    works.go_on.clear()
    assert works.frame(WIDE) == (False, False)
    assert works.frame(WIDE) == (False, False), 'one build at a time'
    works.go_on.set()
    works.built_now()
    assert works.frame(WIDE) == (True, True)
    before, now = works.built
    assert works.manager.session is now and now.started == 1 and now.replaced is before
    assert before.stopped and works.manager.restarts == 0
    assert works.frame(WIDE) == (False, True)


def test_engines_that_nobody_wants_any_more_are_left() -> None:
    works = Works()
    works.frame(WIDE)
    works.built_now()
    assert works.frame(SMALL) == (False, True)
    assert works.manager.session is works.built[0] and not works.built[1].started


def test_a_failed_build_is_raised_once_and_tried_again_after_a_pause() -> None:
    works = Works()
    works.error = ValueError('injected')
    works.frame(WIDE)
    works.built_now()
    with pytest.raises(EngineError, match='no engines for this image size: injected'):
        works.frame(WIDE)
    works.error = None
    for now_s in (0.0, 4.9):
        works.now_s = now_s
        assert works.frame(WIDE) == (False, False)
        works.built_now()
        assert len(works.built) == 1, 'not yet'
    works.now_s = 5.0
    works.frame(WIDE)
    works.built_now()
    assert works.frame(WIDE) == (True, True)


def test_a_session_that_hangs_is_replaced_while_it_is_used_but_not_for_ever() -> None:
    works = Works()
    for restarts in range(1, MOST_RESTARTS + 1):
        works.built[-1].hanging = True
        assert works.frame(SMALL) == (False, True), 'depth goes on'
        works.built_now()
        assert works.frame(SMALL) == (True, True)
        assert works.manager.restarts == restarts
    works.built[-1].hanging = True
    works.frame(SMALL)
    works.built_now()
    assert len(works.built) == 1 + MOST_RESTARTS
    assert works.frame(SMALL) == (False, True)
    assert not works.manager.stop(), 'threads that hang are still there'
    for session in works.built:
        session.hanging = False
    assert works.manager.stop()


def test_a_session_that_comes_to_its_end_after_all_is_kept() -> None:
    works = Works()
    works.built[0].hanging = True
    works.frame(SMALL)
    works.built[0].hanging = False
    works.built_now()
    assert works.frame(SMALL) == (False, True)
    assert works.manager.session is works.built[0] and works.manager.restarts == 0


def test_a_build_under_way_is_told_at_the_end() -> None:
    works = Works()
    works.go_on.clear()
    works.frame(WIDE)
    assert not works.manager.stop()
    works.go_on.set()
    works.manager.join()
    assert works.manager.stop()
