"""Camera motion as one homography a frame, tracked in the image.

Convention: a homography maps this frame's normalised coordinates to the earlier frame's
(:mod:`asyncmde_ros.network.warp`).  One global homography cannot follow parallax; the gates mend
what it misses.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.geometry import Size

Homography = npt.NDArray[np.float32]

SHORT_SIDE = 252
"""Tracking runs on at most this many pixels, whatever the network's size."""

MAX_CORNERS = 300
CORNER_QUALITY = 0.01
CORNER_DISTANCE_PX = 7
FLOW_WINDOW_PX = 15
FLOW_LEVELS = 3
RANSAC_THRESHOLD_PX = 2.0
RANSAC_ITERATIONS = 500
RANSAC_CONFIDENCE = 0.995
MIN_INLIERS = 12
"""A homography has eight degrees of freedom, four points; three times that is still support."""

MIN_INLIER_SHARE = 0.3
MAX_CORNER_SHIFT = 1.0
"""A step that moves a corner of the image by over half the image is taken for a failure."""

THUMBNAIL: Size = (24, 32)
FLAT = 1.0
"""Standard deviation, in grey levels, below which a thumbnail shows nothing."""

SAME_SCENE_SIMILARITY = 0.3
"""Correlation of two frames' thumbnails below which, if tracking failed too, the scene was cut.

Measured over cuts in a street video (at most 0.22) and tracking failures in fast footage without
cuts (0.33 and above, but for one frame of a motocross jump)."""

_IMAGE_CORNERS = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], np.float64).T


class Motion(NamedTuple):
    """What happened between two frames: the step back, and whether the scene was cut."""

    step: Homography
    cut: bool


def identity() -> Homography:
    """Return the homography of a camera that did not move."""
    return np.eye(3, dtype=np.float32)


class MotionEstimator:
    """Tracks corners from frame to frame and keeps the steps, so that products can be formed.

    ``failures`` counts frames whose step was not to be trusted and became the identity.
    """

    def __init__(self, history: int = 256) -> None:
        """``history``: how many frames back a keyframe may lie before its motion is unknown."""
        self.failures = 0
        self._history = history
        self._steps: dict[int, npt.NDArray[np.float64]] = {}
        self._previous: npt.NDArray[np.uint8] | None = None
        self._since: tuple[int, int, npt.NDArray[np.float64]] | None = None

    def reset(self) -> None:
        """Forget every frame."""
        self._steps.clear()
        self._previous = None
        self._since = None

    def update(self, frame_id: int, rgb: npt.NDArray[np.uint8], enabled: bool) -> Motion:
        """Take the next frame, (H, W, 3) uint8; return its step to the frame before.

        ``frame_id`` rises by one a frame.  With ``enabled`` false nothing is tracked, the step is
        the identity and a cut goes unnoticed.
        """
        step, cut = np.eye(3), False
        if enabled:
            grey = _grey(rgb)
            if self._previous is not None and self._previous.shape == grey.shape:
                found = track(self._previous, grey)
                if found is None:
                    self.failures += 1
                    cut = similarity(self._previous, grey) < SAME_SCENE_SIMILARITY
                else:
                    step = found
            self._previous = grey
        else:
            self._previous = None
        self._steps[frame_id] = step
        self._steps.pop(frame_id - self._history, None)
        return Motion(step.astype(np.float32), cut)

    def since(self, keyframe_id: int, frame_id: int) -> Homography | None:
        """Return the homography from ``frame_id`` to ``keyframe_id``, the product of the steps.

        None where a step between them is no longer kept.
        """
        start, product = keyframe_id, np.eye(3)
        if self._since is not None:
            origin, reached, known = self._since
            if origin == keyframe_id and reached <= frame_id:
                start, product = reached, known
        for index in range(start + 1, frame_id + 1):
            step = self._steps.get(index)
            if step is None:
                return None
            product = product @ step
        # By a positive norm: past a quarter turn the last element is negative, and dividing by it
        # would put everything behind the camera in front of it.
        self._since = keyframe_id, frame_id, product / np.linalg.norm(product)
        return self._since[2].astype(np.float32)


def _grey(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = SHORT_SIDE / min(grey.shape)
    if scale >= 1:
        return grey
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def similarity(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Return the correlation of two grey images' thumbnails, in [-1, 1].

    Two images that show nothing are alike; one that does and one that does not, are not.
    """
    p, q = (cv2.resize(image, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
            for image in (a, b))
    if p.std() < FLAT or q.std() < FLAT:
        return float(p.std() < FLAT and q.std() < FLAT)
    return float(np.corrcoef(p.ravel(), q.ravel())[0, 1])


def track(previous: npt.NDArray[np.uint8],
          current: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64] | None:
    """Return the homography of ``current`` to ``previous`` (grey images of one shape), or None.

    Corners (Shi and Tomasi) of the earlier image are followed with pyramidal Lucas-Kanade, then a
    homography is fitted with RANSAC.
    """
    corners = cv2.goodFeaturesToTrack(previous, MAX_CORNERS, CORNER_QUALITY, CORNER_DISTANCE_PX)
    if corners is None or len(corners) < MIN_INLIERS:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        previous, current, corners, None, winSize=(FLOW_WINDOW_PX, FLOW_WINDOW_PX),
        maxLevel=FLOW_LEVELS)
    kept = found.ravel() == 1
    if kept.sum() < MIN_INLIERS:
        return None
    matrix, inliers = cv2.findHomography(
        moved[kept], corners[kept], cv2.RANSAC, RANSAC_THRESHOLD_PX, maxIters=RANSAC_ITERATIONS,
        confidence=RANSAC_CONFIDENCE)
    if matrix is None or inliers.sum() < max(MIN_INLIERS, MIN_INLIER_SHARE * kept.sum()):
        return None
    normalised = from_pixels(matrix, current.shape)
    return normalised if is_plausible(normalised) else None


def from_pixels(matrix: npt.NDArray[np.float64], size: Size) -> npt.NDArray[np.float64]:
    """Return a homography of pixels, between images of ``size``, in normalised coordinates."""
    rows, cols = size
    to_normalised = np.array([[2 / cols, 0, 1 / cols - 1], [0, 2 / rows, 1 / rows - 1],
                              [0, 0, 1]])
    product = to_normalised @ matrix @ np.linalg.inv(to_normalised)
    return product / product[2, 2]


def is_plausible(homography: npt.NDArray[np.float64]) -> bool:
    """Tell whether a step could be a camera's: finite, no fold, no corner thrown far away."""
    if not np.isfinite(homography).all() or np.linalg.det(homography[:2, :2]) <= 0:
        return False
    moved = homography @ _IMAGE_CORNERS
    if (moved[2] <= 0).any():
        return False
    shift = np.abs(moved[:2] / moved[2] - _IMAGE_CORNERS[:2])
    return bool(shift.max() <= MAX_CORNER_SHIFT)
