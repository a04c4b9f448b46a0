"""Inverse depths of corners that were seen from several known places."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asyncmde_ros.scale.observations import Array

ROUNDS = 2
"""The second with the depth ratios of the first; on rendered clips a third changes nothing."""

NEAREST_RATIO = 0.1
"""A corner that is at a tenth of the depth, seen from an earlier place, or behind that, is
taken for an error."""

TURN_SIGMA_RAD = math.radians(0.05)
"""Standard deviation of a turn between two places, at the least: vibration, and stamps that are
late by a millisecond or two."""

ZOOM_STEP = 1e-4
"""To differentiate by."""

BELIEVED = 3.0
"""Standard deviations beyond which a corner counts less."""


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """``rays`` (n, 2) are x and y at depth 1 of n corners at a place; NaN where not seen."""

    stamp_s: float
    pose: Array
    rays: Array

    def parallax(self, pose: Array, rays: Array) -> Array:
        """Return how far corners at ``rays`` (n, 2) moved since, but for the turn; at depth 1."""
        relative = np.linalg.inv(self.pose) @ pose
        turned = _homogeneous(rays) @ relative[:3, :3].T
        return np.linalg.norm(turned[:, :2] / turned[:, 2:] - self.rays, axis=1)


class Zoom(NamedTuple):
    """By which share, 0 for none, rays are longer than the calibration says, and its sigma."""

    share: float
    sigma: float


class Solved(NamedTuple):
    """Of n corners: inverse depth (n,) in 1/m, and how well it is known.

    ``misfit`` (n,) is the root mean square of what they miss by, in units of their ``pixel``;
    ``views`` how many earlier places see them; ``sigma`` the standard deviation of the inverse
    depth where corners are known to one such unit, and ``by_turn`` that by the turns.
    """

    inverse_depth: Array
    misfit: Array
    views: npt.NDArray[np.intp]
    sigma: Array
    by_turn: Array


class _Misses(NamedTuple):
    # What corners miss by is across - along w, (n, k, 2), in pixels.
    across: Array
    along: Array
    behind: npt.NDArray[np.bool_]


class Triangulation:
    """Corners at ``rays`` (n, 2), with a pixel of ``pixel`` (n,) there, seen from ``views`` too.

    A corner with ray c = (x, y, 1) and inverse depth w in the newest picture is seen from the
    earlier place k, at (R, t) from the newest, along R c + w t.  Its ray (u, v) there gives two
    equations that are linear in w,

        w (t_xy - (u, v) t_z) = (u, v) (R c)_z - (R c)_xy,

    which are divided by the depth ratio (R c + w t)_z, so that they miss by what the picture does
    (Hartley and Sturm, Triangulation, 1997, section 5.2), and solved for all places together.
    """

    def __init__(self, views: Sequence[Viewpoint], pose: Array, rays: Array, pixel: Array) -> None:
        self._relative = np.linalg.inv(np.stack([view.pose for view in views])) @ pose
        self._there = np.stack([view.rays for view in views], axis=1)
        self._here, self._pixel = rays, pixel
        self._seen = np.isfinite(self._there).all(axis=2) & np.isfinite(pixel)[:, None]

    def solve(self, zoom: Zoom, turn_share: float) -> Solved:
        """Return the inverse depths; a turn's sigma is ``turn_share`` of it, and by the zoom."""
        w = np.zeros(len(self._here))
        for _ in range(ROUNDS):
            across, along, behind = self._misses(w, zoom.share)
            information = np.maximum(np.square(along).sum(axis=(1, 2)), np.finfo(float).tiny)
            w = (along * across).sum(axis=(1, 2)) / information
        count = self._seen.sum(axis=1)
        squares = np.square(across - along * w[:, None, None]).sum(axis=(1, 2))
        squares[behind] = np.inf
        misfit = np.sqrt(squares / np.maximum(2 * count - 1, 1))
        cosine = (np.trace(self._relative[:, :3, :3], axis1=1, axis2=2) - 1) / 2
        share = math.hypot(turn_share, zoom.sigma)
        turn_sigma = np.hypot(TURN_SIGMA_RAD, share * np.arccos(np.clip(cosine, -1, 1)))
        # Both as if they were the same for all places: corners slide away step by step.
        length = np.linalg.norm(along, axis=2)
        sigma = math.sqrt(2) * length.sum(axis=1) / information
        return Solved(w, misfit, count, sigma, length @ turn_sigma / information / self._pixel)

    def zoom(self, solved: Solved, zoom: Zoom, noise: float, used: npt.NDArray[np.bool_]) -> Zoom:
        """Return what the corners that are ``used`` say of the zoom, by a step from ``zoom``.

        A wrong focal length turns rays by too little or too much, which distances do not explain:
        the least squares of all corners, of which each one's own distance is eliminated, with
        Huber's weights.  Corners are known to ``noise`` units, which is counted as if it were
        common to all places.
        """
        w = solved.inverse_depth
        across, along, _ = self._misses(w, zoom.share)
        rest = across - along * w[:, None, None]
        across, longer, _ = self._misses(w, zoom.share + ZOOM_STEP)
        slope = (across - longer * w[:, None, None] - rest) / ZOOM_STEP
        information = np.maximum(np.square(along).sum(axis=(1, 2)), np.finfo(float).tiny)
        slope -= along * ((along * slope).sum(axis=(1, 2)) / information)[:, None, None]
        weight = used * np.minimum(1, BELIEVED * noise / np.maximum(solved.misfit, noise))
        known = float(weight @ np.square(slope).sum(axis=(1, 2)))
        if not known > 0:
            return Zoom(zoom.share, math.inf)
        step = -float(weight @ (slope * rest).sum(axis=(1, 2))) / known
        return Zoom(zoom.share + step, noise * math.sqrt(len(self._relative) / known))

    def _misses(self, w: Array, zoom: float) -> _Misses:
        there, moved = self._there * (1 + zoom), self._relative[:, :3, 3]
        turned = np.einsum('kij,nj->nki', self._relative[:, :3, :3],
                           _homogeneous(self._here * (1 + zoom)))
        ratio = turned[..., 2] + w[:, None] * moved[:, 2]
        behind = (self._seen & (ratio < NEAREST_RATIO)).any(axis=1)
        scale = 1 / (np.maximum(ratio, NEAREST_RATIO) * self._pixel[:, None] * (1 + zoom))
        across = (there * turned[..., 2:] - turned[..., :2]) * scale[..., None]
        along = (moved[:, :2] - there * moved[:, 2:]) * scale[..., None]
        across[~self._seen], along[~self._seen] = 0, 0
        return _Misses(across, along, behind)


def _homogeneous(rays: Array) -> Array:
    return np.column_stack([rays, np.ones(len(rays))])
