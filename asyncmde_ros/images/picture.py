"""Picture files to arrays, and depth to pictures that people look at: colours, sheets, PNG."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import ImageError, MediaError
from asyncmde_ros.files import write_atomically
from asyncmde_ros.images.codec import RGB, is_jpeg_or_png, stored_size
from asyncmde_ros.model.geometry import Size

# Far is blue and near is red.  Inferno's far end is as black as an unknown pixel.
_PALETTE = np.ascontiguousarray(
    cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[..., ::-1])

MIN_SPAN = 1e-6  # of inverse depth; a flat picture has no contrast to show


MAX_FILE_PIXELS = 2**28
"""Of a picture file: above the 200 megapixels of phones; decoded it takes 800 MB."""


def read_picture(path: Path, oriented: bool) -> RGB:
    """Read a picture file as (H, W, 3) uint8 RGB, turned as its EXIF data say if ``oriented``.

    Raises MediaError, which names the file, where it cannot be read or decoded, or is too large.
    """
    flags = cv2.IMREAD_COLOR if oriented else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.cvtColor(_read(path, flags), cv2.COLOR_BGR2RGB), np.uint8)


def read_units(path: Path) -> npt.NDArray[np.uint16]:
    """Read a 16-bit grey picture, as depth is stored, as (H, W) uint16.  Raises MediaError."""
    units = _read(path, cv2.IMREAD_UNCHANGED)
    if units.dtype != np.uint16 or units.ndim != 2:
        raise MediaError(f'{path} is not a depth image: it must be a 16-bit grey PNG')
    return np.asarray(units, np.uint16)


def _read(path: Path, flags: int) -> npt.NDArray[Any]:
    """Decode a file; not by cv2.imread, which some names crash and some contents pass."""
    try:
        data = path.read_bytes()
        if is_jpeg_or_png(data):
            rows, cols = stored_size(data)
            if rows * cols > MAX_FILE_PIXELS:
                raise MediaError(f'{path} claims to have {cols} x {rows} pixels: over '
                                 f'{MAX_FILE_PIXELS} are not decoded')
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except OSError as error:
        raise MediaError(f'{path} cannot be read: {error.strerror}') from error
    except ImageError as error:
        raise MediaError(f'{path} cannot be decoded: {error}') from error
    except cv2.error as error:
        raise MediaError(f'{path} cannot be decoded: {error.err}') from error
    if pixels is None:
        raise MediaError(f'{path} is not an image that OpenCV can read')
    return pixels


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


_DIMMED = 3  # times as dark is the picture that points are drawn on
_DOT_SHARE = 0.3  # of the distance between two points, where they are evenly spread
_UNKNOWN = (128, 128, 128)


def dotted(rgb: RGB, pixels: npt.NDArray[Any], inverse_depth: npt.NDArray[np.float32],
           low: float, high: float) -> RGB:
    """Return a picture (H, W, 3), darker, with a dot at each of ``pixels`` (n, 2), as (x, y).

    Dots have the colours of :func:`colorize`; an unknown depth is a ring.
    """
    picture = np.ascontiguousarray(rgb // _DIMMED)
    if not len(pixels):  # OpenCV divides by the width of what it colours
        return picture
    rows, cols = rgb.shape[:2]
    radius = max(1, round(_DOT_SHARE * math.sqrt(rows * cols / len(pixels))))
    colors = colorize(inverse_depth[None], low, high)[0]
    for (x, y), depth, color in zip(pixels.tolist(), inverse_depth.tolist(), colors.tolist(),
                                    strict=True):
        if not (0 <= x + 0.5 < cols and 0 <= y + 0.5 < rows):  # nor is NaN
            continue
        known = math.isfinite(depth)
        cv2.circle(picture, (round(x), round(y)), radius, color if known else _UNKNOWN,
                   cv2.FILLED if known else 1, cv2.LINE_AA)
    return picture


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


def within(size: Size, most: Size) -> Size:
    """Return ``size`` (rows, cols), shrunk where it is larger than ``most`` in its aspect."""
    scale = min(1.0, most[0] / size[0], most[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def fit(rgb: RGB, size: Size) -> RGB:
    """Scale (H, W, 3) to fill ``size`` (rows, cols) in its own aspect, black bars beside it."""
    if rgb.shape[:2] == size:
        return rgb
    scale = min(size[0] / rgb.shape[0], size[1] / rgb.shape[1])
    rows, cols = (max(1, round(side * scale)) for side in rgb.shape[:2])
    fitted = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - rows) // 2, (size[1] - cols) // 2
    fitted[top:top + rows, left:left + cols] = cv2.resize(
        rgb, (cols, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return fitted


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
