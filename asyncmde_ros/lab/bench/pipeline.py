"""The whole pipeline on a camera's schedule, with the foundation model running and without."""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import EngineError
from asyncmde_ros.lab.bench.background import Background, Moment, background
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.pictures import Pictures
from asyncmde_ros.lab.bench.progress import bar
from asyncmde_ros.lab.bench.schedule import SimulatedCamera
from asyncmde_ros.lab.bench.statistics import Summary, summarise
from asyncmde_ros.model.geometry import size_text
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.results import DepthResult, Timings
from asyncmde_ros.pipeline.slow_path import SlowPathState

BLOCKS = 2
"""Both modes are measured so many times in turn, so that drift of the machine falls on both."""

SETTLE_TIMEOUT_S = 60.0
"""Longest wait for the foundation model to come to rest or to refresh."""

PARTS = tuple(part.name for part in dataclasses.fields(Timings))


@dataclass(frozen=True)
class PipelineFigures:
    """One mode's figures.

    captured = dropped + withheld + the count of ``process_ms``.  ``latency_ms`` is from capture to
    depth; a frame whose latency is over the camera's period is ``late``.  ``lag_frames`` is how
    many camera frames ago the memory's keyframe was captured.  With the slow path off the keyframe
    only grows older, and refresh figures are None.  ``refreshes`` are those whose memory a frame
    used, ``background`` those that were done.
    """

    captured: int
    dropped: int
    withheld: int
    late: int
    process_ms: Summary | None
    latency_ms: Summary | None
    parts_p50_ms: dict[str, float]
    refreshes: int
    refresh_hz: float | None
    refresh_every_frames: float | None
    lag_mean_frames: float | None
    lag_max_frames: int | None
    background: Background | None


@dataclass
class Measurements:
    """What was seen of one mode; grows over its blocks."""

    captured: int = 0
    dropped: int = 0
    withheld: int = 0
    seconds: float = 0.0
    process_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    timings: list[Timings] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)
    generations: set[int] = field(default_factory=set)
    moments: list[list[Moment]] = field(default_factory=list)
    glance_lags: list[int] = field(default_factory=list)

    def figures(self, period_s: float, refreshing: bool) -> PipelineFigures:
        """Summarise."""
        refreshes = max(0, len(self.generations) - BLOCKS) if refreshing else 0
        parts = {name: summarise([getattr(timing, name) for timing in self.timings])
                 for name in PARTS}
        return PipelineFigures(
            self.captured, self.dropped, self.withheld,
            sum(latency > 1e3 * period_s for latency in self.latency_ms),
            summarise(self.process_ms), summarise(self.latency_ms),
            {name: summary.p50 for name, summary in parts.items() if summary is not None},
            refreshes,
            refreshes / self.seconds if refreshes else None,
            self.captured / refreshes if refreshes else None,
            sum(self.lags) / len(self.lags) if refreshing and self.lags else None,
            max(self.lags) if refreshing and self.lags else None,
            background(self.moments, self.glance_lags) if refreshing else None)


@dataclass(frozen=True)
class _Processed:
    """One frame that went through the pipeline."""

    result: DepthResult
    process_ms: float
    latency_ms: float


def measure(options: BenchOptions, pictures: Pictures) -> dict[str, PipelineFigures]:
    """Run the pipeline at the camera's rate; return figures with the ``slow_path_on`` and off."""
    by_mode = {True: Measurements(), False: Measurements()}
    model = Model(options.model, options.backend)
    with DepthPipeline(model, size=options.size, fast_path=options.fast_path) as pipeline, \
            bar('pipeline', 2 * BLOCKS) as shown:
        camera = SimulatedCamera(options)
        frames = _play(pipeline, camera, pictures)
        for _ in range(BLOCKS):
            for refreshing, measurements in by_mode.items():
                _switch(pipeline, frames, refreshing)
                _record(pipeline, camera, frames, measurements, options.seconds / BLOCKS,
                        options.period_s)
                shown.update(1)
    return {f'slow_path_{"on" if refreshing else "off"}':
            measurements.figures(options.period_s, refreshing)
            for refreshing, measurements in by_mode.items()}


def _play(pipeline: DepthPipeline, camera: SimulatedCamera, pictures: Pictures
          ) -> Iterator[_Processed]:
    for index, age_s in camera:
        rgb, stamp_ns = pictures.at(index), camera.stamp_ns(index)
        started = time.perf_counter()
        result = pipeline.process(rgb, stamp_ns)
        process_ms = 1e3 * (time.perf_counter() - started)
        yield _Processed(result, process_ms, 1e3 * age_s + process_ms)


def _switch(pipeline: DepthPipeline, frames: Iterator[_Processed], refreshing: bool) -> None:
    """Turn the slow path on or off, and play on until it is in full swing or at rest."""
    pipeline.settings = dataclasses.replace(pipeline.settings, slow_path_enabled=refreshing)
    before = pipeline.status.slow_path.refreshes
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    for frame in frames:
        status = pipeline.status.slow_path
        settled = (status.refreshes > before if refreshing
                   else status.state is SlowPathState.DISABLED)
        if settled and frame.result.depth is not None:
            return
        if time.monotonic() > deadline:
            raise EngineError(f'the slow path did not settle within {SETTLE_TIMEOUT_S:g} s; its '
                              f'last error: {status.last_error or "none"}')


def _record(pipeline: DepthPipeline, camera: SimulatedCamera, frames: Iterator[_Processed],
            measurements: Measurements, seconds: float, period_s: float) -> None:
    captured, dropped, started = camera.captured, camera.dropped, time.monotonic()
    moments = [_moment(pipeline)]
    measurements.moments.append(moments)
    for frame in frames:
        moments.append(_moment(pipeline))
        keyframe = frame.result.keyframe
        if frame.result.depth is None or keyframe is None:
            measurements.withheld += 1
        else:
            measurements.process_ms.append(frame.process_ms)
            measurements.latency_ms.append(frame.latency_ms)
            measurements.timings.append(frame.result.timings)
            measurements.generations.add(keyframe.generation)
            age_s = (frame.result.stamp_ns - keyframe.stamp_ns) / 1e9
            measurements.lags.append(round(age_s / period_s))
            glance = pipeline.status.glance
            if glance is not None and glance.stamp_ns is not None:
                age_s = (frame.result.stamp_ns - glance.stamp_ns) / 1e9
                measurements.glance_lags.append(round(age_s / period_s))
        if time.monotonic() - started >= seconds:
            break
    measurements.captured += camera.captured - captured
    measurements.dropped += camera.dropped - dropped
    measurements.seconds += time.monotonic() - started


def _moment(pipeline: DepthPipeline) -> Moment:
    status = pipeline.status
    refreshes = {size_text(size): count
                 for size, count in dict(status.slow_path.refreshes_of).items()}
    glance = status.glance
    return Moment(time.monotonic(), refreshes, None if glance is None else glance.refreshes,
                  0.0 if glance is None else glance.latency_ms)
