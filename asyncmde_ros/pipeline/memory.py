"""Which keyframe may be used: one of the present epoch that is not too old."""

import logging
from collections.abc import Callable

from asyncmde_ros.pipeline.feature_cache import Keyframe, Slot
from asyncmde_ros.pipeline.results import PipelineState
from asyncmde_ros.pipeline.session import Session
from asyncmde_ros.pipeline.settings import OldMemory, Settings
from asyncmde_ros.pipeline.stamps import MemoryAge

logger = logging.getLogger(__name__)


class Memory:
    """The rules by which a session's memory is used and dropped.

    ``epoch`` is that of the frames since the memory was last dropped; ``resets`` and ``cuts``
    count why it was.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        """``clock_s`` gives seconds that never go back."""
        self.epoch = 0
        self.resets = 0
        self.cuts = 0
        self.age = MemoryAge(clock_s)

    def reset(self, session: Session) -> None:
        """Forget everything seen so far."""
        self.resets += 1
        self._drop(session)

    def lose(self, session: Session, why: str) -> None:
        """Drop a memory that shows another scene."""
        logger.info('%s: the memory is dropped', why)
        self.cuts += 1
        self._drop(session)

    def _drop(self, session: Session) -> None:
        """Let no keyframe from before this moment be used again, nor one under way."""
        self.epoch += 1
        session.drop_memory()

    def take(self, session: Session, settings: Settings) -> Slot | PipelineState:
        """Return the newest memory, or why depth is withheld."""
        slot = session.cache.front()
        if slot is None or slot.keyframe is None or slot.keyframe.epoch != self.epoch:
            return self.missing(settings)
        last = session.fast.keyframe
        if last is not None and last.generation != slot.keyframe.generation and (
                self.stale(last, settings)):
            session.fast.forget()  # so that nothing of it is moved: there is a newer memory
        if settings.old_memory is OldMemory.WITHHOLD and self.stale(slot.keyframe, settings):
            session.fast.forget()  # its state will not have moved with the frames in between
            return PipelineState.MEMORY_STALE
        return slot

    def missing(self, settings: Settings) -> PipelineState:
        """Return why there is no memory."""
        return (PipelineState.WAITING_FOR_MEMORY if settings.slow_path_enabled
                else PipelineState.SLOW_PATH_OFF)

    def stale(self, keyframe: Keyframe, settings: Settings) -> bool:
        """Tell whether a keyframe is beyond the age that is allowed, at the newest frame."""
        return 0 < settings.max_memory_age_s < self.age.seconds(keyframe)
