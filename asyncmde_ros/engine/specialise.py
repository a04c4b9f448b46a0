"""A shipped graph made into one for a GPU: weights inside, one size, half precision where it may.

Strongly typed: every tensor's type is written into the graph, so that a runtime has nothing left
to choose and each of them computes the same.  Warps, the trust and all that leads to them stay
float32 islands, by where they come from: what is computed from float32 alone stays float32, what
touches a feature map is half.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.graph_weights import is_weight, weight
from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.graph_tensors import CHECK, FEATURES, KEYFRAME
from asyncmde_ros.model.preprocess import SCALE, SHIFT

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise EngineError('building TensorRT engines needs onnx: pip install "onnx>=1.17"') from error

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
SUFFIX = {int(FLOAT): '.float', int(HALF): '.half'}

ISLANDS = frozenset(('LayerNormalization', 'GridSample', 'Resize', 'ReduceMean', 'Sigmoid'))
"""Operators that compute in float32: sums over many numbers, and places finer than half tells."""

TRUST = 'Sigmoid'
"""The operator from which on a feature map's descendants are trust and stay float32."""


def specialise(graph: Path, weights: Mapping[str, npt.NDArray[np.floating]],
               shapes: Mapping[str, tuple[int, ...]], outputs: Sequence[str],
               precision: Precision) -> bytes:
    """Return the ONNX file of ``graph`` with ``weights`` inside, for one size.

    ``shapes`` gives the shape of each data input; of the outputs the named ones are kept.  The
    image is taken as (1, H, W, 3) uint8 RGB and normalised inside.  But with FP32 features, and
    what is computed from them, are float16.  Where the graph gives features it also gives
    ``check`` (1,), which is finite if and only if they all are.  Raises EngineError for weights
    that do not fit.
    """
    model = onnx.load(graph)
    _fill(model.graph, weights)
    for value in model.graph.input:
        dims = value.type.tensor_type.shape
        dims.CopyFrom(helper.make_tensor_type_proto(FLOAT, shapes[value.name]).tensor_type.shape)
    _turn_weights(model.graph)
    _prune(model.graph, outputs)
    if precision is not Precision.FP32:
        _halve(model)
    _take_pixels(model.graph)
    if set(KEYFRAME) <= set(outputs):
        _add_check(model.graph)
    serialised: bytes = model.SerializeToString()
    return serialised


def _fill(graph: onnx.GraphProto, weights: Mapping[str, npt.NDArray[np.floating]]) -> None:
    """Turn the graph's weight inputs into constants."""
    for value in [value for value in graph.input if is_weight(value.name)]:
        shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        graph.initializer.append(numpy_helper.from_array(weight(weights, value.name, shape),
                                                         value.name))
        graph.input.remove(value)


def _prune(graph: onnx.GraphProto, outputs: Sequence[str]) -> None:
    """Keep what the named ``outputs`` need."""
    kept = [value for value in graph.output if value.name in outputs]
    _replace(graph.output, kept)
    needed = {value.name for value in kept}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
    _replace(graph.node, nodes[::-1])
    _replace(graph.initializer, [value for value in graph.initializer if value.name in needed])
    _replace(graph.input, [value for value in graph.input if value.name in needed])


def _turn_weights(graph: onnx.GraphProto) -> None:
    """Transpose constants here, so that no runtime has to, at whatever precision."""
    constants = {value.name: value for value in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type == 'Transpose' and node.input[0] in constants:
            axes = next(helper.get_attribute_value(item) for item in node.attribute)
            turned = numpy_helper.to_array(constants[node.input[0]]).transpose(axes)
            graph.initializer.append(numpy_helper.from_array(
                np.ascontiguousarray(turned), node.output[0]))
        else:
            kept.append(node)
    _replace(graph.node, kept)


def _halve(model: onnx.ModelProto) -> None:
    """Give every floating tensor its type, and add casts where types meet.

    A node computes in half precision if any of its inputs is half and it is no island.  An
    island's result is half again if its first input was, but for trust.
    """
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in
             onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info}
    constants = {value.name: value for value in graph.initializer}
    kinds = {name: FLOAT for name, type_ in types.items() if type_ == FLOAT}
    kinds |= {name: FLOAT for name, value in constants.items() if value.data_type == FLOAT}
    wanted = {value.name: HALF if value.name.removeprefix('next_') in FEATURES else FLOAT
              for value in (*graph.input, *graph.output)}
    kinds |= wanted
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = wanted[value.name]
    nodes: list[onnx.NodeProto] = []
    cast: set[str] = set()

    def as_type(name: str, kind: int) -> str:
        """Return the name of a tensor's value in another type, made where it is not there."""
        other = name + SUFFIX[kind]
        if other not in cast:
            cast.add(other)
            if name in constants:
                graph.initializer.append(numpy_helper.from_array(
                    numpy_helper.to_array(constants[name]).astype(np.float16), other))
            else:
                nodes.append(helper.make_node('Cast', [name], [other], to=kind))
        return other

    for node in graph.node:
        read = [name for name in node.input if name in kinds]
        computed = [name for name in read if name not in constants]
        half = any(kinds[name] == HALF for name in computed)
        kind = HALF if half and node.op_type not in ISLANDS else FLOAT
        result = FLOAT if not half or node.op_type == TRUST or (
            node.op_type in ISLANDS and kinds[computed[0]] == FLOAT) else HALF
        for index, name in enumerate(node.input):
            if name in kinds and kinds[name] != kind:
                node.input[index] = as_type(name, kind)
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in kinds:
                kinds[name] = wanted.get(name, result)
                if kinds[name] != kind:
                    node.output[index] = name + SUFFIX[kind]
                    cast.add(node.output[index])
                    nodes.append(helper.make_node('Cast', [node.output[index]], [name],
                                                  to=kinds[name]))
    _replace(graph.node, nodes)
    read_at_all = {name for node in nodes for name in node.input}
    _replace(graph.initializer, [value for value in graph.initializer
                                 if value.name in read_at_all])


def _take_pixels(graph: onnx.GraphProto) -> None:
    """Replace the normalised image by the camera's pixels (:func:`preprocess.normalise`)."""
    image = next(value for value in graph.input if value.name == 'image')
    kind = image.type.tensor_type.elem_type
    batch, channels, rows, cols = (dim.dim_value for dim in image.type.tensor_type.shape.dim)
    image.CopyFrom(helper.make_tensor_value_info('image', TensorProto.UINT8,
                                                 (batch, rows, cols, channels)))
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == 'image':
                node.input[index] = 'image.normalised'
    first = [helper.make_node('Cast', ['image'], ['image.float'], to=FLOAT),
             helper.make_node('Mul', ['image.float', 'image.scale'], ['image.scaled']),
             helper.make_node('Add', ['image.scaled', 'image.shift'], ['image.shifted']),
             helper.make_node('Transpose', ['image.shifted'], ['image.planar'],
                              perm=[0, 3, 1, 2]),
             helper.make_node('Cast', ['image.planar'], ['image.normalised'], to=kind)]
    _replace(graph.node, [*first, *graph.node])
    for name, values in (('image.scale', SCALE), ('image.shift', SHIFT)):
        graph.initializer.append(numpy_helper.from_array(values, name))


def _add_check(graph: onnx.GraphProto) -> None:
    """Add the mean over all features: infinite or no number if any of them is."""
    means = []
    for name in KEYFRAME:
        graph.node.extend([
            helper.make_node('Cast', [name], [f'{CHECK}.{name}'], to=FLOAT),
            helper.make_node('ReduceMean', [f'{CHECK}.{name}'], [f'{CHECK}.{name}.mean'],
                             keepdims=0)])
        means.append(f'{CHECK}.{name}.mean')
    graph.node.append(helper.make_node('Sum', means, [CHECK + '.sum']))
    graph.node.append(helper.make_node('Reshape', [CHECK + '.sum', CHECK + '.shape'], [CHECK]))
    graph.initializer.append(numpy_helper.from_array(np.array([1]), CHECK + '.shape'))
    graph.output.append(helper.make_tensor_value_info(CHECK, FLOAT, (1,)))


def _replace(field: object, items: Iterable[object]) -> None:
    """Set a repeated protobuf field."""
    items = list(items)
    del field[:]  # type: ignore[attr-defined]
    field.extend(items)  # type: ignore[attr-defined]
