"""Threads that take turns at every bytecode, as a schedule says.

One thread runs at a time.  Before each bytecode of the modules under test the schedule is asked
whether the next thread shall go on instead, so a schedule that answers from a seed or a list
gives the same interleaving every time.  Locks are replaced by :class:`TurnLock` and
:class:`TurnCondition`, which hand over instead of waiting.
"""

import random
import sys
import threading
from collections.abc import Callable, Collection
from types import FrameType, TracebackType
from typing import Any

Schedule = Callable[[int], bool]
"""Told the number of the step that comes; true lets another thread go on."""

MOST_STEPS = 100_000
"""No run comes near it; more would mean that two threads wait for each other for ever."""


class DeadlockError(Exception):
    """Every thread waits."""


def at_random(seed: int) -> Schedule:
    """Return a schedule that hands over now and then, or all the time, by ``seed``."""
    generator = random.Random(seed)
    share = generator.choice((0.02, 0.1, 0.5))
    return lambda step: generator.random() < share


def at_steps(steps: Collection[int]) -> Schedule:
    """Return a schedule that hands over at these steps."""
    return lambda step: step in steps


class Turns:
    """Runs threads by turns through the code of ``files``."""

    def __init__(self, schedule: Schedule, files: Collection[str]) -> None:
        self.steps = 0
        self._schedule = schedule
        self._files = files
        self._batons: list[threading.Lock] = []
        self._finished: set[int] = set()
        self._current = 0
        self._errors: list[BaseException] = []
        self._done = threading.Event()

    def run(self, *bodies: Callable[[], None]) -> None:
        """Run every body to its end; raises the first error of one."""
        self._batons = [threading.Lock() for _ in bodies]
        for baton in self._batons:
            baton.acquire()
        threads = [threading.Thread(target=self._main, args=(index, body), daemon=True)
                   for index, body in enumerate(bodies)]
        for thread in threads:
            thread.start()
        self._batons[0].release()
        self._done.wait()
        if self._errors:
            raise self._errors[0]
        for thread in threads:
            thread.join()

    def hand_over(self) -> bool:
        """Let the next thread that is not at its end go on; False if there is none."""
        mine = self._current
        count = len(self._batons)
        for index in ((mine + ahead) % count for ahead in range(1, count)):
            if index not in self._finished:
                self._current = index
                self._batons[index].release()
                if mine not in self._finished:
                    self._batons[mine].acquire()
                return True
        return False

    def _main(self, index: int, body: Callable[[], None]) -> None:
        self._batons[index].acquire()
        sys.settrace(self._enter)
        try:
            body()
        except BaseException as error:  # whatever it is, the test shall raise it
            self._errors.append(error)
        finally:
            sys.settrace(None)
        self._finished.add(index)
        if self._errors or not self.hand_over():
            self._done.set()

    def _enter(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, _: FrameType, event: str, __: Any) -> Any:
        if event == 'opcode':
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise DeadlockError('the threads hand over to each other for ever')
            if self._schedule(self.steps):
                self.hand_over()
        return self._step


class TurnLock:
    """Stands for ``threading.Lock``; a timeout passes once nobody else can go on."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._taken = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        while self._taken:
            if not self._turns.hand_over():
                if timeout < 0:
                    raise DeadlockError('a lock that is never released')
                return False
        self._taken = True
        return True

    def release(self) -> None:
        if not self._taken:
            raise RuntimeError('release unlocked lock')
        self._taken = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.release()


class TurnCondition(TurnLock):
    """Stands for ``threading.Condition``, without timeouts."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(turns)
        self._told: list[list[bool]] = []

    def wait(self, timeout: float | None = None) -> None:
        told = [False]
        self._told.append(told)
        self.release()
        while not told[0]:
            if not self._turns.hand_over():
                self.acquire()
                raise DeadlockError('nobody is left to notify')
        self.acquire()

    def notify(self) -> None:
        if self._told:
            self._told.pop(0)[0] = True

    def notify_all(self) -> None:
        while self._told:
            self.notify()
