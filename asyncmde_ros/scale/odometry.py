"""Metres from one camera whose own motion is known: corners followed and triangulated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.scale.corners import CornerTracker, Grey, Index
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array, Observations

SOURCE = 'odometry'

VIEWS = 12
"""Earlier places of the camera that corners are triangulated from."""

SPACING_PX = 1.5
"""The camera has to move on by so much parallax, in the median, before a place is kept: with
VIEWS of them the baseline comes to 18 pixels, some 6 % of the picture's width."""

OLDEST_S = 10.0
"""A place is forgotten then: what the odometry has drifted since is more than its share of the
path, and corners that are followed while the camera stands slide away."""

FEWEST_VIEWS = 2
"""Earlier places that a corner must have been seen from.  A second one confirms what the first
one says; from one alone everything that moves along its epipolar line is some distance."""

FEWEST_CORNERS = 12
"""Fewer corners do not tell by their median what they should all have in common."""

NOISE_PX = 0.15
"""Standard deviation of a corner's place by the tracking, at the least."""

MISFIT = 3.0
"""Standard deviations by which a corner may miss the place that its distance puts it at, in the
root mean square over its views, before it is taken for something that moves, or for another
corner."""

CONTRADICTION_PX = 2.0
"""Where half of the corners miss by more, the poses are not those of these pictures."""

SURE = 0.2
"""Largest standard deviation of inverse depth, as a share of the corners' median."""

DRIFT = 0.01
"""By how much odometry is wrong over some seconds, as a share of the path."""

TURN_SIGMA_RAD = math.radians(0.05)
TURN_SHARE = 0.02
"""Standard deviation of a turn between two places, by odometry and calibration: at the least, and
as a share of it.  A focal length that is 1 % wrong makes every turn 1 % wrong."""

RENEWED = 0.7
"""New corners are looked for when less than this share of them is left, or at a new place."""

ROUNDS = 3
"""Of triangulation, each with the depth ratios of the one before; the second changes a little."""

NEAREST_RATIO = 0.1
"""A corner that is at a tenth of the depth, seen from an earlier place, or behind that, is
taken for an error."""

LONG_SIDE_PX = 320
SMALLEST_PX = 32

RAY_STRIDE = 4
"""Rays of a lens are worked out for so many pixels, once, and interpolated between."""

RIGID = 1e-2
"""A matrix farther from a rotation and a translation is no pose."""


@dataclass(frozen=True, eq=False)
class _View:
    """``rays`` (n, 2) are x and y at depth 1 of the tracker's corners; NaN where not seen."""

    stamp_s: float
    pose: Array
    rays: Array

    def parallax_px(self, pose: Array, rays: Array, pixel: Array) -> float:
        """Return by how many pixels, in the median, corners moved since, but for the turn."""
        relative = np.linalg.inv(self.pose) @ pose
        turned = _homogeneous(rays) @ relative[:3, :3].T
        away = np.linalg.norm(turned[:, :2] / turned[:, 2:] - self.rays, axis=1) / pixel
        away = away[np.isfinite(away)]
        return float(np.median(away)) if away.size else 0.0


class Odometry:
    """Takes pictures with the camera's poses in the order of time; not thread-safe.

    A corner with ray c = (x, y, 1) and inverse depth w in the newest picture is seen from the
    earlier place k, at (R, t) from the newest, along R c + w t.  Its ray (u, v) there gives two
    equations that are linear in w,

        w (t_xy - (u, v) t_z) = (u, v) (R c)_z - (R c)_xy,

    which are divided by the depth ratio (R c + w t)_z, so that they miss by what the picture does
    (Hartley and Sturm, Triangulation, 1997, section 5.2), and solved for all places together.
    How far the corners miss in the median tells the noise, NOISE_PX at the least.  A corner that
    misses by MISFIT of it is something that moves, or slid away, and is dropped.  What moves
    along its epipolar line in step with the camera is not noticed: the fit of the scale
    tolerates a minority of such points.

    The standard deviation of w has three parts: the noise of the corner's places, which is
    counted as if it were common to all earlier ones, since a corner slides away step by step;
    the turns' uncertainty, TURN_SIGMA_RAD and TURN_SHARE; and ``drift`` of the path.  The last
    two are common to all corners of a moment, so they do not average out over them; a wrong
    scale of the odometry becomes one of the metres.
    """

    def __init__(self, every: int = 1, drift: float = DRIFT) -> None:
        """``every``: only each so manieth picture is looked at.  ValueError unless positive."""
        if every < 1 or not drift >= 0:
            raise ValueError(f'every {every} pictures, a drift of {drift}: must be positive')
        self._every, self._drift = every, drift
        self._start()

    def _start(self) -> None:
        self._corners = CornerTracker()
        self._views: list[_View] = []
        self._stamp_s: float | None = None
        self._size: Size | None = None
        self._pictures = self._count = 0
        self._lens: _Rays | None = None

    def update(self, stamp_s: float, grey: Grey, lens: Lens, pose: Array | None
               ) -> Observations | None:
        """Return inverse depths of corners of a picture; None where the motion tells none.

        ``grey`` (rows, cols) uint8 had best be of :func:`reduced` size, ``lens`` is its own.
        ``pose`` (4, 4) is the camera's optical frame in one that is fixed, metres; None where
        it is not known, and one that is not finite or no rigid motion counts as that.  Nothing
        is told of a camera that stands or only turns, or where the pictures contradict the
        poses.  Time that goes back, or pictures of another size, start anew.  ValueError for a
        picture that is not grey, or a lens of another size.
        """
        if (grey.ndim != 2 or grey.dtype != np.uint8 or lens.size != grey.shape
                or min(grey.shape) < SMALLEST_PX):
            raise ValueError(f'a {grey.dtype} picture of shape {grey.shape}, a lens of '
                             f'{lens.size}: must be (rows, cols) uint8, at least {SMALLEST_PX} '
                             'each, and its lens')
        if stamp_s == self._stamp_s:
            return None
        if grey.shape != self._size or not (self._stamp_s is None or stamp_s > self._stamp_s):
            self._start()
        self._stamp_s, self._size = stamp_s, grey.shape
        self._pictures += 1
        if (self._pictures - 1) % self._every:
            return None
        kept = self._corners.follow(grey)
        self._views = [_View(view.stamp_s, view.pose, view.rays[kept]) for view in self._views
                       if stamp_s - view.stamp_s <= OLDEST_S]
        known = None if pose is None else rigid(pose)
        if known is None:
            return None
        if self._lens is None or self._lens.lens is not lens:
            self._lens = _Rays(lens)
        found = self._observed(stamp_s, known, self._lens)
        self._remember(stamp_s, known, self._lens)
        return found

    def _observed(self, stamp_s: float, pose: Array, lens: '_Rays') -> Observations | None:
        """Return what is sure; drop corners that move, or all views where the poses do."""
        if not self._views:
            return None
        rays, pixel = lens.at(self._corners.pixels)
        solved = _triangulated(self._views, pose, rays)
        misfit = solved.misfit / pixel
        compared = misfit[np.isfinite(misfit) & (solved.views >= FEWEST_VIEWS)]
        if compared.size < FEWEST_CORNERS:
            return None
        noise = max(NOISE_PX, float(np.median(compared)))
        if noise > CONTRADICTION_PX:
            self._views = []
            return None
        w, pixels = solved.inverse_depth, self._corners.pixels
        sigma = np.sqrt((noise * pixel * solved.per_noise) ** 2 + solved.by_turn ** 2
                        + (self._drift * w) ** 2)
        good = (solved.views >= FEWEST_VIEWS) & (misfit <= MISFIT * noise)
        self._keep(np.flatnonzero(~(misfit > MISFIT * noise)))
        sure = good & (w > 0)
        if not sure.any():
            return None
        # Against the median, not each its own: among what is far only too near ones would pass.
        sure &= sigma <= SURE * np.median(w[good])
        if not sure.any():
            return None
        return Observations(pixels[sure].astype(np.float64), w[sure], sigma[sure],
                            lens.lens.size, stamp_s, SOURCE)

    def _keep(self, kept: Index) -> None:
        self._corners.keep(kept)
        self._views = [_View(view.stamp_s, view.pose, view.rays[kept]) for view in self._views]

    def _remember(self, stamp_s: float, pose: Array, lens: '_Rays') -> None:
        """Keep this place, and look for new corners, where it is worth that."""
        count = len(self._corners.pixels)
        if self._views and count > RENEWED * self._count and self._views[-1].parallax_px(
                pose, *lens.at(self._corners.pixels)) < SPACING_PX:
            return
        added = self._corners.renew()
        self._count = count + added
        if not self._count:
            self._views = []
            return
        unseen = np.full((added, 2), np.nan)
        views = [_View(view.stamp_s, view.pose, np.concatenate([view.rays, unseen]))
                 for view in self._views]
        views.append(_View(stamp_s, pose, lens.at(self._corners.pixels)[0]))
        self._views = views[-VIEWS:]


class _Solved(NamedTuple):
    """Of n corners: inverse depth (n,) in 1/m, and how well it is known.

    ``misfit`` is the root mean square of what they miss by, at depth 1, ``views`` how many
    earlier places see them.  The standard deviation of inverse depth is ``per_noise`` times that
    of a corner's place at depth 1, and that by the turns is ``by_turn``.
    """

    inverse_depth: Array
    misfit: Array
    views: Index
    per_noise: Array
    by_turn: Array


def _triangulated(views: Sequence[_View], pose: Array, rays: Array) -> _Solved:
    relative = np.linalg.inv(np.stack([view.pose for view in views])) @ pose
    seen_at = np.stack([view.rays for view in views], axis=1)
    turned = np.einsum('kij,nj->nki', relative[:, :3, :3], _homogeneous(rays))
    moved = relative[:, :3, 3]
    slope = moved[:, :2] - seen_at * moved[:, 2:]
    offset = seen_at * turned[..., 2:] - turned[..., :2]
    seen = np.isfinite(offset).all(axis=2)
    slope, offset = (np.where(seen[..., None], part, 0) for part in (slope, offset))
    w = np.zeros(len(rays))
    for _ in range(ROUNDS):
        ratio = np.where(seen, turned[..., 2] + w[:, None] * moved[:, 2], 1)
        scale = 1 / np.maximum(ratio, NEAREST_RATIO)[..., None]
        along, across = slope * scale, offset * scale
        information = np.maximum(np.square(along).sum(axis=(1, 2)), np.finfo(float).tiny)
        w = (along * across).sum(axis=(1, 2)) / information
    count = seen.sum(axis=1)
    squares = np.square(across - along * w[:, None, None]).sum(axis=(1, 2))
    squares[(ratio < NEAREST_RATIO).any(axis=1)] = np.inf
    misfit = np.sqrt(squares / np.maximum(2 * count - 1, 1))
    cosine = (np.trace(relative[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    turn_sigma = np.hypot(TURN_SIGMA_RAD, TURN_SHARE * np.arccos(np.clip(cosine, -1, 1)))
    length = np.linalg.norm(along, axis=2)
    # Both are as if they were the same for all places.
    per_noise = math.sqrt(2) * length.sum(axis=1) / information
    return _Solved(w, misfit, count, per_noise, length @ turn_sigma / information)


def _homogeneous(rays: Array) -> Array:
    return np.column_stack([rays, np.ones(len(rays))])


class _Rays:
    """The rays of a lens, worked out once."""

    def __init__(self, lens: Lens) -> None:
        self.lens = lens
        rays = lens.ray_map(RAY_STRIDE)[..., :2]
        down, across = (np.gradient(rays, RAY_STRIDE, axis=axis) for axis in (0, 1))
        area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
        self._map = np.dstack([rays, np.sqrt(np.abs(area))]).astype(np.float32)

    def at(self, pixels: npt.NDArray[np.float32]) -> tuple[Array, Array]:
        """Return the rays (n, 2) of pixels (n, 2), and what a pixel is at depth 1, (n,).

        NaN where the lens has no ray.
        """
        if not len(pixels):
            return np.zeros((0, 2)), np.zeros(0)
        at = (pixels / np.float32(RAY_STRIDE))[None]
        found = cv2.remap(self._map, at, None, cv2.INTER_LINEAR,  # type: ignore[call-overload]
                          borderMode=cv2.BORDER_REPLICATE)[0].astype(np.float64)
        return found[:, :2], found[:, 2]


def reduced(size: Size) -> Size:
    """Return the size (rows, cols) of a picture that is made smaller for :class:`Odometry`."""
    share = min(1.0, LONG_SIDE_PX / max(size))
    return max(SMALLEST_PX, round(size[0] * share)), max(SMALLEST_PX, round(size[1] * share))


def rigid(matrix: Array) -> Array | None:
    """Return the rotation and translation (4, 4) nearest to a matrix; None where it is none."""
    pose = np.array(matrix, np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        return None
    left, stretch, right = np.linalg.svd(pose[:3, :3])
    rotation = left @ right
    if (np.abs(stretch - 1).max() > RIGID or np.linalg.det(rotation) < 0
            or np.abs(pose[3] - (0, 0, 0, 1)).max() > RIGID):
        return None
    pose[:3, :3] = rotation
    return pose
