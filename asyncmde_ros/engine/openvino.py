"""OpenVINO on a CPU."""

import logging
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.graph_weights import is_weight, weight
from asyncmde_ros.engine.interface import (
    DEFAULT_PRECISION,
    Buffer,
    Engine,
    Fence,
    HostBuffer,
    Options,
    Precision,
    Specification,
)
from asyncmde_ros.errors import EngineError, one_line

# OpenVINO reports its use over the network unless told not to, from a process that it forks out of
# this one.  A robot's node does neither; without this package OpenVINO uses a stub of its own.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]

try:
    import openvino as ov
    from openvino import opset13 as ops
except ImportError as error:
    raise EngineError('the openvino backend needs OpenVINO: pip install "openvino>=2024.4"') \
        from error


logger = logging.getLogger(__name__)

FLOAT32 = {'INFERENCE_PRECISION_HINT': 'f32'}


@cache
def shared_core() -> 'ov.Core':
    """Return the process's one Core.

    When the last Core is freed it leaves the main thread a signal stack that is gone, and the
    next Ctrl-C ends the process with a segmentation fault.
    """
    return ov.Core()


class OpenVINOEngine(Engine):
    """A weightless ONNX graph, filled, reshaped and compiled for the CPU."""

    def __init__(self, graph: Path, weights: Mapping[str, npt.NDArray[np.floating]],
                 shapes: Mapping[str, tuple[int, ...]], threads: int,
                 precision: Precision = DEFAULT_PRECISION,
                 outputs: Sequence[str] | None = None) -> None:
        """Compile ``graph``, or what of it the named ``outputs`` need.

        ``weights`` holds the graph's weight inputs by name, ``shapes`` the shape of each other
        input; ``threads`` is how many cores it may use.  With ``precision`` AUTO convolutions and
        matrix products run in bfloat16 where the CPU computes in it; the warp grids stay float32
        (a test holds that).  Where OpenVINO then compiles nothing, it is float32 throughout, with
        a warning.  Raises EngineError naming what is missing or does not fit.
        """
        options: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY', 'NUM_STREAMS': 1, 'INFERENCE_NUM_THREADS': threads,
            'ENABLE_CPU_PINNING': False}
        if precision is Precision.FP32:
            options |= FLOAT32
        core = shared_core()
        try:
            model = core.read_model(graph)
            _fill(model, weights)
            if outputs is not None:
                for result in model.get_results():
                    if not result.input_value(0).names & set(outputs):
                        model.remove_result(result)
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            compiled = _compiled(core, model, options)
        except RuntimeError as error:
            raise EngineError(f'OpenVINO cannot compile {graph.name}: {error}') from error
        self.inputs = {port.any_name: tuple(port.shape) for port in compiled.inputs}
        self.outputs = {port.any_name: tuple(port.shape) for port in compiled.outputs}
        self._request = compiled.create_infer_request()

    def allocate(self, name: str) -> Buffer:
        array = np.zeros(self.shape(name), np.float32)
        return HostBuffer(array, ov.Tensor(array, shared_memory=True))

    def run(self, bindings: Mapping[str, Buffer], after: Fence | None = None) -> None:
        for name in (*self.inputs, *self.outputs):
            self._request.set_tensor(name, bindings[name].handle)
        try:
            self._request.infer()
        except RuntimeError as error:
            raise EngineError(f'OpenVINO inference failed: {error}') from error


def compile_graph(wanted: Specification, options: Options) -> OpenVINOEngine:
    """Compile for the CPU."""
    return OpenVINOEngine(wanted.path, wanted.weights, wanted.shapes, options.threads,
                          options.precision, wanted.outputs)


def _compiled(core: 'ov.Core', model: 'ov.Model', options: dict[str, Any]
              ) -> 'ov.CompiledModel':
    try:
        return core.compile_model(model, 'CPU', options)
    except RuntimeError as error:
        if FLOAT32.items() <= options.items():
            raise
        # OpenVINO asks the CPU what it can do, and oneDNN, which computes, may be told otherwise:
        # by ONEDNN_MAX_CPU_ISA, say.
        compiled = core.compile_model(model, 'CPU', options | FLOAT32)
        logger.warning('OpenVINO cannot compile for the fastest numbers of this CPU: float32 '
                       'instead (%s)', one_line(error))
        return compiled


def _fill(model: 'ov.Model', weights: Mapping[str, npt.NDArray[np.floating]]) -> None:
    """Replace the graph's weight inputs by constants."""
    for parameter in model.get_parameters():
        name = parameter.output(0).any_name
        if not is_weight(name):
            continue
        value = weight(weights, name, tuple(parameter.output(0).partial_shape.to_shape()))
        constant = ops.constant(value)
        parameter.output(0).replace(constant.output(0))
        model.remove_parameter(parameter)
