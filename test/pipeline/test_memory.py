"""Which keyframe may be used, told by a session that keeps nothing else."""

import logging

import pytest

from asyncmde_ros.pipeline.feature_cache import Keyframe, Slot
from asyncmde_ros.pipeline.memory import Memory
from asyncmde_ros.pipeline.results import PipelineState
from asyncmde_ros.pipeline.settings import OldMemory, Settings

SECOND = 10**9
LIMITED = Settings(max_memory_age_s=2.0)
WITHHOLDING = Settings(max_memory_age_s=2.0, old_memory=OldMemory.WITHHOLD)


def slot(stamp_s: float = 0.0, epoch: int = 0, generation: int = 1) -> Slot:
    slot = Slot({})
    slot.keyframe = Keyframe(1, round(stamp_s * SECOND), epoch, generation, 10.0)
    return slot


class FakeSession:
    """Its own cache, fast path and session: ``newest`` is what the cache gives."""

    def __init__(self, newest: Slot | None = None, last: Slot | None = None) -> None:
        self.newest = newest
        self.keyframe = None if last is None else last.keyframe
        self.forgotten = self.dropped = 0
        self.cache = self.fast = self

    def front(self) -> Slot | None:
        return self.newest

    def forget(self) -> None:
        self.forgotten += 1

    def drop_memory(self) -> None:
        self.dropped += 1


def memory(now_s: float = 0.0) -> Memory:
    """A memory at a frame of that stamp."""
    memory = Memory(lambda: 0.0)
    memory.age.saw(round(now_s * SECOND))
    return memory


@pytest.mark.parametrize(('newest', 'settings', 'expected'), [
    (None, Settings(), PipelineState.WAITING_FOR_MEMORY),
    (None, Settings(slow_path_enabled=False), PipelineState.SLOW_PATH_OFF),
    (Slot({}), Settings(), PipelineState.WAITING_FOR_MEMORY),
    (slot(epoch=1), Settings(), PipelineState.WAITING_FOR_MEMORY),
    (slot(1.0), LIMITED, None), (slot(3.0), LIMITED, None),
    (slot(1.0), WITHHOLDING, PipelineState.MEMORY_STALE), (slot(3.0), WITHHOLDING, None),
    (slot(1.0), Settings(max_memory_age_s=0.0, old_memory=OldMemory.WITHHOLD), None)])
def test_the_newest_memory_is_taken_or_it_is_said_why_not(
        newest: Slot | None, settings: Settings, expected: PipelineState | None) -> None:
    taken = memory(4.0).take(FakeSession(newest), settings)  # type: ignore[arg-type]
    assert taken is (newest if expected is None else expected)


def test_what_is_withheld_for_its_age_is_not_moved_on() -> None:
    session = FakeSession(slot(1.0))
    memory(4.0).take(session, WITHHOLDING)  # type: ignore[arg-type]
    assert session.forgotten == 1


@pytest.mark.parametrize(('last', 'forgotten'), [
    (slot(1.0, generation=1), 1), (slot(3.0, generation=1), 0), (slot(1.0, generation=2), 0),
    (None, 0)])
def test_nothing_of_an_old_memory_is_moved_once_there_is_a_newer_one(
        last: Slot | None, forgotten: int) -> None:
    session = FakeSession(slot(3.5, generation=2), last)
    memory(4.0).take(session, LIMITED)  # type: ignore[arg-type]
    assert session.forgotten == forgotten


def test_a_memory_that_is_dropped_is_not_used_again(caplog: pytest.LogCaptureFixture) -> None:
    kept, session = memory(), FakeSession(slot())
    assert isinstance(kept.take(session, Settings()), Slot)  # type: ignore[arg-type]
    kept.reset(session)  # type: ignore[arg-type]
    assert (kept.epoch, kept.resets, kept.cuts, session.dropped) == (1, 1, 0, 1)
    assert not isinstance(kept.take(session, Settings()), Slot)  # type: ignore[arg-type]
    session.newest = slot(epoch=1)
    assert isinstance(kept.take(session, Settings()), Slot)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO):
        kept.lose(session, 'a scene cut')  # type: ignore[arg-type]
    assert (kept.epoch, kept.resets, kept.cuts, session.dropped) == (2, 1, 1, 2)
    assert 'a scene cut: the memory is dropped' in caplog.text
