"""PyTorch on a CPU: the reference that every other backend is compared with."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.interface import (
    Buffer,
    Engine,
    EngineOptions,
    Fence,
    Graph,
    HostBuffer,
    Specification,
)
from asyncmde_ros.errors import EngineError

try:
    import torch
except ImportError as error:
    raise EngineError('the torch backend needs PyTorch: pip install torch') from error

from asyncmde_ros.model.config import CONFIGS
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.graphs import (
    FastGraph,
    FastNetwork,
    FoundationGraph,
    FrameEncoder,
    KeyframeGraph,
    PointsGraph,
    TailGraph,
    TrunkGraph,
)


class TorchEngine(Engine):
    """A module run eagerly in float32 on host memory."""

    def __init__(self, module: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str],
                 shapes: Mapping[str, tuple[int, ...]], threads: int) -> None:
        """``shapes`` gives the shape of every input; ``threads`` how many cores may be used."""
        self.inputs = {name: tuple(shapes[name]) for name in inputs}
        self._module = module.eval()
        self._threads = threads
        results = self._forward([torch.zeros(shape) for shape in self.inputs.values()])
        self.outputs = {name: tuple(result.shape)
                        for name, result in zip(outputs, results, strict=True)}

    def allocate(self, name: str) -> Buffer:
        array = np.zeros(self.shape(name), np.float32)
        return HostBuffer(array, torch.from_numpy(array))

    def run(self, bindings: Mapping[str, Buffer], after: Fence | None = None) -> None:
        results = self._forward([bindings[name].handle for name in self.inputs])
        for name, result in zip(self.outputs, results, strict=True):
            bindings[name].handle.copy_(result)

    def _forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        torch.set_num_threads(self._threads)  # OpenMP keeps this per calling thread
        try:
            with torch.inference_mode():
                results: tuple[torch.Tensor, ...] = self._module(*tensors)
                return results
        except RuntimeError as error:
            raise EngineError(f'torch inference failed: {error}') from error


def build_module(graph: Graph, model: str,
                 weights: Mapping[str, npt.NDArray[np.floating]]) -> torch.nn.Module:
    """Return what a shipped graph was exported from, with ``weights`` (keys as in the graph).

    Of the slow graph it is what a refresh runs, without the foundation model's depth.
    """
    config = CONFIGS[model]
    module: torch.nn.Module
    if graph in (Graph.FAST, Graph.TRUNK):
        module = (FastGraph if graph is Graph.FAST else TrunkGraph)(FastNetwork(config))
    elif graph in (Graph.TAIL, Graph.POINTS):
        module = (TailGraph if graph is Graph.TAIL else PointsGraph)(config)
    elif graph is Graph.SLOW:
        module = KeyframeGraph(DepthAnythingV2(config), FrameEncoder(config))
    else:
        module = FoundationGraph(DepthAnythingV2(config))
    load_weights(module, weights)
    return module.eval()


def compile_graph(wanted: Specification, options: EngineOptions) -> TorchEngine:
    """Build the module and run it eagerly on the CPU, in float32."""
    return TorchEngine(build_module(wanted.graph, wanted.model, wanted.weights),
                       tuple(wanted.shapes), wanted.outputs, wanted.shapes, options.threads)


NEVER_READ = ('.refinenet4.resConfUnit1.', '.num_batches_tracked')
"""Parts of tensor names that no forward pass reads, so that a weight file may lack them."""


def load_weights(module: torch.nn.Module,
                 weights: Mapping[str, npt.NDArray[np.floating]]) -> None:
    """Copy ``weights`` into ``module``; EngineError names what is missing or does not fit."""
    state = {name: torch.from_numpy(weights[name].astype(np.float32))
             for name in module.state_dict() if name in weights}
    try:
        missing = module.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise EngineError(f'these weights are of another model: {error}') from error
    needed = [name for name in missing if not any(part in name for part in NEVER_READ)]
    if needed:
        raise EngineError(f'the weights lack {needed[0]} and {len(needed) - 1} more')
