"""Point clouds of metric depth."""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.scale.observations import Map

STEP = 0.02
"""Share by which inverse depth changes from a pixel to the next where there may be an edge."""

REACH = 12
"""Pixels to either side over which a surface's own slope is measured."""

STEEPER = 3.0
"""Times as steep as the slope over REACH that a pixel at an edge is."""

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]
Pixels = TypeVar('Pixels', npt.NDArray[np.float32], npt.NDArray[np.uint8])


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points in the optical frame, metres.

    ``points`` are (n, 3) float32, or (h, w, 3) with NaN for what is unknown; ``colors`` have the
    same leading shape, uint8 RGB, or are None.
    """

    points: npt.NDArray[np.float32]
    colors: npt.NDArray[np.uint8] | None


def cloud(depth_m: Map, rays: npt.NDArray[np.float32], stride: int = 1, organised: bool = False,
          image: npt.NDArray[np.uint8] | None = None) -> Cloud:
    """Return the points of every ``stride``-th row and column of a depth map (H, W).

    ``rays`` (h, w, 3) are :meth:`Lens.ray_map` with the same stride for images of the map's size,
    ``image`` (H, W, 3) gives colours.  NaN depth, pixels without a ray and flying pixels are
    left out.  ValueError where shapes differ.
    """
    z = depth_m[::stride, ::stride]
    if rays.shape != (*z.shape, 3) or (image is not None and image.shape[:2] != depth_m.shape):
        raise ValueError(f'shapes differ: depth {depth_m.shape} at a stride of {stride}, rays '
                         f'{rays.shape}, image {None if image is None else image.shape}')
    # A ray, like a depth, is known as a whole or not at all.
    good = np.isfinite(z) & np.isfinite(rays[..., 0]) & ~flying(depth_m, stride)
    colors = None if image is None else image[::stride, ::stride]
    # OpenCV takes a quarter of the time that NumPy does with an axis of three.
    z = np.ascontiguousarray(z, np.float32)
    points = np.asarray(cv2.multiply(rays, cv2.merge([z, z, z])), np.float32)
    if organised:
        points[~good] = np.nan
        return Cloud(points, colors)
    return Cloud(_chosen(points, good), None if colors is None else _chosen(colors, good))


def _chosen(pixels: Pixels, mask: Mask) -> Pixels:
    """Return the pixels (n, 3), of (h, w, 3), that a mask (h, w) names."""
    # As one item each, they are moved in a tenth of the time.
    rows = np.ascontiguousarray(pixels).reshape(-1, 3)
    items = rows.view(np.dtype((np.void, 3 * rows.itemsize))).ravel()
    return items[mask.ravel()].view(rows.dtype).reshape(-1, 3)


def flying(depth_m: Map, stride: int = 1) -> Mask:
    """Return which of every ``stride``-th row and column hang between two surfaces.

    Between what is near and what is far a network's depth is a ramp in which nothing is.  With p
    the inverse depth and its slopes per pixel, along a row or a column, over a pixel to either
    side and over REACH: |near slope| > STEP p and |near slope| > STEEPER |far slope|.  On a plane
    inverse depth is affine in the pixel, so that both slopes agree, however slanted it is.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        p = np.divide(1, depth_m, dtype=np.float32)
        rows, cols = p[::stride], np.ascontiguousarray(p[:, ::stride])
        return (_edges(rows, rows[:, 1:] - rows[:, :-1], stride)
                | _edges(cols.T, (cols[1:] - cols[:-1]).T, stride).T)


def _edges(lines: Map, steps: Map, stride: int) -> Mask:
    """Return the same along lines (n, length), of which every ``stride``-th pixel is asked for.

    ``steps`` (n, length - 1) are the differences from a pixel to the next.
    """
    at = lines[:, ::stride]
    limit = STEP * at
    np.abs(steps, out=steps)
    after, before = steps[:, ::stride], steps[:, stride - 1::stride]
    found = np.zeros_like(at, bool)
    found[:, :after.shape[1]] = after > limit[:, :after.shape[1]]
    found[:, 1:] |= before[:, :at.shape[1] - 1] > limit[:, 1:]
    # Slopes are asked for where a step to one side is steep enough, which is in few places.
    row, col = _places(found)
    near, far = (_slope(lines, row, col * stride, reach) for reach in (1, REACH))
    found[row, col] = (near > limit[row, col]) & (near > STEEPER * np.nan_to_num(far))
    return found


def _places(mask: Mask) -> tuple[Index, Index]:
    """Return what ``np.nonzero`` does, in a tenth of the time where little is set."""
    if not mask.flags.c_contiguous:
        row, col = _places(np.ascontiguousarray(mask.T))
        return col, row
    row, col = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return row, col


def _slope(lines: Map, row: Index, col: Index, reach: int) -> Map:
    """Return the slopes per pixel, (n,), over ``reach`` pixels to both sides.

    To one side where that alone is known, NaN where neither is.
    """
    low, high = np.maximum(col - reach, 0), np.minimum(col + reach, lines.shape[1] - 1)
    at = lines[row, col]
    before = (at - lines[row, low]) / (col - low).astype(np.float32)
    after = (lines[row, high] - at) / (high - col).astype(np.float32)
    both = np.where(np.isnan(before), after,
                    np.where(np.isnan(after), before, (before + after) / 2))
    return np.asarray(np.abs(both), np.float32)
