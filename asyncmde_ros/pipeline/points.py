"""Depth at single pixels of an image, as its whole depth map would have it."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.field import Field, Indices, MapField, Values
from asyncmde_ros.pipeline.upright import Rotation

STEEP = 0.03
"""Share by which inverse depth changes from a pixel of the depth map to the next where there may
be an edge."""

STEEPER = 3.0
"""Times as steep as the surface around it, over REACH, that an edge is."""

REACH = 8
"""Pixels of the depth map to either side over which a surface's own slope is measured."""

RAMP = 3
"""Pixels of the depth map within which a network's depth goes over from one side to the other."""


Places = npt.NDArray[np.float64]
"""(n,) coordinates in pixels."""


class PointDepth(NamedTuple):
    """Inverse depth and trust of pixels, (n,) float32 each; NaN where they are not known."""

    inverse_depth: Values
    trust: Values


def nothing(count: int) -> PointDepth:
    """Return what is known of ``count`` pixels of an image without depth."""
    return PointDepth(np.full(count, np.nan, np.float32), np.full(count, np.nan, np.float32))


class ImageField:
    """A frame's depth at pixels of the image as it was given, whatever the rotation."""

    def __init__(self, field: Field, image: Size, rotation: Rotation = Rotation.NONE) -> None:
        """``field`` is of the upright image; ``image`` is (rows, cols), as given."""
        self._field, self._image, self._rotation = field, image, rotation

    def at(self, points: npt.ArrayLike) -> PointDepth:
        """Return inverse depth and trust at pixels (n, 2), as (x, y); ValueError for others.

        Centres of pixels are whole numbers.  What is outside the image or not finite is NaN.

        Depth is that of the map at the image's size, sampled bilinearly, but at edges: there the
        map is a ramp between two surfaces, and a point on it gets the depth of the one of them
        that its own is nearest to.
        """
        pixels = np.asarray(points, np.float64)
        if pixels.ndim != 2 or pixels.shape[1] != 2:
            raise ValueError(f'points of shape {pixels.shape}: (n, 2) is wanted')
        found = nothing(len(pixels))
        inside = self.inside(pixels)
        if inside.any():
            x, y = pixels[inside].T
            found.inverse_depth[inside] = self._depth_at(x, y)
            found.trust[inside] = self._trust_at(x, y)
        return found

    def inside(self, pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return which of (n, 2) pixels, as (x, y), lie in the image."""
        rows, cols = self._image
        x, y = pixels.T
        return np.asarray((x >= -0.5) & (x < cols - 0.5) & (y >= -0.5) & (y < rows - 0.5), bool)

    def _depth_at(self, x: Places, y: Places) -> Values:
        given = _Given(self._field if len(x) < self._field.many else self._made, self._rotation)
        window = given.window(x, y, self._image)
        centre = given.nearest(x, y, self._image)
        around = [given.beside(centre, axis, steps) for axis in range(2)
                  for steps in (-REACH, -1, 1, REACH)]
        # All at once: each look at a field has a price of its own.
        count = window.rows.shape[1]
        values = given.values(np.column_stack([window.rows, centre.rows,
                                               *(pixels.rows for pixels in around)]),
                              np.column_stack([window.cols, centre.cols,
                                               *(pixels.cols for pixels in around)]))
        return _without_ramps(given, centre, window.mean(values[:, :count]), values[:, count:])

    def _trust_at(self, x: Places, y: Places) -> Values:
        given = _Given(self._trust, self._rotation)
        window = given.window(x, y, self._image)
        return window.mean(given.values(window.rows, window.cols))

    @cached_property
    def _made(self) -> Field:
        depth = self._field.depth()
        return MapField(depth, depth)

    @cached_property
    def _trust(self) -> Field:
        trust = self._field.trust()
        return MapField(trust, trust)


class _Pixels(NamedTuple):
    """Rows and columns of one shape."""

    rows: Indices
    cols: Indices


class _Window(NamedTuple):
    """The pixels (n, m) that n places are a mean of, and their weights."""

    rows: Indices
    cols: Indices
    weights: Places

    def mean(self, values: Values) -> Values:
        """Return the weighted mean of (n, m) values."""
        return np.asarray(np.einsum('nm,nm->n', values, self.weights), np.float32)


class _Given:
    """A field's map, turned as the image was given."""

    def __init__(self, field: Field, rotation: Rotation) -> None:
        self._field, self._rotation = field, rotation
        self.size = rotation.inverse.size(field.size)

    def values(self, rows: Indices, cols: Indices) -> Values:
        """Return the values at pixels of the map."""
        return self._field.depth_at(*self._rotation.turned_pixels(rows, cols, self.size))

    def window(self, x: Places, y: Places, image: Size) -> _Window:
        """Return what places in an image are a mean of: the map is resized to it, then sampled."""
        (top, down), (left, across) = (
            _weights(at, side, length)
            for at, side, length in zip((y, x), image, self.size, strict=True))
        row, col = (np.minimum(first[:, None] + np.arange(share.shape[1]), length - 1)
                    for first, share, length in ((top, down, self.size[0]),
                                                 (left, across, self.size[1])))
        shape = len(x), -1
        rows, cols = np.broadcast_arrays(row[:, :, None], col[:, None, :])
        return _Window(rows.reshape(shape), cols.reshape(shape),
                       (down[:, :, None] * across[:, None, :]).reshape(shape))

    def nearest(self, x: Places, y: Places, image: Size) -> _Pixels:
        """Return the pixels (n,) of the map that places in an image are nearest to."""
        return self.clipped(*(np.rint((at + 0.5) * (length / side) - 0.5).astype(np.intp)
                              for at, length, side in zip((y, x), self.size, image, strict=True)))

    def beside(self, pixels: _Pixels, axis: int, steps: int) -> _Pixels:
        """Return what lies so many pixels further along an axis, or at the border."""
        rows, cols = pixels
        return self.clipped(rows + steps, cols) if axis == 0 else self.clipped(rows, cols + steps)

    def clipped(self, rows: Indices, cols: Indices) -> _Pixels:
        """Return pixels, those outside the map moved to its border."""
        return _Pixels(np.clip(rows, 0, self.size[0] - 1), np.clip(cols, 0, self.size[1] - 1))


def _without_ramps(given: _Given, centre: _Pixels, values: Values, around: Values) -> Values:
    """Return ``values`` (n,), of points at depth edges that of the nearer of their two sides.

    ``around`` (n, 9) are the values at ``centre`` and beside it, along the columns, then along the
    rows: REACH and one pixel before, one and REACH after.

    With p the inverse depth and its slopes per pixel of the map, along a row or a column, to the
    next pixel and over REACH to both sides, there is an edge where |near slope| > STEEP p and
    |near slope| > STEEPER |far slope|: on a plane inverse depth is affine in the pixel, so that
    both slopes agree, however slanted it is.  The sides are the least and the largest value within
    RAMP along the steeper axis.
    """
    middle, beside = around[:, :1, None], around[:, 1:].reshape(-1, 2, 4)  # (n, axis, where)
    near = np.abs(beside[:, :, 1:3] - middle).max(axis=2)
    far = np.abs(beside[:, :, 3] - beside[:, :, 0]) / (2 * REACH)
    edge = ((near > STEEP * np.abs(values[:, None])) & (near > STEEPER * far)).any(axis=1)
    if not edge.any():
        return values
    along = near[edge].argmax(axis=1)[:, None]
    steps = np.arange(-RAMP, RAMP + 1)
    line = given.values(*given.clipped(centre.rows[edge, None] + np.where(along == 0, steps, 0),
                                       centre.cols[edge, None] + np.where(along == 1, steps, 0)))
    low, high = line.min(axis=1), line.max(axis=1)
    found = values.copy()
    found[edge] = np.where(values[edge] - low < high - values[edge], low, high)
    return found


def _weights(at: Places, image: int, length: int) -> tuple[Indices, Places]:
    """Return how places (n,) along an image's side weigh the pixels of a map of another length.

    The map is resized to ``image`` pixels bilinearly, with centres of pixels aligned, then sampled
    bilinearly.  The first pixel (n,) and the weights (n, m) of it and those that follow.
    """
    at = np.clip(at, 0, image - 1)
    left = np.floor(at)
    pair = np.stack([left, np.minimum(left + 1, image - 1)], axis=1)
    share = np.stack([1 - (at - left), at - left], axis=1)
    source = np.clip((pair + 0.5) * (length / image) - 0.5, 0, length - 1)
    below = np.floor(source)
    first = below[:, 0].astype(np.intp)
    offset = (below - first[:, None]).astype(np.intp)
    weights = np.zeros((len(at), int(offset.max(initial=0)) + 2))
    rows = np.arange(len(at))
    for one in range(2):
        beyond = source[:, one] - below[:, one]
        weights[rows, offset[:, one]] += share[:, one] * (1 - beyond)
        weights[rows, offset[:, one] + 1] += share[:, one] * beyond
    return first, weights
