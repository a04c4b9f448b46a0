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
    EngineOptions,
    Fence,
    Graph,
    HostBuffer,
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
    raise EngineError('the openvino backend needs OpenVINO: pip install "openvino>=2025.1"') \
        from error


logger = logging.getLogger(__name__)

FLOAT32 = {'INFERENCE_PRECISION_HINT': 'f32'}

QUANTISED_TOGETHER = 128
"""Neighbouring activations of a token that share one scale in int8.

Smaller groups are nearer to bfloat16 and slower, docs/speed.md has the figures.
"""

INT8_LARGEST = 127
INT8_SINCE = (2026, 3)
MATRIX_AXES = 2


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
                 outputs: Sequence[str] | None = None, bears_int8: bool = False) -> None:
        """Compile ``graph``, or what of it the named ``outputs`` need.

        ``weights`` holds the graph's weight inputs by name, ``shapes`` the shape of each other
        input; ``threads`` is how many cores it may use.  With ``precision`` HALF convolutions and
        matrix products run in bfloat16 where the CPU computes in it; the warp grids stay float32
        (a test holds that).  AUTO is HALF, but for a graph that ``bears_int8``: its linear layers
        are quantised where this CPU gains by it (:func:`int8_pays`).  Where OpenVINO then compiles
        nothing, it is float32 throughout, with a warning.  Raises EngineError naming what is
        missing or does not fit.
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
            if bears_int8 and precision is Precision.AUTO and int8_pays():
                quantise(model)
                options['DYNAMIC_QUANTIZATION_GROUP_SIZE'] = QUANTISED_TOGETHER
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


def compile_graph(wanted: Specification, options: EngineOptions) -> OpenVINOEngine:
    """Compile for the CPU."""
    return OpenVINOEngine(wanted.path, wanted.weights, wanted.shapes, options.threads,
                          options.precision, wanted.outputs,
                          wanted.graph in (Graph.FOUNDATION, Graph.GLANCE))


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


@cache
def int8_pays() -> bool:
    """Tell whether int8 is faster here than what HALF computes in.

    Measured on AVX-512 with VNNI: 0.75 to 0.8 of the time of bfloat16.  With AMX bfloat16 is so
    fast that nothing is known to be gained.  Where Linux does not tell, False; with an OpenVINO
    that computes in bfloat16 whatever is asked (up to 2026.2, as tried), too.
    """
    if tuple(int(part) for part in ov.__version__.split('.')[:2]) < INT8_SINCE:
        return False
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='ascii', errors='replace')
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith('flags')), [])
    return 'avx512_vnni' in flags and 'amx_tile' not in flags


def quantise(model: 'ov.Model') -> None:
    """Keep the weights of linear layers as 8-bit integers, one scale for each output.

    OpenVINO then quantises what is multiplied with them as it comes, in groups of neighbouring
    activations of one token, so that nothing has to be calibrated and a token with outliers spoils
    no other (``DYNAMIC_QUANTIZATION_GROUP_SIZE``, docs.openvino.ai).  Products of two activations
    (attention), convolutions and all else stay as they are.
    """
    for product in model.get_ordered_ops():
        if product.get_type_name() != 'MatMul':
            continue
        weights = _linear_weights(product)
        if weights is None:
            continue
        scale = np.abs(weights).max(axis=1, keepdims=True) / INT8_LARGEST
        scale[scale == 0] = 1
        integers = ops.constant(np.round(weights / scale).astype(np.int8))
        restored = ops.multiply(ops.convert(integers, 'f16'),
                                ops.constant(scale.astype(np.float16)))
        linear = ops.matmul(product.input_value(0), ops.convert(restored, 'f32'), False, True)
        linear.output(0).set_names(product.output(0).get_names())
        product.output(0).replace(linear.output(0))


def _linear_weights(product: 'ov.Node') -> npt.NDArray[np.float32] | None:
    """Return the weights (outputs, inputs) of a linear layer; None of any other product."""
    node, turned = product.input_value(1).get_node(), product.get_attributes()['transpose_b']
    if node.get_type_name() == 'Transpose':
        node, turned = node.input_value(0).get_node(), not turned
    if node.get_type_name() != 'Constant' or len(node.get_output_shape(0)) != MATRIX_AXES:
        return None
    values = np.asarray(node.get_data(), np.float32)
    return values if turned else values.T


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
