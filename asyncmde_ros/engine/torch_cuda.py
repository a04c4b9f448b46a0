"""PyTorch on a GPU: works wherever torch does, with the same streams, events and graphs."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from asyncmde_ros.engine.cuda import Cuda, CudaStream, load_runtime
from asyncmde_ros.engine.cuda_engine import RESIDENT, CapturedWork, CudaEngine, TensorType
from asyncmde_ros.engine.interface import EngineOptions, Precision, Specification
from asyncmde_ros.engine.torch import build_module
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.graph_tensors import CHECK, FEATURES, KEYFRAME
from asyncmde_ros.model.preprocess import SCALE, SHIFT
from asyncmde_ros.network.dinov2 import Attention

TORCH_TYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float16): torch.float16,
               np.dtype(np.uint8): torch.uint8}


class PixelGraph(torch.nn.Module):
    """A graph that takes the camera's pixels and, where it gives features, checks them."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, graph: torch.nn.Module, dtype: torch.dtype, checked: bool) -> None:
        super().__init__()
        self.graph = graph
        self._dtype, self._checked = dtype, checked
        self.register_buffer('scale', torch.from_numpy(SCALE))
        self.register_buffer('shift', torch.from_numpy(SHIFT))

    def forward(self, pixels: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``pixels``: (1, H, W, 3) uint8 RGB; the rest as the graph's."""
        image = (pixels.float() * self.scale + self.shift).permute(0, 3, 1, 2)  # channels last
        results: tuple[torch.Tensor, ...] = self.graph(image.to(self._dtype), *others)
        if not self._checked:
            return results
        means = torch.stack([feature.float().mean() for feature in results])
        return (*results, means.sum().reshape(1))


def on_pixels(wanted: Specification, precision: Precision, device: torch.device) -> PixelGraph:
    """Return the graph with its weights on ``device``, in the types that a GPU computes in.

    Features are float16 with AUTO; warps, weights and trust stay float32, as in the graphs that
    TensorRT gets (:mod:`asyncmde_ros.engine.specialise`).
    """
    dtype = torch.float16 if precision is not Precision.FP32 else torch.float32
    module = build_module(wanted.graph, wanted.model, wanted.weights)
    for part in module.modules():
        if isinstance(part, Attention):
            part.fused = True
    module = module.to(device, dtype).to(
        memory_format=torch.channels_last)  # type: ignore[call-overload]
    checked = set(KEYFRAME) <= set(wanted.outputs)
    return PixelGraph(module, dtype, checked).eval().to(device)


def describe(wanted: Specification, precision: Precision, results: Mapping[str, torch.Tensor]
             ) -> dict[str, TensorType]:
    """Return the types of all inputs and outputs, the outputs' shapes taken from ``results``."""
    half = np.float16 if precision is not Precision.FP32 else np.float32

    def dtype(name: str) -> np.dtype:
        return np.dtype(half if name.removeprefix('next_') in FEATURES else np.float32)
    tensors = {name: TensorType(shape, dtype(name), True)
               for name, shape in wanted.shapes.items()}
    tensors['image'] = TensorType((1, *wanted.size, 3), np.dtype(np.uint8), True)
    return tensors | {name: TensorType(tuple(result.shape), dtype(name), False)
                      for name, result in results.items()}


class TorchCudaEngine(CudaEngine):
    """A module run in half precision, channels last, its kernels captured into CUDA graphs."""

    channels_last = True

    def __init__(self, cuda: Cuda, wanted: Specification, options: EngineOptions) -> None:
        self._device = torch.device('cuda')
        if options.precision is Precision.FP32:
            torch.backends.cudnn.allow_tf32 = False  # what is asked for is float32
        self._module = on_pixels(wanted, options.precision, self._device)
        shapes = describe(wanted, options.precision, {})
        try:
            with torch.inference_mode():
                results = self._module(*(
                    torch.zeros(tensor.shape, dtype=TORCH_TYPES[tensor.dtype],
                                device=self._device) for tensor in shapes.values()))
                torch.cuda.synchronize()
        except RuntimeError as error:
            raise EngineError(f'torch cannot run the {wanted.graph.value} network on the GPU: '
                              f'{error}') from error
        self._results_in_order = (*wanted.outputs, CHECK)[:len(results)]
        tensors = describe(wanted, options.precision,
                           dict(zip(self._results_in_order, results, strict=True)))
        super().__init__(cuda, wanted.graph, tensors)
        self._external = torch.cuda.ExternalStream(int(self.stream.handle))
        self._views: tuple[dict[str, int], dict[str, torch.Tensor]] = {}, {}

    def _queue(self, addresses: Mapping[str, int]) -> None:
        # Of the run before a capture, so that nothing but kernels is called while capturing.
        if self._views[0] != addresses:
            self._views = dict(addresses), {name: self._view(name, address)
                                            for name, address in addresses.items()}
        views = self._views[1]
        try:
            with torch.cuda.stream(self._external), torch.inference_mode():
                results = self._module(*(views[name] for name in self.inputs))
                for name, result in zip(self._results_in_order, results, strict=True):
                    views[name].copy_(result)
        except RuntimeError as error:
            raise EngineError(f'torch inference failed: {error}') from error

    def _view(self, name: str, address: int) -> torch.Tensor:
        tensor = self._tensors[name]
        shape = tensor.shape
        turned = name in RESIDENT and len(shape) == 4
        stored = (shape[0], *shape[2:], shape[1]) if turned else shape
        view = torch.as_tensor(_Interface(address, stored, tensor.dtype),
                               device=self._device)
        return view.permute(0, 3, 1, 2) if turned else view

    def _capture(self, work: Callable[[], None]) -> CapturedWork:
        return _TorchGraph(self._external, work)


class _Interface:
    """Memory that torch did not allocate, as NumPy's and torch's protocol for it."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.__cuda_array_interface__ = {'shape': shape, 'typestr': dtype.str,
                                         'data': (address, False), 'version': 3, 'strides': None}


class _TorchGraph:
    """A CUDA graph that torch captured, so that its allocator knows whose memory is whose."""

    def __init__(self, external: torch.cuda.ExternalStream, work: Callable[[], None]) -> None:
        self._external = external
        self._graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.stream(external):
            self._graph.capture_begin(capture_error_mode='thread_local')
            try:
                work()
            finally:
                self._graph.capture_end()

    def launch(self, stream: CudaStream) -> None:
        with torch.cuda.stream(self._external):
            self._graph.replay()


def compile_graph(wanted: Specification, options: EngineOptions) -> TorchCudaEngine:
    """Build the module on the GPU."""
    return TorchCudaEngine(Cuda(load_runtime()), wanted, options)
