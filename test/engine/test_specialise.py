"""Graphs for a GPU: the same function, typed so that half precision does no harm."""

import pytest

pytest.importorskip('onnx', reason='left out: needs onnx')

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import onnx
from support.fake_gpu import tensor_name

from asyncmde_ros.engine.interface import Buffer, Graph, Precision
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.engine.openvino import shared_core
from asyncmde_ros.engine.specialise import specialise
from asyncmde_ros.engine.validation import bind, difference
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.geometry import patch_grid
from asyncmde_ros.model.graph_tensors import CHECK, KEYFRAME, STATE, WARPS
from asyncmde_ros.model.preprocess import shrink

SIZE = (126, 168)
LARGEST_HALF = 65504.0
HEADROOM = 8
"""How many times larger half precision's largest number is than any activation."""

TYPES = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.FLOAT16: np.float16,
         onnx.TensorProto.UINT8: np.uint8}


def make(model: Model, graph: Graph, precision: Precision,
         size: tuple[int, int] = SIZE) -> onnx.ModelProto:
    wanted = model.specification(graph, size)
    return onnx.load_from_string(specialise(wanted.path, wanted.weights, wanted.shapes,
                                            wanted.outputs, precision))


def picture() -> np.ndarray:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 255, (9, 12, 3)).astype(np.uint8)
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def inputs_of(graph: onnx.ModelProto, bindings: Mapping, pixels: np.ndarray
              ) -> dict[str, np.ndarray]:
    """Return the inputs that the graph wants, in its types, from a float32 engine's bindings."""
    given = {}
    for value in graph.graph.input:
        dtype = TYPES[value.type.tensor_type.elem_type]
        given[value.name] = (pixels[None] if value.name == 'image'
                             else bindings[value.name].read().astype(dtype))
    return given


def run_openvino(graph: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    compiled = shared_core().compile_model(
        shared_core().read_model(graph.SerializeToString()), 'CPU',
        {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 2})
    results = compiled(inputs)
    return {tensor_name(port): np.array(results[port], np.float32) for port in compiled.outputs}


def run_onnxruntime(graph: onnx.ModelProto, inputs: dict[str, np.ndarray]
                    ) -> dict[str, np.ndarray]:
    """Run with every tensor rounded to the type that the graph gives it."""
    runtime = pytest.importorskip('onnxruntime', reason='left out: onnxruntime is not installed')
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 2
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    session = runtime.InferenceSession(graph.SerializeToString(), options,
                                       providers=['CPUExecutionProvider'])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


Shown = tuple[np.ndarray, np.ndarray, dict[str, Buffer], dict[str, Buffer]]


@pytest.fixture(scope='module')
def shown(model: Model) -> Shown:
    """A keyframe, a frame, and what the shipped slow and fast graphs make of them."""
    keyframe, frame = picture(), np.roll(picture(), 4, axis=1)
    return keyframe, frame, *bind(model.compile(SIZE), keyframe, frame)


@pytest.mark.parametrize('run', [run_openvino, run_onnxruntime])
@pytest.mark.parametrize('precision', list(Precision))
def test_a_specialised_graph_computes_what_the_shipped_one_does(
        precision: Precision, run, model: Model,  # type: ignore[no-untyped-def]
        shown: Shown) -> None:
    keyframe, frame, slow, fast = shown
    tolerance = 1e-4 if precision is Precision.FP32 else 0.01
    for graph, bindings, pixels, outputs in (
            (Graph.SLOW, slow, keyframe, KEYFRAME),
            (Graph.FAST, fast, frame, ('depth', 'share', *(f'next_{name}' for name in STATE)))):
        ours = make(model, graph, precision)
        results = run(ours, inputs_of(ours, bindings, pixels))
        assert set(outputs) <= set(results)
        for name in outputs:
            right = bindings[name].read()
            assert results[name].shape == right.shape
            assert difference(results[name].astype(np.float32), right) < tolerance, name


def test_features_are_half_and_warps_weights_and_trust_are_not(model: Model) -> None:
    """Every product and convolution is half; all that leads to a sampling grid is float32."""
    for kind in (Graph.SLOW, Graph.FAST):
        graph = onnx.shape_inference.infer_shapes(make(model, kind, Precision.AUTO),
                                                  strict_mode=True).graph
        half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
        types = {value.name: value.type.tensor_type.elem_type
                 for value in (*graph.value_info, *graph.input, *graph.output)}
        types |= {value.name: value.data_type for value in graph.initializer}
        maker = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            if node.op_type in ('Conv', 'ConvTranspose', 'MatMul', 'Gemm', 'Softmax'):
                assert {types[name] for name in (*node.input, *node.output)} == {half}, node.name
            if node.op_type in ('LayerNormalization', 'GridSample', 'Resize', 'Sigmoid'):
                assert types[node.output[0]] == single, node.name
            if node.op_type == 'GridSample':
                above = [node.input[1]]
                while above:
                    name = above.pop()
                    assert types.get(name) != half, f'{name} leads to a grid in half precision'
                    if name in maker and maker[name].op_type != 'Shape':
                        above += maker[name].input
        for name in (*WARPS, 'a2', 'trust', 'next_a2', 'next_trust', 'share', 'depth', CHECK):
            assert types.get(name, single) == single, name
        for name in (*KEYFRAME, 'p1', 'next_p1', 'positions'):
            assert types.get(name, half) == half, name
        assert types['image'] == onnx.TensorProto.UINT8


def test_the_check_is_finite_exactly_if_every_feature_is(model: Model) -> None:
    graph = make(model, Graph.SLOW, Precision.AUTO)
    rows, cols = patch_grid(SIZE)
    positions = np.zeros((1, rows, cols, 384), np.float16)
    given = {'image': picture()[None], 'positions': positions}
    assert np.isfinite(run_onnxruntime(graph, given)[CHECK]).all()
    positions[0, 2, 3, 5] = np.nan
    results = run_onnxruntime(graph, given)
    assert not np.isfinite(results['m4']).all() and not np.isfinite(results[CHECK]).all()


@pytest.mark.slow
def test_on_real_pictures_no_half_precision_number_comes_near_its_end(
        model: Model, shared: Path) -> None:
    """Calibration: every half tensor inside the foundation model, on the evaluation's scenes."""
    runtime = pytest.importorskip('onnxruntime', reason='left out: onnxruntime is not installed')
    size = (252, 336)
    graph = make(model, Graph.SLOW, Precision.AUTO, size)
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    inner = [value for value in inferred.value_info
             if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16]
    assert len(inner) > 300
    graph.graph.output.extend(inner)
    session = runtime.InferenceSession(graph.SerializeToString(),
                                       providers=['CPUExecutionProvider'])
    names = [value.name for value in session.get_outputs()]
    positions = model.compile_depth(size).positions.read().astype(np.float16)
    for path in sorted((shared / 'data' / 'eval').glob('*/rgb/000050.jpg')):
        pixels = shrink(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), size)
        values = session.run(None, {'image': pixels[None], 'positions': positions})
        largest = {name: float(np.abs(value.astype(np.float32)).max())
                   for name, value in zip(names, values, strict=True)}
        worst = max(largest, key=largest.__getitem__)
        assert largest[worst] < LARGEST_HALF / HEADROOM, (path.parts[-3], worst, largest[worst])


def test_foreign_and_missing_weights_are_named(model: Model) -> None:
    wanted = model.specification(Graph.FAST, SIZE)
    name = 'fast.decoder.output_conv1.weight'
    for weights, text in (({**wanted.weights, name: np.zeros(3)}, 'another model'),
                          ({key: value for key, value in wanted.weights.items() if key != name},
                           name)):
        with pytest.raises(EngineError, match=text):
            specialise(wanted.path, weights, wanted.shapes, wanted.outputs, Precision.AUTO)


def test_the_same_graph_gives_the_same_bytes(model: Model) -> None:
    """The key of a built engine rests on it."""
    first, second = (make(model, Graph.FAST, Precision.AUTO).SerializeToString()
                     for _ in range(2))
    assert first == second
