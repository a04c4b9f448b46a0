"""What one fast step reads, writes and hands on."""

from collections.abc import Mapping

import numpy as np
import pytest
from support.fakes import FakeEngine, fake_engines

from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.graph_tensors import KEYFRAME, STATE
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.feature_cache import FeatureCache, Slot
from asyncmde_ros.pipeline.motion import Warp, still
from asyncmde_ros.pipeline.refresher import make_slot

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


def test_an_extrapolated_frame_shows_the_last_depth_moved_and_the_next_step_leads_past_it(
        parts: tuple[FakeEngine, FastPath, FeatureCache]) -> None:
    engine, fast, cache = parts
    ramp = np.linspace(0, 1, engine.shape('depth')[3], dtype=np.float32)
    cols = np.arange(len(ramp))

    def compute(arrays: Mapping[str, np.ndarray]) -> None:
        arrays['depth'][...] = ramp
        arrays['share'][...] = 1
    engine.compute = compute
    right = np.eye(3, dtype=np.float32)
    right[0, 2] = 0.125  # a sixteenth of the image: one view's middle was right of the last one's
    step = Warp(right, STILL.flow)
    assert fast.extrapolate(step) is None, 'there is nothing to move yet'
    slot = publish(cache, 1)
    fast.step(IMAGE, slot, STILL, STILL, 0.5, 4)
    shown = fast.step(IMAGE, slot, STILL, STILL, 0.5, 4).depth()
    for extrapolated in (1, 2):
        maps = fast.extrapolate(step)
        assert maps is not None and fast.keyframe == slot.keyframe
        depth, trust = maps
        assert depth.shape == engine.shape('depth')[2:] and (trust == 1).all()
        expected = np.interp(cols + extrapolated / 16 * len(cols), cols, shown[0])
        np.testing.assert_allclose(depth[0], expected, atol=0.02)
    count = len(engine.runs)
    fast.step(IMAGE, slot, step, STILL, 0.5, 4)
    assert len(engine.runs) == count + 1
    given = engine.runs[-1]['step'].array
    np.testing.assert_allclose(given / given[2, 2], [[1, 0, 0.375], [0, 1, 0], [0, 0, 1]],
                               atol=1e-6)
    fast.step(IMAGE, slot, step, STILL, 0.5, 4)
    np.testing.assert_array_equal(engine.runs[-1]['step'].array, right)
    fast.forget()
    assert fast.extrapolate(step) is None


@pytest.mark.proves('fast-network-fails')
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
