"""The pipeline with its default fast path, on fakes: refreshes, glances, and what goes wrong."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from support.fakes import Ahead, FakeEngine, FakeModel

from asyncmde_ros.engine.interface import DepthEngine
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline import refresh_policy
from asyncmde_ros.pipeline.clock import Clock
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.overload import INTERVALS, MOST_IN_A_ROW
from asyncmde_ros.pipeline.results import DepthResult, PipelineState
from asyncmde_ros.pipeline.session import DepthSource, resolved
from asyncmde_ros.pipeline.settings import (
    FastPathModel,
    MotionCompensation,
    OutputResolution,
    Settings,
)
from asyncmde_ros.pipeline.slow_path import SlowPathState

DEADLINE_S = 60.0
FRAME_NS = 33_000_000
SMALL, LARGE, GLANCE = (252, 336), (336, 448), (196, 266)


def image(value: int = 90) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(value, 12, (480, 640, 3)), 0, 255).astype(np.uint8)


class GlanceCamera:
    """Shows a pipeline one image again and again."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.model = FakeModel()
        self.ahead = Ahead()
        self.pipeline = DepthPipeline(
            self.model, settings,  # type: ignore[arg-type]
            clock=Clock(self.ahead.seconds, self.ahead.nanoseconds, stall_s=3600.0,
                        refresh_retry_s=0.01))
        self.stamp_ns = 10**9

    def show(self, rgb: np.ndarray | None = None, late: bool = False) -> DepthResult:
        self.stamp_ns += FRAME_NS
        self.ahead.now_ns = self.stamp_ns + 10 * FRAME_NS * late
        return self.pipeline.process(image() if rgb is None else rgb, self.stamp_ns, self.stamp_ns)

    def until(self, condition: Callable[[DepthResult], bool],
              rgb: np.ndarray | None = None) -> DepthResult:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            result = self.show(rgb)
            if condition(result):
                return result
            assert time.monotonic() < deadline, f'still {result.state}'
            time.sleep(0.002)

    def ready(self) -> DepthResult:
        return self.until(lambda result: result.state is PipelineState.READY)


@pytest.fixture
def camera() -> Iterator[GlanceCamera]:
    camera = GlanceCamera()
    with camera.pipeline:
        yield camera


def engine(network: DepthEngine | None) -> FakeEngine:
    assert network is not None and isinstance(network.engine, FakeEngine)
    return network.engine


def broken(arrays: Mapping[str, np.ndarray]) -> None:
    raise EngineError('injected')


def test_depth_comes_with_the_first_refresh_and_then_for_every_frame(camera: GlanceCamera) -> None:
    assert camera.show().state is PipelineState.WAITING_FOR_MEMORY
    camera.ready()
    for _ in range(5):
        result = camera.show()
        assert result.depth is not None and result.depth.shape == (480, 640)
        assert result.trust is not None and result.keyframe is not None and result.lag is not None
        assert result.source is DepthSource.MEMORY
        assert result.keyframe.stamp_ns == camera.stamp_ns - result.lag * FRAME_NS


POINTS = np.array([[3.5, 7.25], [600, 400], [-5, 3], [320.1, 240.9]])


def test_points_are_told_without_a_map_and_as_the_map_has_them(camera: GlanceCamera) -> None:
    assert np.isnan(camera.show().at(POINTS).inverse_depth).all()
    assert np.isnan(camera.pipeline.query(POINTS).trust).all()
    whole = camera.ready()
    camera.stamp_ns += FRAME_NS
    few = camera.pipeline.process(image(), camera.stamp_ns, whole=False)
    assert few.state is PipelineState.READY and few.depth is None and few.trust is None
    assert few.keyframe is not None and few.lag is not None
    for ours, theirs, asked in zip(few.at(POINTS), whole.at(POINTS),
                                   camera.pipeline.query(POINTS), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
        np.testing.assert_array_equal(ours, asked)
        assert np.isnan(ours).tolist() == [False, False, True, False]


def test_what_a_frame_told_stays_so_whatever_comes_after(camera: GlanceCamera) -> None:
    first = camera.ready()
    before = first.at(POINTS)
    for value in (40, 200):
        camera.show(image(value))
    np.testing.assert_array_equal(first.at(POINTS).inverse_depth, before.inverse_depth)


def test_a_late_frame_is_answered_like_any_other(camera: GlanceCamera) -> None:
    """Nothing would be quicker than to move the memory."""
    camera.ready()
    for _ in range(INTERVALS + 1):
        camera.show()
    for _ in range(2 * MOST_IN_A_ROW):
        assert camera.show(late=True).source is DepthSource.MEMORY


def test_two_sizes_and_a_glance_are_prepared_before_the_first_frame() -> None:
    camera = GlanceCamera()
    with camera.pipeline:
        assert set(camera.model.refreshers) == {SMALL, LARGE}
        assert camera.model.glance is not None and camera.model.glance.size == GLANCE
        assert not camera.model.compiled  # nothing of the other fast path
        assert camera.pipeline.status.size == SMALL


def test_of_a_still_scene_a_large_image_follows_the_first_and_then_nothing_for_long(
        camera: GlanceCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh_policy, 'LONGEST_INTERVAL_S', DEADLINE_S)
    camera.until(lambda _: camera.pipeline.status.slow_path.size == LARGE)
    for _ in range(60):
        camera.show()
        time.sleep(0.002)
    assert camera.pipeline.status.slow_path.refreshes_of == {SMALL: 1, LARGE: 1}


def test_glances_are_taken_and_counted(camera: GlanceCamera) -> None:
    camera.until(lambda _: (camera.pipeline.status.glance or SlowPathState).refreshes >= 2)  # type: ignore
    assert engine(camera.model.glance).runs[-1]['image'].array.shape == (1, 3, *GLANCE)


def test_the_picture_fits_the_network_that_refreshes(camera: GlanceCamera) -> None:
    camera.ready()
    camera.pipeline.settings = replace(camera.pipeline.settings, refresh_size=SMALL)
    camera.until(lambda _: camera.pipeline.status.slow_path.size == SMALL, moving(camera))
    assert engine(camera.model.refreshers[SMALL]).runs[-1]['image'].array.shape == (1, 3, *SMALL)


def moving(camera: GlanceCamera) -> np.ndarray:
    """An image unlike the one before, so that a refresh is due."""
    return np.roll(image(), 200, axis=1)


@pytest.mark.proves('refresh-size-set')
def test_a_size_set_while_it_runs_is_built_while_depth_goes_on(camera: GlanceCamera) -> None:
    camera.ready()
    wanted = (196, 252)
    camera.pipeline.settings = replace(camera.pipeline.settings, refresh_size=wanted)
    deadline = time.monotonic() + DEADLINE_S
    while camera.pipeline.status.slow_path.size != wanted:
        assert camera.show().depth is not None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    camera.pipeline.settings = replace(camera.pipeline.settings, refresh_size=None)
    camera.until(lambda _: camera.pipeline.status.slow_path.size in (SMALL, LARGE))
    assert camera.pipeline.status.resets == 0


def test_a_size_set_at_the_start_is_the_only_one_built() -> None:
    camera = GlanceCamera(Settings(refresh_size=SMALL))
    with camera.pipeline:
        assert set(camera.model.refreshers) == {SMALL}
        assert camera.ready().depth is not None


@pytest.mark.proves('glances-fail')
def test_depth_goes_on_while_glances_fail_and_that_is_told(camera: GlanceCamera) -> None:
    camera.ready()
    glances = engine(camera.model.glance)
    working, glances.compute = glances.compute, broken
    camera.until(lambda _: camera.pipeline.status.glance.failing)  # type: ignore[union-attr]
    assert camera.show().depth is not None
    assert camera.pipeline.status.glance.last_error == 'injected'  # type: ignore[union-attr]
    assert not camera.pipeline.status.slow_path.failing
    glances.compute = working
    camera.until(lambda _: not camera.pipeline.status.glance.failing)  # type: ignore[union-attr]


@pytest.mark.proves('refresh-not-finite')
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_depth_that_is_not_finite_is_never_a_memory(camera: GlanceCamera, value: float) -> None:
    def nonsense(arrays: Mapping[str, np.ndarray]) -> None:
        arrays['depth'][...] = value
    for network in camera.model.refreshers.values():
        engine(network).compute = nonsense
    camera.until(lambda _: camera.pipeline.status.slow_path.failures >= 2)
    assert 'not finite' in camera.pipeline.status.slow_path.last_error
    assert camera.show().state is PipelineState.WAITING_FOR_MEMORY


def test_after_a_reset_nothing_seen_before_is_used(camera: GlanceCamera) -> None:
    camera.ready()
    before = camera.show().keyframe
    camera.pipeline.reset()
    refreshes = camera.pipeline.status.slow_path.refreshes
    result = camera.ready()
    assert before is not None and result.keyframe is not None
    assert result.keyframe.epoch == before.epoch + 1
    # However still it is, the refresh was not put off: at most one was of before.
    assert camera.pipeline.status.slow_path.refreshes <= refreshes + 3


def test_switched_off_both_background_paths_rest(camera: GlanceCamera) -> None:
    camera.ready()
    camera.pipeline.settings = replace(camera.pipeline.settings, slow_path_enabled=False)

    def resting(_: DepthResult) -> bool:
        status = camera.pipeline.status
        assert status.glance is not None
        return {status.slow_path.state, status.glance.state} == {SlowPathState.DISABLED}
    assert camera.until(resting).depth is not None


@pytest.mark.proves('glances-fail')
def test_glances_that_hang_are_restarted_with_engines_of_their_own(camera: GlanceCamera) -> None:
    camera.ready()
    release, stuck = threading.Event(), engine(camera.model.glance)
    hanging = threading.Event()

    def hang(arrays: object) -> None:
        hanging.set()
        release.wait(DEADLINE_S)
    stuck.compute = hang
    try:
        camera.until(lambda _: hanging.is_set())
        camera.ahead.by_s = 3601.0
        camera.until(lambda _: camera.pipeline.status.restarts == 1
                     and engine(camera.model.glance) is not stuck)
        camera.ready()
    finally:
        release.set()


def test_depth_at_the_networks_size_is_of_the_size_asked_for() -> None:
    camera = GlanceCamera(Settings(output_resolution=OutputResolution.NETWORK))
    with camera.pipeline:
        depth = camera.ready().depth
        assert depth is not None and depth.shape == SMALL


def test_auto_is_glances_but_on_a_gpu() -> None:
    model = FakeModel()
    assert resolved(FastPathModel.AUTO, model) is FastPathModel.GLANCE  # type: ignore[arg-type]
    model.on_gpu = True
    assert resolved(FastPathModel.AUTO, model) is FastPathModel.SPATIAL_MEMORY  # type: ignore[arg-type]
    assert resolved(FastPathModel.GLANCE, model) is FastPathModel.GLANCE  # type: ignore[arg-type]


STEADY = Settings(steady=True)


def pattern(scale: float) -> Callable[[Mapping[str, np.ndarray]], None]:
    """Return a network that sees one scene, in a scale of its own."""
    def see(arrays: Mapping[str, np.ndarray]) -> None:
        rows, cols = arrays['depth'].shape[-2:]
        arrays['depth'][...] = scale * (2 + np.add.outer(np.linspace(0, 2, rows),
                                                         np.linspace(0, 1, cols)))
    return see


def medians_of_two_scales(camera: GlanceCamera) -> tuple[float, float]:
    """Return the median depth before a refresh whose scale is twice the last one's, and after."""
    for network in (*camera.model.refreshers.values(), camera.model.glance):
        engine(network).compute = pattern(1.0)
    first = camera.ready()
    compile_depth, wanted = camera.model.compile_depth, (196, 252)

    def compile_other(size: Size, cancel: threading.Event | None = None) -> DepthEngine:
        network = compile_depth(size, cancel)
        engine(network).compute = pattern(2.0)
        return network
    camera.model.compile_depth = compile_other  # type: ignore[method-assign]
    camera.pipeline.settings = replace(camera.pipeline.settings, refresh_size=wanted)
    camera.until(lambda _: camera.pipeline.status.slow_path.size == wanted)
    second = camera.show()
    assert first.depth is not None and second.depth is not None
    return float(np.median(first.depth)), float(np.median(second.depth))


@pytest.mark.parametrize('settings', [
    Settings(), Settings(steady=True, motion_compensation=MotionCompensation.HOMOGRAPHY)])
def test_without_steadiness_a_refresh_brings_its_own_scale(settings: Settings) -> None:
    camera = GlanceCamera(settings)
    with camera.pipeline:
        first, second = medians_of_two_scales(camera)
    assert second == pytest.approx(2 * first, rel=0.02)


def test_a_refresh_goes_on_in_the_scale_of_the_depth_before(camera: GlanceCamera) -> None:
    camera.pipeline.settings = STEADY
    first, second = medians_of_two_scales(camera)
    assert second == pytest.approx(first, rel=0.08)
    # Switched off, or after the memory was lost, there is nothing to go on from.
    camera.pipeline.settings = replace(camera.pipeline.settings, steady=False)
    assert np.median(camera.show().depth) == pytest.approx(2 * first, rel=0.02)  # type: ignore
    camera.pipeline.settings = replace(camera.pipeline.settings, steady=True)
    assert np.median(camera.show().depth) == pytest.approx(2 * first, rel=0.02)  # type: ignore


def test_after_a_reset_depth_has_the_networks_own_scale(camera: GlanceCamera) -> None:
    camera.pipeline.settings = STEADY
    first, _ = medians_of_two_scales(camera)
    camera.pipeline.reset()
    assert np.median(camera.ready().depth) == pytest.approx(2 * first, rel=0.02)  # type: ignore
