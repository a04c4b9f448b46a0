"""The TensorRT backend as a whole: on an imaginary GPU, with real networks and real builds."""

import pytest

pytest.importorskip('onnx', reason='left out: needs onnx')

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
from support.fake_gpu import FakeRuntime, FakeTensorRT

from asyncmde_ros import processes
from asyncmde_ros.cli.main import main
from asyncmde_ros.engine import tensorrt, tensorrt_build, tensorrt_library, validation
from asyncmde_ros.engine.cuda import Device
from asyncmde_ros.engine.interface import Engine, EngineOptions, Graph, Precision
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.engine.plans import Key, PlanStore
from asyncmde_ros.engine.tensorrt_build import BuildJob, build, plan_job
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.graph_tensors import KEYFRAME
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.results import DepthResult
from asyncmde_ros.pipeline.session import SpatialMemorySession
from asyncmde_ros.pipeline.settings import FastPathModel
from asyncmde_ros.pipeline.slow_path import Frame, SlowPathState
from asyncmde_ros.resources import share_directory

SIZE = (126, 168)
PERIOD_NS = 33_000_000
DEADLINE_S = 60.0
HALF_ERROR = 0.01
"""Of depth, relative root mean square; the features are rounded to half precision in between."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRuntime:
    """An imaginary GPU; plans are the ONNX files themselves, built in no time."""
    runtime = FakeRuntime()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(tensorrt, 'load_runtime', lambda: runtime)
    monkeypatch.setattr(tensorrt_build, 'build_in_process',
                        lambda folder, job, options: (job.onnx, 1.0))
    return runtime


@pytest.fixture
def trt(gpu: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    module = FakeTensorRT(gpu)
    monkeypatch.setattr(tensorrt, 'load_module', lambda backend: module)
    return module


def model_on(backend: str, foundation_path: Path,
             precision: Precision = Precision.AUTO) -> Model:
    return Model(backend=backend, precision=precision, threads=Threads(1, 1),
                 foundation=foundation_path)


def pictures(count: int) -> list[np.ndarray]:
    """A camera that pans over a real picture."""
    wide = cv2.imread(str(share_directory() / 'models' / validation.PICTURE))[..., ::-1]
    return [np.ascontiguousarray(wide[:, 4 * index:4 * index + 330]) for index in range(count)]


def play(model: Model, frames: list[np.ndarray], refresh_at: set[int]) -> list[DepthResult]:
    """Run frames through a pipeline that refreshes from exactly those of ``refresh_at``."""
    results, refreshes = [], 0
    stamps = {index * PERIOD_NS for index in refresh_at}
    offer = SpatialMemorySession.offer

    def offer_some(session: SpatialMemorySession, frame: Frame) -> None:
        if frame.stamp_ns in stamps:
            offer(session, frame)

    with pytest.MonkeyPatch.context() as patch, DepthPipeline(
            model, size=SIZE, fast_path=FastPathModel.SPATIAL_MEMORY) as pipeline:
        patch.setattr(SpatialMemorySession, 'offer', offer_some)
        for index, frame in enumerate(frames):
            results.append(pipeline.process(frame, index * PERIOD_NS))
            refreshes += index in refresh_at
            deadline = time.monotonic() + DEADLINE_S
            # A refresh is counted before the next frame can use it: the path waits after both.
            while not (pipeline.status.slow_path.refreshes == refreshes
                       and pipeline.status.slow_path.state is SlowPathState.WAITING):
                assert time.monotonic() < deadline
                time.sleep(0.005)
    return results


@pytest.mark.slow
def test_the_pipeline_on_a_gpu_gives_the_cpus_depth(trt: FakeTensorRT,
                                                    foundation_path: Path) -> None:
    frames, refreshes = pictures(9), {0, 4, 6}
    reference = model_on('openvino', foundation_path, Precision.FP32)
    expected = play(reference, frames, refreshes)
    results = play(model_on('tensorrt', foundation_path), frames, refreshes)
    for index, (ours, right) in enumerate(zip(results, expected, strict=True)):
        if right.depth is None:
            assert ours.depth is None and index == 0
            continue
        assert ours.keyframe is not None and right.keyframe is not None
        assert ours.keyframe.frame_id == right.keyframe.frame_id
        assert validation.difference(ours.depth, right.depth) < HALF_ERROR, index
        np.testing.assert_allclose(ours.trust, right.trust, atol=0.02)


class Builds:
    """Counts the builds; ``plans`` are given instead of working ones, as long as there are any."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[BuildJob] = []
        self.plans: list[bytes] = []
        monkeypatch.setattr(tensorrt_build, 'build_in_process', self._build)

    def _build(self, folder: Path, job: BuildJob, options: EngineOptions) -> tuple[bytes, float]:
        self.jobs.append(job)
        return self.plans.pop(0) if self.plans else job.onnx, 1.0


@pytest.fixture
def builds(gpu: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> Builds:
    return Builds(monkeypatch)


def fast_engine(foundation_path: Path) -> Engine:
    model = model_on('tensorrt', foundation_path)
    return tensorrt.compile_graph('tensorrt', model.specification(Graph.FAST, SIZE),
                                  EngineOptions())


@pytest.mark.slow
def test_engines_are_built_once_and_checked_once(
        trt: FakeTensorRT, builds: Builds, foundation_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[object] = []
    monkeypatch.setattr('asyncmde_ros.engine.loader.validate',
                        lambda *engines: (checks.append(engines), validation.validate(*engines)))
    for _ in range(2):
        engines = model_on('tensorrt', foundation_path).compile(SIZE)
        assert engines.fast.pending_validation is None and engines.slow.pending_validation is None
    assert len(builds.jobs) == 2 and len(checks) == 1
    keys = [job.key for job in builds.jobs]
    assert [key.graph for key in keys] == ['fast', 'slow']
    assert keys[0].gpu == 'Imaginary 4090' and keys[0].driver == '13000'
    about = json.loads(PlanStore(None).path(keys[1]).with_suffix('.json').read_text())
    assert set(about['checked']) == set(KEYFRAME)
    model_on('tensorrt', foundation_path, Precision.FP32).compile(SIZE)
    assert len(builds.jobs) == 4, 'another precision is another engine'


@pytest.mark.proves('engine-nonsense')
@pytest.mark.slow
@pytest.mark.parametrize('factor', [1.2, 0.0, np.nan])
def test_an_engine_that_computes_nonsense_is_found_out_and_thrown_away(
        factor: float, trt: FakeTensorRT, builds: Builds, foundation_path: Path) -> None:
    trt.broken = factor
    with pytest.raises(EngineError, match='the engine that was built is wrong: '):
        model_on('tensorrt', foundation_path).compile(SIZE)
    trt.broken = 1.0
    model_on('tensorrt', foundation_path).compile(SIZE)
    assert [job.key.graph for job in builds.jobs] == ['fast', 'slow', 'slow']


@pytest.mark.proves('engine-file')
def test_a_plan_that_does_not_load_is_built_anew_once(
        trt: FakeTensorRT, builds: Builds, foundation_path: Path,
        caplog: pytest.LogCaptureFixture) -> None:
    builds.plans = [b'of another version']
    assert fast_engine(foundation_path).outputs
    assert len(builds.jobs) == 2 and 'the magic tag does not match' in caplog.text
    builds.jobs.clear()
    assert fast_engine(foundation_path).outputs and not builds.jobs


def test_two_plans_that_do_not_load_are_an_error(
        trt: FakeTensorRT, builds: Builds, foundation_path: Path) -> None:
    builds.plans = [b'bad', b'bad as well', b'never asked for']
    with pytest.raises(EngineError, match='the plan does not load: the magic tag'):
        fast_engine(foundation_path)
    assert len(builds.jobs) == 2


@pytest.mark.proves('no-gpu-memory')
def test_a_context_without_memory_is_an_error_in_tensorrts_words(
        trt: FakeTensorRT, foundation_path: Path) -> None:
    trt.fail = {'create_execution_context'}
    with pytest.raises(EngineError, match='no room to run the plan: out of memory'):
        fast_engine(foundation_path)


@pytest.mark.proves('cuda-call-fails')
@pytest.mark.parametrize('call', ['set_tensor_address', 'execute_async_v3'])
def test_a_call_that_returns_false_is_an_error(call: str, trt: FakeTensorRT,
                                               foundation_path: Path) -> None:
    engine = fast_engine(foundation_path)
    trt.fail = {call}
    with pytest.raises(EngineError, match='TensorRT: it does not'):
        engine.run({name: engine.allocate(name) for name in (*engine.inputs, *engine.outputs)})


def test_a_plan_that_may_not_be_recorded_yet_runs_all_the_same(
        trt: FakeTensorRT, foundation_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeTensorRT.Context, 'is_stream_capturable', lambda *_: False,
                        raising=False)
    engine = fast_engine(foundation_path)
    bindings = {name: engine.allocate(name) for name in (*engine.inputs, *engine.outputs)}
    engine.run(bindings)
    trt.gpu.calls.clear()
    engine.run(bindings)
    assert trt.gpu.named('cudaGraphLaunch', 'cudaMemcpyAsync') == ['cudaMemcpyAsync'] * 2


@pytest.mark.proves('no-backend')
def test_without_a_package_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    with pytest.raises(EngineError, match='pip install'):
        tensorrt_library.load_module('tensorrt')


@pytest.mark.proves('no-backend')
def test_without_a_driver_the_error_says_so(foundation_path: Path) -> None:
    pytest.importorskip('cuda.bindings', reason='left out: cuda-bindings is not installed')
    if tensorrt.load_runtime().cudaGetDeviceCount()[0] == 0:
        pytest.skip('left out: there is a GPU here')
    with pytest.raises(EngineError, match='no NVIDIA driver'):
        model_on('tensorrt_rtx', foundation_path).compile(SIZE)


# Real builds: TensorRT for RTX makes plans for GPUs that are not there.

@pytest.fixture
def real_build(foundation_path: Path, tmp_path: Path) -> Path:
    """A folder for engines, where TensorRT for RTX is installed."""
    pytest.importorskip('tensorrt_rtx', reason='left out: tensorrt-rtx is not installed '
                                               '(pip install tensorrt-rtx; x86-64 only)')
    return tmp_path / 'engines'


def rtx_job(foundation_path: Path, graph: Graph, capability: str,
            size: tuple[int, int] = SIZE) -> BuildJob:
    model = model_on('openvino', foundation_path)
    return plan_job(tensorrt_library.load_module('tensorrt_rtx'), 'tensorrt_rtx',
                    model.specification(graph, size), Precision.AUTO, Device('', capability, 0))


@pytest.mark.slow
@pytest.mark.parametrize('capability', ['8.6', '8.9', '12.0'])
@pytest.mark.parametrize('graph', [Graph.FAST, Graph.SLOW])
def test_tensorrt_for_rtx_builds_both_graphs(graph: Graph, capability: str, real_build: Path,
                                             foundation_path: Path) -> None:
    fractions: list[float] = []
    store = PlanStore(real_build)
    job = rtx_job(foundation_path, graph, capability, (518, 686))
    plan = build(store, job,
                 EngineOptions(progress=lambda what, fraction: fractions.append(fraction)))
    weights = sum(len(tensor.raw_data) for tensor in _onnx(job).graph.initializer)
    assert len(plan) > weights / 2, 'the weights are not in it'
    assert fractions == sorted(fractions) and 0 < fractions[0] < fractions[-1] <= 1
    assert store.load(job.key) == plan


def _onnx(job: BuildJob):  # type: ignore[no-untyped-def]
    import onnx
    return onnx.load_from_string(job.onnx)


@pytest.mark.proves('builder-dies')
@pytest.mark.slow
def test_a_build_can_be_cancelled_and_leaves_nothing(real_build: Path,
                                                     foundation_path: Path) -> None:
    cancel = threading.Event()
    job = rtx_job(foundation_path, Graph.SLOW, '8.9')
    with pytest.raises(EngineError, match='cancelled'):
        build(PlanStore(real_build), job,
              EngineOptions(cancel=cancel, progress=lambda *_: cancel.set()))
    assert not list(real_build.glob('*.plan')) and not list(real_build.glob('*.json'))
    with PlanStore(real_build).locked(job.key, threading.Event()):
        pass


@pytest.mark.proves('builder-dies')
@pytest.mark.slow
def test_a_build_ends_with_the_process_that_wanted_it(real_build: Path, foundation_path: Path,
                                                      tmp_path: Path) -> None:
    onnx = tmp_path / 'graph.onnx'
    onnx.write_bytes(rtx_job(foundation_path, Graph.SLOW, '8.9').onnx)
    worker = processes.start(
        'asyncmde_ros.engine.tensorrt_worker', 'tensorrt_rtx', str(onnx), str(tmp_path / 'plan'),
        '--compute-capability', '8.9', stdout=subprocess.PIPE)
    assert worker.stdin is not None and worker.stdout is not None
    assert 'fraction' in json.loads(worker.stdout.readline())
    worker.stdin.close()
    said = worker.stdout.read().splitlines()
    assert worker.wait(DEADLINE_S) == 1 and 'cancelled' in json.loads(said[-1])['error']
    assert not (tmp_path / 'plan').exists()


@pytest.mark.slow
@pytest.mark.parametrize(('capability', 'damage', 'reason'), [
    ('9.0', False, 'does not build for compute capability 9.0, only for .*8.9'),
    ('8.9', True, 'does not read the graph: .*[Pp]arse')])
def test_what_cannot_be_built_is_said_in_one_line(
        capability: str, damage: bool, reason: str, real_build: Path,
        foundation_path: Path) -> None:
    job = rtx_job(foundation_path, Graph.FAST, capability)
    if damage:
        job = BuildJob(job.key, job.onnx[:5000])
    with pytest.raises(EngineError, match=reason) as caught:
        build(PlanStore(real_build), job, EngineOptions())
    assert '\n' not in str(caught.value)
    assert not list(real_build.glob('*.plan'))


@pytest.mark.proves('builder-dies')
def test_a_builder_that_dies_is_reported_with_its_last_words(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / 'python'
    program.write_text('#!/bin/sh\necho out of luck >&2\nkill -SEGV $$\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(program))
    key = Key('0', 'fast', 'vits', '126x168', 'auto', 'tensorrt', '10', '8.9', 'GPU', '1')
    with pytest.raises(EngineError, match='died\nout of luck'):
        build(PlanStore(tmp_path / 'engines'), BuildJob(key, b'graph'), EngineOptions())


@pytest.mark.slow
def test_the_build_command(real_build: Path, foundation_path: Path,
                           capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['build', '--backend', 'tensorrt_rtx', '--size', '126x168', '--foundation-weights',
                 str(foundation_path), '--out', str(real_build), '--compute-capability']
    assert main([*arguments, '8.9']) == 0
    assert str(real_build) in capsys.readouterr().out
    assert sorted(path.name.split('_')[0] for path in real_build.glob('*.plan')) == ['fast',
                                                                                     'slow']
    assert main([*arguments, '8.7']) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and '8.7' in error
    if not Path('/dev/nvidiactl').exists():
        assert main(arguments[:-1]) == 1
        assert capsys.readouterr().err.count('\n') == 1
