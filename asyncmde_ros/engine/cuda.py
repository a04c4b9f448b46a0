"""What this project asks of CUDA, with every return value checked.

Takes the module ``cuda.bindings.runtime`` as an argument, so that a fake can take its place in
tests.  Its functions return tuples that begin with an error code and raise nothing.
"""

import ctypes
import importlib
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.interface import Fence
from asyncmde_ros.errors import EngineError

LEGACY_STREAM = 0
"""Where calls without a stream do their work."""

INSTALL = 'pip install "cuda-bindings>=12.6"'


def load_runtime() -> ModuleType:
    """Import CUDA's Python bindings; EngineError says how to get them."""
    try:
        return importlib.import_module('cuda.bindings.runtime')
    except ImportError as error:
        raise EngineError(f'NVIDIA backends need CUDA\'s Python bindings: {INSTALL}') from error


@dataclass(frozen=True)
class Device:
    """The GPU: its name, compute capability such as ``8.9``, and the driver's CUDA version."""

    name: str
    compute_capability: str
    driver: int


class Event(Fence):
    """A point on a stream, recorded again and again."""

    def __init__(self, cuda: 'Cuda', handle: Any) -> None:
        self.handle = handle
        _on_collection(self, cuda.runtime.cudaEventDestroy, handle)


class CudaStream:
    """A queue of work in order; non-blocking, so never ordered with the legacy default stream."""

    def __init__(self, cuda: 'Cuda', handle: Any) -> None:
        self.handle = handle
        _on_collection(self, cuda.runtime.cudaStreamDestroy, handle)


class CudaMemory:
    """An allocation on the device, or page-locked on the host; zeroed; freed with the object."""

    def __init__(self, cuda: 'Cuda', size: int, pinned: bool) -> None:
        call, free = (('cudaMallocHost', 'cudaFreeHost') if pinned else
                      ('cudaMalloc', 'cudaFree'))
        self.size = size
        self.address = int(cuda.call(call, size))
        _on_collection(self, getattr(cuda.runtime, free), self.address)
        if pinned:
            ctypes.memset(self.address, 0, size)
        else:
            cuda.call('cudaMemset', self.address, 0, size)
            cuda.call('cudaStreamSynchronize', LEGACY_STREAM)  # our streams do not wait for it

    def view(self, offset: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return the host's view of part of page-locked memory; it keeps the memory alive."""
        kind = np.dtype(dtype)
        size = kind.itemsize * int(np.prod(shape))
        raw = (ctypes.c_ubyte * size).from_address(self.address + offset)
        raw.owner = self  # type: ignore[attr-defined]
        return np.frombuffer(memoryview(raw), kind).reshape(shape)


class CudaGraph:
    """Work captured once (a CUDA graph), to be launched as a whole."""

    def __init__(self, cuda: 'Cuda', handle: Any) -> None:
        self._cuda, self._handle = cuda, handle
        _on_collection(self, cuda.runtime.cudaGraphExecDestroy, handle)

    def launch(self, stream: CudaStream) -> None:
        """Queue the work; returns at once."""
        self._cuda.call('cudaGraphLaunch', self._handle, stream.handle)


class Cuda:
    """A usable GPU; EngineError if there is none."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        if not self.call('cudaGetDeviceCount'):
            raise EngineError('CUDA finds no GPU')

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime; return what it gives besides its error code."""
        code, *results = getattr(self.runtime, name)(*arguments)
        if code != self.runtime.cudaError_t.cudaSuccess:
            raise EngineError(f'{name}: {self._text(code)}')
        return results[0] if results else None

    def _text(self, code: Any) -> str:
        if code == self.runtime.cudaError_t.cudaErrorInsufficientDriver:
            return 'no NVIDIA driver, or one that is too old for this CUDA runtime'
        _, text = self.runtime.cudaGetErrorString(code)
        return text.decode() if isinstance(text, bytes) else str(code)

    def device(self) -> Device:
        """Describe the GPU in use (``CUDA_VISIBLE_DEVICES`` chooses among several)."""
        properties = self.call('cudaGetDeviceProperties', self.call('cudaGetDevice'))
        name = properties.name
        return Device(name.decode().rstrip('\0') if isinstance(name, bytes) else str(name),
                      f'{properties.major}.{properties.minor}',
                      self.call('cudaDriverGetVersion'))

    def stream(self, urgent: bool) -> CudaStream:
        """Return a new stream of the highest or of the lowest priority."""
        code, least, greatest = self.runtime.cudaDeviceGetStreamPriorityRange()
        if code != self.runtime.cudaError_t.cudaSuccess:
            raise EngineError(f'cudaDeviceGetStreamPriorityRange: {self._text(code)}')
        return CudaStream(self, self.call('cudaStreamCreateWithPriority',
                                          self.runtime.cudaStreamNonBlocking,
                                          greatest if urgent else least))

    def event(self) -> Event:
        return Event(self, self.call('cudaEventCreateWithFlags',
                                     self.runtime.cudaEventDisableTiming))

    def record(self, event: Event, stream: CudaStream) -> None:
        """Let ``event`` mean all that the stream was given so far."""
        self.call('cudaEventRecord', event.handle, stream.handle)

    def wait(self, stream: CudaStream, event: Event) -> None:
        """Let the stream's further work wait for ``event``; the host goes on."""
        self.call('cudaStreamWaitEvent', stream.handle, event.handle, 0)

    def finish(self, event: Event) -> None:
        """Wait on the host until ``event`` has passed."""
        self.call('cudaEventSynchronize', event.handle)

    def copy_in(self, device: int, host: int, size: int, stream: CudaStream) -> None:
        """Queue a copy from page-locked memory to the device."""
        self.call('cudaMemcpyAsync', device, host, size,
                  self.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, stream.handle)

    def copy_out(self, host: int, device: int, size: int, stream: CudaStream) -> None:
        """Queue a copy from the device to page-locked memory."""
        self.call('cudaMemcpyAsync', host, device, size,
                  self.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost, stream.handle)

    def copy_now(self, target: int, source: int, size: int, to_device: bool) -> None:
        """Copy between any memory of the host's and the device, and wait for it."""
        kinds = self.runtime.cudaMemcpyKind
        self.call('cudaMemcpy', target, source, size, kinds.cudaMemcpyHostToDevice if to_device
                  else kinds.cudaMemcpyDeviceToHost)

    def capture(self, stream: CudaStream, work: Callable[[], None]) -> CudaGraph:
        """Capture what ``work`` gives the stream, instead of doing it.

        Other threads may use CUDA meanwhile (thread-local mode).
        """
        mode = self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call('cudaStreamBeginCapture', stream.handle, mode)
        try:
            work()
        except BaseException:
            # The stream must leave its capture, or nothing runs on it any more.
            self.runtime.cudaStreamEndCapture(stream.handle)
            raise
        graph = self.call('cudaStreamEndCapture', stream.handle)
        try:
            return CudaGraph(self, self.call('cudaGraphInstantiate', graph, 0))
        finally:
            self.call('cudaGraphDestroy', graph)


def _on_collection(owner: object, free: Callable[[Any], Any], handle: Any) -> None:
    """Free a resource with its owner, but not at the process's end, when CUDA may be gone."""
    weakref.finalize(owner, free, handle).atexit = False
