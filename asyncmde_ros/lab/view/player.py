"""A video, camera or bag through the pipeline in this process, at its own pace."""

import itertools
import logging
import threading
import time

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import EngineError
from asyncmde_ros.lab.media.frames import FrameSource, VideoFrame
from asyncmde_ros.lab.media.pace import Pace
from asyncmde_ros.lab.view.recording import Recording
from asyncmde_ros.lab.view.timing import RefreshRate, Timing
from asyncmde_ros.model.geometry import check_aspect, network_size
from asyncmde_ros.pipeline.clock import REAL
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.results import DepthResult
from asyncmde_ros.pipeline.settings import OutputResolution, Settings
from asyncmde_ros.ros.sentences import STATES

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2 * REAL.stall_s
"""Longest wait at the end for a refresh that is running."""


def play(source: FrameSource, live: bool, model: Model, recording: Recording,
         stop: threading.Event, seconds: float | None = None) -> None:
    """Show every frame of ``source`` with its depth, until it ends or ``stop`` is set.

    ``live`` sources set the pace themselves; recorded ones are played no faster than they were
    recorded, since the memory's lag depends on it.  Depth is shown at the network's resolution,
    which is all that it holds.  ``seconds`` ends earlier, by the stamps but for leaps.  Raises
    EngineError where a network hangs at the end.
    """
    frames = iter(source)
    first = next(frames)
    frames = itertools.chain([first], frames)
    check_aspect(first.image.shape[:2])
    pipeline = DepthPipeline(model, Settings(output_resolution=OutputResolution.NETWORK),
                             network_size(first.image.shape[:2], model.short_side), stop)
    refreshes, pace = RefreshRate(), Pace()
    cuts = resets = 0
    try:
        for frame in frames:
            early_s = pace.early_s(frame.stamp_ns)
            if not live:  # where the machine is slower, without a pause
                stop.wait(max(0.0, early_s))
            if stop.is_set() or (seconds is not None and pace.played_s >= seconds):
                break
            result = pipeline.process(frame.image, frame.stamp_ns)
            status = pipeline.status
            if status.cuts > cuts:
                recording.log_event(frame.stamp_ns, 'a scene cut: the memory is dropped')
            if status.resets > resets:
                recording.log_event(frame.stamp_ns, 'the stamps or the image size jumped: the '
                                                    'memory starts anew')
            cuts, resets = status.cuts, status.resets
            _show(recording, frame, result, refreshes)
        if not recording.depths:
            logger.warning('no depth: the source ended before the first refresh of the memory')
    finally:
        _close(pipeline)


def _close(pipeline: DepthPipeline) -> None:
    """Wait for running work, as a thread inside the runtime crashes it at the interpreter's end.

    Raises EngineError for work that hangs.
    """
    deadline = time.monotonic() + CLOSE_TIMEOUT_S
    while not pipeline.close():
        if time.monotonic() > deadline:
            raise EngineError(
                f'a network is still running {CLOSE_TIMEOUT_S:g} s after the end: it hangs. What '
                'was recorded is kept; start again, and if it happens again, report it with what '
                'asyncmde printed')


def _show(recording: Recording, frame: VideoFrame, result: DepthResult,
          refreshes: RefreshRate) -> None:
    stamp_ns = frame.stamp_ns
    recording.log_state(stamp_ns, STATES[result.state])
    recording.log_image(stamp_ns, frame.image)
    if result.depth is None or result.trust is None or result.keyframe is None:
        recording.log_no_depth(stamp_ns)
        return
    recording.log_depth(stamp_ns, result.depth)
    recording.log_trust(stamp_ns, result.trust)
    keyframe_ns = result.keyframe.stamp_ns
    recording.log_timing(stamp_ns, Timing(
        result.lag, (stamp_ns - keyframe_ns) / 1e6, result.timings.total_ms,
        refresh_hz=refreshes.update(stamp_ns, keyframe_ns)))
