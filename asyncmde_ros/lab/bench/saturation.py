"""How fast the spatial memory's steps can be, with the foundation model running and without."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import EngineError
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.pictures import Pictures
from asyncmde_ros.lab.bench.progress import bar
from asyncmde_ros.lab.bench.statistics import Summary, summarise
from asyncmde_ros.model.preprocess import shrink
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.feature_cache import FeatureCache
from asyncmde_ros.pipeline.mailbox import Mailbox
from asyncmde_ros.pipeline.motion import still
from asyncmde_ros.pipeline.refresher import FeatureRefresher, make_slot
from asyncmde_ros.pipeline.settings import Settings
from asyncmde_ros.pipeline.slow_path import Frame, RefreshPlan, SlowPath, SlowPathState

NOTE = ('Fast steps of the spatial memory one after the other, as a camera of any rate would '
        'allow: the image handed over, the network, depth back in memory of the host. Without '
        'motion estimation, which is the row "motion", and without the camera.')

BLOCKS = 2
"""Both modes are measured so many times in turn, so that drift of the machine falls on both."""

FIRST_REFRESH_TIMEOUT_S = 60.0
POLL_S = 0.01


@dataclass(frozen=True)
class Saturation:
    """Steps a second and milliseconds of each; refresh figures are None with the slow path off."""

    steps_hz: float
    step_ms: Summary
    refresh_hz: float | None
    refresh_every_steps: float | None


@dataclass
class _Count:
    seconds: float = 0.0
    refreshes: int = 0
    step_ms: list[float] = dataclasses.field(default_factory=list)


def measure(options: BenchOptions, pictures: Pictures) -> dict[str, Saturation]:
    """Return figures with the ``slow_path_on`` and off."""
    model = Model(options.model, options.backend)
    engines = model.compile(options.size)
    slots = make_slot(engines.slow), make_slot(engines.slow)
    cache, fast, mailbox = FeatureCache(*slots), FastPath(engines.fast), Mailbox[Frame]()
    settings = Settings()
    refresher = FeatureRefresher(engines)
    refresher.prepare(slots)
    slow = SlowPath(cache, mailbox,
                    lambda: RefreshPlan(refresher) if settings.slow_path_enabled else None)
    fast.prepare(slots)
    frame = Frame(0, 0, 0, shrink(pictures.at(0), options.size))
    counts = {True: _Count(), False: _Count()}
    slow.start()
    try:
        mailbox.put(frame)
        _until(lambda: cache.front() is not None, slow)
        with bar('as fast as it can', 2 * BLOCKS) as shown:
            for _ in range(BLOCKS):
                for refreshing, count in counts.items():
                    settings = dataclasses.replace(settings, slow_path_enabled=refreshing)
                    _until(partial(_obeys, slow, refreshing), slow)
                    _step(options.seconds / BLOCKS, fast, cache, mailbox, frame, slow, count)
                    shown.update(1)
    finally:
        slow.stop(FIRST_REFRESH_TIMEOUT_S)
    return {f'slow_path_{"on" if refreshing else "off"}': _figures(count, refreshing)
            for refreshing, count in counts.items()}


def _obeys(slow: SlowPath, refreshing: bool) -> bool:
    return refreshing is not (slow.status.state is SlowPathState.DISABLED)


def _until(condition: Callable[[], bool], slow: SlowPath) -> None:
    deadline = time.monotonic() + FIRST_REFRESH_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise EngineError(f'the slow path did not settle within {FIRST_REFRESH_TIMEOUT_S:g} s;'
                              f' its last error: {slow.status.last_error or "none"}')
        time.sleep(POLL_S)


def _step(seconds: float, fast: FastPath, cache: FeatureCache, mailbox: Mailbox[Frame],
          frame: Frame, slow: SlowPath, count: _Count) -> None:
    settings, nothing = Settings(), still(frame.rgb.shape[:2])
    refreshes, started = slow.status.refreshes, time.perf_counter()
    now = started
    while now < started + seconds:
        mailbox.put(frame)
        slot = cache.front()
        assert slot is not None
        fast.step(frame.rgb, slot, nothing, nothing, settings.temporal_smoothing,
                  settings.gate_temperature)
        before, now = now, time.perf_counter()
        count.step_ms.append(1e3 * (now - before))
    count.seconds += now - started
    count.refreshes += slow.status.refreshes - refreshes


def _figures(count: _Count, refreshing: bool) -> Saturation:
    summary = summarise(count.step_ms)
    assert summary is not None
    some = refreshing and count.refreshes > 0
    return Saturation(summary.count / count.seconds, summary,
                      count.refreshes / count.seconds if some else None,
                      summary.count / count.refreshes if some else None)
