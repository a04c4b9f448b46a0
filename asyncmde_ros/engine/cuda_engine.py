"""An engine on a GPU: what all backends there have in common.

Feature maps stay on the device.  What the host writes for every frame lies in one page-locked
block that is copied in at once, and what it reads in another that is copied out at once.  Both
copies and the network between them are one CUDA graph per set of buffers: the fast path's four
(two cache slots, two sides of its ping-pong state) and the slow path's two.  So a swap of slots,
or of sides, only changes which graph is launched.

Work of two engines is ordered by events alone.  The host waits for its own results, on the thread
that wants them; the thread of the fast path never waits for anything of the slow path's.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.cuda import Cuda, CudaMemory, CudaStream, Event
from asyncmde_ros.engine.interface import Buffer, Engine, Fence, Graph, HostBuffer
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.graph_tensors import CHECK, KEYFRAME, STATE

RESIDENT = frozenset(('positions', *KEYFRAME, *STATE, *(f'next_{name}' for name in STATE)))
"""Tensors that live on the device alone."""

ALIGNMENT = 256
"""Bytes; what TensorRT asks of every address."""

MOST_CAPTURES = 8
"""More sets of buffers than a pipeline has; the oldest capture makes room for another."""


@dataclass(frozen=True)
class TensorType:
    """Shape and numpy type of one of an engine's tensors."""

    shape: tuple[int, ...]
    dtype: np.dtype
    is_input: bool

    @property
    def size(self) -> int:
        """Return its size in bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


class Staging:
    """Tensors side by side in one block of the host's, page-locked, and its twin on the device.

    ``buffers`` have the host's view as array and the device's address as handle.
    """

    def __init__(self, cuda: Cuda, tensors: Mapping[str, TensorType]) -> None:
        self._cuda = cuda
        offsets, self._size = {}, 0
        for name, tensor in tensors.items():
            offsets[name] = self._size
            self._size += -(-tensor.size // ALIGNMENT) * ALIGNMENT
        self._host = CudaMemory(cuda, max(self._size, ALIGNMENT), pinned=True)
        self._device = CudaMemory(cuda, max(self._size, ALIGNMENT), pinned=False)
        self.buffers = {
            name: HostBuffer(self._host.view(offsets[name], tensor.shape, tensor.dtype),
                               self._device.address + offsets[name])
            for name, tensor in tensors.items()}

    def copy_in(self, stream: CudaStream) -> None:
        self._cuda.copy_in(self._device.address, self._host.address, self._size, stream)

    def copy_out(self, stream: CudaStream) -> None:
        self._cuda.copy_out(self._host.address, self._device.address, self._size, stream)


class DeviceBuffer(Buffer):
    """A tensor on the device; ``handle`` is its address.

    ``channels_last``: (1, C, H, W) is stored as (1, H, W, C).
    """

    def __init__(self, cuda: Cuda, tensor: TensorType, channels_last: bool) -> None:
        self._cuda, self.tensor = cuda, tensor
        self._channels_last = channels_last and len(tensor.shape) == 4
        self._memory = CudaMemory(cuda, tensor.size, pinned=False)
        self.handle = self._memory.address

    @property
    def array(self) -> npt.NDArray[np.generic]:
        raise TypeError('this tensor lives on the device: read() and write() copy it')

    def read(self) -> npt.NDArray[np.float32]:
        """Return a copy; what writes the tensor must have ended."""
        stored = np.empty(self._stored_shape(), self.tensor.dtype)
        self._cuda.copy_now(stored.ctypes.data, self.handle, stored.nbytes, to_device=False)
        return (stored.transpose(0, 3, 1, 2) if self._channels_last else stored).astype(np.float32)

    def write(self, values: npt.ArrayLike) -> None:
        """Copy ``values`` in; nothing on the device may be using the tensor."""
        full = np.broadcast_to(np.asarray(values), self.tensor.shape)
        stored = np.ascontiguousarray(
            full.transpose(0, 2, 3, 1) if self._channels_last else full, self.tensor.dtype)
        self._cuda.copy_now(self.handle, stored.ctypes.data, stored.nbytes, to_device=True)

    def _stored_shape(self) -> tuple[int, ...]:
        shape = self.tensor.shape
        return (shape[0], *shape[2:], shape[1]) if self._channels_last else shape


class CapturedWork(Protocol):
    """Work captured once, to be launched as a whole."""

    def launch(self, stream: CudaStream) -> None:
        """Queue the work; returns at once."""


@dataclass(frozen=True)
class _Launch:
    """One set of buffers, which it keeps alive, and the work on them."""

    bindings: Mapping[str, Buffer]
    captured: CapturedWork | None
    done: Event


class CudaEngine(Engine):
    """A network on ``stream``, its own; subclasses queue its kernels."""

    channels_last = False

    def __init__(self, cuda: Cuda, graph: Graph, tensors: Mapping[str, TensorType]) -> None:
        """``tensors`` describes every input and output, ``check`` (see specialise) included."""
        self._cuda = cuda
        self._tensors = tensors
        self.inputs = {name: tensor.shape for name, tensor in tensors.items() if tensor.is_input}
        self.outputs = {name: tensor.shape for name, tensor in tensors.items()
                        if not tensor.is_input and name != CHECK}
        self.stream = cuda.stream(urgent=graph is Graph.FAST)
        staged = {name: tensor for name, tensor in tensors.items() if name not in RESIDENT}
        self._given = Staging(cuda, {name: tensor for name, tensor in staged.items()
                                     if tensor.is_input})
        self._results = Staging(cuda, {name: tensor for name, tensor in staged.items()
                                       if not tensor.is_input})
        self._launches: dict[tuple[int, ...], _Launch] = {}

    @abstractmethod
    def _queue(self, addresses: Mapping[str, int]) -> None:
        """Queue the network on ``self.stream``; ``addresses`` of all tensors, by name."""

    def capturable(self) -> bool:
        """Tell whether the queued work may be captured."""
        return True

    def _capture(self, work: Callable[[], None]) -> CapturedWork:
        return self._cuda.capture(self.stream, work)

    def allocate(self, name: str) -> Buffer:
        if name in RESIDENT:
            return DeviceBuffer(self._cuda, self._tensors[name], self.channels_last)
        staging = self._given if self._tensors[name].is_input else self._results
        return staging.buffers[name]

    def prepare(self, bindings: Mapping[str, Buffer]) -> None:
        self._launch_for(bindings)

    def run(self, bindings: Mapping[str, Buffer], after: Fence | None = None) -> Fence:
        launch = self._launch_for(bindings)
        if isinstance(after, Event):
            self._cuda.wait(self.stream, after)
        if launch.captured is None:
            self._work(bindings)
        else:
            launch.captured.launch(self.stream)
        self._cuda.record(launch.done, self.stream)
        self._cuda.finish(launch.done)
        return launch.done

    def finite(self, bindings: Mapping[str, Buffer]) -> bool:
        """Tell whether the features of the run that ended are finite, by the graph's check."""
        if CHECK not in self._tensors:
            raise EngineError('this graph has no check of its outputs')
        return bool(np.isfinite(self._results.buffers[CHECK].array).all())

    def _launch_for(self, bindings: Mapping[str, Buffer]) -> _Launch:
        """Return the captured work on these buffers, captured now if it was not yet."""
        names = (*self.inputs, *self.outputs)
        key = tuple(bindings[name].handle for name in names)
        launch = self._launches.get(key)
        if launch is None:
            if len(self._launches) == MOST_CAPTURES:
                del self._launches[next(iter(self._launches))]
            bindings = {name: bindings[name] for name in names}
            launch = _Launch(bindings, self._try_to_capture(bindings), self._cuda.event())
            self._launches[key] = launch
        return launch

    def _try_to_capture(self, bindings: Mapping[str, Buffer]) -> CapturedWork | None:
        """Run once, since the first run may allocate or compile, then capture; None if impossible.
        """
        done = self._cuda.event()
        self._work(bindings)
        self._cuda.record(done, self.stream)
        self._cuda.finish(done)
        if not self.capturable():
            return None
        return self._capture(lambda: self._work(bindings))

    def _work(self, bindings: Mapping[str, Buffer]) -> None:
        """Queue the copies and the network."""
        addresses = {name: buffer.handle for name, buffer in bindings.items()}
        if CHECK in self._tensors:
            addresses[CHECK] = self._results.buffers[CHECK].handle
        self._given.copy_in(self.stream)
        self._queue(addresses)
        self._results.copy_out(self.stream)
