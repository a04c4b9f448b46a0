"""On a real NVIDIA GPU: numbers, races and host waits (``pytest -m gpu``).

Runs whatever backends the machine has, ``torch`` at least.  Elsewhere it is left out, and says so.
"""

import gc
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from asyncmde_ros.engine import cuda_engine
from asyncmde_ros.engine.choice import Choice, choose
from asyncmde_ros.engine.cuda import Cuda, load_runtime
from asyncmde_ros.engine.interface import Engines, Precision
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.engine.validation import LIMITS, PICTURE, bind, difference
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.graph_tensors import KEYFRAME
from asyncmde_ros.model.preprocess import write_image
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.feature_cache import FeatureCache, Slot
from asyncmde_ros.pipeline.motion import still
from asyncmde_ros.pipeline.refresher import make_slot
from asyncmde_ros.resources import share_directory

SIZE = (252, 336)
FP32_ERROR = 2e-3
"""Relative root mean square of depth; two libraries' float32, one of them with its own kernels."""

FRAMES = 1000
DEADLINE_S = 120.0


def usable_backends() -> list[str]:
    """Return the GPU backends that this machine has."""
    try:
        Cuda(load_runtime())
    except EngineError:
        return []
    found = ['torch'] if choose('torch').on_gpu else []
    automatic = choose('auto')
    return found if automatic.backend in (*found, 'openvino') else [*found, automatic.backend]


BACKENDS = usable_backends()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(
    not BACKENDS, reason='left out: needs an NVIDIA GPU and cuda-bindings')]


@pytest.fixture(scope='module', params=BACKENDS or ['none'])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope='module')
def engines(backend: str, foundation_path: Path) -> Iterator[Engines]:
    yield Model(backend=backend, foundation=foundation_path).compile(SIZE)
    gc.collect()


@pytest.fixture(scope='module')
def frames() -> list[np.ndarray]:
    rgb = cv2.imread(str(share_directory() / 'models' / PICTURE))[..., ::-1]
    return [cv2.resize(rgb[:, 2 * shift:2 * shift + 330], SIZE[::-1]) for shift in range(20)]


@pytest.mark.parametrize('precision', list(Precision))
def test_the_gpu_gives_the_references_numbers(
        precision: Precision, backend: str, frames: list[np.ndarray], foundation_path: Path
        ) -> None:
    """The reference is the same module in float32 on the CPU."""
    ours = Model(backend=backend, precision=precision, foundation=foundation_path).compile(SIZE)
    reference = Model(backend='torch', precision=Precision.FP32, threads=Threads(8, 8),
                      foundation=foundation_path)
    reference.choice = Choice('torch', False, 'the reference')
    slow, fast = bind(ours, frames[0], frames[1])
    right_slow, right_fast = bind(reference.compile(SIZE), frames[0], frames[1])
    for name in KEYFRAME:
        limit = FP32_ERROR if precision is Precision.FP32 else LIMITS[name]
        assert difference(slow[name].read(), right_slow[name].read()) < limit, name
    limit = FP32_ERROR if precision is Precision.FP32 else LIMITS['depth']
    assert difference(fast['depth'].read(), right_fast['depth'].read()) < limit


def test_a_replayed_graph_gives_what_a_plain_run_gives(
        engines: Engines, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    _, fast = bind(engines, frames[0], frames[1])
    replayed = fast['depth'].read()
    state = fast['next_p1'].read()
    monkeypatch.setattr(cuda_engine.CudaEngine, 'capturable', lambda _: False)
    # Another buffer is another set of buffers, of which nothing was captured yet.
    plain = {**fast, 'next_p1': engines.fast.allocate('next_p1')}
    engines.fast.run(plain)
    np.testing.assert_array_equal(plain['depth'].read(), replayed)
    np.testing.assert_array_equal(plain['next_p1'].read(), state)


def test_a_thousand_frames_without_a_wait_for_anybody_else(
        engines: Engines, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast path's thread calls nothing that blocks but its own event, and allocates nothing.

    Meanwhile the slow path refreshes as fast as it can; every step shows one whole keyframe.
    """
    slots = make_slot(engines.slow), make_slot(engines.slow)
    cache, fast = FeatureCache(*slots), FastPath(engines.fast)
    fast.prepare(slots)
    image = engines.slow.allocate('image')
    expected = [keyframe_depth(engines, fast, slot, frame) for slot, frame in
                zip(slots, (frames[0], frames[19]), strict=True)]
    calls: Counter[str] = Counter()
    plain = Cuda.call

    def recorded(cuda: Cuda, name: str, *arguments: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            calls[name] += 1
        return plain(cuda, name, *arguments)
    stop, failures, refreshes = threading.Event(), [], Counter[str]()

    def refresh() -> None:
        try:
            turn = 0
            while not stop.is_set():
                slot = cache.begin_write(0.01)
                if slot is None:
                    continue
                which = slots.index(slot)  # each slot always shows the same picture
                write_image(frames[0] if which == 0 else frames[19], image.array)
                bindings = {'image': image, 'positions': engines.positions, **slot.buffers}
                slot.written = engines.slow.run(bindings, after=slot.read)
                assert engines.slow.finite(bindings)
                turn += 1
                cache.publish(turn, 0, 0, 0.0)
                refreshes['done'] += 1
        except Exception as error:
            failures.append(error)
    thread = threading.Thread(target=refresh, name='slow_path')
    thread.start()
    deadline = time.monotonic() + DEADLINE_S
    while cache.front() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    monkeypatch.setattr(Cuda, 'call', recorded)
    nothing = still(SIZE)
    shown: Counter[int] = Counter()
    for _ in range(FRAMES):
        slot = cache.front()
        assert slot is not None
        which = slots.index(slot)
        fast.forget()  # so that every step is the keyframe's first, and comparable
        depth = fast.step(frames[0] if which == 0 else frames[19], slot, nothing, nothing,
                          0.5, 4.0).depth()
        np.testing.assert_array_equal(depth, expected[which])
        shown[which] += 1
    stop.set()
    thread.join(DEADLINE_S)
    assert not failures and min(shown.values()) > 0 and refreshes['done'] > 2
    assert set(calls) <= {'cudaStreamWaitEvent', 'cudaGraphLaunch', 'cudaEventRecord',
                          'cudaEventSynchronize'}
    assert calls['cudaEventSynchronize'] == FRAMES


def keyframe_depth(engines: Engines, fast: FastPath, slot: Slot, frame: np.ndarray
                   ) -> np.ndarray:
    """Fill a slot from a picture; return the depth of the first step that reads it."""
    from asyncmde_ros.pipeline.feature_cache import Keyframe
    image = engines.slow.allocate('image')
    write_image(frame, image.array)
    slot.written = engines.slow.run({'image': image, 'positions': engines.positions,
                                     **slot.buffers}, after=slot.read)
    slot.keyframe = Keyframe(0, 0, 0, 0, 0.0)
    fast.forget()
    return fast.step(frame, slot, still(SIZE), still(SIZE), 0.5, 4.0).depth()


def test_the_pipeline_runs_and_a_new_size_is_built_beside_it(
        backend: str, frames: list[np.ndarray], foundation_path: Path) -> None:
    model = Model(backend=backend, foundation=foundation_path)
    with DepthPipeline(model, size=None) as pipeline:
        for shape in ((240, 320), (180, 320)):
            frame = cv2.resize(frames[0], shape[::-1])
            deadline = time.monotonic() + DEADLINE_S
            stamp, depth = 0, None
            while depth is None and time.monotonic() < deadline:
                stamp += 33_000_000
                depth = pipeline.process(frame, stamp).depth
            assert depth is not None and depth.shape == shape and np.isfinite(depth).all()
        assert min(pipeline.status.size) == model.short_side == 518
        assert pipeline.status.slow_path.failures == 0
