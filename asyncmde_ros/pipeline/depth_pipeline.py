"""Frames in, depth out: the fast path in the caller's thread, the slow path in its own."""

import logging
import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import EngineError, ImageError
from asyncmde_ros.model.geometry import Size, check_aspect, network_size
from asyncmde_ros.model.preprocess import at_size, shrink
from asyncmde_ros.pipeline.clock import REAL, Clock
from asyncmde_ros.pipeline.engine_manager import EngineManager
from asyncmde_ros.pipeline.field import Field, Map, MapField
from asyncmde_ros.pipeline.memory import Memory
from asyncmde_ros.pipeline.motion import MotionEstimator, Warp, still
from asyncmde_ros.pipeline.moved_depth import TrackedFrame
from asyncmde_ros.pipeline.overload import MS, Overload
from asyncmde_ros.pipeline.points import ImageField, PointDepth
from asyncmde_ros.pipeline.results import (
    DepthResult,
    DepthSource,
    PipelineState,
    PipelineStatus,
    Stopwatch,
)
from asyncmde_ros.pipeline.rotation import RotationSensor
from asyncmde_ros.pipeline.session import Session, build, resolved
from asyncmde_ros.pipeline.settings import (
    DEFAULT_FAST_PATH,
    FastPathModel,
    MotionCompensation,
    OutputResolution,
    Settings,
)
from asyncmde_ros.pipeline.slow_path import Frame
from asyncmde_ros.pipeline.stamps import SENTENCES, Capture, jump

logger = logging.getLogger(__name__)

DEFAULT_IMAGE: Size = (480, 640)
"""The aspect that is prepared before the first frame is seen."""

@dataclass
class _Live:
    """The live settings; apart from the pipeline, so that the slow path does not hold that."""

    settings: Settings


class DepthPipeline:
    """The asynchronous depth pipeline of one camera.

    ``process`` is called with every frame, from one thread.  It never waits for the foundation
    model: until its first refresh depth is withheld, afterwards every frame gives depth.
    ``rotation_sensor`` is to be filled before a frame where motion comes from an IMU.
    """

    def __init__(self, model: Model, settings: Settings | None = None,
                 size: Size | None = None, cancel: threading.Event | None = None,
                 fast_path: FastPathModel = DEFAULT_FAST_PATH, clock: Clock = REAL) -> None:
        """Compile the engines and start the slow path; takes seconds, building takes minutes.

        ``size`` fixes the network's (rows, cols), of the image turned upright; None follows the
        camera's aspect with the backend's short side.  ``cancel`` set, which ``close`` does too,
        ends a build under way.  ``fast_path`` is what every frame goes through.
        """
        live = self._live = _Live(settings or Settings())
        self._model = model
        self._fixed_size = size
        self._cancel = cancel or threading.Event()
        self._newest = DepthResult(PipelineState.WAITING_FOR_MEMORY, 0)
        self._frame_id = 0
        self._capture: Capture | None = None
        self._tracked_ns: int | None = None
        self._rotation = live.settings.rotation
        self._clock = clock
        self.rotation_sensor = RotationSensor()
        self._motion = MotionEstimator()
        self._overload = Overload()
        self._memory = Memory(clock.seconds)
        self._engines = EngineManager(
            partial(build, model, fast_path=resolved(fast_path, model),
                    settings=lambda: live.settings, cancel=self._cancel, clock=clock),
            self._network_size(DEFAULT_IMAGE), clock)

    def close(self) -> bool:
        """Stop every thread; the pipeline cannot be used afterwards.

        False if one is still inside the runtime, which cannot be interrupted.
        """
        self._cancel.set()
        return self._engines.stop()

    @property
    def settings(self) -> Settings:
        """What can be changed while the pipeline runs; set it whole, from any thread."""
        return self._live.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._live.settings = settings

    def __enter__(self) -> 'DepthPipeline':
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop, and wait for every thread that will end.

        A thread inside the runtime while Python takes itself apart would crash the process.
        """
        self.close()
        self._engines.join()

    @property
    def status(self) -> PipelineStatus:
        session, memory = self._engines.session, self._memory
        return PipelineStatus(
            self._newest.state, self._model.id, session.size, session.slow.status,
            session.glance_status, self._motion.failures, memory.resets, memory.cuts,
            self._engines.restarts, self._rotation)

    def reset(self) -> None:
        """Forget everything seen so far; depth is withheld until the next refresh."""
        self._motion.reset()
        self._tracked_ns = None
        self._memory.reset(self._engines.session)

    def process(self, rgb: npt.NDArray[np.uint8], stamp_ns: int, received_ns: int | None = None,
                began_ns: int | None = None, whole: bool = True) -> DepthResult:
        """Take a frame, (H, W, 3) uint8 RGB captured at ``stamp_ns``; return its depth.

        ``received_ns`` is when it arrived and ``began_ns`` when its turn came, now unless given,
        both by the clock's nanoseconds.  A frame that waited too long for the network gets the
        last depth as this frame sees it, where that is quicker; without ``received_ns`` none did.
        Without ``whole`` the result has no maps, and tells single pixels only, at less cost.

        A stamp before the last one (a bag that loops), one over ten seconds after it, another
        image size or another rotation resets the memory; a scene cut, or trust that collapses,
        drops it.  Raises ImageError for an image that no network size fits, and EngineError if
        the engine fails; the next frame may be tried all the same.

        The steps, and what they are called, are those of docs/how_it_works.md, "A frame comes".
        """
        stopwatch, settings = Stopwatch(), self.settings
        began_ns = self._clock.nanoseconds() if began_ns is None else began_ns
        late = received_ns is not None and self._overload.late(received_ns, began_ns)
        _check(rgb)
        self._notice_jump(Capture(stamp_ns, rgb.shape[:2], settings.rotation))
        if not self._engines_fit(rgb.shape[:2]):
            return self._withhold(PipelineState.BUILDING, stamp_ns)
        picture = self._upright(rgb)
        stopwatch.lap()
        view = self._track(picture, stamp_ns, settings)
        stopwatch.lap()
        self._offer(picture, stamp_ns)
        slot = self._memory.take(self._session, settings)
        if isinstance(slot, PipelineState):
            return self._withhold(slot, stamp_ns)
        source, field = DepthSource.WARPED, self._session.extrapolate(view) if late else None
        if field is None:
            source = self._session.source
            field = self._session.step(view, slot, settings, whole)
            if self._lost(settings):
                self._offer(picture, stamp_ns)
                return self._withhold(self._memory.missing(settings), stamp_ns)
        if whole:
            field = MapField(*field.maps())
        stopwatch.lap()
        maps = self._as_given(field, rgb.shape[:2], settings) if whole else None
        stopwatch.lap()
        self._learn_load(source, began_ns)
        return self._result(stamp_ns, maps, ImageField(field, rgb.shape[:2], self._rotation),
                            source, settings, stopwatch)

    def query(self, points: npt.ArrayLike) -> PointDepth:
        """Return depth and trust at pixels (n, 2) of the newest image: :meth:`DepthResult.at`.

        Between two frames, from the thread that calls :meth:`process`.  NaN where there is none.
        """
        return self._newest.at(points)

    @property
    def _session(self) -> Session:
        return self._engines.session

    def _notice_jump(self, capture: Capture) -> None:
        """Start the memory anew where a frame does not go on from the one before."""
        before, self._capture, self._rotation = self._capture, capture, capture.rotation
        self._memory.age.saw(capture.stamp_ns)
        why = jump(before, capture)
        if why is not None:
            logger.info('%s: the memory starts anew', SENTENCES[why])
            self.reset()

    def _network_size(self, image: Size) -> Size:
        return self._fixed_size or network_size(self._rotation.size(image),
                                                self._model.short_side)

    def _engines_fit(self, image: Size) -> bool:
        """Tell whether there are engines for an ``image`` (rows, cols); else they are built."""
        wanted = self._network_size(image)
        if self._engines.adopt(wanted):
            self._memory.age.forget()
            self.reset()
        return self._engines.fit(wanted)

    def _upright(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the picture that the networks see: a new array."""
        size = self._rotation.size(self._session.picture_size)
        return self._rotation.turn(shrink(rgb, size))

    def _track(self, picture: npt.NDArray[np.uint8], stamp_ns: int, settings: Settings
               ) -> TrackedFrame:
        """Estimate the motion since the frame before; a scene cut drops the memory."""
        self._frame_id += 1
        measured, before_ns = None, self._tracked_ns
        self._tracked_ns = stamp_ns
        if before_ns is not None and (
                settings.motion_compensation is MotionCompensation.IMU):
            measured = self.rotation_sensor.step(before_ns, stamp_ns)
            if measured is not None:
                measured = self._rotation.turn_homography(measured)
        motion = self._motion.update(self._frame_id, picture, settings.motion_compensation,
                                     measured, settings.cut_similarity, self._session.size)
        if motion.cut:
            self._memory.lose(self._session, 'a scene cut')
        self._session.saw(stamp_ns)
        return TrackedFrame(self._frame_id, picture, self._motion.grey, motion.step,
                            self._motion_since)

    def _motion_since(self, earlier_id: int, frame_id: int) -> Warp:
        motion = self._motion.since(earlier_id, frame_id)
        if motion is None:
            self._motion.failures += 1
            return still(self._session.size)
        return motion

    def _offer(self, picture: npt.NDArray[np.uint8], stamp_ns: int) -> None:
        """Hand the frame to the background.

        Before the memory is taken, which frees a slot, so that a refresh starts with this frame.
        """
        self._session.offer(Frame(self._frame_id, stamp_ns, self._memory.epoch, picture))

    def _lost(self, settings: Settings) -> bool:
        """Drop a memory whose trust collapsed at this frame; tell whether it did."""
        if self._session.fast.trust_kept >= settings.cut_trust:
            return False
        self._memory.lose(self._session, 'trust collapsed')
        return True

    def _as_given(self, field: Field, image: Size, settings: Settings) -> tuple[Map, Map]:
        """Return depth and trust of the image as it was given, depth at the size asked for."""
        depth, trust = (self._rotation.inverse.turn(part) for part in field.maps())
        depth = at_size(depth, image if settings.output_resolution is OutputResolution.INPUT
                        else self._rotation.size(self._session.size))
        if not np.isfinite(depth).all():
            self._session.fast.forget()
            raise EngineError('the fast network gave depth that is not finite')
        return depth, trust.copy()

    def _learn_load(self, source: DepthSource, began_ns: int) -> None:
        """Learn what a frame cost that was answered."""
        if source is DepthSource.WARPED:
            self._overload.extrapolated()
        else:
            self._overload.took(MS * (self._clock.nanoseconds() - began_ns))

    def _result(self, stamp_ns: int, maps: tuple[Map, Map] | None, field: ImageField,
                source: DepthSource, settings: Settings, stopwatch: Stopwatch) -> DepthResult:
        keyframe = self._session.fast.keyframe
        assert keyframe is not None
        self._memory.age.used(keyframe)
        depth, trust = maps or (None, None)
        return self._tell(DepthResult(
            PipelineState.READY, stamp_ns, depth, trust, keyframe,
            self._frame_id - keyframe.frame_id, source, self._memory.stale(keyframe, settings),
            stopwatch.timings, field))

    def _withhold(self, state: PipelineState, stamp_ns: int) -> DepthResult:
        return self._tell(DepthResult(state, stamp_ns))

    def _tell(self, result: DepthResult) -> DepthResult:
        self._newest = result
        return result


def _check(rgb: npt.NDArray[np.uint8]) -> None:
    """Raise ImageError for what is no RGB image, or one that no network size fits."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ImageError('image', f'(H, W, 3) uint8 is wanted, not {rgb.dtype} {rgb.shape}')
    check_aspect(rgb.shape[:2])
