"""How the camera turned between two frames, from a gyroscope.

A rotation moves every pixel by the homography K R K^-1, whatever its depth.  What the camera's
travel adds, parallax, a gyroscope does not know.
"""

import bisect
import functools
from collections import deque
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size, pixels_to_normalised
from asyncmde_ros.pipeline.motion import Homography

Matrix = npt.NDArray[np.float64]

KEPT_NS = 2 * 10**9
"""Older measurements are forgotten: a frame waits milliseconds for its answer, not seconds."""

MOST_KEPT = 4096
"""Of a gyroscope of 2 kHz; of one that claims more, the newest."""

MAX_RATE_RAD_S = 1000.0
"""Over ten times what the fastest gyroscopes measure; more is a fault, and would overflow."""

SHORTEST_QUATERNION = 1e-6
"""A rotation's has length 1; one shorter than this has no direction."""

LARGEST_GAP_NS = 50 * 10**6
"""Longer between two measurements, or beyond the last one, the rotation is not known."""


def rotation_matrix(vector: npt.NDArray[np.float64]) -> Matrix:
    """Return the rotation (3, 3) by ``vector`` (3,): axis times angle [rad] (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    cross: Matrix = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    result: Matrix = np.eye(3) + cross
    if angle >= 1e-9:
        result = (np.eye(3) + np.sin(angle) / angle * cross
                  + (1 - np.cos(angle)) / angle**2 * cross @ cross)
    return result


def quaternion_matrix(quaternion: npt.ArrayLike) -> Matrix:
    """Return the rotation (3, 3) of a quaternion [x, y, z, w]; ValueError if it has no length."""
    values = np.asarray(quaternion, np.float64)
    norm = np.linalg.norm(values)
    if values.shape != (4,) or not np.isfinite(norm) or norm < SHORTEST_QUATERNION:
        raise ValueError('a rotation is a quaternion [x, y, z, w] of length 1')
    x, y, z, w = values / norm
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                     [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                     [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])


class Gyroscope:
    """Angular velocities [rad/s] by time; stamps in nanoseconds of the camera's clock."""

    def __init__(self) -> None:
        self._stamps_ns: deque[int] = deque(maxlen=MOST_KEPT)
        self._rates: deque[npt.NDArray[np.float64]] = deque(maxlen=MOST_KEPT)

    def __len__(self) -> int:
        """Return how many measurements are kept."""
        return len(self._stamps_ns)

    def add(self, stamp_ns: int, rate: npt.ArrayLike) -> None:
        """Take a measurement (3,); one that none can be is ignored, an older one starts anew."""
        values = np.asarray(rate, np.float64)
        if not (np.abs(values) <= MAX_RATE_RAD_S).all():  # nor NaN
            return
        if self._stamps_ns and stamp_ns <= self._stamps_ns[-1]:
            self._stamps_ns.clear()
            self._rates.clear()
        self._stamps_ns.append(stamp_ns)
        self._rates.append(values)
        while self._stamps_ns[0] < stamp_ns - KEPT_NS:
            self._stamps_ns.popleft()
            self._rates.popleft()

    def between(self, before_ns: int, now_ns: int) -> Matrix | None:
        """Return R (3, 3), which takes directions of the sensor now to those of the sensor before.

        Angular velocity is taken as linear between measurements (the trapezoidal rule), and as
        constant up to LARGEST_GAP_NS beyond the first and the last.  None where measurements are
        missing, or ``now_ns`` is not after ``before_ns``.
        """
        stamps = list(self._stamps_ns)
        if not stamps or now_ns <= before_ns:
            return None
        if stamps[0] - before_ns > LARGEST_GAP_NS or now_ns - stamps[-1] > LARGEST_GAP_NS:
            return None
        first = bisect.bisect_right(stamps, before_ns)
        last = bisect.bisect_left(stamps, now_ns)
        times = np.array([before_ns, *stamps[first:last], now_ns]) - before_ns
        lengths = np.diff(times)
        if lengths.max() > LARGEST_GAP_NS:
            return None
        # What is measured just outside counts as well.
        near = slice(max(first - 1, 0), last + 1)
        known = np.stack(list(self._rates)[near])
        relative = np.array(stamps[near]) - before_ns
        rates = np.stack([np.interp(times, relative, axis) for axis in known.T], axis=1)
        turns = (rates[:-1] + rates[1:]) / 2 * (lengths / 1e9)[:, None]
        return functools.reduce(np.matmul, map(rotation_matrix, turns), np.eye(3))


def rotation_homography(intrinsics: Matrix, rotation: Matrix, image: Size) -> Matrix:
    """Return K R K^-1 in normalised coordinates (see :mod:`asyncmde_ros.network.warp`).

    ``intrinsics`` K (3, 3) is of an ``image`` (rows, cols); ``rotation`` takes directions of this
    view to the earlier one's, in the camera's optical frame.
    """
    to = pixels_to_normalised(image) @ intrinsics
    return to @ rotation @ np.linalg.inv(to)


class Missing(str, Enum):
    """What a step by gyroscope lacks."""

    ANGULAR_VELOCITY = 'angular_velocity'
    EXTRINSICS = 'extrinsics'
    INTRINSICS = 'intrinsics'


class Intrinsics(NamedTuple):
    """A pinhole camera's ``matrix`` K (3, 3), of an ``image`` (rows, cols)."""

    matrix: Matrix
    image: Size


class RotationSensor:
    """A gyroscope that turns with the camera, and so knows the step between two frames.

    Whoever has the sensor fills it.  ``extrinsics`` (3, 3) takes directions in the gyroscope's
    frame to the camera's optical frame; it and ``intrinsics`` are None while they are not known.
    ``missing`` is what the last step lacked, None for nothing.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.extrinsics: Matrix | None = None
        self.intrinsics: Intrinsics | None = None
        self.missing: Missing | None = None
        self._gyroscope = Gyroscope()

    def add(self, stamp_ns: int, rate: npt.ArrayLike) -> None:
        """Take an angular velocity (3,) [rad/s], of a stamp by the camera's clock."""
        self._gyroscope.add(stamp_ns, rate)

    def step(self, before_ns: int, now_ns: int) -> Homography | None:
        """Return the homography (3, 3) float32 from the later frame's view to the earlier one's.

        In normalised coordinates; None where something is missing, or numbers at the edge of their
        type overflow.  Takes the camera for one without distortion.
        """
        rotation = self._gyroscope.between(before_ns, now_ns)
        self.missing = (Missing.ANGULAR_VELOCITY if rotation is None else
                        Missing.EXTRINSICS if self.extrinsics is None else
                        Missing.INTRINSICS if self.intrinsics is None else None)
        if rotation is None or self.extrinsics is None or self.intrinsics is None:
            return None
        seen = self.extrinsics @ rotation @ self.extrinsics.T
        try:
            with np.errstate(all='ignore'):
                step = rotation_homography(self.intrinsics.matrix, seen, self.intrinsics.image
                                           ).astype(np.float32)
        except np.linalg.LinAlgError:
            return None
        return step if np.isfinite(step).all() else None
