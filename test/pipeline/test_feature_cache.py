"""No torn reads, no waiting reader, no slot written while it is read."""

import threading
import time

import numpy as np
import pytest

from asyncmde_ros.engine.interface import HostBuffer
from asyncmde_ros.pipeline.feature_cache import FeatureCache, Slot

LONG_S = 10.0


def make_cache() -> FeatureCache:
    def slot() -> Slot:
        return Slot({'m1': HostBuffer(np.zeros(4096, np.float32), None)})
    return FeatureCache(slot(), slot())


def write(cache: FeatureCache, frame_id: int) -> None:
    slot = cache.begin_write(LONG_S)
    assert slot is not None
    slot.buffers['m1'].array[...] = frame_id
    cache.publish(frame_id, stamp_ns=frame_id, epoch=0, latency_ms=0)


def test_generations_rise_and_the_reader_keeps_its_slot_until_the_next() -> None:
    cache = make_cache()
    assert cache.front() is None
    write(cache, 7)
    first = cache.front()
    assert first is not None and first.keyframe is not None
    assert (first.keyframe.generation, first.keyframe.frame_id) == (1, 7)
    write(cache, 8)
    assert first.buffers['m1'].array[0] == 7, 'the front slot was written'
    second = cache.front()
    assert second is not None and second is not first and second.keyframe is not None
    assert second.keyframe.generation == 2
    assert cache.front() is second


def test_a_published_slot_must_be_taken_before_the_other_is_written() -> None:
    cache = make_cache()
    write(cache, 1)
    cache.front()
    write(cache, 2)
    assert cache.begin_write(0.02) is None
    cache.front()
    assert cache.begin_write(0.02) is not None


def test_an_abandoned_write_leaves_the_reader_alone_and_the_slot_free() -> None:
    cache = make_cache()
    write(cache, 1)
    front = cache.front()
    slot = cache.begin_write(LONG_S)
    assert slot is not None
    slot.buffers['m1'].array[...] = -1
    cache.abandon()
    assert cache.front() is front
    write(cache, 2)
    taken = cache.front()
    assert taken is not None and taken.buffers['m1'].array[0] == 2


def test_misuse_names_what_broke() -> None:
    cache = make_cache()
    with pytest.raises(RuntimeError, match='without begin_write'):
        cache.publish(0, 0, 0, 0)
    with pytest.raises(RuntimeError, match='without begin_write'):
        cache.abandon()


def test_a_racing_writer_and_reader_never_tear_a_slot() -> None:
    cache = make_cache()
    generations, rng = 3000, np.random.default_rng(0)

    def writer() -> None:
        for frame_id in range(1, generations + 1):
            write(cache, frame_id)

    thread = threading.Thread(target=writer)
    thread.start()
    deadline = time.monotonic() + 6 * LONG_S
    last = 0
    while last < generations and time.monotonic() < deadline:
        slot = cache.front()
        if slot is None:
            continue
        assert slot.keyframe is not None
        values = slot.buffers['m1'].array
        if rng.random() < 0.1:
            time.sleep(0)  # let the writer run while the slot is being read
        assert values.min() == values.max() == slot.keyframe.frame_id, 'torn slot'
        assert slot.keyframe.generation >= last
        last = slot.keyframe.generation
    thread.join(LONG_S)
    assert last == generations
