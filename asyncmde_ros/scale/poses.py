"""A moving frame's poses over time, and between them."""

from bisect import bisect_right
from collections import deque

import cv2
import numpy as np

from asyncmde_ros.scale.observations import Array

KEPT = 400
"""Poses: two seconds of a fast odometry."""

LONGEST_GAP_S = 0.5
"""Between two poses that are farther apart nothing is known."""


class Poses:
    """Poses (4, 4) by stamp; between two of them they are interpolated."""

    def __init__(self) -> None:
        self._stamps: deque[float] = deque(maxlen=KEPT)
        self._poses: deque[Array] = deque(maxlen=KEPT)

    def add(self, stamp_s: float, pose: Array) -> None:
        """Take a pose; time that goes back starts anew, and what is said twice is taken once."""
        if self._stamps and stamp_s == self._stamps[-1]:
            return
        if self._stamps and stamp_s < self._stamps[-1]:
            self._stamps.clear()
            self._poses.clear()
        self._stamps.append(stamp_s)
        self._poses.append(pose)

    def at(self, stamp_s: float) -> Array | None:
        """Return the pose at a time; None outside of what is known.

        The translation goes straight, and the rotation at a constant rate about one axis (slerp;
        Shoemake, 1985).
        """
        stamps = list(self._stamps)
        after = bisect_right(stamps, stamp_s)
        if after == 0:
            return None
        if stamps[after - 1] == stamp_s:
            return self._poses[after - 1]
        if after == len(stamps) or stamps[after] - stamps[after - 1] > LONGEST_GAP_S:
            return None
        part = (stamp_s - stamps[after - 1]) / (stamps[after] - stamps[after - 1])
        return between(self._poses[after - 1], self._poses[after], part)


def between(one: Array, other: Array, part: float) -> Array:
    """Return the pose that is ``part``, 0 to 1, of the way from one (4, 4) to another."""
    turn, _ = cv2.Rodrigues(other[:3, :3] @ one[:3, :3].T)
    step, _ = cv2.Rodrigues(part * turn)
    pose = np.eye(4)
    pose[:3, :3] = step @ one[:3, :3]
    pose[:3, 3] = (1 - part) * one[:3, 3] + part * other[:3, 3]
    return pose
