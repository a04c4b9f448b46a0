"""Export the graphs to ONNX without weights; needs torch, onnx and onnxscript.

The graphs are shipped and the weights are not in them.  Every parameter is a graph *input* that
carries its checkpoint's key name, and a backend turns those inputs into constants from the
safetensors files before it compiles.  So running needs no torch, one graph serves any weights
(DAv2's own, a user's fine-tuned fast network) and any image size, and the repository holds a few
hundred kilobytes of graphs instead of copies of somebody's model.
"""

import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import onnxscript.optimizer
import torch
from torch import nn
from torch.export import Dim

from asyncmde_ros.model.config import ModelConfig
from asyncmde_ros.model.geometry import FINEST, PATCH, Size
from asyncmde_ros.model.graph_tensors import (
    FAST_INPUTS,
    GATE_TEMPERATURE,
    SLOW_INPUTS,
    SLOW_OUTPUTS,
    TEMPORAL_SMOOTHING,
    WHOLE_FAST_OUTPUTS,
    fast_shapes,
)
from asyncmde_ros.model.patches import TAILS
from asyncmde_ros.network.depth_anything import DepthAnythingV2
from asyncmde_ros.network.graphs import (
    FastNetwork,
    FrameEncoder,
    PointsGraph,
    SlowGraph,
    TailGraph,
    WholeFastGraph,
)

OPSET = 18
"""The oldest with GridSample, LayerNormalization and what torch's exporter emits; TensorRT 10.3
and OpenVINO 2024 read it."""

EXAMPLE_GRID = (18, 24)
"""Patch grid of the example inputs; any other size works, since H and W stay symbolic."""

MAX_GRID = 146
EXAMPLE_POINTS, MAX_POINTS = 3, 4096


def fast_example(config: ModelConfig, size: Size) -> dict[str, torch.Tensor]:
    """Return inputs of the fast graph for a network size: random, of a camera at rest."""
    tensors = {name: torch.rand(shape)
               for name, shape in fast_shapes(size, config.channels).items()}
    tensors |= {'step': torch.eye(3), 'keyframe': torch.eye(3)}
    for name in ('step_flow', 'keyframe_flow'):
        tensors[name].zero_()
    return tensors | {'beta': torch.tensor([TEMPORAL_SMOOTHING]),
                      'k': torch.tensor([GATE_TEMPERATURE]), 'fresh': torch.tensor([0.0])}


def _fast_dimensions() -> dict[str, dict[int, Dim] | None]:
    """Return which axes of the fast graph's inputs are symbolic.

    Levels are independent of each other and of the image: the graph reads sizes off its inputs.
    """
    levels = [{2: Dim(f'h{level}', min=2, max=4 * MAX_GRID),
               3: Dim(f'w{level}', min=2, max=4 * MAX_GRID)} for level in range(1, 5)]
    named: dict[str, dict[int, Dim] | None] = dict.fromkeys(FAST_INPUTS)
    named['image'] = {2: Dim('H', min=2 * PATCH, max=MAX_GRID * PATCH),
                      3: Dim('W', min=2 * PATCH, max=MAX_GRID * PATCH)}
    for index, axes in enumerate(levels, start=1):
        named |= {f'm{index}': axes, f'phi{index}': axes, f'a{index}': axes}
    named |= dict.fromkeys(('step_flow', 'keyframe_flow'), levels[0])
    named |= dict.fromkeys(('phi1', 'p1', 'trust'), levels[1]) | {'p4': levels[3]}
    return {name: named[name] for name in FAST_INPUTS}


def export_fast(config: ModelConfig) -> onnx.ModelProto:
    """Return the fast graph without weights."""
    rows, cols = EXAMPLE_GRID
    example = fast_example(config, (PATCH * rows, PATCH * cols))
    return _export(WholeFastGraph(FastNetwork(config)), tuple(example.values()),
                   tuple(_fast_dimensions().values()), FAST_INPUTS, WHOLE_FAST_OUTPUTS)


def export_tail(config: ModelConfig) -> onnx.ModelProto:
    """Return the graph of the fast decoder's tail without weights."""
    h, w = (Dim(name, min=2, max=MAX_GRID) for name in ('grid_h', 'grid_w'))
    rows, cols = EXAMPLE_GRID
    example = torch.rand(1, FINEST * rows, FINEST * cols,
                         TAILS[config.decoder].parts * config.channels)
    return _export(TailGraph(config), (example,), ({1: FINEST * h, 2: FINEST * w},),
                   ('undecoded',), ('depth',))


def export_points(config: ModelConfig) -> onnx.ModelProto:
    """Return the graph of that tail at single blocks of pixels, without weights."""
    shapes = TAILS[config.decoder].shapes(EXAMPLE_POINTS, config.channels)
    count = {0: Dim('count', min=1, max=MAX_POINTS)}
    fixed = 3  # the patches, and where they lie in the map; the rest is one argument
    return _export(PointsGraph(config), tuple(torch.rand(shape) for shape in shapes.values()),
                   (*[count] * fixed, (count,) * (len(shapes) - fixed)), tuple(shapes),
                   ('depth',))


def export_slow(config: ModelConfig) -> onnx.ModelProto:
    """Return the slow graph without weights."""
    rows, cols = EXAMPLE_GRID
    h, w = (Dim(name, min=2, max=MAX_GRID) for name in ('grid_h', 'grid_w'))
    example = (torch.rand(1, 3, PATCH * rows, PATCH * cols),
               torch.rand(1, rows, cols, config.embed_dim))
    return _export(SlowGraph(DepthAnythingV2(config), FrameEncoder(config)), example,
                   ({2: PATCH * h, 3: PATCH * w}, {1: h, 2: w}), SLOW_INPUTS, SLOW_OUTPUTS)


def _export(module: nn.Module, example: tuple[torch.Tensor, ...],
            dimensions: Iterable[Any], inputs: Iterable[str],
            outputs: Iterable[str]) -> onnx.ModelProto:
    for chatty in ('torch.onnx', 'onnxscript', 'onnx_ir'):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the exporter's notes on its own deprecations
        program = torch.onnx.export(
            module.eval(), example, dynamo=True, dynamic_shapes=tuple(dimensions),
            input_names=list(inputs), output_names=list(outputs), opset_version=OPSET,
            optimize=False, verbose=False)  # optimised once no weight can be folded any more
        assert program is not None
        return _clean(onnxscript.optimizer.optimize(
            _without_weights(program.model_proto, set(module.state_dict()))))


def _without_weights(model: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
    """Turn the initializers called ``names`` into graph inputs."""
    kept = []
    for tensor in model.graph.initializer:
        if tensor.name in names:
            model.graph.input.append(onnx.helper.make_tensor_value_info(
                tensor.name, tensor.data_type, list(tensor.dims)))
        else:
            kept.append(tensor)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop unread weight inputs and the exporter's notes on where in the source a node is from."""
    read = {name for node in model.graph.node for name in node.input}
    inputs = [value for value in model.graph.input if value.name in read]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    del model.graph.value_info[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for item in (*model.graph.node, *model.graph.input, *model.graph.output,
                 *model.graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ''
    onnx.checker.check_model(model)
    return model


def export_all(config: ModelConfig, directory: Path) -> list[Path]:
    """Write ``slow_<name>.onnx``, ``fast_``, ``tail_`` and ``points_``; return their paths."""
    paths = []
    for kind, export in (('slow', export_slow), ('fast', export_fast), ('tail', export_tail),
                         ('points', export_points)):
        path = directory / f'{kind}_{config.name}.onnx'
        onnx.save(export(config), path)
        paths.append(path)
    return paths
