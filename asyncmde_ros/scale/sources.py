"""What lidars, laser scanners and range finders measured, as observations in the image.

Poses are (4, 4), from the sensor's frame to the camera's optical frame, metres.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array, Map, Observations

WINDOW = 64
"""Windows along the image's longer side; a lidar's lines are about that far apart."""

REACH = 2
"""Windows to either side in which something that hides a point is looked for."""

HIDDEN = 1.25
"""A point this many times as far as what is on both sides of it is hidden from the camera by
that: a sensor beside the camera looks past edges.  Less could be the slant of a surface."""

LOOKED_AT = 64
"""Pixels along the map's longer side in which a range finder's cone is looked for, at most."""

NEAREST_PERCENTILE = 95.0
"""Of the relative depth in a range finder's cone: it answers to the nearest thing, of which a
single pixel may be wrong."""


def transformed(points: npt.ArrayLike, pose: Array) -> Array:
    """Return points (n, 3) of a sensor's frame in the camera's."""
    return np.asarray(np.asarray(points, np.float64).reshape(-1, 3) @ pose[:3, :3].T
                      + pose[:3, 3], np.float64)


def of_points(lens: Lens, points: npt.ArrayLike, sigma_m: float, stamp_s: float,
              source: str) -> Observations:
    """Return what points (n, 3) in the camera's frame, metres, say of the image.

    Left out are those behind the camera, outside the image, not finite, and hidden: in each
    window of 1/WINDOW of the image the nearest point wins, and what is HIDDEN times as far as
    the windows on both sides is not what the camera sees.  ``sigma_m`` is the depth's standard
    deviation.
    """
    xyz = np.asarray(points, np.float64).reshape(-1, 3)
    pixels = lens.project(xyz)
    seen = np.isfinite(pixels).all(axis=1)
    pixels, depth = pixels[seen], xyz[seen, 2]
    visible = ~_hidden(lens, pixels, depth)
    return Observations.of_depth(pixels[visible], depth[visible], sigma_m, lens.size, stamp_s,
                                 source)


def scan_points(ranges: npt.ArrayLike, angle_min: float, angle_increment: float,
                range_min: float, range_max: float) -> Array:
    """Return the points (n, 3) of a ``sensor_msgs/msg/LaserScan`` in its own frame.

    x = r cos(angle), y = r sin(angle), z = 0; ranges outside [range_min, range_max] and NaN are
    left out, as the message's definition has it.
    """
    r = np.asarray(ranges, np.float64).ravel()
    angles = angle_min + angle_increment * np.arange(r.size)
    good = np.isfinite(r) & (r >= range_min) & (r <= range_max)
    r, angles = r[good], angles[good]
    return np.stack([r * np.cos(angles), r * np.sin(angles), np.zeros(r.size)], axis=1)


@dataclass(frozen=True, eq=False)
class RangeReading:
    """One range, which the map of its moment makes an observation of: see :func:`of_range`."""

    lens: Lens
    range_m: float
    field_of_view_rad: float
    pose: Array
    sigma_m: float
    stamp_s: float
    source: str

    def seen_in(self, relative: Map) -> Observations:
        """Return the observation in a relative map (h, w), or none."""
        return of_range(self.lens, relative, self.range_m, self.field_of_view_rad, self.pose,
                        self.sigma_m, self.stamp_s, self.source)


def of_range(lens: Lens, relative: Map, range_m: float, field_of_view_rad: float, pose: Array,
             sigma_m: float, stamp_s: float, source: str) -> Observations:
    """Return what one range, as of a sonar along its x axis, says: one equation, or none.

    The range is that of the nearest thing in the cone; its pixel is taken to be where the
    relative map (h, w) is at its NEAREST_PERCENTILE among the pixels in the cone, or on its axis,
    which is cut at the range's own distance.  Nothing for a range that is not finite and
    positive, or a cone that the image does not see.
    """
    empty = Observations.of_depth(np.zeros((0, 2)), np.zeros(0), sigma_m, lens.size, stamp_s,
                                  source)
    if not (math.isfinite(range_m) and range_m > 0):
        return empty
    origin, axis = pose[:3, 3], pose[:3, 0]
    end = origin + range_m * axis
    depth = float(end[2])
    if depth <= 0:
        return empty
    pixels, rays = _looked_at(lens, (relative.shape[0], relative.shape[1]))
    pixels = np.concatenate([lens.project(end), pixels])
    rays = np.concatenate([end[None] / depth, rays])
    arms = rays * depth - origin
    with np.errstate(invalid='ignore'):
        within = arms @ axis >= math.cos(field_of_view_rad / 2) * np.linalg.norm(arms, axis=1)
    within[0] = True  # the cone's own axis, whatever rounding says
    kept = np.flatnonzero(within & np.isfinite(pixels[:, 0]))
    shares = (pixels[kept] + 0.5) / lens.size[::-1]
    cols, rows = (shares * relative.shape[::-1]).astype(np.intp).T
    values = relative[rows, cols]
    kept, values = kept[np.isfinite(values)], values[np.isfinite(values)]
    if kept.size == 0:
        return empty
    wanted = np.percentile(values, NEAREST_PERCENTILE)
    index = int(kept[np.argmin(np.abs(values - wanted))])
    return Observations.of_depth(pixels[index], [_depth_at_range(rays[index], origin, range_m)],
                                 sigma_m, lens.size, stamp_s, source)


@lru_cache(maxsize=8)
def _looked_at(lens: Lens, size: Size) -> tuple[Array, Array]:
    """Return pixels of the image (n, 2), the centres of a map's of ``size``, and rays (n, 3)."""
    step = -(-max(size) // LOOKED_AT)
    rows, cols = (np.arange(step // 2, side, step) for side in size)
    places = np.stack(np.meshgrid(cols, rows), axis=-1).reshape(-1, 2)
    pixels = (places + 0.5) * lens.size[::-1] / size[::-1] - 0.5
    return pixels, lens.rays(pixels)


def _depth_at_range(ray: Array, origin: Array, range_m: float) -> float:
    """Return the largest z with |z ray - origin| = range, NaN where there is none."""
    square, half = float(ray @ ray), float(ray @ origin)
    rest = half ** 2 - square * (float(origin @ origin) - range_m ** 2)
    return (half + math.sqrt(rest)) / square if rest >= 0 else math.nan


def _hidden(lens: Lens, pixels: Array, depth: Array) -> npt.NDArray[np.bool_]:
    """Return which points lie far behind what is on both sides of them, along a row or a column.

    What is nearer on one side only may be the same floor or wall, seen at a slant.
    """
    if not len(depth):
        return np.zeros(0, bool)
    side = max(lens.size) / WINDOW
    cols, rows = np.floor((pixels + 0.5) / side).astype(np.intp).T + REACH
    nearest = np.full((int(rows.max()) + REACH + 1, int(cols.max()) + REACH + 1), np.inf)
    np.minimum.at(nearest, (rows, cols), depth)

    def beside(down: int, across: int) -> Array:
        return np.minimum.reduce([nearest[rows + step * down, cols + step * across]
                                  for step in range(1, REACH + 1)])
    shadow = np.minimum(np.maximum(beside(0, -1), beside(0, 1)),
                        np.maximum(beside(-1, 0), beside(1, 0)))
    return np.asarray(depth > HIDDEN * shadow, bool)
