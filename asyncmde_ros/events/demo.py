"""Events of a recording, or of a simulated sensor, through the pipeline, and a picture of it."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import MediaError
from asyncmde_ros.events.depth import DepthOfEvents, EventDepth
from asyncmde_ros.events.drawing import draw_depth, draw_events
from asyncmde_ros.events.reconstruction import Reconstruction
from asyncmde_ros.events.recording import Recording
from asyncmde_ros.events.simulator import Simulator, StampedGrey, simulated
from asyncmde_ros.events.window import Window, Windows
from asyncmde_ros.events.words import Raw
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.images.picture import contact_sheet, write_png
from asyncmde_ros.lab.media.frames import FrameSource
from asyncmde_ros.lab.media.pace import Pace
from asyncmde_ros.model.geometry import Size, check_aspect, network_size
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline

LOG = logging.getLogger(__name__)

SENSOR_ROWS = 260
"""Of a simulated sensor: a DAVIS346's."""

MOMENTS = 4
"""That the sheet shows."""

NO_DEPTH = 'no depth yet'
NOTHING_SEEN = 'nothing moves: depth withheld'


class SimulatedRecording(Recording):
    """Events of a sensor of SENSOR_ROWS that looks at a video."""

    def __init__(self, source: FrameSource, seed: int = 0) -> None:
        """``source`` is read, and closed, as the events are."""
        self._source = source
        self._frames = iter(source)
        try:
            self._first = next(self._frames)
        except StopIteration:
            raise MediaError('a video without frames gives no events') from None
        rows, cols = self._first.image.shape[:2]
        scale = min(1.0, SENSOR_ROWS / min(rows, cols))
        super().__init__((max(1, round(rows * scale)), max(1, round(cols * scale))))
        self._simulator = Simulator(self.size, seed=seed)

    def close(self) -> None:
        self._source.close()

    def _read(self) -> Iterator[Raw]:
        for events in simulated(self._pictures(), self._simulator):
            yield Raw(events.x, events.y, events.t, events.p)

    def _pictures(self) -> Iterator[StampedGrey]:
        yield grey_of(self._first.image, self.size, self._first.stamp_ns)
        for frame in self._frames:
            yield grey_of(frame.image, self.size, frame.stamp_ns)


def grey_of(image: RGB, size: Size, stamp_ns: int) -> StampedGrey:
    """Return what a sensor of ``size`` sees of an RGB image."""
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return StampedGrey(np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8), stamp_ns)


def run(recording: Recording, model: Model, out: Path, windows: Windows,
        seconds: float | None = None) -> Path:
    """Give a recording to the pipeline, no faster than it was recorded; return the sheet's path.

    ``seconds`` ends earlier.  Raises MediaError where there is no event, and where no depth came
    before the end.
    """
    check_aspect(recording.size)
    size = network_size(recording.size, model.short_side)
    sheet = _Sheet()
    pace = Pace()
    with closing(recording), DepthPipeline(model, size=size) as pipeline, tqdm(
            desc='windows', unit='', mininterval=0.5) as progress:
        depth_of = DepthOfEvents(Reconstruction(recording.size), pipeline.process, pipeline.reset)
        for window in recording.windows(windows):
            early_s = pace.early_s(window.end_ns)
            if seconds is not None and pace.played_s > seconds:
                break
            time.sleep(max(0.0, early_s))
            seen = depth_of.see(window)
            sheet.add(window, seen)
            progress.update()
            progress.set_postfix_str(
                f'{len(window.events)} events, {100 * seen.picture.seen:.0f} % of the pixels, '
                f'{"depth" if sheet.has_depth else NO_DEPTH}', refresh=False)
    for fault, count in (recording.faults + Counter(thinned=sheet.thinned)).items():
        LOG.warning('%d %s', count, FAULTS[fault])
    path = out / 'events.png'
    write_png(path, sheet.drawn())
    return path


FAULTS = {'outside': 'events were outside of the sensor, and left out',
          'unsorted': 'events came before an earlier one, and were sorted',
          'late': 'events came after their time, and were left out',
          'restarts': 'times the clock went back: all began anew',
          'damaged': 'pieces of the file were damaged, and left out',
         'thinned': 'events of windows that had too many were left out'}


class _Sheet:
    """Keeps moments of a run whose length is not known, about evenly."""

    def __init__(self) -> None:
        self._kept: list[tuple[Window, EventDepth]] = []
        self._every, self._left = 1, 1
        self.has_depth = False
        self.thinned = 0

    def add(self, window: Window, seen: EventDepth) -> None:
        self.has_depth = seen.result is not None and seen.result.depth is not None
        self.thinned += window.thinned
        self._left -= 1
        if self._left:
            return
        self._kept.append((window, seen))
        if len(self._kept) == 2 * MOMENTS:
            self._kept, self._every = self._kept[1::2], 2 * self._every
        self._left = self._every

    def drawn(self) -> RGB:
        """Return rows of events, picture and depth."""
        if not self._kept:
            raise MediaError('there were no events')
        count = min(MOMENTS, len(self._kept))
        # Not the first moments, which have no depth yet.
        chosen = [self._kept[(2 * number + 1) * len(self._kept) // (2 * count)]
                  for number in range(count)]
        tiles: list[RGB] = []
        captions: list[str] = []
        for window, (picture, result) in chosen:
            depth = None if result is None else result.depth
            tiles += [draw_events(window.events), np.repeat(picture.grey[..., None], 3, axis=2),
                      draw_depth(picture.grey, depth)]
            lasted_ms = (window.end_ns - window.begin_ns) / 1e6
            captions += [f'{len(window.events)} events in {lasted_ms:.0f} ms',
                         f'added up: {100 * picture.seen:.0f} % of the pixels',
                         NOTHING_SEEN if result is None else NO_DEPTH if depth is None
                         else 'inverse depth: red is near']
        return contact_sheet(tiles, 3, captions)

