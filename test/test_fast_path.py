"""What one fast step reads, writes and hands on."""

import numpy as np
import pytest
from fakes import FakeEngine, fake_engines

from asyncmde_ros.errors import EngineError
from asyncmde_ros.graph_tensors import KEYFRAME, STATE
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.feature_cache import FeatureCache, Slot
from asyncmde_ros.pipeline.motion import Warp, still
from asyncmde_ros.pipeline.slow_path import make_slot

SIZE = (28, 42)
IMAGE = np.full((*SIZE, 3), 100, np.uint8)
STILL = still(SIZE)


@pytest.fixture
def parts() -> tuple[FakeEngine, FastPath, FeatureCache]:
    engines = fake_engines(SIZE)
    cache = FeatureCache(make_slot(engines.slow), make_slot(engines.slow))
    return engines.fast, FastPath(engines.fast), cache


def publish(cache: FeatureCache, frame_id: int) -> Slot:
    assert cache.begin_write(0) is not None
    cache.publish(frame_id, stamp_ns=0, epoch=0, latency_ms=0)
    slot = cache.front()
    assert slot is not None
    return slot


def test_state_ping_pongs_and_a_swap_compares_with_the_keyframe(
        parts: tuple[FakeEngine, FastPath, FeatureCache]) -> None:
    engine, fast, cache = parts
    step, far = (Warp(factor * STILL.homography, STILL.flow + factor) for factor in (2, 3))
    for generation in range(2):
        slot = publish(cache, generation)
        for index in range(3):
            fast.step(IMAGE, slot, step, far, beta=0.25, k=5)
            bound = engine.runs[-1]
            fresh = index == 0
            assert bound['fresh'].array[0] == fresh
            assert all(bound[name] is slot.buffers[name] for name in KEYFRAME)
            for name, warp in (('step', far if fresh else step), ('keyframe', far)):
                np.testing.assert_array_equal(bound[name].array, warp.homography)
                np.testing.assert_array_equal(bound[f'{name}_flow'].array, warp.flow[None])
            assert bound['beta'].array[0] == 0.25 and bound['k'].array[0] == 5
            if not fresh:
                before = engine.runs[-2]
                assert all(bound[name] is before[f'next_{name}'] for name in STATE)


def test_after_a_failed_run_the_state_starts_anew(
        parts: tuple[FakeEngine, FastPath, FeatureCache]) -> None:
    engine, fast, cache = parts
    slot = publish(cache, 1)
    fast.step(IMAGE, slot, STILL, STILL, 0.5, 4)
    working = engine.compute

    def fail(arrays: object) -> None:
        raise EngineError('injected')
    engine.compute = fail
    with pytest.raises(EngineError):
        fast.step(IMAGE, slot, STILL, STILL, 0.5, 4)
    engine.compute = working
    fast.step(IMAGE, slot, STILL, STILL, 0.5, 4)
    assert engine.runs[-1]['fresh'].array[0] == 1
