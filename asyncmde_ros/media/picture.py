"""Depth to pictures that people look at: colours, captions, sheets, PNG and mp4 files."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import MediaError
from asyncmde_ros.files import write_atomically
from asyncmde_ros.media.codec import RGB

# Far is blue and near is red.  Inferno's far end is as black as an unknown pixel.
_PALETTE = np.ascontiguousarray(
    cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[..., ::-1])

MIN_SPAN = 1e-6  # of inverse depth; a flat picture has no contrast to show


def colorize(inverse_depth: npt.NDArray[np.float32], low: float, high: float) -> RGB:
    """Colour (H, W) float32 inverse depth as (H, W, 3) uint8 RGB.

    ``low`` and beyond is blue (far), ``high`` and beyond is red (near), NaN is black.
    """
    level = (inverse_depth - np.float32(low)) * np.float32(255 / max(high - low, MIN_SPAN))
    np.clip(level, 0, 255, out=level)
    unknown = np.isnan(level)
    level[unknown] = 0
    rgb = np.asarray(cv2.applyColorMap(level.astype(np.uint8), _PALETTE), np.uint8)
    rgb[unknown] = 0
    return rgb


_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT = (255, 255, 255)
_TEXT_HEIGHT = cv2.getTextSize('X', _FONT, 1, 1)[0][1]  # at scale 1
_TEXT_SHARE = 0.55  # of a strip's height
_STRIP_SHARE = 16  # a picture is this many strips high
_STRIP_MIN = 24  # pixels
_STRIP_DARKENING = 5
_GAP = 6  # pixels between the tiles of a sheet
_BACKGROUND = 24


def side_by_side(rgb: RGB, depth_rgb: RGB, caption: str) -> RGB:
    """Put two pictures next to each other, (H, 2 W, 3), over ``caption`` (empty: none).

    ``depth_rgb`` is resized to ``rgb``'s (H, W, 3) where it differs.
    """
    if depth_rgb.shape != rgb.shape:
        depth_rgb = np.asarray(cv2.resize(depth_rgb, rgb.shape[1::-1],
                                          interpolation=cv2.INTER_NEAREST), np.uint8)
    pair = np.hstack((rgb, depth_rgb))
    _draw_caption(pair, caption)
    return pair


def contact_sheet(tiles: Sequence[RGB], columns: int, captions: Sequence[str]) -> RGB:
    """Lay out pictures of one size (H, W, 3) in rows of ``columns``, each with its caption.

    Raises ValueError where sizes differ or captions do not match the tiles.
    """
    if len({tile.shape for tile in tiles}) != 1 or len(captions) != len(tiles):
        raise ValueError('a contact sheet needs tiles of one size and a caption for each')
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3),
                    _BACKGROUND, np.uint8)
    for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        row, column = divmod(index, columns)
        top, left = row * (height + _GAP), column * (width + _GAP)
        cell = sheet[top:top + height, left:left + width]
        cell[:] = tile
        _draw_caption(cell, caption)
    return sheet


def _draw_caption(picture: RGB, caption: str) -> None:
    """Write ``caption`` into the picture's lower edge, as large as strip and width allow."""
    if not caption:
        return
    height, width = picture.shape[:2]
    strip = min(height, max(_STRIP_MIN, height // _STRIP_SHARE))
    margin = strip // 3
    text_width = cv2.getTextSize(caption, _FONT, 1, 1)[0][0]
    scale = min(_TEXT_SHARE * strip / _TEXT_HEIGHT, (width - 2 * margin) / max(text_width, 1))
    band = np.ascontiguousarray(picture[height - strip:] // _STRIP_DARKENING)
    baseline = round((strip + scale * _TEXT_HEIGHT) / 2)
    cv2.putText(band, caption, (margin, baseline), _FONT, scale, _TEXT, 1, cv2.LINE_AA)
    picture[height - strip:] = band


def write_png(path: Path, rgb: RGB) -> None:
    """Write (H, W, 3) uint8 RGB; ``path`` is never left half-written.  Raises MediaError."""
    _, encoded = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    try:
        write_atomically(path, encoded.tobytes())
    except OSError as error:
        raise MediaError(f'{path} cannot be written: {error.strerror}') from error


class VideoWriter:
    """An mp4 file of RGB frames, a context manager; the first frame fixes the size.

    An odd last row or column is cut off, which the format asks for.  The file plays once it is
    closed, after however many frames.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._rate_hz = rate_hz
        self._shape: tuple[int, ...] = ()
        self._writer = cv2.VideoWriter()

    def write(self, rgb: RGB) -> None:
        """Append (H, W, 3) uint8 RGB.

        Raises MediaError where the file cannot be made, ValueError for a frame of another size,
        which OpenCV would drop in silence.
        """
        if not self._shape:
            self._shape = rgb.shape
            self._open()
        if rgb.shape != self._shape:
            raise ValueError(f'a frame of shape {rgb.shape} in a video of {self._shape}')
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Complete the file."""
        self._writer.release()

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def _open(self) -> None:
        codec = cv2.VideoWriter.fourcc(*'mp4v')
        self._writer.open(str(self._path), codec, self._rate_hz, self._shape[1::-1])
        if not self._writer.isOpened():
            raise MediaError(f'{self._path} cannot be written as mp4: does its folder exist, may '
                             'it be written to, and does the name end in .mp4?')
