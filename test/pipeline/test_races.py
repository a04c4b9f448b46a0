"""FeatureCache and Mailbox under thousands of the orders of steps that two threads can take.

The threads take turns at the level of bytecodes (:mod:`interleave`): first all orders with one
change of thread and many with two, then a thousand at random; then real threads, which the
interpreter lets change as often as it can.  Each test has companions that prove that it can fail.
"""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support.interleave import (
    DeadlockError,
    Schedule,
    TurnCondition,
    TurnLock,
    Turns,
    at_random,
    at_steps,
)

from asyncmde_ros.engine.interface import HostBuffer
from asyncmde_ros.pipeline import feature_cache, mailbox
from asyncmde_ros.pipeline.feature_cache import FeatureCache, Keyframe, Slot
from asyncmde_ros.pipeline.mailbox import Mailbox

CELLS = 3
"""Written and read one by one, so that a slot can tear between any two."""
WRITES, READS, ITEMS = 3, 5, 4
SEEDS = 1000
APART = 16
"""Steps between the places where two changes of thread are tried together."""
LONG_S = 60.0
"""No wait of these tests ends by this time unless something is broken."""
GENERATIONS = 10_000
SWITCH_S = 1e-6
FILES = {__file__, feature_cache.__file__, mailbox.__file__}


class TornError(AssertionError):
    """The reader saw what no writer had published."""


def make_cache(kind: type[FeatureCache], cells: int, turns: Turns | None = None) -> FeatureCache:
    first, second = (Slot({'m1': HostBuffer(np.zeros(cells, np.float32), None)})
                     for _ in range(2))
    return kind(first, second, TurnLock(turns) if turns else None)  # type: ignore[arg-type]


def fill(cache: FeatureCache, frame_id: int) -> bool:
    slot = cache.begin_write(LONG_S)
    if slot is None:
        return False
    values = slot.buffers['m1'].array
    for cell in range(CELLS):
        values[cell] = frame_id
    cache.publish(frame_id, stamp_ns=-frame_id, epoch=0, latency_ms=0)
    return True


def look(slot: Slot, last: int) -> int:
    """Read a slot cell by cell; return its generation."""
    before = slot.keyframe
    if before is None:
        raise TornError('a slot that was never written')
    values = slot.buffers['m1'].array
    for cell in range(CELLS):
        if values[cell] != before.frame_id:
            raise TornError(f'{values} in the slot of frame {before.frame_id}')
    if slot.keyframe is not before or before.stamp_ns != -before.frame_id:
        raise TornError('another keyframe meanwhile')
    if before.generation < last:
        raise TornError('an older generation')
    return before.generation


def race_cache(kind: type[FeatureCache], schedule: Schedule, reader_first: bool = False) -> int:
    """Let a writer and a reader race; return the number of steps that they took."""
    turns = Turns(schedule, FILES)
    cache = make_cache(kind, CELLS, turns)
    published = 0

    def write() -> None:
        nonlocal published
        for frame_id in range(1, WRITES + 1):
            if frame_id == 2 and cache.begin_write(LONG_S) is not None:
                cache.abandon()
            published += fill(cache, frame_id)

    def read() -> None:
        last = 0
        for _ in range(READS):
            slot = cache.front()
            if slot is not None:
                last = look(slot, last)

    turns.run(*((read, write) if reader_first else (write, read)))
    slot = cache.front()
    assert slot is not None and slot.keyframe is not None
    if slot.keyframe.generation != published:
        raise TornError('the last keyframe was lost')
    look(slot, 0)
    if cache.begin_write(0) is None:
        raise TornError('the slot is never given back')
    return turns.steps


def schedules(race: Callable[[Schedule, bool], int]) -> Iterator[tuple[Schedule, bool]]:
    """Give every order with one change of thread more than needed, many with two, and random ones.

    With each whether the reader begins.
    """
    for reader_first in (False, True):
        steps = race(at_steps(()), reader_first)
        yield from ((at_steps({step}), reader_first) for step in range(steps))
        for pair in itertools.combinations(range(0, steps, APART), 2):
            yield at_steps(set(pair)), reader_first
    for seed in range(SEEDS):
        yield at_random(seed), bool(seed % 2)


@pytest.mark.proves('read-while-written')
def test_no_order_of_steps_tried_tears_or_loses_a_keyframe() -> None:
    def race(schedule: Schedule, reader_first: bool) -> int:
        return race_cache(FeatureCache, schedule, reader_first)
    assert sum(race(*each) > 0 for each in schedules(race)) > SEEDS


class Impatient(FeatureCache):
    """Writes without waiting until the reader has moved on."""

    def begin_write(self, timeout_s: float) -> Slot | None:
        self._back = self._slots[0] if self._front is not self._slots[0] else self._slots[1]
        return self._back

    def abandon(self) -> None:
        self._back = None

    def front(self) -> Slot | None:
        if self._pending is not None:
            self._front, self._pending = self._pending, None
        return self._front


class TooEarlyToken(FeatureCache):
    """Gives the token back before the front has moved."""

    def front(self) -> Slot | None:
        pending = self._pending
        if pending is not None:
            self._writable.release()
            self._front = pending
            self._pending = None
        return self._front


class ClearedTooLate(FeatureCache):
    """Clears what was pending after the token is given back."""

    def front(self) -> Slot | None:
        pending = self._pending
        if pending is not None:
            self._front = pending
            self._writable.release()
            self._pending = None
        return self._front


class PublishedTooEarly(FeatureCache):
    """Offers the slot before it says what the slot shows."""

    def publish(self, frame_id: int, stamp_ns: int, epoch: int, latency_ms: float) -> Keyframe:
        assert self._back is not None
        self._pending = self._back
        self._generation += 1
        self._back.keyframe = keyframe = Keyframe(frame_id, stamp_ns, epoch, self._generation,
                                                  latency_ms)
        self._back = None
        return keyframe


@pytest.mark.proves('read-while-written')
@pytest.mark.parametrize('broken', [Impatient, TooEarlyToken, ClearedTooLate, PublishedTooEarly])
def test_a_broken_cache_is_found_out(broken: type[FeatureCache]) -> None:
    def race(schedule: Schedule, reader_first: bool) -> int:
        return race_cache(broken, schedule, reader_first)
    with pytest.raises((TornError, DeadlockError, RuntimeError)):
        for each in schedules(race):
            race(*each)


def test_a_schedule_gives_the_same_race_every_time() -> None:
    """Or a failure could not be looked into."""
    for seed in range(10):
        assert (race_cache(FeatureCache, at_random(seed))
                == race_cache(FeatureCache, at_random(seed)))


def race_mailbox(kind: Callable[..., Mailbox[int]], schedule: Schedule, reader_first: bool) -> int:
    """Let a producer and a consumer race; return the number of steps that they took."""
    turns = Turns(schedule, FILES)
    box = kind(TurnCondition(turns))
    taken: list[int] = []

    def put() -> None:
        for item in range(1, ITEMS + 1):
            box.put(item)

    def take() -> None:
        while not taken or taken[-1] != ITEMS:
            item = box.take()
            if item is None:
                raise TornError('woken for nothing')
            taken.append(item)

    turns.run(*((take, put) if reader_first else (put, take)))
    if taken != sorted(set(taken)) or len(taken) + box.replaced != ITEMS:
        raise TornError(f'{taken} taken and {box.replaced} replaced of {ITEMS}')
    return turns.steps


@pytest.mark.proves('frames-faster')
def test_no_order_of_steps_tried_loses_or_doubles_an_item() -> None:
    def race(schedule: Schedule, reader_first: bool) -> int:
        return race_mailbox(Mailbox, schedule, reader_first)
    assert sum(race(*each) > 0 for each in schedules(race)) > SEEDS


class Unlocked(Mailbox[int]):
    """Puts without the lock."""

    def put(self, item: int) -> None:
        if self._item is not None:
            self.replaced += 1
        self._item = item
        with self._changed:
            self._changed.notify()


class Unheard(Mailbox[int]):
    """Does not wake the consumer."""

    def put(self, item: int) -> None:
        with self._changed:
            if self._item is not None:
                self.replaced += 1
            self._item = item


class TakenTwice(Mailbox[int]):
    """Looks at the item and removes it in two steps."""

    def take(self, timeout_s: float | None = None) -> int | None:
        with self._changed:
            while self._item is None:
                self._changed.wait(timeout_s)
            item = self._item
        with self._changed:
            self._item = None
        return item


@pytest.mark.proves('frames-faster')
@pytest.mark.parametrize('broken', [Unlocked, Unheard, TakenTwice])
def test_a_broken_mailbox_is_found_out(broken: Callable[..., Mailbox[int]]) -> None:
    def race(schedule: Schedule, reader_first: bool) -> int:
        return race_mailbox(broken, schedule, reader_first)
    with pytest.raises((TornError, DeadlockError)):
        for each in schedules(race):
            race(*each)


@pytest.mark.proves('frames-faster')
@pytest.mark.parametrize('closer_first', [False, True])
def test_a_consumer_hears_of_the_end_in_every_order_tried(closer_first: bool) -> None:
    def race(schedule: Schedule, _: bool = False) -> int:
        turns = Turns(schedule, FILES)
        box: Mailbox[int] = Mailbox(TurnCondition(turns))  # type: ignore[arg-type]
        taken: list[int | None] = []

        def end() -> None:
            box.put(1)
            box.close()
            box.put(2)

        def take() -> None:
            while not taken or taken[-1] is not None:
                taken.append(box.take())

        turns.run(*((end, take) if closer_first else (take, end)))
        assert taken in ([None], [1, None])
        return turns.steps
    for schedule, _ in schedules(race):
        race(schedule)


@pytest.fixture
def often() -> Iterator[None]:
    """Threads change as often as the interpreter can let them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    yield
    sys.setswitchinterval(before)


def stress(kind: type[FeatureCache]) -> None:
    """Race real threads over slots of patterns that name their frame and place."""
    cells = 4096
    places = np.arange(cells, dtype=np.float32)
    cache = make_cache(kind, cells)
    stop = threading.Event()

    def write() -> None:
        for frame_id in range(1, GENERATIONS + 1):
            slot = None
            while slot is None:
                if stop.is_set():
                    return
                slot = cache.begin_write(0.1)
            values = slot.buffers['m1'].array
            for part in range(0, cells, cells // 4):
                values[part:part + cells // 4] = places[part:part + cells // 4] + frame_id
            cache.publish(frame_id, stamp_ns=frame_id, epoch=0, latency_ms=0)
    writer = threading.Thread(target=write)
    writer.start()
    deadline = time.monotonic() + LONG_S
    last = 0
    try:
        while last < GENERATIONS:
            assert time.monotonic() < deadline, 'the writer is stuck'
            slot = cache.front()
            if slot is None:
                continue
            if slot.keyframe is None:
                raise TornError('a slot that was never written')
            frame_id, generation = slot.keyframe.frame_id, slot.keyframe.generation
            if not np.array_equal(slot.buffers['m1'].array, places + frame_id):
                raise TornError(f'the slot of frame {frame_id}')
            assert generation >= last
            last = generation
    finally:
        stop.set()
        writer.join()


@pytest.mark.proves('read-while-written')
def test_real_threads_never_tear_a_slot(often: None) -> None:
    stress(FeatureCache)


@pytest.mark.proves('read-while-written')
def test_real_threads_do_tear_a_broken_cache(often: None) -> None:
    deadline = time.monotonic() + LONG_S
    with pytest.raises(TornError):
        while time.monotonic() < deadline:  # the first time, unless the machine is very busy
            stress(Impatient)


@pytest.mark.proves('frames-faster')
def test_real_producers_and_a_consumer_lose_nothing(often: None) -> None:
    box: Mailbox[tuple[int, int]] = Mailbox()
    producers, items = 3, 2000
    seen: list[tuple[int, int]] = []

    def put(producer: int) -> None:
        for item in range(items):
            box.put((producer, item))

    def take() -> None:
        while (found := box.take(LONG_S)) is not None:
            seen.append(found)
    consumer = threading.Thread(target=take)
    threads = [threading.Thread(target=put, args=(producer,)) for producer in range(producers)]
    for thread in (consumer, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + LONG_S
    while len(seen) + box.replaced < producers * items:
        assert time.monotonic() < deadline, 'an item was lost'
        time.sleep(0)
    box.close()
    consumer.join()
    assert len(seen) + box.replaced == producers * items
    for producer in range(producers):
        own = [item for who, item in seen if who == producer]
        assert own == sorted(set(own)), 'out of order or twice'
