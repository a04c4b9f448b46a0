"""Who gives way to whom: the scheduling priority of threads."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

NICENESS = 10
"""Scheduling priority of the background below the fast path's, on the Unix scale of 19."""

LOWEST = 19
TASKS = Path('/proc/self/task')


def lower(thread: int) -> None:
    """Make a thread of this process, by its native id, give way to those of usual priority.

    Linux keeps niceness per thread.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, thread,
                       min(LOWEST, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
    except ProcessLookupError:
        pass  # it has ended
    except OSError as error:
        logger.warning('a background thread keeps its priority: %s', error)


def lower_this() -> None:
    """Make the calling thread give way."""
    lower(threading.get_native_id())


@contextlib.contextmanager
def new_threads_lowered() -> Iterator[None]:
    """Make every thread give way that is started meanwhile: a runtime's workers, say."""
    before = _threads()
    try:
        yield
    finally:
        for thread in _threads() - before:
            lower(thread)


def _threads() -> set[int]:
    try:
        return {int(task.name) for task in TASKS.iterdir()}
    except OSError:  # no Linux
        return set()
