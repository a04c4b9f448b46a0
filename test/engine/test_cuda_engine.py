"""Streams, copies, events and captured graphs, on an imaginary GPU that keeps CUDA's promises."""

import gc
import threading
import time
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from support.fake_gpu import FakeRuntime, Status, Work

from asyncmde_ros.engine.cuda import Cuda
from asyncmde_ros.engine.cuda_engine import MOST_CAPTURES, CudaEngine, TensorType
from asyncmde_ros.engine.interface import Buffer, Graph
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.graph_tensors import CHECK, FAST_OUTPUTS, KEYFRAME, STATE, fast_shapes
from asyncmde_ros.model.preprocess import write_image
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.feature_cache import FeatureCache, Slot
from asyncmde_ros.pipeline.motion import still
from asyncmde_ros.pipeline.refresher import make_slot

SIZE = (28, 42)
IMAGE = np.full((*SIZE, 3), 7, np.uint8)
SHAPES = fast_shapes(SIZE, 2)
DEADLINE_S = 30.0
PIECES = 4
"""Kernels of the imaginary networks; between any two another stream may run."""


def tensors(inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
            ) -> dict[str, TensorType]:
    types = {name: TensorType(shape, np.dtype(np.float32), name in inputs)
             for name, shape in {**inputs, **outputs}.items()}
    return types | {'image': TensorType((1, *SIZE, 3), np.dtype(np.uint8), True)}


class FastEngine(CudaEngine):
    """Depth is the keyframe's number, which it reads from M1 piece by piece; p1 counts steps."""

    def __init__(self, runtime: FakeRuntime) -> None:
        self.runtime = runtime
        outputs = {f'next_{name}': SHAPES[name] for name in STATE}
        super().__init__(Cuda(runtime), Graph.FAST, tensors(
            SHAPES, outputs | dict.fromkeys(('depth', 'share'), SHAPES['a2'])))
        assert set(self.outputs) == set(FAST_OUTPUTS)

    def _queue(self, addresses: Mapping[str, int]) -> None:
        read: list[np.ndarray] = []
        runtime, types = self.runtime, self._tensors  # the GPU's work must not keep us alive

        def at(name: str) -> np.ndarray:
            tensor = types[name]
            return runtime.array_at(addresses[name], tensor.shape, tensor.dtype)

        def begin() -> None:
            read.clear()
            at('next_p1')[...] = (0 if at('fresh')[0] else at('p1')) + 1

        def look(piece: int) -> None:
            read.append(np.unique(np.array_split(at('m1').ravel(), PIECES)[piece]))

        def show() -> None:
            seen = np.unique(np.concatenate(read))
            at('depth')[...] = seen[0] if len(seen) == 1 else np.nan
            at('share')[...] = at('next_p1').mean()
        for do in (begin, *(lambda piece=piece: look(piece) for piece in range(PIECES)), show):
            self.runtime.queue(self.stream.handle, Work(do))


class SlowEngine(CudaEngine):
    """Writes the image's first pixel all over M1, piece by piece."""

    def __init__(self, runtime: FakeRuntime) -> None:
        self.runtime = runtime
        types = tensors({'positions': (1, 2, 3, 4)}, {name: SHAPES[name] for name in KEYFRAME})
        super().__init__(Cuda(runtime), Graph.SLOW, types | {
            CHECK: TensorType((1,), np.dtype(np.float32), False)})

    def _queue(self, addresses: Mapping[str, int]) -> None:
        runtime = self.runtime

        def write(piece: int) -> None:
            pixel = runtime.array_at(addresses['image'], (1, *SIZE, 3), np.uint8).flat[0]
            m1 = runtime.array_at(addresses['m1'], SHAPES['m1'], np.float32)
            np.array_split(m1.reshape(-1), PIECES)[piece][...] = pixel
            check = np.nan if pixel == 255 else 1.0
            runtime.array_at(addresses[CHECK], (1,), np.float32)[...] = check
        for piece in range(PIECES):
            self.runtime.queue(self.stream.handle,
                               Work(lambda piece=piece: write(piece)))


class Rig:
    """Both paths on one GPU, driven by hand."""

    def __init__(self, seed: int = 0) -> None:
        self.runtime = FakeRuntime(seed)
        self.slow, self.fast_engine = SlowEngine(self.runtime), FastEngine(self.runtime)
        self.slots = make_slot(self.slow), make_slot(self.slow)
        self.cache = FeatureCache(*self.slots)
        self.fast = FastPath(self.fast_engine)
        self.image, self.positions = (self.slow.allocate(name) for name in ('image', 'positions'))
        for slot in self.slots:
            self.slow.prepare(self.bindings(slot))
        self.fast.prepare(self.slots)
        self.runtime.calls.clear()

    def bindings(self, slot: Slot) -> dict[str, Buffer]:
        return {'image': self.image, 'positions': self.positions, **slot.buffers}

    def refresh(self, number: int) -> bool:
        """Run the slow path as its thread does; False if no slot is free."""
        slot = self.cache.begin_write(0)
        if slot is None:
            return False
        write_image(np.full((*SIZE, 3), number, np.uint8), self.image.array)
        slot.written = self.slow.run(self.bindings(slot), after=slot.read)
        self.cache.publish(number, 0, 0, 0.0)
        return True

    def step(self) -> float | None:
        """Run a fast step; return the keyframe's number as depth shows it."""
        slot = self.cache.front()
        if slot is None:
            return None
        depth = self.fast.step(IMAGE, slot, still(SIZE), still(SIZE), 0.5, 4.0).depth()
        return float(depth.flat[0])


def test_a_step_is_one_launch_one_copy_in_and_one_copy_out() -> None:
    rig = Rig()
    rig.refresh(3)
    rig.runtime.calls.clear()
    assert rig.step() == 3.0
    names = [name for _, name, _ in rig.runtime.calls]
    assert names == ['cudaStreamWaitEvent', 'cudaGraphLaunch', 'cudaEventRecord',
                     'cudaEventSynchronize']
    executable = next(arguments[0] for _, name, arguments in rig.runtime.calls
                      if name == 'cudaGraphLaunch')
    copies = [work.do.__qualname__ for work in rig.runtime.graphs[executable]
              if 'cudaMemcpyAsync' in work.do.__qualname__]
    assert len(copies) == 2


def test_graphs_are_recorded_once_for_each_slot_and_side_and_only_chosen_by_a_swap() -> None:
    rig = Rig()
    launched: Counter[int] = Counter()
    for number in range(1, 9):
        assert rig.refresh(number)
        for _ in range(3):
            assert rig.step() == number
    for _, name, arguments in rig.runtime.calls:
        if name == 'cudaGraphLaunch':
            launched[arguments[0]] += 1
    assert not rig.runtime.named('cudaStreamBeginCapture', 'cudaMalloc', 'cudaMallocHost')
    assert len(launched) == 4 + 2 and sum(launched.values()) == 8 * (3 + 1)


def test_the_state_goes_round_and_begins_anew_after_a_swap() -> None:
    rig = Rig()
    slot_steps = []
    for number in (1, 2):
        rig.refresh(number)
        for _ in range(3):
            rig.step()
            slot_steps.append(float(rig.fast_engine.allocate('share').array.flat[0]))
    assert slot_steps == [1, 2, 3, 1, 2, 3]


def test_the_fast_stream_is_urgent_and_the_slow_one_is_not() -> None:
    rig = Rig()
    streams = rig.runtime.streams
    assert streams[rig.fast_engine.stream.handle].priority < streams[
        rig.slow.stream.handle].priority


@pytest.mark.proves('gpu-order')
@pytest.mark.parametrize('seed', range(40))
def test_events_alone_keep_the_slots_whole(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits on the host; streams take turns at random; every step sees one whole keyframe.
    """
    rig = Rig(seed)
    monkeypatch.setattr(Cuda, 'finish', lambda *_: None)
    shown = rig.fast_engine.allocate('depth').array
    rng = np.random.default_rng(seed)
    for number in range(1, 30):
        # The page-locked image of the last refresh must have been copied before it is rewritten:
        # that, and reading the results, is what the host waits for in earnest.
        rig.runtime.cudaStreamSynchronize(rig.slow.stream.handle)
        rig.refresh(number)
        for _ in range(rng.integers(0, 4)):
            rig.step()
            assert not np.isnan(shown).any()
    rig.runtime.finish_all()
    assert not np.isnan(shown).any()


@pytest.mark.proves('gpu-order')
def test_without_the_events_the_same_race_tears(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr(Cuda, 'finish', lambda *_: None)
    monkeypatch.setattr(Cuda, 'wait', lambda *_: None)
    torn = False
    for seed in range(20):
        rig = Rig(seed)
        for number in range(1, 20):
            rig.runtime.cudaStreamSynchronize(rig.slow.stream.handle)
            rig.refresh(number)
            rig.step()
            torn = torn or bool(np.isnan(rig.fast_engine.allocate('depth').array).any())
    assert torn


def test_two_threads_at_once_and_the_fast_one_waits_for_its_own_event_only() -> None:
    rig = Rig(1)
    stop = threading.Event()

    def refresh() -> None:
        number = 0
        while not stop.is_set():
            number += rig.refresh(number % 200 + 1)
    slow = threading.Thread(target=refresh, name='slow')
    slow.start()
    seen: set[float | None] = set()
    deadline = time.monotonic() + DEADLINE_S
    while len(seen) <= 20 and time.monotonic() < deadline:
        seen.add(rig.step())
    stop.set()
    slow.join()
    assert len(seen) > 10 and not any(value is not None and np.isnan(value) for value in seen)
    fast_events = {arguments[0] for _, name, arguments in rig.runtime.calls
                   if name == 'cudaEventRecord' and arguments[1] == rig.fast_engine.stream.handle}
    waited = {arguments[0] for thread, name, arguments in rig.runtime.calls
              if name == 'cudaEventSynchronize' and thread != 'slow'}
    assert waited and waited <= fast_events
    blocking = {'cudaStreamSynchronize', 'cudaDeviceSynchronize', 'cudaMemcpy', 'cudaMalloc'}
    assert not [name for thread, name, _ in rig.runtime.calls
                if thread != 'slow' and name in blocking]


@pytest.mark.proves('features-not-finite')
def test_features_that_are_not_finite_are_noticed_without_copying_them() -> None:
    rig = Rig()
    for pixel, finite in ((3, True), (255, False)):
        slot = rig.slots[0]
        write_image(np.full((*SIZE, 3), pixel, np.uint8), rig.image.array)
        rig.slow.run(rig.bindings(slot))
        assert rig.slow.finite(rig.bindings(slot)) is finite
    assert not rig.runtime.named('cudaMemcpy')


@pytest.mark.parametrize('channels_last', [False, True])
def test_resident_tensors_are_written_and_read_by_copies(
        channels_last: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastEngine, 'channels_last', channels_last)
    engine = FastEngine(FakeRuntime())
    values = rng.normal(size=SHAPES['m1']).astype(np.float32)
    buffer = engine.allocate('m1')
    assert not buffer.read().any(), 'new memory is zero'
    buffer.write(values)
    np.testing.assert_array_equal(buffer.read(), values)
    stored = engine.runtime.array_at(buffer.handle, (values.size,), np.float32)
    expected = values.transpose(0, 2, 3, 1) if channels_last else values
    np.testing.assert_array_equal(stored, expected.ravel())
    with pytest.raises(TypeError, match='device'):
        _ = buffer.array


def test_other_buffers_get_recordings_of_their_own_up_to_a_bound() -> None:
    runtime = FakeRuntime()
    engine = SlowEngine(runtime)
    image, positions = engine.allocate('image'), engine.allocate('positions')
    for number in range(2 * MOST_CAPTURES):
        slot = make_slot(engine)
        write_image(np.full((*SIZE, 3), number, np.uint8), image.array)
        engine.run({'image': image, 'positions': positions, **slot.buffers})
        assert (slot.buffers['m1'].read() == number).all()
        assert 0 < len(runtime.graphs) <= MOST_CAPTURES


def test_everything_is_given_back() -> None:
    rig = Rig()
    rig.refresh(1)
    rig.step()
    runtime = rig.runtime
    assert runtime.memory and runtime.graphs
    del rig
    gc.collect()
    assert not runtime.memory and not runtime.graphs


@pytest.mark.proves('cuda-call-fails')
@pytest.mark.parametrize('call', ['cudaMalloc', 'cudaMallocHost', 'cudaStreamCreateWithPriority',
                                  'cudaEventCreateWithFlags', 'cudaStreamBeginCapture',
                                  'cudaGraphInstantiate', 'cudaMemcpyAsync', 'cudaEventRecord',
                                  'cudaEventSynchronize'])
def test_every_call_that_fails_is_an_error_that_names_it(
        call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRuntime, '__init__', failing(call, FakeRuntime.__init__))
    with pytest.raises(EngineError, match=f'{call}: .*MemoryAllocation'):
        Rig()


def failing(call: str, original):  # type: ignore[no-untyped-def]
    def init(self: FakeRuntime, seed: int = 0) -> None:
        original(self, seed)
        self.fail = {call}
    return init


@pytest.mark.proves('cuda-call-fails')
def test_a_failed_launch_is_an_error_and_the_next_step_starts_anew() -> None:
    rig = Rig()
    rig.refresh(1)
    rig.step()
    rig.runtime.fail = {'cudaGraphLaunch'}
    with pytest.raises(EngineError, match='cudaGraphLaunch'):
        rig.step()
    rig.runtime.fail = set()
    assert rig.step() == 1.0
    assert rig.fast_engine.allocate('share').array.flat[0] == 1.0


@pytest.mark.proves('cuda-call-fails')
def test_a_recording_that_fails_leaves_the_stream_usable() -> None:
    rig = Rig()
    cuda, stream = Cuda(rig.runtime), rig.slow.stream
    with pytest.raises(ValueError, match='injected'):
        cuda.capture(stream, lambda: (_ for _ in ()).throw(ValueError('injected')))
    assert rig.runtime.streams[stream.handle].recording is None
    assert rig.refresh(5) and rig.step() == 5.0


def test_the_bindings_have_every_function_with_these_signatures() -> None:
    """With the real module and no driver each call must be refused, not misunderstood."""
    runtime = pytest.importorskip('cuda.bindings.runtime',
                                  reason='left out: cuda-bindings is not installed')
    if runtime.cudaGetDeviceCount()[0] != runtime.cudaError_t.cudaErrorInsufficientDriver:
        pytest.skip('left out: there is a driver here, so calls with made-up handles would harm')
    with pytest.raises(EngineError, match='no NVIDIA driver'):
        Cuda(runtime)
    cuda = object.__new__(Cuda)
    cuda.runtime = runtime
    kinds, mode = runtime.cudaMemcpyKind, runtime.cudaStreamCaptureMode
    for name, arguments in {
            'cudaGetDevice': (), 'cudaGetDeviceProperties': (0,), 'cudaMalloc': (256,),
            'cudaMallocHost': (256,), 'cudaMemset': (0, 0, 0), 'cudaStreamSynchronize': (0,),
            'cudaDeviceGetStreamPriorityRange': (),
            'cudaStreamCreateWithPriority': (runtime.cudaStreamNonBlocking, -5),
            'cudaEventCreateWithFlags': (runtime.cudaEventDisableTiming,),
            'cudaEventRecord': (0, 0), 'cudaStreamWaitEvent': (0, 0, 0),
            'cudaEventSynchronize': (0,),
            'cudaMemcpyAsync': (0, 0, 0, kinds.cudaMemcpyHostToDevice, 0),
            'cudaMemcpy': (0, 0, 0, kinds.cudaMemcpyDeviceToHost),
            'cudaStreamBeginCapture': (0, mode.cudaStreamCaptureModeThreadLocal),
            'cudaStreamEndCapture': (0,), 'cudaGraphInstantiate': (0, 0),
            'cudaGraphLaunch': (0, 0)}.items():
        with pytest.raises(EngineError, match=f'{name}: no NVIDIA driver'):
            cuda.call(name, *arguments)
    assert Status.cudaErrorInsufficientDriver == (
        runtime.cudaError_t.cudaErrorInsufficientDriver.value)
