"""A GPU without one: CUDA's runtime and TensorRT's, recorded and carried out on the host.

Work given to a stream is done later, when somebody waits, and streams take turns at random: only
what CUDA promises about order holds.  Misuse that a real GPU would answer with wrong numbers, now
and then, fails here every time: memory used after it was freed, copies from memory that is not
page-locked, work on a stream that is being recorded by somebody else.
"""

import ctypes
import functools
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np

ALIGNMENT = 256


class Status(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35


class CopyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


@dataclass
class Work:
    """One entry of a stream: what it does, and what it must wait for."""

    do: Callable[[], None]
    ready: Callable[[], bool] = lambda: True


@dataclass
class FakeStream:
    priority: int
    queue: deque[Work] = field(default_factory=deque)
    recording: list[Work] | None = None


@dataclass
class FakeEvent:
    recorded: int = 0
    passed: int = 0


class FakeRuntime:
    """Stands for ``cuda.bindings.runtime``.

    ``calls`` lists the calls so far, with their thread; ``fail`` names functions that report an
    error.
    """

    cudaError_t = Status
    cudaMemcpyKind = CopyKind
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal='thread local')
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2

    def __init__(self, seed: int = 0) -> None:
        self.calls: list[tuple[str, str, tuple[Any, ...]]] = []
        self.fail: set[str] = set()
        self.memory: dict[int, tuple[np.ndarray, bool]] = {}
        self.streams: dict[int, FakeStream] = {}
        self.events: dict[int, FakeEvent] = {}
        self.graphs: dict[int, list[Work]] = {}
        self._handles = itertools.count(1000)
        self._random = random.Random(seed)
        self._lock = threading.RLock()

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if not (name.startswith('cuda') and callable(value)) or isinstance(value, type):
            return value

        def recorded(*arguments: Any) -> tuple[Any, ...]:
            with self._lock:
                self.calls.append((threading.current_thread().name, name, arguments))
                if name in self.fail:
                    return (Status.cudaErrorMemoryAllocation, None)
                return value(*arguments)
        return recorded

    def named(self, *names: str) -> list[str]:
        """Return which of the named functions were called, in order."""
        return [name for _, name, _ in self.calls if name in names]

    # The device

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, 1

    def cudaGetDevice(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, 0

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        return Status.cudaSuccess, SimpleNamespace(name=b'Imaginary 4090', major=8, minor=9)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, 13000

    def cudaGetErrorString(self, code: Any) -> tuple[Any, ...]:
        return Status.cudaSuccess, str(code.name).encode()

    # Memory

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size, pinned=False)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size, pinned=True)

    def _allocate(self, size: int, pinned: bool) -> tuple[Any, ...]:
        raw = np.full(size + ALIGNMENT, 0xAA, np.uint8)
        offset = -raw.ctypes.data % ALIGNMENT
        block = raw[offset:offset + size]
        self.memory[block.ctypes.data] = block, pinned
        return Status.cudaSuccess, block.ctypes.data

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        self._drain(lambda: not any(stream.queue for stream in self.streams.values()))
        del self.memory[address]
        return (Status.cudaSuccess,)

    cudaFreeHost = cudaFree

    def cudaMemset(self, address: int, value: int, size: int) -> tuple[Any, ...]:
        self.bytes_at(address, size)[...] = value
        return (Status.cudaSuccess,)

    def bytes_at(self, address: int, size: int, pinned: bool = False) -> np.ndarray:
        """Return the bytes of part of an allocation; fails outside of all of them."""
        for start, (block, is_pinned) in self.memory.items():
            if start <= address and address + size <= start + len(block):
                assert is_pinned or not pinned, 'an asynchronous copy from pageable memory'
                return block[address - start:address - start + size]
        raise AssertionError(f'{size} bytes at {address} are nobody\'s')

    def array_at(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.bytes_at(address, size).view(dtype).reshape(shape)

    def cudaMemcpy(self, target: int, source: int, size: int, kind: CopyKind) -> tuple[Any, ...]:
        device = target if kind is CopyKind.cudaMemcpyHostToDevice else source
        self.bytes_at(device, size)
        ctypes.memmove(target, source, size)
        return (Status.cudaSuccess,)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: CopyKind, stream: int
                        ) -> tuple[Any, ...]:
        host = source if kind is CopyKind.cudaMemcpyHostToDevice else target

        def copy() -> None:
            self.bytes_at(host, size, pinned=True)
            self.bytes_at(target, size)[...] = self.bytes_at(source, size)
        self.queue(stream, Work(copy))
        return (Status.cudaSuccess,)

    # Streams and events

    def cudaDeviceGetStreamPriorityRange(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, 0, -5

    def cudaStreamCreateWithPriority(self, flags: int, priority: int) -> tuple[Any, ...]:
        assert flags == self.cudaStreamNonBlocking
        handle = next(self._handles)
        self.streams[handle] = FakeStream(priority)
        return Status.cudaSuccess, handle

    def cudaStreamDestroy(self, handle: int) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)  # what it was given is still done

    def cudaStreamSynchronize(self, handle: int) -> tuple[Any, ...]:
        if handle:
            self._drain(lambda: not self.streams[handle].queue)
        return (Status.cudaSuccess,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        handle = next(self._handles)
        self.events[handle] = FakeEvent()
        return Status.cudaSuccess, handle

    def cudaEventDestroy(self, handle: int) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)

    def cudaEventRecord(self, handle: int, stream: int) -> tuple[Any, ...]:
        event = self.events[handle]
        event.recorded += 1
        number = event.recorded

        def passes() -> None:
            event.passed = max(event.passed, number)
        self.queue(stream, Work(passes))
        return (Status.cudaSuccess,)

    def cudaStreamWaitEvent(self, stream: int, handle: int, flags: int) -> tuple[Any, ...]:
        event = self.events[handle]
        number = event.recorded  # what is recorded later does not count
        self.queue(stream, Work(lambda: None, lambda: event.passed >= number))
        return (Status.cudaSuccess,)

    def cudaEventSynchronize(self, handle: int) -> tuple[Any, ...]:
        event = self.events[handle]
        self._drain(lambda: event.passed >= event.recorded)
        return (Status.cudaSuccess,)

    def queue(self, stream: int, work: Work) -> None:
        """Give a stream work, or its recording."""
        with self._lock:
            of = self.streams[stream]
            if of.recording is not None:
                of.recording.append(work)
            else:
                of.queue.append(work)

    def _drain(self, done: Callable[[], bool]) -> None:
        """Do queued work, of streams at random, until ``done``."""
        while not done():
            able = [stream for stream in self.streams.values()
                    if stream.queue and stream.queue[0].ready()]
            assert able, 'the streams wait for each other for ever'
            self._random.choice(able).queue.popleft().do()

    def finish_all(self) -> None:
        with self._lock:
            self._drain(lambda: not any(stream.queue for stream in self.streams.values()))

    # Graphs

    def cudaStreamBeginCapture(self, stream: int, mode: str) -> tuple[Any, ...]:
        assert mode == 'thread local' and self.streams[stream].recording is None
        self.streams[stream].recording = []
        return (Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        work, self.streams[stream].recording = self.streams[stream].recording, None
        assert work is not None
        handle = next(self._handles)
        self.graphs[handle] = work
        return Status.cudaSuccess, handle

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        handle = next(self._handles)
        self.graphs[handle] = self.graphs[graph]
        return Status.cudaSuccess, handle

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        del self.graphs[graph]
        return (Status.cudaSuccess,)

    cudaGraphExecDestroy = cudaGraphDestroy

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        for work in self.graphs[graph]:
            self.queue(stream, work)
        return (Status.cudaSuccess,)


def tensor_name(port: Any) -> str:
    """Return the graph's name of an OpenVINO port; a cast that does nothing leaves it two."""
    return min(port.get_names(), key=len)


@functools.lru_cache(maxsize=2)
def compiled(plan: bytes) -> Any:
    """Compile a plan; most tests load the same two."""
    from asyncmde_ros.engine.openvino import shared_core
    core = shared_core()
    return core.compile_model(core.read_model(plan), 'CPU', {
        'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 2})


class FakeTensorRT:
    """Stands for the module ``tensorrt``; a plan is the graph's ONNX file, run by OpenVINO.

    ``fail`` names methods of an execution context that return False.
    """

    __version__ = '10.99'

    class ILogger:
        ERROR, INTERNAL_ERROR = 'error', 'internal error'

    class IErrorRecorder:
        pass

    class TensorIOMode(Enum):
        INPUT = 0
        OUTPUT = 1

    class DataType(Enum):
        FLOAT = 'f32'
        HALF = 'f16'
        UINT8 = 'u8'
        INT64 = 'i64'

    def __init__(self, gpu: FakeRuntime) -> None:
        self.gpu = gpu
        self.fail: set[str] = set()
        self.broken = 1.0
        """A factor on every output: a builder that makes wrong engines."""

    def Runtime(self, logger: Any) -> 'FakeTensorRT._Runtime':
        assert self.gpu.named('cudaGetDeviceCount'), 'TensorRT was touched before CUDA was probed'
        return self._Runtime(self)

    class _Runtime:
        def __init__(self, trt: 'FakeTensorRT') -> None:
            self._trt = trt
            self.error_recorder: Any = None

        def deserialize_cuda_engine(self, plan: bytes) -> 'FakeTensorRT.Plan | None':
            try:
                return FakeTensorRT.Plan(self._trt, compiled(plan), self)
            except RuntimeError:
                self.error_recorder.report_error(1, 'the magic tag does not match')
                return None

    class Plan:
        def __init__(self, trt: 'FakeTensorRT', compiled: Any, runtime: Any) -> None:
            self._trt, self._runtime, self.compiled = trt, runtime, compiled
            self.ports = {tensor_name(port): port
                          for port in (*self.compiled.inputs, *self.compiled.outputs)}
            self._inputs = {tensor_name(port) for port in self.compiled.inputs}

        @property
        def num_io_tensors(self) -> int:
            return len(self.ports)

        def get_tensor_name(self, index: int) -> str:
            return list(self.ports)[index]

        def get_tensor_mode(self, name: str) -> Any:
            modes = FakeTensorRT.TensorIOMode
            return modes.INPUT if name in self._inputs else modes.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(self.ports[name].shape)

        def get_tensor_dtype(self, name: str) -> Any:
            return FakeTensorRT.DataType(self.ports[name].element_type.get_type_name())

        def create_execution_context(self) -> 'FakeTensorRT.Context | None':
            if 'create_execution_context' in self._trt.fail:
                self._runtime.error_recorder.report_error(2, 'out of memory')
                return None
            return FakeTensorRT.Context(self._trt, self)

    class Context:
        def __init__(self, trt: 'FakeTensorRT', plan: 'FakeTensorRT.Plan') -> None:
            self._trt, self._plan = trt, plan
            self._request = plan.compiled.create_infer_request()
            self._addresses: dict[str, int] = {}

        def set_tensor_address(self, name: str, address: int) -> bool:
            assert address % ALIGNMENT == 0
            self._addresses[name] = address
            return 'set_tensor_address' not in self._trt.fail

        def execute_async_v3(self, stream: int) -> bool:
            assert set(self._addresses) == set(self._plan.ports), 'a tensor has no address'
            addresses = dict(self._addresses)
            self._trt.gpu.queue(stream, Work(lambda: self._compute(addresses)))
            return 'execute_async_v3' not in self._trt.fail

        def _compute(self, addresses: dict[str, int]) -> None:
            arrays = dict(self._arrays(addresses))
            modes = FakeTensorRT.TensorIOMode
            inputs = {name: array for name, array in arrays.items()
                      if self._plan.get_tensor_mode(name) is modes.INPUT}
            results = self._request.infer(inputs)
            for port in self._plan.compiled.outputs:
                arrays[tensor_name(port)][...] = results[port] * self._trt.broken

        def _arrays(self, addresses: dict[str, int]) -> Iterator[tuple[str, np.ndarray]]:
            for name, port in self._plan.ports.items():
                yield name, self._trt.gpu.array_at(
                    addresses[name], tuple(port.shape), port.element_type.to_dtype())
