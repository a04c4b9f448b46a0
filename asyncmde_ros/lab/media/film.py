"""The demo's film: each picture beside its depth, at real pace, and a sheet of its frames."""

from pathlib import Path

import numpy as np

from asyncmde_ros.errors import MediaError
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.images.picture import contact_sheet, fit, side_by_side, within
from asyncmde_ros.lab.media.video import VideoWriter

FILM_FILE, SHEET_FILE = 'depth.mp4', 'depth.png'
SHEET_TILES = 6
SHEET_COLUMNS = 2
TILE = (1280, 1280)
"""Largest tile of the sheet, (rows, cols)."""

MOST_HZ = 240.0
"""Stamps nearer to each other than any screen shows are spread to this."""

LONGEST_PERIODS, LONGEST_S = 10, 1.0
"""A frame is shown for so many periods of its source, or so long: a pause says no more."""


class Film:
    """Writes the side-by-side video at real pace, and keeps frames for the contact sheet."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        """``rate_hz`` is the source's nominal rate, for stamps that do not tell it."""
        self._writer = VideoWriter(path, rate_hz)
        self._period_s = 1 / rate_hz
        self._last_ns: int | None = None
        self._shown_s = 0.0
        self._stills: list[RGB] = []
        self._stride = 1
        self._count = 0

    def add(self, rgb: RGB, depth_rgb: RGB, stamp_ns: int, caption: str) -> None:
        """Append a picture and that of its depth, taken at ``stamp_ns``.

        Raises MediaError where the film cannot be written.
        """
        frame = side_by_side(rgb, depth_rgb, caption)
        if self._last_ns is not None:
            gap_s = (stamp_ns - self._last_ns) / 1e9
            longest_s = max(LONGEST_S, LONGEST_PERIODS * self._period_s)
            self._shown_s += min(max(gap_s if gap_s > 0 else self._period_s, 1 / MOST_HZ),
                                 longest_s)
        self._last_ns = stamp_ns
        self._writer.write(frame, self._shown_s)
        self._keep(frame)

    def close(self) -> None:
        """Complete the file.  Raises MediaError."""
        self._writer.close()

    def sheet(self) -> RGB:
        """Return a contact sheet of frames spread over the film; MediaError without any."""
        if not self._stills:
            raise MediaError('no depth map came with its image: there is nothing to show')
        picks = np.linspace(0, len(self._stills) - 1, min(SHEET_TILES, len(self._stills)))
        chosen = [self._stills[round(pick)] for pick in picks]
        return contact_sheet(chosen, SHEET_COLUMNS, [''] * len(chosen))

    def _keep(self, frame: RGB) -> None:
        """Keep an evenly spread sample: when too many are kept, every second one goes."""
        if self._count % self._stride == 0:
            size = (self._stills[0].shape[:2] if self._stills
                    else within(frame.shape[:2], TILE))
            self._stills.append(fit(frame, size))
            if len(self._stills) >= 4 * SHEET_TILES:
                self._stills = self._stills[::2]
                self._stride *= 2
        self._count += 1
