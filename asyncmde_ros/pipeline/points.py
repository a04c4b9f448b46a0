"""Depth at single pixels of an image, as its whole depth map would have it."""

import math
from collections.abc import Callable
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


NEAR = np.array([0, -1, 1, 0, 0], np.intp), np.array([0, 0, 0, -1, 1], np.intp)
"""Rows and columns from a pixel to itself and its neighbours, which tell where it is steep."""

ALONG = np.array([-REACH, *range(-RAMP, RAMP + 1), REACH], np.intp)
"""Pixels along one axis to those that tell an edge from a slope, and what its two sides are."""


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
        field = self._field if len(x) < self._field.many else self._made
        given = _Given(field.depth_at, field.size, self._rotation)
        window = given.window(x, y, self._image)
        centre = given.nearest(x, y, self._image)
        near = given.beside(centre, *NEAR)
        # All at once: each look at a field has a price of its own.
        values = given.values(*(np.concatenate(part, axis=1)
                                for part in zip(window[:2], near, strict=True)))
        count = window.rows.shape[1]
        return _without_ramps(given, centre, window.mean(values[:, :count]), values[:, count:])

    def _trust_at(self, x: Places, y: Places) -> Values:
        given = _Given(self._field.trust_at, self._field.trust_size, self._rotation)
        window = given.window(x, y, self._image)
        return window.mean(given.values(window.rows, window.cols))

    @cached_property
    def _made(self) -> Field:
        return MapField(*self._field.maps())


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
    """A map of the upright image, turned as the image was given."""

    def __init__(self, value_at: Callable[[Indices, Indices], Values], size: Size,
                 rotation: Rotation) -> None:
        """``value_at`` tells the values of the upright map, of ``size``, at its pixels."""
        self._value_at, self._rotation = value_at, rotation
        self.size = rotation.inverse.size(size)

    def values(self, rows: Indices, cols: Indices) -> Values:
        """Return the values at pixels of the map."""
        return self._value_at(*self._rotation.turned_pixels(rows, cols, self.size))

    def window(self, x: Places, y: Places, image: Size) -> _Window:
        """Return what places in an image are a mean of: the map is resized to it, then sampled."""
        (row, down), (col, across) = (
            _weights(at, side, length)
            for at, side, length in zip((y, x), image, self.size, strict=True))
        shape = len(x), down.shape[1], across.shape[1]
        return _Window(np.broadcast_to(row[:, :, None], shape).reshape(len(x), -1),
                       np.broadcast_to(col[:, None, :], shape).reshape(len(x), -1),
                       (down[:, :, None] * across[:, None, :]).reshape(len(x), -1))

    def nearest(self, x: Places, y: Places, image: Size) -> _Pixels:
        """Return the pixels (n, 1) of the map that places in an image are nearest to."""
        return _Pixels(*(np.rint((at[:, None] + 0.5) * (length / side) - 0.5).astype(np.intp)
                         for at, length, side in zip((y, x), self.size, image, strict=True)))

    def beside(self, pixels: _Pixels, down: Indices, across: Indices) -> _Pixels:
        """Return what lies so many pixels from others, or there at the border of the map."""
        return _Pixels(*(np.minimum(np.maximum(at + steps, 0), length - 1) for at, steps, length
                         in zip(pixels, (down, across), self.size, strict=True)))


def _without_ramps(given: _Given, centre: _Pixels, values: Values, near: Values) -> Values:
    """Return ``values`` (n,), of points at depth edges that of the nearer of their two sides.

    ``centre`` are the pixels (n, 1) that they are nearest to, ``near`` (n, 5) the values of NEAR.

    With p the inverse depth and its slopes per pixel of the map, along the row or the column,
    whichever is steeper, to the next pixel and over REACH to both sides, there is an edge where
    |near slope| > STEEP p and |near slope| > STEEPER |far slope|: on a plane inverse depth is
    affine in the pixel, so that both slopes agree, however slanted it is.  The sides are the least
    and the largest value within RAMP.
    """
    slopes = np.abs(near[:, 1:] - near[:, :1]).reshape(-1, 2, 2).max(axis=2)  # (n, axis)
    some = np.flatnonzero(slopes.max(axis=1) > STEEP * np.abs(values))
    if not some.size:
        return values
    across = slopes[some, 1:] > slopes[some, :1]
    line = given.values(*given.beside(_Pixels(centre.rows[some], centre.cols[some]),
                                      np.where(across, 0, ALONG), np.where(across, ALONG, 0)))
    far = np.abs(line[:, -1] - line[:, 0]) / (2 * REACH)
    edge = slopes[some].max(axis=1) > STEEPER * far
    low, high, at_it = line[:, 1:-1].min(axis=1), line[:, 1:-1].max(axis=1), values[some]
    found = values.copy()
    found[some] = np.where(edge, np.where(at_it - low < high - at_it, low, high), at_it)
    return found


def _weights(at: Places, image: int, length: int) -> tuple[Indices, Places]:
    """Return the pixels (n, m) of a map that places along an image's side are a mean of.

    The map, ``length`` pixels long, is resized to ``image`` pixels bilinearly, with centres of
    pixels aligned, then sampled bilinearly.  With the weight of each pixel.
    """
    scale = length / image
    at = np.minimum(np.maximum(at, 0), image - 1)
    before = np.floor(at)
    share = (at - before)[:, None]
    one, other = (np.minimum(np.maximum((pixel + 0.5) * scale - 0.5, 0), length - 1)[:, None]
                  for pixel in (before, np.minimum(before + 1, image - 1)))
    pixels = np.floor(one) + np.arange(math.ceil(scale) + 2)
    weights = ((1 - share) * np.maximum(1 - np.abs(one - pixels), 0)
               + share * np.maximum(1 - np.abs(other - pixels), 0))
    # No further than what has a weight, so that nobody has to tell the rest.
    return np.minimum(pixels, np.ceil(other)).astype(np.intp), weights
