"""Frames in, depth out: the fast path in the caller's thread, the slow path in its own."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import EngineError, ImageError, in_words
from asyncmde_ros.model.geometry import Size, check_aspect, network_size
from asyncmde_ros.model.preprocess import at_size, shrink
from asyncmde_ros.pipeline.feature_cache import Keyframe
from asyncmde_ros.pipeline.motion import Homography, MotionEstimator, Warp, still
from asyncmde_ros.pipeline.moved_depth import View
from asyncmde_ros.pipeline.session import DepthSource, Session, build, resolved
from asyncmde_ros.pipeline.settings import (
    DEFAULT_FAST_PATH,
    FastPathModel,
    MotionCompensation,
    OldMemory,
    OutputResolution,
    Settings,
)
from asyncmde_ros.pipeline.slow_path import Frame, SlowPathStatus
from asyncmde_ros.pipeline.upright import Rotation

logger = logging.getLogger(__name__)

DEFAULT_IMAGE: Size = (480, 640)
"""The aspect that is prepared before the first frame is seen."""

JOIN_TIMEOUT_S = 0.5
"""Longest wait for running work at shutdown; a node has a second to end in."""

MOST_RESTARTS = 3
"""Each restart leaves a thread and its engine behind, which nothing can free."""

BUILD_RETRY_S = 1.0
"""Pause after a failed build, so that one that fails at once does not eat a core."""

MAX_GAP_NS = 10 * 10**9
"""After a longer pause the memory shows another time, whatever it shows."""


Measure = Callable[[int, int], Homography | None]
"""The step between the frames of two stamps [ns], None where it is not known."""


class PipelineState(str, Enum):
    """Why there is depth, or why not."""

    READY = 'ready'
    WAITING_FOR_MEMORY = 'waiting for a refresh'
    SLOW_PATH_OFF = 'without a memory, and the slow path is switched off'
    BUILDING = 'building engines for this image size'
    MEMORY_TOO_OLD = 'withholding depth, whose memory is too old'


@dataclass(frozen=True)
class Timings:
    """Milliseconds spent on one frame, by part."""

    prepare_ms: float = 0.0
    motion_ms: float = 0.0
    fast_ms: float = 0.0
    finish_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        return self.prepare_ms + self.motion_ms + self.fast_ms + self.finish_ms


@dataclass(frozen=True)
class DepthResult:
    """What one frame gave.

    ``depth``: (H, W) float32, affine-invariant inverse depth, larger is nearer, unitless; None
    while depth is withheld, with the reason in ``state``.  ``trust``: (rows, cols) float32 in
    [0, 1], how far the depth of each pixel is to be trusted.  Both are of the image as it was
    given, whatever the rotation.  ``lag`` counts frames since ``keyframe``, the frame that the
    memory shows; ``source`` tells what gave the depth; ``too_old`` whether the keyframe is older
    than the settings want.
    """

    state: PipelineState
    stamp_ns: int
    depth: npt.NDArray[np.float32] | None = None
    trust: npt.NDArray[np.float32] | None = None
    keyframe: Keyframe | None = None
    lag: int | None = None
    source: DepthSource = DepthSource.NETWORK
    too_old: bool = False
    timings: Timings = Timings()


@dataclass(frozen=True)
class PipelineStatus:
    """For diagnostics; ``slow_path`` and ``glance`` are live and go on counting.

    ``engine``: what computes; ``glance`` is None where there are no glances; ``rotation`` is that
    of the last frame.
    """

    state: PipelineState
    engine: str
    size: Size
    slow_path: SlowPathStatus
    glance: SlowPathStatus | None
    motion_failures: int
    resets: int
    cuts: int
    restarts: int
    rotation: Rotation = Rotation.NONE


@dataclass
class _Live:
    """The live settings; apart from the pipeline, so that the slow path does not hold that."""

    settings: Settings


class DepthPipeline:
    """The asynchronous depth pipeline of one camera.

    ``process`` is called with every frame, from one thread.  It never waits for the foundation
    model: until its first refresh depth is withheld, afterwards every frame gives depth.
    """

    def __init__(self, model: Model, settings: Settings | None = None,
                 size: Size | None = None, cancel: threading.Event | None = None,
                 fast_path: FastPathModel = DEFAULT_FAST_PATH) -> None:
        """Compile the engines and start the slow path; takes seconds, building takes minutes.

        ``size`` fixes the network's (rows, cols), of the image turned upright; None follows the
        camera's aspect with the backend's short side.  ``cancel`` set, which ``close`` does too,
        ends a build under way.  ``fast_path`` is what every frame goes through.
        """
        self._live = _Live(settings or Settings())
        self._model = model
        self._fixed_size = size
        self._fast_path = resolved(fast_path, model)
        self._state = PipelineState.WAITING_FOR_MEMORY
        self._motion = MotionEstimator()
        self._frame_id = 0
        self._epoch = 0
        self._resets = 0
        self._cuts = 0
        self._restarts = 0
        self._hung: list[Session] = []
        self._last_stamp_ns: int | None = None
        self._stamps_advance = True
        self._warned_of_stamps = False
        self._in_use = (0, 0.0)  # the keyframe's generation, and since when by the clock
        self._build_after_s = 0.0
        self._tracked_ns: int | None = None
        self._image_size: Size | None = None
        self._rotation = self._live.settings.rotation
        self._built: Session | Exception | None = None
        self._builder: threading.Thread | None = None
        self._cancel = cancel or threading.Event()
        self._session = self._new_session(
            size or network_size(self._rotation.size(DEFAULT_IMAGE), model.short_side))
        self._session.start()

    def close(self) -> bool:
        """Stop every thread; the pipeline cannot be used afterwards.

        False if one is still inside the runtime, which cannot be interrupted.
        """
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        self._cancel.set()
        idle = self._session.stop(JOIN_TIMEOUT_S)
        idle = idle and all(session.stop(0) for session in self._hung)
        if self._builder is not None:
            self._builder.join(max(0.0, deadline - time.monotonic()))
            idle = idle and not self._builder.is_alive()
        return idle

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
        if self._builder is not None:
            self._builder.join()
        if not self._session.hangs():
            self._session.stop(None)

    @property
    def status(self) -> PipelineStatus:
        return PipelineStatus(self._state, self._model.id, self._session.size,
                              self._session.slow.status, self._session.glance_status,
                              self._motion.failures, self._resets, self._cuts, self._restarts,
                              self._rotation)

    def reset(self) -> None:
        """Forget everything seen so far; depth is withheld until the next refresh."""
        self._resets += 1
        self._motion.reset()
        self._tracked_ns = None
        self._drop_memory()

    def _lose_memory(self, why: str) -> None:
        logger.info('%s: the memory is dropped', why)
        self._cuts += 1
        self._drop_memory()

    def _drop_memory(self) -> None:
        """Let no keyframe from before this moment be used again, nor one under way."""
        self._epoch += 1
        self._session.drop_memory()

    def process(self, rgb: npt.NDArray[np.uint8], stamp_ns: int, hurry: bool = False,
                measure: Measure | None = None) -> DepthResult:
        """Take a frame, (H, W, 3) uint8 RGB captured at ``stamp_ns``; return its depth.

        ``hurry``: rather than through the network, which takes its time, give the last depth as
        this frame sees it.  ``measure`` gives the step between two frames, from the later one's
        view to the earlier one's, as another sensor has it; asked with compensation by IMU only.

        A stamp before the last one (a bag that loops), one over ten seconds after it, another
        image size or another rotation resets the memory; a scene cut, or trust that collapses,
        drops it.  Raises ImageError for an image that no network size fits, and EngineError if
        the engine fails; the next frame may be tried all the same.
        """
        started = time.perf_counter()
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ImageError('image', f'(H, W, 3) uint8 is wanted, not {rgb.dtype} {rgb.shape}')
        check_aspect(rgb.shape[:2])
        settings = self.settings
        rotation = settings.rotation
        self._notice_jump(rgb.shape[:2], stamp_ns, rotation)
        if not self._engines_fit(rotation.size(rgb.shape[:2])):
            return self._withhold(PipelineState.BUILDING, stamp_ns)
        session = self._session
        self._frame_id += 1
        small = rotation.turn(shrink(rgb, rotation.size(session.picture_size)))
        prepared = time.perf_counter()
        measured = None
        if (measure is not None and self._tracked_ns is not None
                and settings.motion_compensation is MotionCompensation.IMU):
            measured = measure(self._tracked_ns, stamp_ns)
            if measured is not None:
                measured = rotation.turn_homography(measured)
        self._tracked_ns = stamp_ns
        motion = self._motion.update(self._frame_id, small, settings.motion_compensation,
                                     measured, settings.cut_similarity, session.size)
        if motion.cut:
            self._lose_memory('a scene cut')
        moved = time.perf_counter()
        # Offered before the swap frees a slot, so that a refresh starts with this frame.
        session.offer(Frame(self._frame_id, stamp_ns, self._epoch, small))
        session.saw(stamp_ns)
        view = View(self._frame_id, small, self._motion.grey, motion.step, self._motion_since)
        without = (PipelineState.WAITING_FOR_MEMORY if settings.slow_path_enabled
                   else PipelineState.SLOW_PATH_OFF)
        slot = session.cache.front()
        if slot is None or slot.keyframe is None or slot.keyframe.epoch != self._epoch:
            return self._withhold(without, stamp_ns)
        last = session.fast.keyframe
        if last is not None and last.generation != slot.keyframe.generation and (
                self._too_old(last)):
            session.fast.forget()  # so that nothing of it is moved: there is a newer memory
        if settings.old_memory is OldMemory.WITHHOLD and self._too_old(slot.keyframe):
            session.fast.forget()  # its state will not have moved with the frames in between
            return self._withhold(PipelineState.MEMORY_TOO_OLD, stamp_ns)
        source = DepthSource.WARPED
        maps = session.skip(view) if hurry else None
        if maps is None:
            source = session.source
            maps = session.step(view, slot, settings)
            if session.fast.trust_kept < settings.cut_trust:
                self._lose_memory('trust collapsed')
                session.offer(Frame(self._frame_id, stamp_ns, self._epoch, small))
                return self._withhold(without, stamp_ns)
        depth, trust = (rotation.inverse.turn(part) for part in maps)
        keyframe = session.fast.keyframe
        assert keyframe is not None
        if keyframe.generation != self._in_use[0]:
            self._in_use = keyframe.generation, time.monotonic()
        ran = time.perf_counter()
        depth = at_size(depth, rgb.shape[:2] if settings.output_resolution is
                        OutputResolution.INPUT else rotation.size(session.size))
        if not np.isfinite(depth).all():
            session.fast.forget()
            raise EngineError('the fast network gave depth that is not finite')
        self._state = PipelineState.READY
        finished = time.perf_counter()
        timings = Timings(*(1e3 * (b - a) for a, b in (
            (started, prepared), (prepared, moved), (moved, ran), (ran, finished))))
        return DepthResult(self._state, stamp_ns, depth, trust.copy(), keyframe,
                           self._frame_id - keyframe.frame_id, source, self._too_old(keyframe),
                           timings)

    def _too_old(self, keyframe: Keyframe) -> bool:
        """Tell whether a memory is beyond the age that is allowed, at the newest frame."""
        assert self._last_stamp_ns is not None
        age_s = (self._last_stamp_ns - keyframe.stamp_ns) / 1e9
        generation, since_s = self._in_use
        if not self._stamps_advance and keyframe.generation == generation:
            age_s = max(age_s, time.monotonic() - since_s)
        return 0 < self.settings.max_memory_age_s < age_s

    def _withhold(self, state: PipelineState, stamp_ns: int) -> DepthResult:
        self._state = state
        return DepthResult(state, stamp_ns)

    def _motion_since(self, earlier_id: int, frame_id: int) -> Warp:
        motion = self._motion.since(earlier_id, frame_id)
        if motion is None:
            self._motion.failures += 1
            return still(self._session.size)
        return motion

    def _notice_jump(self, image: Size, stamp_ns: int, rotation: Rotation) -> None:
        back_in_time = self._last_stamp_ns is not None and stamp_ns < self._last_stamp_ns
        paused = self._last_stamp_ns is not None and stamp_ns - self._last_stamp_ns > MAX_GAP_NS
        resized = self._image_size is not None and image != self._image_size
        self._stamps_advance = stamp_ns != self._last_stamp_ns
        if not self._stamps_advance and not self._warned_of_stamps:
            self._warned_of_stamps = True
            logger.warning('the stamps of the images do not advance: the age of the memory is '
                           'told by the clock instead')
        turned = rotation is not self._rotation
        self._last_stamp_ns, self._image_size, self._rotation = stamp_ns, image, rotation
        if back_in_time or paused or resized or turned:
            logger.info('%s: the memory starts anew', 'time went backwards' if back_in_time else
                        'the camera paused' if paused else 'the image size changed' if resized
                        else f'the image is now turned by {rotation.value} degrees')
            self.reset()

    def _engines_fit(self, image: Size) -> bool:
        """Tell whether the engines are of the size for an upright ``image``; else build others.

        They are built in the background.  So too, while depth goes on, for a slow path that hangs.
        A build that failed is reported once and tried again a second later.
        """
        wanted = self._fixed_size or network_size(image, self._model.short_side)
        if self._builder is not None and not self._builder.is_alive():
            self._builder = None
            built, self._built = self._built, None
            if isinstance(built, Exception):
                self._build_after_s = time.monotonic() + BUILD_RETRY_S
                raise EngineError(f'no engines for this image size: {in_words(built)}') from built
            # A slow path that hung may have come to its end meanwhile, and its memory is good.
            if built is not None and built.size == wanted:
                if wanted != self._session.size or self._session.hangs():
                    self._adopt(built)
                else:
                    self._restarts -= 1
        fits = wanted == self._session.size
        hangs = fits and self._session.hangs() and self._restarts < MOST_RESTARTS
        if (self._builder is None and (hangs or not fits)
                and time.monotonic() >= self._build_after_s):
            if hangs:
                self._restarts += 1
                logger.error('the slow path hangs: restarting it with engines of its own (%d of '
                             '%d times)', self._restarts, MOST_RESTARTS)
            logger.info('building engines for %dx%d', *wanted)
            self._builder = threading.Thread(target=self._build, args=(wanted,),
                                             name='engine_builder', daemon=True)
            self._builder.start()
        return fits

    def _build(self, size: Size) -> None:
        try:
            self._built = self._new_session(size)
        except Exception as error:  # reported by the next frame, whatever it is
            self._built = error

    def _adopt(self, session: Session) -> None:
        if self._session.hangs():
            self._session.stop(0)
            self._hung.append(self._session)
        else:
            self._session.stop(JOIN_TIMEOUT_S)
        # Those that came to their end after all need not be kept any longer.
        self._hung = [hung for hung in self._hung if not hung.stop(0)]
        session.replace(self._session)
        self._session = session
        self._in_use = (0, 0.0)
        self.reset()
        self._session.start()

    def _new_session(self, size: Size) -> Session:
        live = self._live
        return build(self._model, size, self._fast_path, lambda: live.settings, self._cancel)
