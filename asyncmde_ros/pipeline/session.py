"""Everything that exists once per network size: engines, memory, both paths."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from threading import Event, Lock

from asyncmde_ros.engine.choice import Choice
from asyncmde_ros.engine.interface import DepthEngine, Engines, SparseEngines
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.model.geometry import Size, network_size
from asyncmde_ros.model.preprocess import average
from asyncmde_ros.pipeline.clock import REAL, Clock
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.feature_cache import FeatureCache, Slot
from asyncmde_ros.pipeline.field import Field, MapField
from asyncmde_ros.pipeline.mailbox import Mailbox
from asyncmde_ros.pipeline.motion import matches
from asyncmde_ros.pipeline.moved_depth import MovedDepth, TrackedFrame
from asyncmde_ros.pipeline.priority import new_threads_lowered
from asyncmde_ros.pipeline.refresh_policy import RefreshPolicy
from asyncmde_ros.pipeline.refresher import DepthRefresher, FeatureRefresher, make_slot
from asyncmde_ros.pipeline.results import DepthSource
from asyncmde_ros.pipeline.settings import FastPathModel, MotionCompensation, Settings
from asyncmde_ros.pipeline.slow_path import Frame, RefreshPlan, SlowPath, SlowPathStatus
from asyncmde_ros.pipeline.undecoded import DecoderOnDemand
from asyncmde_ros.scale.steady import Steady

LARGER = 4 / 3
"""Side of the larger of the two images that a memory may be of, by that of the smaller."""

GLANCE_SHORT_SIDE = 196
"""Of the images that glances are of, in pixels: what the shipped adapter learned at, and the
fewest that the foundation model as it is sees well with."""

GLANCE_INTERVAL_SHARE = 0.25
"""Where little moves glances become rarer, too, but not as rare as refreshes."""

LiveSettings = Callable[[], Settings]


def refresh_sizes(size: Size) -> tuple[Size, Size]:
    """Return the two sizes (rows, cols) that a refresh may have, where none is set; smaller first.

    ``size`` is the network's, and the smaller one.
    """
    return size, network_size(size, round(LARGER * min(size)))


def glance_size(size: Size) -> Size:
    """Return a glance's size, beside a network of ``size``: no larger than that."""
    return network_size(size, min(GLANCE_SHORT_SIDE, min(size)))


def glance_interval_s(policy: RefreshPolicy) -> float:
    """Return how long after the start of a glance the next one is worth while, at least."""
    return GLANCE_INTERVAL_SHARE * policy.interval_s()


class Session(ABC):
    """Ready to run, but not started.

    ``size`` is the network's (rows, cols) that motion is told at, ``picture_size`` that of the
    pictures to be offered.
    """

    size: Size
    picture_size: Size
    fast: FastPath | MovedDepth
    cache: FeatureCache
    slow: SlowPath
    source: DepthSource
    """Of what :meth:`step` returns."""

    @property
    @abstractmethod
    def paths(self) -> Sequence[SlowPath]:
        """Every background thread, the refreshes' first."""

    @property
    def glance_status(self) -> SlowPathStatus | None:
        """Return how the glances are doing, None where there are none."""
        return None

    @abstractmethod
    def offer(self, frame: Frame) -> None:
        """Hand a frame to the background; the newest one wins."""

    def saw(self, stamp_ns: int) -> None:  # noqa: B027, nothing to learn is usual
        """Learn of a frame that came, depth or not."""

    @abstractmethod
    def clear(self) -> None:
        """Take back a frame that was offered and waits."""

    @abstractmethod
    def step(self, view: TrackedFrame, slot: Slot, settings: Settings, whole: bool = True
             ) -> Field:
        """Return depth and trust of a frame; if not ``whole``, nobody wants all of its map."""

    @abstractmethod
    def extrapolate(self, view: TrackedFrame) -> Field | None:
        """Return the last step's, moved, where that is cheaper than a step; else None."""

    def drop_memory(self) -> None:
        """Let no frame that waits become a keyframe, nor anything that was seen be used."""
        self.clear()
        self.fast.forget()

    def start(self) -> None:
        """Start the threads."""
        for path in self.paths:
            path.start()

    def stop(self, timeout_s: float | None) -> bool:
        """Ask the threads to end; True once they have, False where one is still busy."""
        stopped = [path.stop(timeout_s) for path in self.paths]  # all are asked, whatever one says
        return all(stopped)

    def hangs(self) -> bool:
        """Tell whether one of the threads is stuck or dead."""
        return any(path.hangs() for path in self.paths)

    def replace(self, earlier: 'Session') -> None:
        """Go on with the counts of the session that this one replaces; before the start."""
        for path, before in zip(self.paths, earlier.paths, strict=True):
            path.count_on_from(before.status)


class SpatialMemorySession(Session):
    """The paper's: features of a keyframe, fused with every frame by the fast network."""

    source = DepthSource.NETWORK

    def __init__(self, engines: Engines, settings: LiveSettings, clock: Clock = REAL,
                 compile_sparse: Callable[[], SparseEngines] | None = None) -> None:
        """``compile_sparse``: without it, every frame is decoded whole."""
        self._decoder = DecoderOnDemand(compile_sparse)
        self.size = self.picture_size = engines.size
        self.engines = engines
        self._mailbox: Mailbox[Frame] = Mailbox()
        slots = make_slot(engines.slow), make_slot(engines.slow)
        self.cache = FeatureCache(*slots)
        self._fused = self.fast = FastPath(engines.fast)
        refresher = FeatureRefresher(engines)

        def plan() -> RefreshPlan | None:
            now = settings()
            return (RefreshPlan(refresher, _interval_s(now.slow_path_max_rate_hz))
                    if now.slow_path_enabled else None)
        self.slow = SlowPath(self.cache, self._mailbox, plan, clock=clock)
        refresher.prepare(slots)
        self._fused.prepare(slots)

    @property
    def paths(self) -> Sequence[SlowPath]:
        return (self.slow,)

    def offer(self, frame: Frame) -> None:
        self._mailbox.put(frame)

    def clear(self) -> None:
        self._mailbox.clear()

    def stop(self, timeout_s: float | None) -> bool:
        stopped = super().stop(timeout_s)
        return self._decoder.stop(timeout_s) and stopped

    def step(self, view: TrackedFrame, slot: Slot, settings: Settings, whole: bool = True
             ) -> Field:
        assert slot.keyframe is not None
        return self._fused.step(
            view.picture, slot, view.step, view.since(slot.keyframe.frame_id, view.frame_id),
            settings.temporal_smoothing, settings.gate_temperature,
            None if whole else self._decoder.wanted())

    def extrapolate(self, view: TrackedFrame) -> Field | None:
        maps = self._fused.extrapolate(view.step)
        return None if maps is None else MapField(*maps)


class GlanceSession(Session):
    """A keyframe's depth, moved, and mended by glances of a small network."""

    source = DepthSource.MEMORY

    def __init__(self, size: Size, compile_depth: Callable[[Size], DepthEngine],
                 glance: DepthEngine, settings: LiveSettings, in_turn: bool = True,
                 clock: Clock = REAL) -> None:
        """``compile_depth`` gives the network of a refresh; of two sizes, but where one is set.

        ``in_turn``: refreshes and glances run one at a time, since either takes all cores.
        """
        self.size = size
        self._sizes = refresh_sizes(size)
        self._compile, self._settings = compile_depth, settings
        self._mailbox: Mailbox[Frame] = Mailbox()
        self._glance_mailbox: Mailbox[Frame] = Mailbox()
        self.cache = FeatureCache(Slot({}), Slot({}))
        self._glances = FeatureCache(Slot({}), Slot({}))
        self._moved = self.fast = MovedDepth()
        self._steady = Steady()
        self._small = DepthRefresher(glance, average)
        self._small.prepare(())
        self._policy = RefreshPolicy()
        self._refreshers: dict[Size, DepthRefresher] = {}
        for wanted in self._wanted():
            self._refresher(wanted)
        self._learned = 0
        self._due = 1
        turn = Lock() if in_turn else None
        self.slow = SlowPath(self.cache, self._mailbox, self._plan, turn=turn, clock=clock)
        self._glance = SlowPath(self._glances, self._glance_mailbox, self._glance_plan, 'glance',
                                turn, clock)

    @property
    def glance_status(self) -> SlowPathStatus:
        return self._glance.status

    @property
    def picture_size(self) -> Size:  # type: ignore[override]
        return max(self._refreshers)

    def _wanted(self) -> Sequence[Size]:
        fixed = self._settings().refresh_size
        return (fixed,) if fixed else self._sizes

    def _refresher(self, size: Size) -> DepthRefresher:
        """Return what refreshes in ``size``; one that nobody has asked for yet is made first.

        In the slow path's thread while depth goes on, if the size was set while it runs.
        """
        if size not in self._refreshers:
            refresher = DepthRefresher(self._compile(size))
            refresher.prepare(())
            self._policy.took(size, refresher.latency_ms)
            self._refreshers[size] = refresher
        return self._refreshers[size]

    def _plan(self) -> RefreshPlan | None:
        now, done = self._settings(), self.slow.status
        if not now.slow_path_enabled:
            return None
        if done.size is not None and done.refreshes > self._learned:
            self._learned = done.refreshes
            self._policy.took(done.size, done.latency_ms)
        size = self._policy.choose(self._wanted())
        wait_s = (self._policy.interval_after_s(done.size, size)
                  if done.refreshes >= self._due else 0.0)
        return RefreshPlan(self._refresher(size),
                           max(wait_s, _interval_s(now.slow_path_max_rate_hz)))

    def _glance_plan(self) -> RefreshPlan | None:
        return (RefreshPlan(self._small, glance_interval_s(self._policy))
                if self._settings().slow_path_enabled else None)

    @property
    def paths(self) -> Sequence[SlowPath]:
        return self.slow, self._glance

    def offer(self, frame: Frame) -> None:
        self._mailbox.put(frame)
        self._glance_mailbox.put(frame)

    def saw(self, stamp_ns: int) -> None:
        self._policy.saw(stamp_ns)

    def clear(self) -> None:
        self._mailbox.clear()
        self._glance_mailbox.clear()
        self._policy.forget()
        # The next refresh is due at once; the one under way is of what is forgotten.
        status = self.slow.status
        self._due = status.refreshes + 1 + (status.running_since is not None)

    def drop_memory(self) -> None:
        super().drop_memory()
        self._steady.forget()

    def step(self, view: TrackedFrame, slot: Slot, settings: Settings, whole: bool = True
             ) -> Field:
        moved = self._moved.step(view, slot, self._glances.front())
        self._policy.judged(self._moved.mean_trust, self._moved.change_per_frame)
        if settings.steady and settings.motion_compensation is MotionCompensation.IMAGE:
            assert slot.keyframe is not None
            return MapField(self._steady.update(view.frame_id, slot.keyframe.frame_id,
                                                moved.depth(), matches(view.step)), moved.trust())
        self._steady.forget()
        return moved

    def extrapolate(self, view: TrackedFrame) -> Field | None:
        return None  # a step is no dearer


def _interval_s(rate_hz: float) -> float:
    return 1 / rate_hz if rate_hz > 0 else 0.0


def resolved(fast_path: FastPathModel, model: Model | Choice) -> FastPathModel:
    """Return what ``auto`` means: glances, but on a GPU, where they were never measured."""
    if fast_path is not FastPathModel.AUTO:
        return fast_path
    return FastPathModel.SPATIAL_MEMORY if model.on_gpu else FastPathModel.GLANCE


def build(model: Model, size: Size, fast_path: FastPathModel, settings: LiveSettings,
          cancel: Event, clock: Clock = REAL) -> Session:
    """Compile a session's engines for the network's ``size``; takes seconds, by TensorRT minutes.
    """
    if fast_path is FastPathModel.SPATIAL_MEMORY:
        # On a GPU a whole step takes a third of a millisecond.
        return SpatialMemorySession(
            model.compile(size, cancel), settings, clock,
            None if model.on_gpu else lambda: model.compile_sparse(size, cancel))
    glance = glance_size(size)
    threads, cores = model.background, len(os.sched_getaffinity(0))
    with new_threads_lowered():  # the runtime's workers serve the background alone
        return GlanceSession(size, lambda wanted: model.compile_depth(wanted, cancel),
                             model.compile_glance(glance, cancel), settings,
                             threads.fast + threads.slow > cores, clock)
