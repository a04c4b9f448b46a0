"""The shipped ONNX graphs, filled and run by OpenVINO, against the torch modules."""

import pytest

pytest.importorskip('torch', reason='left out: needs torch')
pytest.importorskip('onnx', reason='left out: needs onnx')

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from asyncmde_ros.engine import openvino
from asyncmde_ros.engine import torch as reference
from asyncmde_ros.engine.interface import Engine, EngineOptions, Graph, Precision, Specification
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.engine.openvino import OpenVINOEngine
from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.config import CONFIGS, VITB, VITS
from asyncmde_ros.model.geometry import memory_sizes, patch_grid
from asyncmde_ros.model.graph_tensors import (
    FAST_INPUTS,
    FAST_OUTPUTS,
    KEYFRAME,
    SLOW_INPUTS,
    SLOW_OUTPUTS,
    WARPS,
    WHOLE_FAST_OUTPUTS,
)
from asyncmde_ros.model.patches import TAILS
from asyncmde_ros.network.export import fast_example
from asyncmde_ros.network.graphs import TailGraph
from asyncmde_ros.resources import share_directory

SIZES = {'4:3': (126, 168), '16:9': (126, 224), 'odd grid': (126, 154)}
TOLERANCE = 2e-4
"""Relative to a tensor's largest value: two libraries' float32 sums in another order."""

MODELS = share_directory() / 'models'


@pytest.fixture(scope='module')
def all_weights(foundation_weights: dict[str, np.ndarray],
                fast_weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Real weights, with gates that depend on their input, so that a difference would show."""
    rng = np.random.default_rng(0)
    weights = {f'fast.{name}': value for name, value in fast_weights.items()}
    for level in (1, 4):
        weights[f'fast.unit.gates.level{level}.score.weight'] = rng.normal(
            0, 0.01, (1, 64, 1, 1)).astype(np.float32)
        weights[f'fast.unit.gates.level{level}.score.bias'] = np.zeros(1, np.float32)
    return weights | {f'foundation.{name}': value for name, value in foundation_weights.items()}


def run(engine: Engine, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    bindings = {name: engine.allocate(name) for name in (*engine.inputs, *engine.outputs)}
    for name, value in inputs.items():
        bindings[name].array[...] = value
    engine.run(bindings)
    return {name: bindings[name].array for name in engine.outputs}


def by_torch(graph: Graph, size: tuple[int, int], weights: dict[str, np.ndarray],
             shapes: dict[str, tuple[int, ...]], outputs: tuple[str, ...]) -> Engine:
    return reference.compile_graph(Specification(graph, 'vits', size, MODELS, weights, shapes,
                                                 outputs), EngineOptions(threads=2))


def assert_same(result: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        scale = np.abs(value).max()
        assert scale > 0, f'{name} is zero everywhere: nothing is compared'
        np.testing.assert_allclose(result[name], value, rtol=0, atol=TOLERANCE * scale,
                                   err_msg=name)


@pytest.mark.parametrize('size', SIZES.values(), ids=SIZES)
def test_slow_graph_equals_torch(size: tuple[int, int], all_weights: dict[str, np.ndarray],
                                 rng: np.random.Generator) -> None:
    positions = resize_positions(all_weights['foundation.pretrained.pos_embed'], patch_grid(size))
    inputs = {'image': rng.normal(size=(1, 3, *size)), 'positions': positions}
    shapes = {name: value.shape for name, value in inputs.items()}
    for graph, outputs in ((Graph.SLOW, KEYFRAME), (Graph.FOUNDATION, ('depth',))):
        expected = run(by_torch(graph, size, all_weights, shapes, outputs), inputs)
        ours = OpenVINOEngine(MODELS / 'slow_vits.onnx', all_weights, shapes, 2, Precision.FP32,
                              outputs)
        assert set(ours.outputs) == set(outputs)
        assert_same(run(ours, inputs), expected)


@pytest.mark.parametrize('fresh', [0.0, 1.0])
@pytest.mark.parametrize('size', SIZES.values(), ids=SIZES)
def test_fast_graph_equals_torch(size: tuple[int, int], fresh: float,
                                 all_weights: dict[str, np.ndarray]) -> None:
    torch.manual_seed(0)
    inputs = {name: value.numpy() for name, value in fast_example(VITS, size).items()}
    inputs['step'] = np.array([[1, 0.02, 0.1], [-0.02, 1, 0], [0.01, 0, 1]], np.float32)
    inputs['keyframe'] = np.array([[0.9, 0, -0.3], [0, 1.1, 0.1], [0, 0.05, 1]], np.float32)
    rng = np.random.default_rng(1)
    for name in ('step_flow', 'keyframe_flow'):
        inputs[name] = rng.normal(0, 0.05, inputs[name].shape).astype(np.float32)
    inputs['fresh'] = np.array([fresh], np.float32)
    shapes = {name: value.shape for name, value in inputs.items()}
    expected = run(by_torch(Graph.FAST, size, all_weights, shapes, FAST_OUTPUTS), inputs)
    assert_same(run(OpenVINOEngine(MODELS / 'fast_vits.onnx', all_weights, shapes, 2,
                                   Precision.FP32, FAST_OUTPUTS), inputs),
                expected)


def test_the_fast_graph_in_parts_equals_torch(foundation_path: Path,
                                              all_weights: dict[str, np.ndarray]) -> None:
    """The network without its decoder's end, and that end for a map and for points."""
    torch.manual_seed(0)
    size, rng = SIZES['odd grid'], np.random.default_rng(0)
    model = Model(precision=Precision.FP32, foundation=foundation_path)
    for graph in (Graph.TRUNK, Graph.TAIL, Graph.POINTS):
        wanted = replace(model.specification(graph, size), weights=all_weights)
        inputs = {name: rng.random(shape, np.float32) for name, shape in wanted.shapes.items()}
        if graph is Graph.TRUNK:
            inputs = {name: value.numpy() for name, value in fast_example(VITS, size).items()}
        assert_both_same(wanted, inputs)


def assert_both_same(wanted: Specification, inputs: dict[str, np.ndarray]) -> None:
    options = EngineOptions(Precision.FP32, 2)
    ours, theirs = (run(compile_graph(wanted, options), inputs) for compile_graph in (
        openvino.compile_graph, reference.compile_graph))
    assert set(ours) == set(wanted.outputs)
    assert_same(ours, theirs)


@pytest.mark.parametrize('graph', [Graph.TAIL, Graph.POINTS])
def test_the_end_of_the_whole_decoder_equals_torch(graph: Graph) -> None:
    """With random weights, since none are shipped."""
    torch.manual_seed(0)
    tail, channels, rng = TAILS[VITB.decoder], VITB.channels, np.random.default_rng(0)
    weights = {name: value.numpy() for name, value in TailGraph(VITB).state_dict().items()}
    shapes = ({'undecoded': (1, 16, 20, tail.parts * channels)} if graph is Graph.TAIL else
              tail.shapes(3, channels))
    assert_both_same(
        Specification(graph, VITB.name, (56, 70), MODELS / f'{graph.value}_vitb.onnx', weights,
                      shapes, ('depth',)),
        {name: rng.random(shape, np.float32) for name, shape in shapes.items()})


@pytest.mark.parametrize('by', ['homography', 'flow', 'both'])
def test_the_warp_keeps_its_subpixel_accuracy_at_any_precision(
        by: str, all_weights: dict[str, np.ndarray]) -> None:
    """A ramp moved by a known shift reads back the shift: half-precision grids would not."""
    size, shift = (252, 336), np.array([0.03, -0.05])
    share = {'homography': 1.0, 'flow': 0.0, 'both': 0.4}[by]
    inputs = {name: np.zeros(value.shape, np.float32)
              for name, value in fast_example(VITS, size).items()}
    homography = np.eye(3)
    homography[:2, 2] = share * shift
    inputs['step'] = inputs['keyframe'] = homography
    inputs['step_flow'] += ((1 - share) * shift).astype(np.float32)[:, None, None]
    inputs['keyframe_flow'] = inputs['step_flow']
    rows, cols = inputs['a2'].shape[2:]
    inputs['a2'][...] = np.linspace(0, 1, rows)[:, None]
    inputs['trust'][...], inputs['beta'][...], inputs['k'][...] = 1, 0, 4  # trust stays 1
    shapes = {name: value.shape for name, value in inputs.items()}
    result = run(OpenVINOEngine(MODELS / 'fast_vits.onnx', all_weights, shapes, 2,
                                outputs=FAST_OUTPUTS), inputs)
    moved = result['next_a2'][0, 0, 10:-10, 10:-10]
    expected = inputs['a2'][0, 0] + shift[1] / 2 * rows / (rows - 1)
    error_px = np.abs(moved - expected[10:-10, 10:-10]) * (rows - 1)
    assert error_px.max() < 0.02


@pytest.mark.parametrize('name', CONFIGS)
def test_the_shipped_graphs_are_of_the_present_networks(name: str) -> None:
    """Weights are inputs as well, told apart by the dots in their names."""
    points = TAILS[CONFIGS[name].decoder].shapes(1, CONFIGS[name].channels)
    for kind, inputs, outputs in (('fast', FAST_INPUTS, WHOLE_FAST_OUTPUTS),
                                  ('slow', SLOW_INPUTS, SLOW_OUTPUTS),
                                  ('tail', ['undecoded'], ['depth']),
                                  ('points', points, ['depth'])):
        graph = onnx.load(MODELS / f'{kind}_{name}.onnx').graph
        found = [value.name for value in graph.input]
        assert [given for given in found if '.' not in given] == list(inputs)
        assert [value.name for value in graph.output] == list(outputs)
        assert any('projector.context' in given for given in found) == (
            kind in ('fast', 'slow') and CONFIGS[name].projector_context)


@pytest.mark.proves('weights-swapped')
def test_missing_and_foreign_weights_are_named(all_weights: dict[str, np.ndarray]) -> None:
    shapes = {'image': (1, 3, 28, 28), 'positions': (1, 2, 2, 384)}
    name = 'foundation.pretrained.blocks.3.attn.qkv.bias'
    lacking = {key: value for key, value in all_weights.items() if key != name}
    with pytest.raises(EngineError, match=name):
        OpenVINOEngine(MODELS / 'slow_vits.onnx', lacking, shapes, 1)
    with pytest.raises(EngineError, match='another model'):
        OpenVINOEngine(MODELS / 'slow_vits.onnx', lacking | {name: np.zeros(3)}, shapes, 1)


def test_a_model_compiles_for_several_sizes_and_gives_live_inputs(foundation_path: Path) -> None:
    model = Model(threads=Threads(1, 1), foundation=foundation_path)
    for size in ((126, 168), (126, 224)):
        engines = model.compile(size)
        finest = memory_sizes(patch_grid(size))[0]
        assert engines.size == size and set(engines.slow.outputs) == set(KEYFRAME)
        assert engines.fast.outputs['depth'] == (1, 1, *(2 * side for side in finest))
        assert {'beta', 'k', 'fresh', *WARPS} <= set(engines.fast.inputs)
        assert np.abs(engines.positions.array).max() > 0
    with pytest.raises(ValueError, match='multiples of 14'):
        model.compile((100, 100))


@pytest.mark.proves('no-precision')
@pytest.mark.parametrize('precision', Precision)
def test_where_the_cpus_own_precision_does_not_compile_float32_does(
        precision: Precision, all_weights: dict[str, np.ndarray],
        monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    real = openvino.shared_core()

    class Refusing:
        """As OpenVINO on a CPU with bfloat16 where ONEDNN_MAX_CPU_ISA=AVX2."""

        read_model = staticmethod(real.read_model)

        def compile_model(self, model: Any, device: str, options: dict[str, Any]) -> Any:
            if options.get('INFERENCE_PRECISION_HINT') != 'f32':
                raise RuntimeError('object is not\ninitialized')
            return real.compile_model(model, device, options)

    monkeypatch.setattr(openvino, 'shared_core', Refusing)
    caplog.set_level(logging.WARNING)
    size = SIZES['odd grid']
    shapes = {'image': (1, 3, *size), 'positions': (1, *patch_grid(size), VITS.embed_dim)}
    assert OpenVINOEngine(MODELS / 'slow_vits.onnx', all_weights, shapes, 1, precision).outputs
    assert len(caplog.records) == (precision is not Precision.FP32)
    assert all('float32 instead (object is not initialized)' in text for text in caplog.messages)


@pytest.mark.proves('no-backend')
def test_an_unknown_backend_names_the_known_ones() -> None:
    with pytest.raises(EngineError, match='openvino'):
        Model(backend='abacus')


@pytest.mark.parametrize('damage', ['absent', 'empty', 'text', 'half', 'one byte'])
def test_a_damaged_graph_is_one_clear_error(tmp_path: Path, all_weights: dict[str, np.ndarray],
                                            damage: str) -> None:
    whole = (MODELS / 'slow_vits.onnx').read_bytes()
    path = tmp_path / 'slow.onnx'
    if damage != 'absent':
        path.write_bytes({'empty': b'', 'text': b'no graph', 'half': whole[:len(whole) // 2],
                          'one byte': b'\xff' + whole[1:]}[damage])
    shapes = {'image': (1, 3, 28, 28), 'positions': (1, 2, 2, 384)}
    with pytest.raises(EngineError, match=r'cannot compile slow\.onnx'):
        OpenVINOEngine(path, all_weights, shapes, 1)


def test_a_run_that_fails_is_an_engine_error(all_weights: dict[str, np.ndarray],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError('out of memory')
    engine = OpenVINOEngine(MODELS / 'slow_vits.onnx', all_weights,
                            {'image': (1, 3, 28, 28), 'positions': (1, 2, 2, 384)}, 1)
    monkeypatch.setattr(openvino.ov.InferRequest, 'infer', fail)
    with pytest.raises(EngineError, match='OpenVINO inference failed: out of memory'):
        run(engine, {})


@pytest.mark.parametrize(('library', 'module', 'words'), [
    ('openvino', 'openvino', 'pip install "openvino>='),
    ('torch', 'torch', 'pip install'),
    ('cuda.bindings.runtime', 'cuda', 'pip install "cuda-bindings>=')])
def test_a_missing_library_is_named_with_its_package(library: str, module: str, words: str
                                                     ) -> None:
    program = (f'import sys; sys.modules[{library!r}] = None\n'
               'from asyncmde_ros.errors import EngineError\n'
               'try:\n'
               f'    import asyncmde_ros.engine.{module} as found\n'
               '    found.load_runtime()\n'
               'except EngineError as error:\n'
               '    print(error)\n')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          check=True)
    assert words in done.stdout


def test_a_model_without_a_fast_network_says_what_to_do() -> None:
    with pytest.raises(EngineError, match='no fast network is shipped .*model.fast_weights'):
        Model('vitb', 'openvino')
