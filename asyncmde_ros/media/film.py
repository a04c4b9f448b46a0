"""The demo's film: each picture beside its depth, at real pace, and a sheet of its frames."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from asyncmde_ros.media.codec import RGB
from asyncmde_ros.media.picture import (
    RangeTracker,
    VideoWriter,
    colorize,
    contact_sheet,
    side_by_side,
)

SHEET_TILES = 6
SHEET_COLUMNS = 2
MAX_REPEATS = 10
"""A pause in the recording is shown as at most so many still frames."""


class Film:
    """Writes the side-by-side video at real pace, and keeps frames for the contact sheet."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._writer = VideoWriter(path, rate_hz)
        self._rate_hz = rate_hz
        self._range = RangeTracker()
        self._last: tuple[int, RGB] | None = None
        self.stills: list[tuple[RGB, str]] = []
        self._stride = 1
        self._count = 0

    def add(self, rgb: RGB, depth: npt.NDArray[np.float32], stamp_ns: int, caption: str) -> None:
        """Take a picture and its inverse depth, shown until the next one's stamp."""
        frame = side_by_side(rgb, colorize(depth, *self._range.update(depth)), caption)
        self._flush(stamp_ns)
        self._last = stamp_ns, frame
        self._keep(frame, caption)

    def close(self) -> None:
        """Write what is pending and close the file."""
        if self._last is not None:
            self._writer.write(self._last[1])
            self._last = None
        self._writer.close()

    def _flush(self, until_ns: int) -> None:
        if self._last is None:
            return
        gap_s = (until_ns - self._last[0]) / 1e9
        for _ in range(min(MAX_REPEATS, max(1, round(gap_s * self._rate_hz)))):
            self._writer.write(self._last[1])

    def _keep(self, frame: RGB, caption: str) -> None:
        """Keep an evenly spread sample: when too many are kept, every second one goes."""
        if self._count % self._stride == 0:
            self.stills.append((frame, caption))
            if len(self.stills) >= 4 * SHEET_TILES:
                self.stills = self.stills[::2]
                self._stride *= 2
        self._count += 1

    def sheet(self) -> RGB:
        """Return a contact sheet of frames spread over the film."""
        picks = np.linspace(0, len(self.stills) - 1, min(SHEET_TILES, len(self.stills)))
        chosen = [self.stills[round(pick)] for pick in picks]
        return contact_sheet([frame for frame, _ in chosen], SHEET_COLUMNS, [''] * len(chosen))
