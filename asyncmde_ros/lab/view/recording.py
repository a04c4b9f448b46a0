"""Pictures, figures and words on their way to a Rerun viewer or file."""

import contextlib
import logging
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import AsyncMDEError, MediaError
from asyncmde_ros.files import temporary_beside
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.images.picture import colorize
from asyncmde_ros.images.tone import RangeTracker
from asyncmde_ros.lab.view.layout import (
    DEPENDS_ON_DEPTH,
    DEPTH,
    IMAGE,
    POINTS,
    SERIES,
    STATE,
    TRUST,
    blueprint,
)
from asyncmde_ros.lab.view.library import rr
from asyncmde_ros.lab.view.timing import Timing

logger = logging.getLogger(__name__)

APPLICATION = 'asyncmde'
TIMELINE = 'stamp'

EPOCH_NS = 366 * 24 * 3600 * 10**9
"""Stamps in the first year count from the start of a video or a simulation, not from 1970."""

JPEG_QUALITY = 85
"""A camera's image takes a tenth of its raw size; depth is what has to be exact."""

VIEWER_MEMORY = '2GB'
"""The viewer drops its oldest data above this; Rerun's own default is most of the machine."""


MOST_POINTS = 20_000
"""Of a cloud: as many bytes as a depth map of a network has."""

NEAREST_M = 0.01
POINT_RADIUS = 1.5
"""Pixels on the screen."""


class Recording:
    """What one run shows: each part by itself, at its frame's stamp, in any order.

    A context manager.  Everything is logged from one thread.  ``images`` and ``depths`` count.
    """

    def __init__(self, file: Path | None) -> None:
        """Open a viewer, or write to ``file``, which is there once this is closed.

        Raises MediaError where the file cannot be written, AsyncMDEError where a viewer cannot
        show itself.
        """
        self.images = 0
        self.depths = 0
        self._file = file
        self._range, self._points_range = RangeTracker(), RangeTracker()
        self._state = ''
        self._depth_shown = False
        self._since_epoch: bool | None = None
        if file is None:
            _check_display()
        self._stream = rr.RecordingStream(APPLICATION)
        if file is None:
            self._spawn()
        else:
            self._save(file)
        for series in SERIES.values():
            self._stream.log(series.entity, rr.SeriesLines(
                names=series.name, colors=[series.colour]), static=True)
        self._stream.log(POINTS, rr.ViewCoordinates.RDF, static=True)  # an optical frame's

    def __enter__(self) -> 'Recording':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close(keep=error is None or self.images + self.depths > 0)

    def close(self, keep: bool = True) -> None:
        """Send or write what is pending, and complete the file; without ``keep`` there is none.

        Raises MediaError where it is not complete; then what stood under its name still does.
        """
        complete = keep
        try:
            self._stream.flush()
        except RuntimeError as error:
            complete = False
            if self._file is not None:
                raise MediaError(f'{self._file} is not complete ({error}): is the disk full?'
                                 ) from error
            logger.warning('the viewer was closed before the end')
        finally:
            self._stream.disconnect()
            if self._file is not None:
                self._finish(self._file, complete)

    def _save(self, file: Path) -> None:
        if file.is_dir():
            raise MediaError(f'{file} cannot be written: it is a folder')
        # A device or a pipe is written to, not replaced.
        self._written = temporary_beside(file) if file.is_file() or not file.exists() else file
        try:
            with _pipe_held(file):
                self._stream.save(self._written, default_blueprint=blueprint())
        except (RuntimeError, UnicodeError) as error:  # Rerun takes names in UTF-8 only
            with contextlib.suppress(OSError):
                self._finish(file, complete=False)
            raise MediaError(f'{file} cannot be written: {error}') from error

    def _finish(self, file: Path, complete: bool) -> None:
        if self._written == file:
            return
        try:
            if complete:
                self._written.replace(file)
        except OSError as error:
            raise MediaError(f'{file} cannot be written: {error.strerror}') from error
        finally:
            self._written.unlink(missing_ok=True)

    def __str__(self) -> str:
        text = f'{self.images} images, {self.depths} depth maps'
        if self._file is not None:
            text = f'{self._file}: {text}, {self._file.stat().st_size / 1e6:.1f} MB'
        return text

    def log_image(self, stamp_ns: int, rgb: RGB) -> None:
        """Show (H, W, 3) uint8 RGB, as JPEG."""
        _, encoded = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
                                  (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
        self._at(stamp_ns)
        self._stream.log(IMAGE, rr.EncodedImage(contents=encoded.tobytes(),
                                                media_type='image/jpeg'))
        self.images += 1

    def log_depth(self, stamp_ns: int, depth: npt.NDArray[np.float32]) -> None:
        """Show (H, W) float32 inverse depth, stored in half precision.

        The colours follow the range of the scene slowly, as in every picture of this project.
        """
        self._at(stamp_ns)
        self._stream.log(DEPTH, rr.DepthImage(depth.astype(np.float16), colormap='turbo',
                                              depth_range=self._range.update(depth)))
        self.depths += 1
        self._depth_shown = True

    def log_no_depth(self, stamp_ns: int) -> None:
        """Take away the depth and what comes with it: a viewer would go on showing the last."""
        if self._depth_shown:
            self._depth_shown = False
            self._at(stamp_ns)
            for entity in DEPENDS_ON_DEPTH:
                self._stream.log(entity, rr.Clear(recursive=True))

    def log_trust(self, stamp_ns: int, trust: npt.NDArray[np.float32]) -> None:
        """Show (H, W) float32 in [0, 1], stored in half precision."""
        self._at(stamp_ns)
        self._stream.log(TRUST, rr.DepthImage(trust.astype(np.float16), colormap='viridis',
                                              depth_range=(0.0, 1.0)))

    def log_points(self, stamp_ns: int, points: npt.NDArray[np.float32]) -> None:
        """Show points (n, 3) in the optical frame, metres, in the colours of their depth.

        Of more than MOST_POINTS only every so manieth; those that are not finite are left out.
        """
        points = points[np.isfinite(points).all(axis=1)]
        points = points[::-(-len(points) // MOST_POINTS) or 1]
        self._at(stamp_ns)
        if not len(points):
            self._stream.log(POINTS, rr.Clear(recursive=True))
            return
        inverse = np.reciprocal(np.maximum(points[None, :, 2], NEAREST_M, dtype=np.float32))
        colors = colorize(inverse, *self._points_range.update(inverse))[0]
        self._stream.log(POINTS, rr.Points3D(points, colors=colors,
                                             radii=rr.Radius.ui_points(POINT_RADIUS)))

    def log_timing(self, stamp_ns: int, timing: Timing) -> None:
        """Add a point to the curve of every figure that is known."""
        self._at(stamp_ns)
        for field in fields(timing):
            value = getattr(timing, field.name)
            if value is not None:
                self._stream.log(SERIES[field.name].entity, rr.Scalars(float(value)))

    def log_state(self, stamp_ns: int, state: str) -> None:
        """Note a state, if it is another than before."""
        if state != self._state:
            self._state = state
            self.log_event(stamp_ns, state)

    def log_event(self, stamp_ns: int, text: str) -> None:
        """Note what happened, here and in the program's log."""
        self._at(stamp_ns)
        self._stream.log(STATE, rr.TextLog(text, level=rr.TextLogLevel.INFO))
        logger.info(text)

    def _spawn(self) -> None:
        # Rerun looks for its viewer on the PATH, where a virtual environment that is used
        # without activation is not.
        path = os.environ.get('PATH', '')
        os.environ['PATH'] = os.pathsep.join([sysconfig.get_path('scripts'), path])
        try:
            self._stream.spawn(memory_limit=VIEWER_MEMORY, hide_welcome_screen=True,
                               default_blueprint=blueprint())
        except Exception as error:
            reason = str(error).strip().partition('\n')[0]
            raise AsyncMDEError(f'the Rerun viewer does not start: {reason}; --save FILE.rrd '
                                'does without it') from error
        finally:
            os.environ['PATH'] = path

    def _at(self, stamp_ns: int) -> None:
        if self._since_epoch is None:  # a timeline has one kind of time
            self._since_epoch = stamp_ns >= EPOCH_NS
        if self._since_epoch:
            self._stream.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, 'ns'))
        else:
            self._stream.set_time(TIMELINE, duration=np.timedelta64(stamp_ns, 'ns'))


@contextlib.contextmanager
def _pipe_held(file: Path) -> Iterator[None]:
    """Hold a pipe open; MediaError if nobody reads it: Rerun would wait, and no signal end it."""
    if not file.is_fifo():
        yield
        return
    try:
        held = os.open(file, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        raise MediaError(f'{file} cannot be written: nobody reads from this pipe') from error
    try:
        yield
    finally:
        os.close(held)


def _check_display() -> None:
    """Raise AsyncMDEError where a window cannot be, which only the viewer's process would say."""
    if sys.platform == 'linux' and not any(os.environ.get(name)
                                           for name in ('DISPLAY', 'WAYLAND_DISPLAY')):
        raise AsyncMDEError('there is no display here for a viewer: --save FILE.rrd, and open '
                            'the file where there is one: rerun FILE.rrd')
