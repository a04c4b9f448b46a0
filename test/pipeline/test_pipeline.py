"""The pipeline as a whole: on fakes for its rules, on real weights for its depth."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file
from support.fakes import Ahead, FakeEngine, FakeModel

from asyncmde_ros.engine.interface import Engines
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.errors import EngineError, ImageError
from asyncmde_ros.lab.evaluation.predict import Foundation
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import shrink
from asyncmde_ros.pipeline.clock import Clock
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.engine_manager import MOST_RESTARTS
from asyncmde_ros.pipeline.overload import INTERVALS, MOST_IN_A_ROW
from asyncmde_ros.pipeline.priority import NICENESS
from asyncmde_ros.pipeline.results import DepthResult, DepthSource, PipelineState
from asyncmde_ros.pipeline.settings import (
    FastPathModel,
    MotionCompensation,
    OldMemory,
    OutputResolution,
    Settings,
)
from asyncmde_ros.pipeline.slow_path import SlowPathState
from asyncmde_ros.pipeline.upright import Rotation

DEADLINE_S = 60.0
"""Of what takes a moment, on a machine whose cores are busy with something else."""

FRAME_NS = 33_000_000
LATE_NS = 10 * FRAME_NS
LANDSCAPE: Size = (480, 640)


def image(size: Size = LANDSCAPE, value: int = 90) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def spatial_memory(model: object, *args: object, **options: object) -> DepthPipeline:
    """The pipeline with the paper's fast path."""
    return DepthPipeline(model, *args, fast_path=FastPathModel.SPATIAL_MEMORY,  # type: ignore
                         **options)


class Camera:
    """Feeds a pipeline frames with rising stamps until something happens."""

    def __init__(self, pipeline: DepthPipeline, model: FakeModel | None = None,
                 ahead: Ahead | None = None) -> None:
        """``model`` and ``ahead``: the pipeline's, where these are fakes."""
        self.pipeline = pipeline
        self.stamp_ns = 1_000_000_000
        self.ahead = ahead or Ahead()
        self._model = model

    @property
    def model(self) -> FakeModel:
        assert self._model is not None
        return self._model

    @property
    def fast(self) -> FakeEngine:
        """The fast path's engine in use."""
        assert self.model.engines is not None
        return engine(self.model.engines.fast)

    def show(self, rgb: np.ndarray, late: bool = False) -> DepthResult:
        """Show a frame that arrives with its stamp; a ``late`` one has waited since."""
        self.stamp_ns += FRAME_NS
        self.ahead.now_ns = self.stamp_ns + LATE_NS * late
        return self.pipeline.process(rgb, self.stamp_ns, self.stamp_ns, self.ahead.now_ns)

    def steady(self, rgb: np.ndarray) -> None:
        """Show so many frames that the camera's period is known."""
        for _ in range(INTERVALS + 1):
            self.show(rgb)

    def show_until(self, rgb: np.ndarray, state: PipelineState) -> DepthResult:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            result = self.show(rgb)
            if result.state is state:
                return result
            assert time.monotonic() < deadline, f'still {result.state}'
            time.sleep(0.005)

    def rest(self) -> None:
        """Switch the slow path off; return once a refresh that was under way has ended."""
        self.pipeline.settings = replace(self.pipeline.settings, slow_path_enabled=False)
        deadline = time.monotonic() + DEADLINE_S
        while self.pipeline.status.slow_path.state is not SlowPathState.DISABLED:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def engine(of: object) -> FakeEngine:
    assert isinstance(of, FakeEngine)
    return of


@contextmanager
def watched(settings: Settings | None = None, **timeouts: float) -> Iterator[Camera]:
    """A camera on a pipeline of fakes."""
    model, ahead = FakeModel(), Ahead()
    clock = Clock(ahead.seconds, ahead.nanoseconds, **timeouts)
    with spatial_memory(model, settings, clock=clock) as pipeline:
        yield Camera(pipeline, model, ahead)


@pytest.fixture
def camera() -> Iterator[Camera]:
    with watched() as camera:
        yield camera


def test_depth_is_withheld_until_the_first_refresh_then_given_for_every_frame(
        camera: Camera) -> None:
    first = camera.show(image())
    assert first.state is PipelineState.WAITING_FOR_MEMORY and first.depth is None
    ready = camera.show_until(image(), PipelineState.READY)
    for _ in range(5):
        result = camera.show(image())
        assert result.depth is not None and result.depth.shape == LANDSCAPE
        assert result.depth.dtype == np.float32
        assert result.stamp_ns == camera.stamp_ns
        assert result.keyframe is not None and result.lag is not None
        assert result.keyframe.stamp_ns == camera.stamp_ns - result.lag * FRAME_NS
        assert result.lag >= 1
    assert ready.timings.total_ms > 0


def test_depth_follows_the_newest_keyframe(camera: Camera) -> None:
    camera.show_until(image(value=10), PipelineState.READY)
    deadline = time.monotonic() + DEADLINE_S
    bright = (250 / 255 - 0.45) / 0.225  # about what the fake makes of it
    while abs(float(camera.show(image(value=250)).depth.mean()) - bright) > 0.3:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.proves('stamps-jump')
def test_time_going_backwards_drops_the_memory_and_keeps_the_stamps(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    camera.stamp_ns -= 10_000_000_000
    looped_from = camera.stamp_ns
    result = camera.show(image())
    assert result.state is PipelineState.WAITING_FOR_MEMORY and result.depth is None
    again = camera.show_until(image(), PipelineState.READY)
    assert again.keyframe is not None and again.keyframe.stamp_ns > looped_from
    assert again.keyframe.stamp_ns <= again.stamp_ns
    assert camera.pipeline.status.resets == 1


@pytest.mark.proves('scene-cut')
def test_a_scene_cut_drops_the_memory_of_the_old_scene(camera: Camera) -> None:
    rng = np.random.default_rng(0)
    before, after = (cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), LANDSCAPE[::-1],
                                interpolation=cv2.INTER_CUBIC) for _ in range(2))
    camera.show_until(before, PipelineState.READY)
    cut = camera.show(after)
    assert cut.state is PipelineState.WAITING_FOR_MEMORY and cut.depth is None
    again = camera.show_until(after, PipelineState.READY)
    assert again.keyframe is not None and again.keyframe.stamp_ns >= cut.stamp_ns
    assert camera.pipeline.status.cuts == 1


@pytest.mark.proves('scene-cut')
def test_trust_that_collapses_drops_the_memory_and_asks_for_another(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    fast = camera.fast
    shares = [1.0]

    def compute(arrays: Mapping[str, np.ndarray]) -> None:
        arrays['depth'][...] = 1
        arrays['share'][...] = shares[-1]
    fast.compute = compute
    camera.rest()
    for aging in (1.0, 0.9, 0.8, 0.5, 0.3):  # each keeps over 0.3 of the one before
        shares.append(aging)
        assert camera.show(image()).depth is not None
    shares.append(0.05)
    assert camera.show(image()).state is PipelineState.SLOW_PATH_OFF
    assert camera.pipeline.status.cuts == 1
    dropped_at = camera.stamp_ns
    shares.append(1.0)
    camera.pipeline.settings = replace(camera.pipeline.settings, slow_path_enabled=True)
    again = camera.show_until(image(), PipelineState.READY)
    assert again.keyframe is not None and again.keyframe.stamp_ns >= dropped_at

    camera.pipeline.settings = replace(camera.pipeline.settings, cut_trust=0.0)
    camera.rest()
    assert camera.show(image()).depth is not None
    shares.append(0.01)
    assert camera.show(image()).depth is not None, 'zero never drops'


def test_a_memory_that_faded_away_is_not_taken_for_lost(camera: Camera) -> None:
    """Without refreshes the keyframe's share falls for ever; what sees is the fast network."""
    camera.show_until(image(), PipelineState.READY)
    camera.rest()
    fast = camera.fast
    shares = [1.0]

    def compute(arrays: Mapping[str, np.ndarray]) -> None:
        arrays['depth'][...] = 1
        arrays['share'][...] = shares[0]
    fast.compute = compute
    for _ in range(300):
        shares[0] *= 0.9
        assert camera.show(image()).depth is not None
    assert shares[0] < 1e-12 and camera.pipeline.status.cuts == 0


@pytest.mark.proves('refresh-hangs')
def test_a_memory_beyond_its_age_is_marked_or_withheld(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    camera.pipeline.settings = replace(camera.pipeline.settings, max_memory_age_s=1.0)
    camera.rest()
    result = camera.show(image())
    assert result.keyframe is not None and not result.stale
    keyframe_ns = result.keyframe.stamp_ns
    while not result.stale:
        result = camera.show(image())
        assert result.depth is not None and result.keyframe is not None
        assert result.stale == (result.stamp_ns - keyframe_ns > 1e9)
    camera.pipeline.settings = replace(camera.pipeline.settings, old_memory=OldMemory.WITHHOLD)
    result = camera.show(image())
    assert result.depth is None and result.state is PipelineState.MEMORY_STALE
    camera.pipeline.settings = replace(camera.pipeline.settings, max_memory_age_s=0.0)
    assert camera.show(image()).depth is not None


class Gate:
    """Holds the slow path's engine up between ``shut`` and ``open``."""

    def __init__(self, model: FakeModel) -> None:
        assert model.engines is not None
        slow = engine(model.engines.slow)
        self._working, self._open = slow.compute, threading.Event()
        self._open.set()
        slow.compute = self._compute
        self.shut, self.open = self._open.clear, self._open.set
        self.held = threading.Event()
        """Set once a refresh is held up."""

    def _compute(self, arrays: Mapping[str, np.ndarray]) -> None:
        if not self._open.is_set():
            self.held.set()
        assert self._open.wait(DEADLINE_S)
        self._working(arrays)


@pytest.mark.proves('late-after-too-old')
@pytest.mark.parametrize('when_too_old', OldMemory)
def test_a_late_frame_gets_no_depth_from_before_the_memory_was_too_old(
        camera: Camera, when_too_old: OldMemory) -> None:
    """The refresh that comes at last is used at once, even by a frame with no time for it."""
    gate = Gate(camera.model)
    camera.show_until(image(), PipelineState.READY)
    camera.pipeline.settings = replace(camera.pipeline.settings, max_memory_age_s=1.0,
                                       old_memory=OldMemory.WITHHOLD)
    gate.shut()
    old = camera.show(image()).keyframe
    while (result := camera.show(image())).state is PipelineState.READY:
        old = result.keyframe
    assert result.state is PipelineState.MEMORY_STALE and old is not None
    camera.pipeline.settings = replace(camera.pipeline.settings, old_memory=when_too_old)
    camera.show(image())
    gate.open()
    deadline = time.monotonic() + DEADLINE_S
    while True:
        result = camera.show(image(), late=True)
        if result.keyframe is not None and result.keyframe.generation > old.generation:
            break
        assert result.depth is None or result.stale
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert result.source is DepthSource.NETWORK
    camera.pipeline.settings = replace(camera.pipeline.settings, max_memory_age_s=0.0)
    camera.show_until(image(), PipelineState.READY)
    assert camera.show(image(), late=True).source is DepthSource.WARPED


def test_depth_that_grows_too_old_while_frames_are_late_is_not_moved_on(camera: Camera) -> None:
    """As above, but the refresh is there just before the old memory is too old."""
    gate = Gate(camera.model)
    camera.show_until(image(), PipelineState.READY)
    camera.steady(image())
    kept = camera.show(image()).keyframe
    status, deadline = camera.pipeline.status.slow_path, time.monotonic() + DEADLINE_S
    assert kept is not None

    def refreshed_from(stamp_ns: int) -> bool:
        """Whether the newest refresh is complete, and of a frame from ``stamp_ns`` on."""
        return (status.state is SlowPathState.WAITING and status.stamp_ns is not None
                and status.stamp_ns >= stamp_ns)
    # At rest: of the last frame there is a refresh, or there is one that no frame has taken yet.
    while not (refreshed_from(camera.stamp_ns) or refreshed_from(kept.stamp_ns + 1)):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    gate.shut()
    kept = camera.show(image()).keyframe
    assert kept is not None
    camera.pipeline.settings = replace(camera.pipeline.settings,
                                       old_memory=OldMemory.WITHHOLD)
    gate.open()
    while not refreshed_from(kept.stamp_ns + 1):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    late = camera.show(image(), late=True)
    assert late.source is DepthSource.WARPED and late.keyframe == kept
    age_s = (late.stamp_ns - kept.stamp_ns) / 1e9
    camera.pipeline.settings = replace(camera.pipeline.settings, max_memory_age_s=age_s + 0.001)
    later = camera.show(image(), late=True)
    assert later.keyframe != kept and later.source is DepthSource.NETWORK


@pytest.mark.proves('constant-stamps')
def test_a_memory_ages_though_the_stamps_stand_still() -> None:
    with watched() as camera:
        camera.show_until(image(), PipelineState.READY)
        camera.pipeline.settings = replace(camera.pipeline.settings, max_memory_age_s=3600.0)
        camera.rest()
        camera.show(image())
        for passed_s, too_old in ((1800.0, False), (1801.0, True)):
            camera.ahead.by_s += passed_s
            result = camera.pipeline.process(image(), camera.stamp_ns)
            assert result.stale is too_old and result.depth is not None


@pytest.mark.proves('cleanup')
def test_a_closed_pipeline_frees_its_engines_at_once() -> None:
    model = FakeModel()
    pipeline = spatial_memory(model)  # type: ignore[arg-type]
    Camera(pipeline).show_until(image(), PipelineState.READY)
    assert model.engines is not None
    engines = [weakref.ref(model.engines.fast), weakref.ref(model.engines.slow)]
    model.engines = None
    gc.collect()
    gc.disable()  # a node at rest collects nothing for minutes
    try:
        assert pipeline.close()
        del pipeline
        assert [engine() for engine in engines] == [None, None]
    finally:
        gc.enable()


def test_a_sensor_is_asked_for_the_step_between_frames_that_were_tracked(
        camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def step(before_ns: int, now_ns: int) -> None:
        asked.append((before_ns, now_ns))
    pipeline = camera.pipeline
    monkeypatch.setattr(pipeline.rotation_sensor, 'step', step)
    pipeline.settings = replace(pipeline.settings, motion_compensation=MotionCompensation.IMU)
    for stamp_ns in (10 * FRAME_NS, 11 * FRAME_NS, 13 * FRAME_NS, 2 * FRAME_NS, 3 * FRAME_NS):
        pipeline.process(image(), stamp_ns)
    assert asked == [(10 * FRAME_NS, 11 * FRAME_NS), (11 * FRAME_NS, 13 * FRAME_NS),
                     (2 * FRAME_NS, 3 * FRAME_NS)]
    pipeline.settings = replace(pipeline.settings, motion_compensation=MotionCompensation.IMAGE)
    pipeline.process(image(), 4 * FRAME_NS)
    assert len(asked) == 3


@pytest.mark.proves('refresh-hangs')
def test_a_slow_path_that_hangs_is_restarted_while_depth_goes_on() -> None:
    release, hanging = threading.Event(), threading.Event()
    with watched(stall_s=3600.0) as camera:
        pipeline, model = camera.pipeline, camera.model
        camera.show_until(image(), PipelineState.READY)
        assert model.engines is not None
        refreshes = pipeline.status.slow_path.refreshes

        def hang(arrays: object) -> None:
            hanging.set()
            assert release.wait(DEADLINE_S)
        engine(model.engines.slow).compute = hang
        deadline = time.monotonic() + DEADLINE_S
        while len(model.compiled) == 1:
            assert camera.show(image()).depth is not None, 'depth goes on meanwhile'
            assert time.monotonic() < deadline
            time.sleep(0.01)
            if hanging.is_set():
                camera.ahead.by_s = 3601.0  # the refresh under way began before
        hung_at = camera.stamp_ns
        again = None
        while again is None or again.keyframe is None or again.keyframe.stamp_ns <= hung_at:
            again = camera.show(image())
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert again.depth is not None and pipeline.status.restarts == 1
        assert pipeline.status.slow_path.failures == 0
        assert pipeline.status.slow_path.refreshes > refreshes, 'counts go on'
        assert not pipeline.close(), 'the thread that hangs is still there'
        release.set()


@pytest.mark.proves('refresh-hangs')
def test_a_slow_path_that_comes_to_its_end_after_all_is_not_replaced() -> None:
    building, go_on = threading.Event(), threading.Event()
    with watched(stall_s=3600.0) as camera:
        pipeline, model, gate = camera.pipeline, camera.model, Gate(camera.model)
        camera.show_until(image(), PipelineState.READY)
        working = model.compile

        def slowly(size: Size, cancel: threading.Event | None = None) -> Engines:
            building.set()
            assert go_on.wait(DEADLINE_S)
            return working(size, cancel)
        model.compile = slowly  # type: ignore[method-assign]
        gate.shut()
        deadline = time.monotonic() + DEADLINE_S
        while not building.is_set():
            assert camera.show(image()).depth is not None and time.monotonic() < deadline
            time.sleep(0.005)
            if gate.held.is_set():
                camera.ahead.by_s = 3601.0
        resets = pipeline.status.resets
        assert pipeline.status.restarts == 1
        gate.open()
        while pipeline.status.slow_path.refreshes < 3:
            assert camera.show(image()).depth is not None and time.monotonic() < deadline
            time.sleep(0.005)
        go_on.set()
        while pipeline.status.restarts == 1:
            assert camera.show(image()).depth is not None and time.monotonic() < deadline
            time.sleep(0.005)
        assert pipeline.status.resets == resets, 'the memory is the one that there was'
        assert pipeline.status.restarts == 0


def assert_(done: bool) -> None:
    assert done


@pytest.mark.proves('refresh-hangs')
def test_a_slow_path_that_hangs_again_and_again_is_given_up_and_said() -> None:
    model, release = FakeModel(), threading.Event()
    working = model.compile

    def compile_(size: Size, cancel: threading.Event | None = None) -> Engines:
        engines = working(size, cancel)
        assert isinstance(engines.slow, FakeEngine)
        prepared = iter((1, 2))  # the runs that warm up
        compute = engines.slow.compute
        engines.slow.compute = lambda arrays: (compute(arrays) if next(prepared, None)
                                               else assert_(release.wait(DEADLINE_S)))
        return engines
    model.compile = compile_  # type: ignore[method-assign]
    with spatial_memory(model, clock=Clock(stall_s=0.2)) as pipeline:
        camera, deadline = Camera(pipeline), time.monotonic() + DEADLINE_S
        while len(model.compiled) < 1 + MOST_RESTARTS:
            camera.show(image())
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(100):
            camera.show(image())
            time.sleep(0.01)
        assert len(model.compiled) == 1 + MOST_RESTARTS
        assert pipeline.status.restarts == MOST_RESTARTS
        release.set()


@pytest.mark.proves('other-size')
def test_another_aspect_builds_engines_beside_and_withholds_depth(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    wide = image((360, 640))
    assert camera.show(wide).state is PipelineState.BUILDING
    result = camera.show_until(wide, PipelineState.READY)
    assert result.depth is not None and result.depth.shape == (360, 640)
    assert camera.pipeline.status.size == (252, 448)


@pytest.mark.proves('other-size')
def test_engines_that_nobody_wants_any_more_are_not_adopted(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    model = camera.model
    ready, working = threading.Event(), model.compile

    def held(size: Size, cancel: threading.Event | None = None) -> Engines:
        assert ready.wait(DEADLINE_S)
        return working(size, cancel)
    model.compile = held  # type: ignore[method-assign]
    camera.show(image((360, 640)))
    (builder,) = [thread for thread in threading.enumerate() if thread.name == 'engine_builder']
    camera.show_until(image(), PipelineState.READY)
    resets = camera.pipeline.status.resets
    ready.set()
    builder.join(DEADLINE_S)
    assert model.compiled[-1] == (252, 448) and not builder.is_alive()
    for _ in range(3):
        assert camera.show(image()).state is PipelineState.READY
    assert camera.pipeline.status.resets == resets, 'the memory is the one that there was'
    assert camera.pipeline.status.restarts == 0
    assert camera.pipeline.status.size == (252, 336)


@pytest.mark.parametrize('wrong', [np.zeros((48, 64, 3), np.float32),
                                   np.zeros((48, 64, 4), np.uint8), np.zeros((48, 64), np.uint8)])
def test_what_is_no_rgb_image_is_refused(wrong: np.ndarray, camera: Camera) -> None:
    with pytest.raises(ImageError, match='uint8 is wanted'):
        camera.show(wrong)


@pytest.mark.proves('script-ends')
@pytest.mark.slow
def test_a_script_that_ends_while_engines_are_built_ends_well(foundation_path: Path) -> None:
    program = ('import numpy as np; from asyncmde_ros.engine.loader import Model; '
               'from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline\n'
               'with DepthPipeline(Model(), size=None) as pipeline:\n'
               '    print(pipeline.process(np.zeros((272, 640, 3), np.uint8), 0).state.name)\n')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'BUILDING\n'), done.stderr


@pytest.mark.proves('long-image')
def test_an_absurdly_long_image_is_refused_before_anything_is_built(camera: Camera) -> None:
    with pytest.raises(ImageError, match='640x8'):
        camera.show(image((8, 640)))
    camera.show_until(image(), PipelineState.READY)


@pytest.mark.proves('stamps-jump')
def test_after_a_long_pause_the_memory_starts_anew(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    camera.stamp_ns += 3600 * 10**9
    assert camera.show(image()).state is PipelineState.WAITING_FOR_MEMORY


@pytest.mark.proves('image-reused')
def test_the_callers_image_may_be_reused_at_once() -> None:
    model = FakeModel()
    with spatial_memory(model, Settings(slow_path_enabled=False), size=(28, 42)) as pipeline:
        camera, buffer = Camera(pipeline, model), image((28, 42), value=90)
        camera.show(buffer)
        buffer[...] = 250
        assert model.engines is not None
        seen: list[float] = []
        engine(model.engines.slow).compute = lambda arrays: seen.append(arrays['image'].mean())
        pipeline.settings = Settings()
        deadline = time.monotonic() + DEADLINE_S
        while not seen:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert abs(seen[0] - (90 / 255 - 0.45) / 0.225) < 0.3  # about what normalising makes of it


@pytest.mark.proves('other-size')
def test_another_resolution_of_the_same_aspect_keeps_the_engines(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    larger = image((960, 1280))
    assert camera.show(larger).state is PipelineState.WAITING_FOR_MEMORY
    result = camera.show_until(larger, PipelineState.READY)
    assert result.depth is not None and result.depth.shape == (960, 1280)
    assert camera.pipeline.status.size == (252, 336)


def test_settings_act_on_the_next_frame(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    pipeline = camera.pipeline
    pipeline.settings = replace(pipeline.settings, output_resolution=OutputResolution.NETWORK,
                                temporal_smoothing=0.75, gate_temperature=9.0)
    result = camera.show(image())
    assert result.depth is not None and result.depth.shape == (252, 336)
    fast = camera.fast
    assert fast.runs[-1]['beta'].array[0] == 0.75 and fast.runs[-1]['k'].array[0] == 9


@pytest.mark.proves('fast-network-fails')
def test_depth_that_is_not_finite_is_an_error_and_the_next_frame_works(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    fast = camera.fast
    working = fast.compute

    def poison(arrays: dict[str, np.ndarray]) -> None:
        arrays['depth'][0, 0, 3, 5] = np.inf
    fast.compute = poison
    with pytest.raises(EngineError, match='not finite'):
        camera.show(image())
    fast.compute = working
    assert camera.show(image()).depth is not None


@pytest.mark.proves('build-fails')
def test_a_failed_build_is_an_error_and_is_tried_again() -> None:
    with watched(build_retry_s=0.05) as camera:
        model = camera.model
        working = model.compile

        def fail(*_: object) -> Engines:
            raise EngineError('injected')
        model.compile = fail  # type: ignore[method-assign]
        deadline = time.monotonic() + DEADLINE_S
        with pytest.raises(EngineError, match='no engines for this image size: injected'):
            while time.monotonic() < deadline:
                camera.show(image((360, 640)))
                time.sleep(0.005)
        model.compile = working  # type: ignore[method-assign]
        camera.show_until(image((360, 640)), PipelineState.READY)


def scene(shift: int = 0) -> np.ndarray:
    """A picture with structure: a wall, a floor and boxes, moved left by ``shift`` pixels."""
    rng = np.random.default_rng(3)
    canvas = np.full((480, 760, 3), 170, np.uint8)
    canvas[300:] = 90
    noise = cv2.resize(rng.integers(0, 60, (60, 95, 3), np.uint8), (760, 480))
    for x, y, size in ((80, 220, 140), (330, 260, 180), (560, 200, 110)):
        colour = tuple(map(int, rng.integers(0, 255, 3)))
        cv2.rectangle(canvas, (x, y), (x + size, y + size), colour, -1)
    return cv2.add(canvas, noise)[:, shift:shift + 640].copy()


def test_a_late_frame_gets_the_last_depth_without_the_network(camera: Camera) -> None:
    waiting = camera.show(scene(), late=True)
    assert waiting.depth is None, 'without a memory there is nothing to move'
    camera.show_until(scene(), PipelineState.READY)
    camera.steady(scene())
    seen = camera.show(scene())
    assert seen.source is DepthSource.NETWORK
    fast = camera.fast
    for index in range(3):
        runs = len(fast.runs)
        late = camera.show(scene(8 * index), late=True)
        assert len(fast.runs) == runs
        assert late.source is DepthSource.WARPED and late.stamp_ns == camera.stamp_ns
        assert late.depth is not None and late.depth.shape == LANDSCAPE
        # What it shows is as old as what it was moved from, whatever was refreshed since.
        assert late.keyframe == seen.keyframe and late.lag == seen.lag + index + 1
    assert camera.show(scene(24)).source is DepthSource.NETWORK


def test_late_frames_without_a_memory_do_not_take_the_networks_place(camera: Camera) -> None:
    """Only frames that were extrapolated count to those after which the network has its turn."""
    camera.show_until(image(), PipelineState.READY)
    camera.steady(image())
    camera.rest()
    camera.pipeline.reset()
    for _ in range(MOST_IN_A_ROW):
        assert camera.show(image(), late=True).state is PipelineState.SLOW_PATH_OFF
    camera.pipeline.settings = replace(camera.pipeline.settings, slow_path_enabled=True)
    deadline = time.monotonic() + DEADLINE_S
    while (first := camera.show(image(), late=True)).depth is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert first.source is DepthSource.NETWORK, 'there is nothing to move yet'
    sources = [camera.show(image(), late=True).source for _ in range(MOST_IN_A_ROW + 1)]
    assert sources == [DepthSource.WARPED] * MOST_IN_A_ROW + [DepthSource.NETWORK]


def test_without_the_time_of_its_arrival_no_frame_is_late(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    camera.steady(image())
    camera.ahead.now_ns += 100 * LATE_NS
    result = camera.pipeline.process(image(), camera.stamp_ns + FRAME_NS)
    assert result.source is DepthSource.NETWORK


def test_a_frames_turn_begins_with_the_call_unless_it_is_told(camera: Camera) -> None:
    camera.show_until(image(), PipelineState.READY)
    camera.steady(image())
    for waited_ns, source in ((0, DepthSource.NETWORK), (LATE_NS, DepthSource.WARPED)):
        camera.stamp_ns += FRAME_NS
        camera.ahead.now_ns = camera.stamp_ns + waited_ns
        result = camera.pipeline.process(image(), camera.stamp_ns, camera.stamp_ns)
        assert result.source is source


def test_motion_compensation_acts_on_the_next_frame(camera: Camera) -> None:
    pipeline = camera.pipeline
    camera.show_until(scene(), PipelineState.READY)
    camera.rest()
    camera.show(scene())  # no swap after this: "step" leads to the frame before
    fast = camera.fast
    for index, mode in enumerate((MotionCompensation.IMAGE, MotionCompensation.HOMOGRAPHY,
                                  MotionCompensation.OFF), start=1):
        pipeline.settings = replace(pipeline.settings, motion_compensation=mode)
        view = scene(8 * index)
        cv2.circle(view, (200 + 12 * index, 150), 60, (250, 20, 20), -1)
        camera.show(view)
        given = {name: buffer.array for name, buffer in fast.runs[-1].items()}
        assert not given['fresh'].any()
        assert bool(given['step_flow'].any()) == (mode is MotionCompensation.IMAGE)
        assert (given['step'] == np.eye(3)).all() == (mode is MotionCompensation.OFF)
        assert given['keyframe_flow'].any(), 'what was estimated since the keyframe stays'


# A camera that is not mounted upright

def show_through(fast: FakeEngine) -> None:
    """Let the fake network give the image's red channel for depth, and half of it for trust."""
    def compute(arrays: Mapping[str, np.ndarray]) -> None:
        size = arrays['depth'].shape[:-3:-1]
        arrays['depth'][0, 0] = cv2.resize(arrays['image'][0, 0], size)
        arrays['share'][0, 0] = arrays['depth'][0, 0] / 2
    fast.compute = compute


def turned_by(rotation: Rotation) -> AbstractContextManager[Camera]:
    return watched(Settings(rotation=rotation, cut_trust=0.0))


@pytest.mark.proves('camera-not-upright')
@pytest.mark.parametrize('late', [False, True])
@pytest.mark.parametrize('resolution', OutputResolution)
@pytest.mark.parametrize('rotation', Rotation)
def test_depth_and_trust_of_a_turned_image_are_the_upright_ones_turned(
        rotation: Rotation, resolution: OutputResolution, late: bool) -> None:
    shown = {}
    for turn in (Rotation.NONE, rotation):
        with turned_by(turn) as camera:
            pipeline = camera.pipeline
            assert pipeline.status.size == turn.size((252, 336)), 'prepared for 4:3'
            pipeline.settings = replace(pipeline.settings, output_resolution=resolution)
            # As such a camera gives it: the upright scene turned the other way.
            view = turn.inverse.turn(scene())
            camera.show_until(view, PipelineState.READY)
            show_through(camera.fast)
            camera.steady(view)
            result = camera.show(view, late)
            assert pipeline.status.rotation is turn and pipeline.status.size == (252, 336)
            assert result.depth is not None and result.trust is not None
            assert result.depth.flags.c_contiguous
            shown[turn] = result
            if resolution is OutputResolution.INPUT:
                assert result.depth.shape == view.shape[:2]
    ours, upright = shown[rotation], shown[Rotation.NONE]
    assert ours.depth is not None and upright.depth is not None
    np.testing.assert_allclose(rotation.turn(ours.depth), upright.depth, atol=0.02)
    np.testing.assert_allclose(rotation.turn(ours.trust), upright.trust, atol=0.02)


@pytest.mark.proves('camera-not-upright')
def test_another_rotation_starts_the_memory_anew(camera: Camera) -> None:
    pipeline = camera.pipeline
    camera.show_until(image(), PipelineState.READY)
    pipeline.settings = replace(pipeline.settings, rotation=Rotation.HALF)
    turned = camera.show(image())
    assert turned.depth is None and turned.state is PipelineState.WAITING_FOR_MEMORY
    again = camera.show_until(image(), PipelineState.READY)
    assert again.keyframe is not None and again.keyframe.stamp_ns >= turned.stamp_ns
    assert pipeline.status.resets == 1 and pipeline.status.rotation is Rotation.HALF
    pipeline.settings = replace(pipeline.settings, rotation=Rotation.QUARTER)
    assert camera.show(image()).state is PipelineState.BUILDING
    on_its_side = camera.show_until(image(), PipelineState.READY)
    assert on_its_side.depth is not None and on_its_side.depth.shape == LANDSCAPE
    assert pipeline.status.size == (336, 252)


def test_a_sensors_step_is_turned_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = np.array([[1, 0.01, 0.05], [-0.02, 1, -0.1], [0.001, 0.002, 1]], np.float32)
    with turned_by(Rotation.QUARTER) as camera:
        pipeline, view = camera.pipeline, Rotation.THREE_QUARTERS.turn(scene())
        pipeline.settings = replace(pipeline.settings, motion_compensation=MotionCompensation.IMU)
        camera.show_until(view, PipelineState.READY)
        camera.rest()
        camera.show(view)
        monkeypatch.setattr(pipeline.rotation_sensor, 'step', lambda *_: measured)
        camera.show(view)
        fast = camera.fast
        assert not fast.runs[-1]['fresh'].array.any()
        np.testing.assert_allclose(fast.runs[-1]['step'].array,
                                   Rotation.QUARTER.turn_homography(measured), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('rotation', [Rotation.QUARTER, Rotation.HALF])
def test_turned_upright_a_camera_has_the_depth_of_one_that_is(model: Model, rotation: Rotation
                                                             ) -> None:
    depths = []
    for turn in (Rotation.NONE, rotation):
        with spatial_memory(model, Settings(rotation=turn)) as pipeline:
            camera, view = Camera(pipeline), turn.inverse.turn(scene())
            camera.show_until(view, PipelineState.READY)
            depth = camera.show(view).depth
            assert depth is not None
            depths.append(turn.turn(depth))
    upright, ours = depths
    assert np.abs(ours - upright).mean() < 0.005 * upright.mean()


@pytest.fixture(scope='module')
def model(foundation_path: Path) -> Model:
    return Model(threads=Threads(2, 1), foundation=foundation_path)


@pytest.fixture(scope='module')
def trusting(foundation_path: Path, foundation_weights: dict[str, np.ndarray],
             fast_weights: dict[str, np.ndarray],
             tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The shipped network with gates that keep the memory, whatever they see."""
    scratch = 'depth_head.scratch.'
    tensors = dict(fast_weights) | {
        f'decoder.{name.removeprefix(scratch)}': value
        for name, value in foundation_weights.items()
        if f'decoder.{name.removeprefix(scratch)}' in fast_weights}
    for name, value in fast_weights.items():
        if '.score.' in name:
            tensors[name] = np.full_like(value, 10 if name.endswith('bias') else 0)
    path = tmp_path_factory.mktemp('weights') / 'trusting.safetensors'
    save_file(tensors, path)
    return Model(threads=Threads(2, 1), foundation=foundation_path, fast=path)


@pytest.mark.slow
@pytest.mark.parametrize('motion', MotionCompensation)
def test_with_full_trust_it_shows_the_keyframes_own_depth_moved_with_the_camera(
        trusting: Model, motion: MotionCompensation) -> None:
    """Hold still and it is the foundation model's depth; pan and it moves along.

    Without motion compensation it does not.
    """
    with spatial_memory(trusting) as pipeline:
        pipeline.settings = replace(pipeline.settings, motion_compensation=motion)
        camera = Camera(pipeline)
        camera.show_until(scene(), PipelineState.READY)
        camera.rest()
        held = camera.show(scene())
        assert held.depth is not None and held.keyframe is not None
        own = cv2.resize(Foundation(trusting.in_half(), (252, 336)).depth(
            shrink(scene(), (252, 336))),
                         (640, 480))
        # The light decoder is a copy of the foundation model's that is a little off at edges.
        assert np.abs(held.depth - own).mean() < 0.01 * own.max()
        assert np.abs(held.depth - own).max() < 0.15 * own.max()
        for shift in range(6, 61, 6):
            panned = camera.show(scene(shift))
        assert panned.depth is not None
        assert panned.keyframe == held.keyframe, 'refreshed although switched off'
        moved, unmoved = (np.corrcoef(panned.depth[:, 20:560].ravel(), reference.ravel())[0, 1]
                          for reference in (held.depth[:, 80:620], held.depth[:, 20:560]))
        assert (moved > unmoved) == (motion is not MotionCompensation.OFF)
        assert moved > 0.98 or motion is MotionCompensation.OFF


def thread_ticks() -> dict[int, tuple[int, int]]:
    """Return (clock ticks spent, niceness) of every thread of this process (proc(5))."""
    found = {}
    for task in Path('/proc/self/task').iterdir():
        fields = (task / 'stat').read_text().rpartition(')')[2].split()
        found[int(task.name)] = int(fields[11]) + int(fields[12]), int(fields[16])
    return found


@pytest.mark.slow
def test_with_one_thread_all_of_the_slow_paths_work_has_low_priority(model: Model) -> None:
    """The runtime must not hand it to a worker of normal priority behind our back."""
    with spatial_memory(model.with_threads(Threads(1, 1)), size=(252, 336)) as pipeline:
        camera = Camera(pipeline)
        camera.show_until(scene(), PipelineState.READY)
        before, refreshes = thread_ticks(), pipeline.status.slow_path.refreshes
        low = other = 0
        deadline = time.monotonic() + DEADLINE_S
        # Until there is enough to compare, however fast a machine refreshes.
        while pipeline.status.slow_path.refreshes < refreshes + 6 or low + other < 40:
            assert time.monotonic() < deadline
            camera.show(scene())
            time.sleep(0.1)  # the fast path has little to do
            spent = [(ticks - before.get(number, (0, 0))[0], nice)
                     for number, (ticks, nice) in thread_ticks().items() if number != os.getpid()]
            low = sum(ticks for ticks, nice in spent if nice >= NICENESS)
            other = sum(ticks for ticks, nice in spent if nice < NICENESS)
    assert other < 0.2 * low, spent
