"""The floor as a measuring tape: its inverse depth, from the camera's height and tilt.

With the unit vector n towards the floor and the height h, both in the camera's optical frame, the
floor is the points X with n . X = h.  The pixel whose ray is r, with r_z = 1, sees it at the depth

    z = h / (n . r),  so that  q = 1 / z = (n . r) / h.

Through a lens without distortion q is affine in the pixel and 0 at the horizon; and the relative
map is affine in q on the floor.  So the floor gives scale and shift, and nothing is measured.

**What is wrong** is wrong for all of the floor at once, and does not average out.  The camera
turned by e (rad) about the horizontal axes across and along its view changes n by e f, where f is
the horizontal unit vector forward or aside; the height is wrong by dh:

    dq = e (f . r) / h - q dh / h,  so that  dq / q = e (f . X) / h - dh / h.

f . X is the distance over the floor.  With h = 0.28 m, 1 degree is 6 % at 1 m and 19 % at 3 m of
q; depth, its inverse, is then up to 23 % too far.  For a level camera f . r = 1: a wrong pitch is
a wrong shift and leaves the scale alone, and a wrong height is a wrong unit of both.  The three
columns dq per standard deviation are the observations' ``common`` errors, which
:mod:`~asyncmde_ros.scale.fit` and :mod:`~asyncmde_ros.scale.filter` carry through without ever
averaging them away.

**What is floor** the map itself must tell, as there are walls, furniture and people: see
:meth:`Ground.observe`.  What it cannot tell is a plane that is not the floor and fills the lower
image: a table below the camera, a ramp.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.scale.fit import MEDIAN_TO_SIGMA, median
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array, Map, Observations

SOURCE = 'ground'
GRID = 24, 32
"""Rows and columns of pixels that are looked at."""

LARGEST_ERROR = 0.25
"""Share of inverse depth, in standard deviations of tilt and height, beyond which the floor says
nothing."""

HYPOTHESES = 64
"""Pairs of pixels, one near and one far, of which each makes a floor: where a third of both is
floor, all are bad with a probability of 5e-4; the pairs are the same every time."""

JUDGES = 256
"""Pixels that judge them, at most."""

TOLERANCE = 0.1
"""Share of inverse depth by which floor may miss the plane, because the map's shape is wrong."""

BENEATH = 0.3
"""Share of inverse depth from which on something is beneath the floor, where nothing can be."""

ROUNDS = 4
"""Of least squares; then what is floor no longer changes."""

OUTLIER = 3.0
"""Standard deviations from which on something is not floor, where that is less than TOLERANCE."""

FINEST = 0.01
"""Share of inverse depth that is floor in any case."""

MOST = 200
"""Pixels of a floor that are handed on: more say the same, and cost the fit time."""

FEWEST = 24
SMALLEST_SHARE = 0.3
"""Of the pixels that would see an empty floor, how many must: chance alone finds a sixth."""

MOST_BENEATH = 0.1
"""Share of the pixels that may be beneath the floor."""

LEAST_SHARPNESS = 0.78
"""Of the pixels within twice the TOLERANCE, how many must be within it; chance finds a half."""

LEAST_CONNECTED = 0.79
"""Of the floor's pixels' neighbours along rows, and along columns, how many must be floor.  What
is at the plane's distance by chance, or because it stands on the floor, is so in stripes: in
rendered rooms, seen by Depth Anything V2 Small, most of that has less than 0.76, a floor more
than 0.81."""

LARGEST_RESIDUAL = 0.05
"""Standard deviation of inverse depth from the plane, as a share; what is anywhere within
TOLERANCE by chance has 0.058."""

LEAST_SPREAD = 0.18
"""Standard deviation of the floor's inverse depth, as a share of its mean: of what is all at one
distance nobody can tell whether it is a floor."""

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]
Line = tuple[float, float]
"""(c, d) of relative = c q + d."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The floor in the optical frame: the points X, metres, with ``down`` . X = ``height_m``.

    ``down`` (3,) is a unit vector.  ValueError for a camera that is not above the floor.
    """

    down: Array
    height_m: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.down).all() and math.isfinite(self.height_m)
                and self.height_m > 0):
            raise ValueError(f'the camera is {self.height_m:g} m above the floor: it must be '
                             'above it; check the height, or the transform to the floor\'s frame')

    @classmethod
    def of_pose(cls, pose: Array) -> 'Plane':
        """Return the plane z = 0 of a frame whose z is up, as ``base_footprint``.

        ``pose`` (4, 4) is from the camera's optical frame to that one.
        """
        return cls(-np.asarray(pose[2, :3], np.float64), float(pose[2, 3]))

    @classmethod
    def of_tilt(cls, height_m: float, tilt_rad: float, roll_rad: float = 0.0) -> 'Plane':
        """Return the floor below a camera that looks ``tilt_rad`` down from the horizontal.

        ``roll_rad`` turns it clockwise about its view, as seen from behind it.
        """
        level = math.cos(tilt_rad)
        return cls(np.array([math.sin(roll_rad) * level, math.cos(roll_rad) * level,
                             math.sin(tilt_rad)]), height_m)

    @property
    def across(self) -> Array:
        """(2, 3) horizontal unit vectors: where the camera looks, and to one side of that."""
        ahead = np.array([0.0, 0, 1]) - self.down[2] * self.down
        if np.linalg.norm(ahead) < 1e-6:  # straight down: any two do
            ahead = np.array([0.0, 1, 0]) - self.down[1] * self.down
        ahead /= np.linalg.norm(ahead)
        return np.stack([ahead, np.cross(self.down, ahead)])


class Ground:
    """Finds the floor in relative maps of a camera's images."""

    def __init__(self, lens: Lens, tilt_sigma_rad: float = math.radians(1.0),
                 height_sigma_m: float = 0.01) -> None:
        """``lens`` is of the images; standard deviations of tilt and roll, and of height."""
        self._lens = lens
        self._tilt_sigma, self._height_sigma = tilt_sigma_rad, height_sigma_m
        rows, cols = ((np.arange(count) + 0.5) / count for count in GRID)
        self._places = np.stack(np.meshgrid(cols, rows), axis=-1).reshape(-1, 2)
        """(n, 2), as (x, y), shares of the image's sides."""
        self._pixels = self._places * lens.size[::-1] - 0.5
        self._rays = lens.rays(self._pixels)
        self._pairs = np.random.default_rng(0).random((2, HYPOTHESES))

    def largest_m(self, plane: Plane) -> float:
        """Return the depth from which on metres are known no better than LARGEST_ERROR.

        The floor's own is known as well as that up to d = (h / s) sqrt(LARGEST_ERROR^2 -
        (s_h / h)^2) along the floor, with s the tilt's standard deviation, s_h the height's; this
        is the depth of the floor there, straight ahead.  What stands on it errs alike: with the
        view tilted by t, a wrong pitch e makes 1 / z wrong by e (1 / (h cos t) - tan t / z).
        """
        down = float(plane.down[2])
        known = max(LARGEST_ERROR ** 2 - (self._height_sigma / plane.height_m) ** 2, 0.0)
        if not self._tilt_sigma:
            return math.inf if known else 0.0
        along = plane.height_m / self._tilt_sigma * math.sqrt(known)
        return max(along * math.sqrt(max(1 - down ** 2, 0.0)) + plane.height_m * down, 0.0)

    def observe(self, relative: Map, plane: Plane, stamp_s: float) -> Observations:
        """Return the pixels of a relative map (h, w) that are floor, none where it is a poor one.

        The map is of any size, and NaN where unknown.  Floor is what lies on the line r = c q + d,
        c > 0, that has most of the pixels below the horizon within TOLERANCE of it, less those
        that it would have beneath the floor: a table's top is a plane too, but the floor beside it
        is seen below it; a wall seen from below is one, but what is above the horizon would be
        behind the camera.  It starts with the best line through two pixels (RANSAC; Fischler and
        Bolles, 1981), and ends with least squares.

        Refused: fewer than FEWEST pixels or SMALLEST_SHARE of those that could be floor, more
        than MOST_BENEATH of all beneath, a LEAST_SHARPNESS, LEAST_CONNECTED or LEAST_SPREAD
        not reached, or a residual over LARGEST_RESIDUAL.
        """
        scene = self._scene(relative, plane)
        found = _floor(scene, self._pairs)
        if found.size > MOST:
            found = found[np.linspace(0, found.size - 1, MOST).astype(np.intp)]
        kept = scene.pixels[found]
        return Observations(self._pixels[kept], scene.plane[found], scene.sigma[found],
                            self._lens.size, stamp_s, SOURCE, scene.common[found])

    def _scene(self, relative: Map, plane: Plane) -> '_Scene':
        values = relative.ravel()[self._index(relative.shape)].astype(np.float64)
        inverse = self._rays @ plane.down / plane.height_m
        known = np.flatnonzero(np.isfinite(values) & np.isfinite(inverse))
        values, inverse, rays = values[known], inverse[known], self._rays[known]
        common = np.column_stack([rays @ plane.across.T * (self._tilt_sigma / plane.height_m),
                                  -inverse * (self._height_sigma / plane.height_m)])
        sigma = np.sqrt(np.einsum('ij,ij->i', common, common))
        return _Scene(known, values, inverse, sigma, common,
                      (inverse > 0) & (sigma <= LARGEST_ERROR * inverse))

    def _index(self, size: Size) -> Index:
        """Return where the pixels are in a raveled map of ``size``."""
        cols, rows = (self._places * size[::-1]).astype(np.intp).T
        return np.asarray(rows * size[1] + cols, np.intp)


@dataclass(frozen=True, eq=False)
class _Scene:
    """Pixels that have a value and a ray, all (n,): their numbers, values, and the plane's q."""

    pixels: Index
    values: Array
    plane: Array
    sigma: Array
    common: Array
    candidates: Mask
    """Would see the floor near enough if nothing stood on it."""

    def thinned(self, step: int) -> '_Scene':
        """Return every ``step``-th of them."""
        return _Scene(self.pixels[::step], self.values[::step], self.plane[::step],
                      self.sigma[::step], self.common[::step], self.candidates[::step])


def _floor(scene: _Scene, pairs: Array) -> Index:
    """Return which pixels are floor; none where it is a poor one."""
    nothing = np.zeros(0, np.intp)
    candidates = np.flatnonzero(scene.candidates)
    if candidates.size < FEWEST:
        return nothing
    line = _consensus(scene, candidates, pairs)
    if line is None:
        return nothing
    q, r = scene.plane[candidates], scene.values[candidates]
    limit = TOLERANCE
    for _ in range(ROUNDS):
        miss = _miss(line, q, r)
        inliers = miss <= limit
        if np.count_nonzero(inliers) < FEWEST:
            return nothing
        line = _line(q[inliers], r[inliers])
        if not line[0] > 0:
            return nothing
        sigma = MEDIAN_TO_SIGMA * median(miss[inliers])
        limit = min(limit, max(OUTLIER * sigma, FINEST))
    miss = _miss(line, q, r)
    near = miss <= TOLERANCE
    poor = (np.count_nonzero(near) < max(SMALLEST_SHARE * near.size,
                                         LEAST_SHARPNESS * np.count_nonzero(miss <= 2 * TOLERANCE))
            or np.sqrt(np.mean(miss[near] ** 2)) > LARGEST_RESIDUAL
            or q[near].std() < LEAST_SPREAD * q[near].mean()
            or _beneath(scene, *line).mean() > MOST_BENEATH
            or _connected(scene.pixels[candidates[near]]) < LEAST_CONNECTED)
    return nothing if poor else candidates[miss <= limit]


def _connected(pixels: Index) -> float:
    """Return the share of pixels' neighbours that are among them, along rows or columns."""
    among = np.zeros(GRID, bool)
    among.ravel()[pixels] = True
    shares = []
    for one, other in ((among[1:], among[:-1]), (among[:, 1:], among[:, :-1])):
        ends = int(one.sum() + other.sum())
        shares.append(2 * int((one & other).sum()) / max(ends, 1))
    return min(shares)


def _miss(line: Line, q: Array, r: Array) -> Array:
    """Return by which share of q the values r are beside the line."""
    return np.abs((r - line[1]) / (line[0] * q) - 1)


def _line(q: Array, r: Array) -> Line:
    """Return the least squares of r = c q + d with weights 1 / q^2: errors are a share of q."""
    weight = 1 / q ** 2
    weight /= weight.sum()
    mean_q, mean_r = weight @ q, weight @ r
    c = (weight * (q - mean_q)) @ (r - mean_r) / (weight @ (q - mean_q) ** 2)
    return float(c), float(mean_r - c * mean_q)


def _consensus(scene: _Scene, candidates: Index, pairs: Array) -> Line | None:
    """Return the line that most candidates are near to, less what is beneath."""
    order = candidates[np.argsort(scene.plane[candidates])]
    half = order.size // 2
    far, near = (order[start + (share * half).astype(np.intp)]
                 for start, share in zip((0, order.size - half), pairs, strict=True))
    with np.errstate(divide='ignore', invalid='ignore'):
        c = (scene.values[near] - scene.values[far]) / (scene.plane[near] - scene.plane[far])
    sound = np.isfinite(c) & (c > 0)
    if not sound.any():
        return None
    c, near = c[sound, None], near[sound]
    d = scene.values[near, None] - c * scene.plane[near, None]
    # An odd step, as the grid has an even number of columns: not the same ones in every row.
    judges = scene.thinned(-(-scene.values.size // JUDGES) | 1)
    q = judges.plane[judges.candidates]
    miss = np.abs(judges.values[judges.candidates] - d - c * q)
    votes = np.count_nonzero(miss <= c * (TOLERANCE * q), axis=1)
    best = int(np.argmax(votes - np.count_nonzero(_beneath(judges, c, d), axis=1)))
    return float(c[best, 0]), float(d[best, 0])


def _beneath(scene: _Scene, c: Array | float, d: Array | float) -> Mask:
    """Return which pixels, (n,) or (lines, n), would be beneath the floor or behind the camera."""
    floor = np.maximum(scene.plane, 0)
    slack = BENEATH * np.maximum(floor, median(scene.plane[scene.candidates]))
    return np.asarray(scene.values < d + c * (floor - slack), bool)
