"""Point clouds of metric depth."""

from dataclasses import dataclass

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
    points = rays * z[..., None]
    good = np.isfinite(points).all(axis=2) & ~flying(depth_m, stride)
    colors = None if image is None else image[::stride, ::stride]
    if organised:
        points[~good] = np.nan
        return Cloud(points, colors)
    return Cloud(points[good], None if colors is None else colors[good])


def flying(depth_m: Map, stride: int = 1) -> Mask:
    """Return which of every ``stride``-th row and column hang between two surfaces.

    Between what is near and what is far a network's depth is a ramp in which nothing is.  With p
    the inverse depth and its slopes per pixel, along a row or a column, over a pixel to either
    side and over REACH: |near slope| > STEP p and |near slope| > STEEPER |far slope|.  On a plane
    inverse depth is affine in the pixel, so that both slopes agree, however slanted it is.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        p = np.divide(1, depth_m, dtype=np.float32)
        return (_edge(p[:, ::stride], stride)
                | _edge(np.ascontiguousarray(p[::stride].T), stride).T)


def _edge(p: Map, stride: int) -> Mask:
    """Return the same along the columns, of which every ``stride``-th pixel is looked at."""
    places = np.arange(0, len(p), stride)
    at = p[places]

    def slope(reach: int) -> Map:
        """Return the slope to both sides; to one at the edge of what is known, NaN alone."""
        low, high = np.maximum(places - reach, 0), np.minimum(places + reach, len(p) - 1)
        before = (at - p[low]) / (places - low).astype(np.float32)[:, None]
        after = (p[high] - at) / (high - places).astype(np.float32)[:, None]
        both = np.where(np.isnan(before), after, np.where(np.isnan(after), before,
                                                          (before + after) / 2))
        return np.asarray(np.abs(both), np.float32)
    near, far = slope(1), slope(REACH)
    # Nothing known at a distance: all that is steep counts.
    return np.asarray((near > STEP * at) & (near > STEEPER * np.nan_to_num(far)), bool)
