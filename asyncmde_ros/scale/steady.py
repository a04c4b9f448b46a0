"""One scale from refresh to refresh without any sensor, by the motion that the pictures show.

A network tells inverse depth up to a scale, which is another one at each refresh, and in between
a keyframe's values stay as they were although the camera comes nearer.  To make each map fit the
last one would mend the first and make the second worse: what the camera approaches really grows.
So the camera's motion is estimated from where pixels came from and how near they are, in the unit
of the maps themselves.

In a picture a point is at the ray c = (x, y, 1) with inverse depth D.  After the camera's step
(R, t) it is seen along R c + D t, at (u, v):

    u (R c + D t)_z = (R c + D t)_x,    v (R c + D t)_z = (R c + D t)_y,

which for a small turn R = I + [w]x is linear in t and w, and its inverse depth has become
D / (R c + D t)_z (Longuet-Higgins and Prazdny, 1980).

The focal length is FOCAL of the picture's longer side; wrong by a third it matters little.  Things
that move by themselves are taken for what stands still, but for the estimate of the motion.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.scale.observations import Array, Map

FOCAL = 0.85
"""Of the picture's longer side: 61 degrees."""

FEWEST = 20
"""Matches without which nothing is said."""

BORDER = 0.97
"""Normalised: what came from nearer to the picture's border may have come from outside."""

ROUNDS = 3
FAR_OFF = 2.5
"""Times the median error at which a match counts half (Cauchy's weights)."""

USED = 0.2
"""Smallest weight of a match that says how the map grows."""

LARGEST_MISFIT = 0.005
"""Median error of the matches by the motion, as a share of the longer side, from which on it is
not the camera's, and counts as not known."""

GREATEST_GROWTH = 2.0
"""By a step, or since the keyframe; what grows more says nothing of the scale."""

STRAIGHT_FROM = 0.25
"""D t_z from which on 1 / (1 - D t_z) goes on as its tangent: one pixel that is thought too near
would pass the camera."""

LARGEST_TURN = 0.2
"""A turn changes no inverse depth by a larger share than this in the pictures of a lens."""

SMALLEST = float(np.finfo(np.float32).eps)

LARGEST_SPREAD = 0.3
"""Median difference of logarithms from which on two maps do not show the same."""

RETURN = 0.05
LOST_RETURN = 0.5
"""Shares of the logarithm of the gain that are given up at a refresh: where the motion is certain,
and where it is not known.  The network's own scale is right in the mean, and errors of a chain
add up."""

LONGEST_LAG = 320
"""Frames that a keyframe may be old by when its map arrives: ten seconds at 30 Hz."""


class Matches(NamedTuple):
    """Where points were in the picture before, and are now: (n, 2) each, (x, y) in [-1, 1].

    Normalised coordinates, -1 and 1 at the picture's borders.
    """

    before: npt.NDArray[np.floating]
    now: npt.NDArray[np.floating]


class _Step(NamedTuple):
    # A step of the camera (4, 4), the matches' median error as a share of the largest, and
    # inverse depths that it leads to at points (normalised).
    pose: Array
    misfit: float
    inverse_depth: Array
    points: Array


class Steady:
    """Takes a keyframe's maps in the order of time, as they are moved; not thread-safe."""

    def __init__(self, focal: float = FOCAL) -> None:
        """``focal``: the focal length as a share of the picture's longer side."""
        if not focal > 0:
            raise ValueError(f'a focal length of {focal}: must be positive')
        self._focal = focal
        self._work: Map = np.empty((0, 0), np.float32)
        self.forget()

    def forget(self) -> None:
        """Begin with the next map's own scale."""
        self._gain = 1.0
        self._before: Map | None = None
        self._frame_id = self._keyframe_id = -1
        self._poses: dict[int, Array] = {}
        self._keyframe_pose: Array = np.eye(4)

    def update(self, frame_id: int, keyframe_id: int, relative: Map, matches: Matches) -> Map:
        """Return a map (rows, cols) in the scale of the maps before, as the camera is now.

        ``relative`` has inverse depths of the keyframe's moment at the places of this frame's
        pixels, of any size; with another ``keyframe_id`` their scale may be another.
        ``matches`` are with the frame before.  A frame that does not follow on the last one
        begins anew.  What is not finite stays so.
        """
        if frame_id != self._frame_id + 1:
            self.forget()
        rows, cols = relative.shape
        half = np.array([cols, rows]) / (2 * self._focal * max(rows, cols))
        step = None if self._before is None else _step(self._before, matches, half, self._focal)
        here = self._poses.get(self._frame_id, np.eye(4))
        here = self._poses[frame_id] = here if step is None else step.pose @ here
        self._poses.pop(frame_id - LONGEST_LAG, None)
        refreshed = keyframe_id != self._keyframe_id
        if refreshed:
            self._poses = {key: pose for key, pose in self._poses.items() if key >= keyframe_id}
            # Or of the first frame whose place is known.
            self._keyframe_pose = next(iter(self._poses.values()), here)
        back = self._keyframe_pose @ np.linalg.inv(here)
        if refreshed and self._before is not None:
            self._gain = self._continued(relative, step, back, half)
        self._frame_id, self._keyframe_id = frame_id, keyframe_id
        if self._work.shape != relative.shape:
            self._work = np.empty(relative.shape, np.float32)
        grown = _grown(relative, self._gain, back, half, self._work)
        self._before = grown.copy()
        return grown

    def _continued(self, relative: Map, step: _Step | None, back: Array, half: Array) -> float:
        """Return the gain by which a new keyframe's map agrees with the last one."""
        given_up = LOST_RETURN
        gain = self._gain
        if step is not None:
            ratio = _depths(step.points * half, step.inverse_depth, back)
            expected = np.where(_moderate(ratio), step.inverse_depth / ratio, np.nan)
            found = _gain(expected, _sampled(relative, step.points))
            if found is not None:
                gain = found
                given_up = RETURN + (LOST_RETURN - RETURN) * step.misfit ** 2
        return float(gain ** (1 - given_up))


def _step(before: Map, matches: Matches, half: Array, focal: float) -> _Step | None:
    """Return the camera's step and what it makes of a map; None where the matches tell none."""
    depth = np.maximum(_sampled(before, matches.before), 0)
    good = (np.isfinite(depth) & (np.abs(matches.before) < BORDER).all(axis=1)
            & (np.abs(matches.now) < BORDER).all(axis=1))
    if np.count_nonzero(good) < FEWEST:
        return None
    depth, now = depth[good], np.asarray(matches.now[good], float)
    rays = matches.before[good] * half
    (x, y), (u, v) = rays.T, (now * half).T
    by_axis = np.zeros((2, len(depth), 6))
    by_axis[0, :, 0] = by_axis[1, :, 1] = depth
    by_axis[:, :, 2] = -depth * (u, v)
    by_axis[0, :, 3:] = np.stack([-u * y, 1 + u * x, -y], axis=1)
    by_axis[1, :, 3:] = np.stack([-1 - v * y, v * x, x], axis=1)
    equations, seen = by_axis.reshape(-1, 6), np.concatenate([u - x, v - y])
    weight = np.ones(len(depth))
    for _ in range(ROUNDS):
        weighted = np.concatenate([weight, weight]) * equations.T
        normal = weighted @ equations
        # What a flat map cannot tell, as a turn from a move to the side, is told to be small.
        normal.flat[::7] += SMALLEST * np.trace(normal)
        motion = np.linalg.solve(normal, weighted @ seen)
        across, down = (equations @ motion - seen).reshape(2, -1)
        squares = across * across + down * down
        usual = math.sqrt(np.median(squares))
        weight = 1 / (1 + squares / max(FAR_OFF * usual, SMALLEST) ** 2)
    misfit = usual * focal / LARGEST_MISFIT
    if not misfit <= 1:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(motion[3:])[0], motion[:3]
    ratio = _depths(rays, depth, pose)
    used = (weight > USED) & _moderate(ratio)
    return _Step(pose, misfit, depth[used] / ratio[used], now[used])


def _gain(old: Array, new: Array) -> float | None:
    """Return the median ratio of inverse depths (n,); None where they are not of one scene.

    A shift is not looked for: of a flat scene it is not known, and in a chain it drifts.
    """
    good = (old > 0) & (new > 0) & np.isfinite(new)  # NaN is not above 0
    if np.count_nonzero(good) < FEWEST:
        return None
    logarithms = np.log(old[good] / new[good])
    gain = float(np.median(logarithms))
    spread = float(np.median(np.abs(logarithms - gain)))
    return math.exp(gain) if spread < LARGEST_SPREAD else None


def _depths(rays: Array, depth: Array, pose: Array) -> Array:
    """Return by how much the depth (n,) of points changes in another place."""
    return np.asarray(rays @ pose[2, :2] + pose[2, 2] + depth * pose[2, 3])


def _moderate(ratio: Array) -> npt.NDArray[np.bool_]:
    return np.asarray((ratio > 1 / GREATEST_GROWTH) & (ratio < GREATEST_GROWTH))


def _sampled(values: Map, points: npt.NDArray[np.floating]) -> Array:
    """Return a map at normalised points (n, 2)."""
    rows, cols = values.shape
    x, y = ((points + 1) * ((cols / 2), (rows / 2)) - 0.5).astype(np.float32).T
    return cv2.remap(np.asarray(values, np.float32), x[None].copy(), y[None].copy(),
                     cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0].astype(float)


def _grown(relative: Map, gain: float, back: Array, half: Array, work: Map) -> Map:
    """Return the map times the gain, as it is where ``back`` (4, 4) leads to its own place.

    With (R, t) of that, a point here has D = D_there (R c)_z / (1 - D_there t_z).  ``work`` is of
    the map's shape, and anything afterwards: a new array each time would take longer than this.
    """
    grown = np.multiply(relative, np.float32(gain), dtype=np.float32)
    np.maximum(grown, 0, out=grown)
    np.multiply(grown, np.float32(back[2, 3]), out=work)
    if work.max() > STRAIGHT_FROM:
        _slow_down(work)
    np.subtract(1, work, out=work)
    np.divide(grown, work, out=grown)
    x, y = (((2 * np.arange(count) + 1) / count - 1) * by
            for count, by in zip(relative.shape[::-1], half * back[2, :2], strict=True))
    np.add((y[:, None] + back[2, 2]).astype(np.float32), x.astype(np.float32), out=work)
    if abs(back[2, 2] - 1) + np.abs(x).max() + np.abs(y).max() > LARGEST_TURN:
        np.clip(work, 1 - LARGEST_TURN, 1 + LARGEST_TURN, out=work)
    return np.multiply(grown, work, out=grown)


def _slow_down(approach: Map) -> None:
    """Change D t_z beyond STRAIGHT_FROM so that 1 / (1 - it) goes on straight; in place."""
    far = approach > STRAIGHT_FROM
    beyond = approach[far] - STRAIGHT_FROM
    room = 1 - STRAIGHT_FROM
    approach[far] = 1 - room / (1 + beyond / room)
