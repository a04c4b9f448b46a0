"""Image points and rays of a camera, by the lens models of ``sensor_msgs/msg/CameraInfo``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.scale.observations import Array

EQUIDISTANT = 'equidistant'
COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), EQUIDISTANT: (4,)}
"""How many coefficients a model may have: those of OpenCV's pinhole camera, and of its fisheye
camera (Kannala and Brandt, TPAMI 2006)."""

UNTILTED = 12
"""Coefficients of a sensor that is not tilted against its lens."""

REFINEMENTS = 30
"""Fixed-point steps after OpenCV's own five, which are a pixel short for wide lenses."""

CONVERGED_PX = 1e-4
"""A pixel that is met as well as that takes no more steps."""

RETURN_PX = 0.5
"""A ray must come back to its pixel within this, and a point's pixel give its ray back: beyond
the lens's own field of view the polynomials turn back into the image, or have no inverse."""


@dataclass(frozen=True, eq=False)
class Lens:
    """How a camera sees.

    ``matrix`` (3, 3) is K in pixels of an image of ``size`` (rows, cols), centres of pixels at
    whole numbers; ``distortion`` is as CameraInfo's D, empty for a rectified image.

    Axes are the optical frame's (REP-103): x right, y down, z forward.  A rectified image has P's
    first three columns for K.  ValueError for a model that is not one of COEFFICIENTS, another
    number of coefficients, or a K without focal lengths.
    """

    matrix: Array
    size: Size
    model: str = 'plumb_bob'
    distortion: Sequence[float] = ()

    def __post_init__(self) -> None:
        k = np.asarray(self.matrix, np.float64)
        if k.shape != (3, 3) or not (np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0):
            raise ValueError('the camera has no focal lengths: calibrate it')
        if self._distorted:
            if self.model not in COEFFICIENTS:
                raise ValueError(f'distortion model {self.model!r}: there are '
                                 f'{", ".join(COEFFICIENTS)}; rectify the image')
            if len(self.distortion) not in COEFFICIENTS[self.model]:
                raise ValueError(f'{len(self.distortion)} distortion coefficients: {self.model} '
                                 f'has {" or ".join(map(str, COEFFICIENTS[self.model]))}')

    @property
    def _distorted(self) -> bool:
        """An equidistant lens bends without coefficients too."""
        return bool(np.any(self.distortion)) or (self.model == EQUIDISTANT
                                                 and len(self.distortion) > 0)

    def scaled(self, size: Size) -> 'Lens':
        """Return the lens of the same images resized to ``size``, as ROS scales a CameraInfo."""
        down, across = size[0] / self.size[0], size[1] / self.size[1]
        return replace(self, size=size,
                       matrix=np.diag([across, down, 1.0]) @ np.asarray(self.matrix, np.float64))

    def project(self, points: npt.ArrayLike) -> Array:
        """Return the pixels (n, 2), as (x, y), of points (n, 3) in the optical frame, metres.

        NaN for what is behind the camera, not finite, outside the image or not seen by the lens.
        """
        xyz = np.asarray(points, np.float64).reshape(-1, 3)
        pixels = np.full((len(xyz), 2), np.nan)
        ahead = np.isfinite(xyz).all(axis=1) & (xyz[:, 2] > 0)
        if not ahead.any():
            return pixels
        directions = xyz[ahead] / xyz[ahead, 2:]
        found = self._bent(directions)
        rows, cols = self.size
        x, y = found.T
        inside = (x >= -0.5) & (x < cols - 0.5) & (y >= -0.5) & (y < rows - 0.5)
        found[~inside] = np.nan
        if self._distorted and inside.any():
            back = self._straight(found[inside])
            focal = np.diag(self.matrix)[:2]
            lost = ~(np.abs((back - directions[inside])[:, :2] * focal)
                     <= RETURN_PX * np.linalg.norm(directions[inside], axis=1)[:, None] ** 2
                     ).all(axis=1)
            found[np.flatnonzero(inside)[lost]] = np.nan
        pixels[ahead] = found
        return pixels

    def rays(self, pixels: npt.ArrayLike) -> Array:
        """Return the points (n, 3) at depth 1 that pixels (n, 2), as (x, y), see.

        NaN where the lens has no such ray.
        """
        xy = np.asarray(pixels, np.float64).reshape(-1, 2)
        rays = np.full((len(xy), 3), np.nan)
        known = np.isfinite(xy).all(axis=1)
        if not known.any():
            return rays
        found = self._straight(xy[known])
        if self._distorted:
            with np.errstate(invalid='ignore', over='ignore'):
                away = np.abs(self._bent(found) - xy[known])
            found[~(away <= RETURN_PX).all(axis=1)] = np.nan
        rays[known] = found
        return rays

    def ray_map(self, stride: int = 1) -> npt.NDArray[np.float32]:
        """Return the rays (h, w, 3) of every ``stride``-th row and column, from the first on."""
        rows, cols = self.size
        y, x = np.mgrid[0:rows:stride, 0:cols:stride]
        rays = self.rays(np.stack([x.ravel(), y.ravel()], axis=1))
        return rays.reshape(*x.shape, 3).astype(np.float32)

    def _bent(self, directions: Array) -> Array:
        """Return the pixels of directions (n, 3) with z = 1."""
        matrix = np.asarray(self.matrix, np.float64)
        if not self._distorted:
            return np.asarray(directions @ matrix[:2].T, np.float64)
        nothing, coefficients = np.zeros(3), np.array(self.distortion, np.float64)
        if self.model == EQUIDISTANT:
            found, _ = cv2.fisheye.projectPoints(directions[:, None], nothing, nothing, matrix,
                                                 coefficients)
        elif not coefficients[UNTILTED:].any():
            return _bent_by(coefficients, directions) * np.diag(matrix)[:2] + matrix[:2, 2]
        else:
            found, _ = cv2.projectPoints(directions[:, None], nothing, nothing, matrix,
                                         coefficients)
        return np.asarray(found, np.float64).reshape(-1, 2)

    def _straight(self, pixels: Array) -> Array:
        """Return the directions (n, 3) with z = 1, whatever the iteration ended with."""
        matrix = np.asarray(self.matrix, np.float64)
        coefficients = np.array(self.distortion, np.float64)
        if not self._distorted:
            homogeneous = np.column_stack([pixels, np.ones(len(pixels))])
            return np.asarray(np.linalg.solve(matrix, homogeneous.T).T, np.float64)
        if self.model == EQUIDISTANT:
            flat = cv2.fisheye.undistortPoints(pixels[:, None], matrix, coefficients)
        else:
            flat = cv2.undistortPoints(pixels[:, None], matrix, coefficients)
        found: Array = np.ones((len(pixels), 3))
        found[:, :2] = np.asarray(flat).reshape(-1, 2)
        if self.model != EQUIDISTANT:
            rest = np.arange(len(pixels))
            with np.errstate(invalid='ignore', over='ignore'):
                for _ in range(REFINEMENTS):
                    off = pixels[rest] - self._bent(found[rest])
                    found[rest, :2] += off / np.diag(matrix)[:2]
                    rest = rest[(np.abs(off) > CONVERGED_PX).any(axis=1)]
                    if not rest.size:
                        break
        return found


def _bent_by(coefficients: Array, directions: Array) -> Array:
    """Return (n, 2) of directions (n, 3), z = 1, by OpenCV's pinhole model, untilted.

    Thousands of points take a thirtieth of the time that ``cv2.projectPoints`` does, which makes
    their derivatives too.
    """
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = np.pad(
        coefficients[:UNTILTED], (0, max(UNTILTED - coefficients.size, 0)))
    x, y = directions[:, 0], directions[:, 1]
    square = x * x + y * y
    radial = ((1 + square * (k1 + square * (k2 + square * k3)))
              / (1 + square * (k4 + square * (k5 + square * k6))))
    cross = 2 * x * y
    return np.stack([
        x * radial + p1 * cross + p2 * (square + 2 * x * x) + square * (s1 + square * s2),
        y * radial + p2 * cross + p1 * (square + 2 * y * y) + square * (s3 + square * s4)], axis=1)
