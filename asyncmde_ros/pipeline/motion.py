"""Motion between frames, from the images: one homography, and what dense flow adds to it.

Both are found on small images: at twice their resolution warping is no better, and takes two
and a half times as long.

Convention: a homography maps this frame's normalised coordinates to the earlier frame's, and the
flow is added to them (:mod:`asyncmde_ros.network.warp`).  The homography is the camera's motion
and reaches beyond the image; the flow follows parallax and what moves by itself, inside it.
Measured with the foundation model's depth, held for ten frames and warped, over twelve videos:
its distance to the depth of every frame falls by 24 % with the flow, against the homography
alone.  The gates mend what both miss.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import PATCH, Size, pixels_to_normalised
from asyncmde_ros.pipeline.settings import SAME_SCENE_SIMILARITY, MotionCompensation
from asyncmde_ros.scale.steady import Matches

Homography = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]
"""(2, rows, cols): x and y, in normalised coordinates, at the memory's finest level."""

HISTORY = 320
"""Frames: ten seconds at 30 Hz, after which a refresh counts as stalled."""

MAX_CHAINS = 4
"""Products of steps that are kept to go on from: those since a keyframe and since a glance, and,
while one follows another, their predecessors'."""

SHORT_SIDE = 126
"""Of the images that flow is found on, in pixels, whatever the network's size."""

MAX_CORNERS = 150
CORNER_QUALITY = 0.01
CORNER_DISTANCE_PX = 5
TRACK_WINDOW_PX = 11
TRACK_LEVELS = 3

FLOW_FINEST_SCALE = 1
"""The flow's finest level is half of the small image."""

FLOW_STEPS = 25
"""Of gradient descent for each patch, twice the preset's: things that move by themselves get
sharper borders for a sixth of a millisecond."""

RANSAC_THRESHOLD_PX = 1.0
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

MATCHED = 6
"""The flow is smooth: so many of its pixels say the same."""

FLOW_BORDER_PX = 6
"""Within so many pixels of the earlier image's border the flow fades into the homography, which
knows what lies beyond."""

SMALLEST_DENOMINATOR = 1e-6

LONGEST_ROW = 8192
"""Of points that are sampled at once; OpenCV takes up to 32,767."""

_IMAGE_CORNERS = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], np.float64).T


class Warp(NamedTuple):
    """Where this frame's pixels come from in an earlier one: homography plus flow."""

    homography: Homography
    flow: Flow


class Motion(NamedTuple):
    """What happened between two frames: the step back, and whether the scene was cut."""

    step: Warp
    cut: bool


def still(size: Size) -> Warp:
    """Return the warp of a camera that did not move, for images of ``size``."""
    return Warp(np.eye(3, dtype=np.float32), np.zeros((2, *flow_size(size)), np.float32))


def flow_size(image: Size) -> Size:
    """Return the flow's size for an image's: that of M1 where the sides are multiples of 14."""
    rows, cols = (max(1, round(4 * side / PATCH)) for side in image)
    return rows, cols


def compose(earlier: Warp, step: Warp) -> Warp:
    """Return ``earlier`` after ``step``: from this frame to the one that ``earlier`` leads to."""
    product = earlier.homography.astype(np.float64) @ step.homography
    # By a positive norm: past a quarter turn the last element is negative, and dividing by it
    # would put everything behind the camera in front of it.
    product /= np.linalg.norm(product)
    if not (earlier.flow.any() or step.flow.any()):
        return Warp(product.astype(np.float32), np.zeros_like(step.flow))
    size = step.flow.shape[1:]
    x, y = centres(size)
    middle = _apply(step.homography, x, y)
    middle_x, middle_y = middle.x + step.flow[0], middle.y + step.flow[1]
    far, direct = _apply(earlier.homography, middle_x, middle_y), _apply(product, x, y)
    rows, cols = earlier.flow.shape[1:]
    at = ((((middle_x + 1) * cols - 1) / 2).astype(np.float32),
          (((middle_y + 1) * rows - 1) / 2).astype(np.float32))
    carried = [cv2.remap(part, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
               for part in earlier.flow]
    # What the homographies already say is left out; behind the camera nothing is known.
    seen = middle.in_front & far.in_front & direct.in_front
    flow = np.stack([far.x + carried[0] - direct.x, far.y + carried[1] - direct.y])
    return Warp(product.astype(np.float32), np.where(seen, flow, 0).astype(np.float32))


class NormalisedPoints(NamedTuple):
    """Normalised coordinates of pixels, and which of them lie before the camera."""

    x: npt.NDArray[np.floating]
    y: npt.NDArray[np.floating]
    in_front: npt.NDArray[np.bool_]


def centres(size: Size) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the normalised x (1, cols) and y (rows, 1) of the pixels of an image of ``size``."""
    rows, cols = size
    x, y = (np.asarray((2 * np.arange(length, dtype=np.float32) + 1) / length - 1, np.float32)
            for length in (cols, rows))
    return x[None, :], y[:, None]


def _apply(homography: npt.NDArray[np.floating], x: npt.NDArray[np.floating],
           y: npt.NDArray[np.floating]) -> NormalisedPoints:
    h = homography.astype(np.float32)
    # A row and a column are summed to a map once; a number more would be a map more.
    w = h[2, 0] * x + (h[2, 1] * y + h[2, 2])
    in_front = w > SMALLEST_DENOMINATOR
    scale = 1 / np.where(in_front, w, 1)
    return NormalisedPoints((h[0, 0] * x + (h[0, 1] * y + h[0, 2])) * scale,
                            (h[1, 0] * x + (h[1, 1] * y + h[1, 2])) * scale, in_front)


def source_of(warp: Warp, size: Size) -> NormalisedPoints:
    """Return where each pixel of an image of ``size`` comes from, in normalised coordinates."""
    source = _apply(warp.homography, *centres(size))
    if not warp.flow.any():
        return source
    flow = (cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR) for part in warp.flow)
    x, y = (at + moved for at, moved in zip((source.x, source.y), flow, strict=True))
    return NormalisedPoints(x, y, source.in_front)


def source_at(warp: Warp, size: Size, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]
              ) -> NormalisedPoints:
    """Return what :func:`source_of` does, of the pixels alone that are asked for."""
    x, y = (np.asarray((2 * at + 1) / length - 1, np.float32)
            for at, length in ((cols, size[1]), (rows, size[0])))
    source = _apply(warp.homography, x, y)
    if not warp.flow.any():
        return source
    here = NormalisedPoints(x, y, source.in_front)
    across, down = (sample_at(part, here) for part in warp.flow)
    return NormalisedPoints(source.x + across, source.y + down, source.in_front)


def resample(values: npt.NDArray[np.float32], warp: Warp) -> npt.NDArray[np.float32]:
    """Return a map (rows, cols) of the earlier frame as this one sees it, borders repeated."""
    return sample(values, source_of(warp, values.shape))


def sample(values: npt.NDArray[np.float32], source: NormalisedPoints) -> npt.NDArray[np.float32]:
    """Return a map (rows, cols) at the points that its pixels come from, borders repeated."""
    rows, cols = values.shape
    return np.asarray(cv2.remap(
        values, (source.x + 1) * (cols / 2) - 0.5, (source.y + 1) * (rows / 2) - 0.5,
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def sample_at(values: npt.NDArray[np.float32], source: NormalisedPoints
              ) -> npt.NDArray[np.float32]:
    """Return what :func:`sample` does, for points in an array of any shape."""
    count = source.x.size
    if not count:
        return np.empty(source.x.shape, np.float32)
    cols = min(count, LONGEST_ROW)
    x, y = (np.resize(part, (-(-count // cols), cols)) for part in (source.x, source.y))
    found = sample(values, NormalisedPoints(x, y, source.in_front))
    return found.ravel()[:count].reshape(source.x.shape)


def matches(step: Warp) -> Matches:
    """Return every MATCHED-th pixel of the flow, in the earlier frame and in this one."""
    some = slice(MATCHED // 2, None, MATCHED)
    x, y = centres(step.flow.shape[1:])
    x, y = x[:, some], y[some]
    source = _apply(step.homography, x, y)
    before = np.stack([source.x, source.y], axis=-1) + step.flow[:, some, some].transpose(1, 2, 0)
    now = np.stack(np.broadcast_arrays(x, y), axis=-1)
    return Matches(before[source.in_front], now[source.in_front])


class Steps:
    """The steps of the last frames, each to the frame before, and their products."""

    def __init__(self, history: int) -> None:
        """``history``: how many frames back a keyframe may lie before its motion is unknown."""
        self._history = history
        self._steps: dict[int, Warp] = {}
        self._chains: dict[int, tuple[int, Warp]] = {}

    def clear(self) -> None:
        """Forget every frame."""
        self._steps.clear()
        self._chains.clear()

    def keep(self, frame_id: int, step: Warp) -> None:
        """Take the step of the next frame; ``frame_id`` rises by one a frame."""
        self._steps[frame_id] = step
        self._steps.pop(frame_id - self._history, None)

    def since(self, keyframe_id: int, frame_id: int) -> Warp | None:
        """Return the warp from ``frame_id`` to ``keyframe_id``, composed of the steps.

        None where a step between them is no longer kept.
        """
        known: Warp | None = None
        start = keyframe_id
        kept = self._chains.get(keyframe_id)
        if kept is not None and keyframe_id <= kept[0] <= frame_id:
            start, known = kept
        for index in range(start + 1, frame_id + 1):
            step = self._steps.get(index)
            if step is None:
                return None
            if known is None or known.flow.shape != step.flow.shape:
                known = Warp(np.eye(3, dtype=np.float32), np.zeros_like(step.flow))
            known = compose(known, step)
        if known is None:
            latest = self._steps.get(frame_id)
            if latest is None:
                return None
            known = Warp(np.eye(3, dtype=np.float32), np.zeros_like(latest.flow))
        if keyframe_id not in self._chains and len(self._chains) >= MAX_CHAINS:
            del self._chains[min(self._chains)]
        self._chains[keyframe_id] = frame_id, known
        return known


class MotionEstimator:
    """Tracks corners from frame to frame and keeps the steps, so that products can be formed.

    ``failures`` counts frames whose step was not to be trusted and became the identity; ``grey``
    is the newest frame's :func:`small_grey`.
    """

    grey: Grey

    def __init__(self, history: int = HISTORY) -> None:
        """``history``: how many frames back a keyframe may lie before its motion is unknown."""
        self.failures = 0
        self._steps = Steps(history)
        self._previous: Grey | None = None
        self._size: Size | None = None

    def reset(self) -> None:
        """Forget every frame."""
        self._steps.clear()
        self._previous = None

    def update(self, frame_id: int, rgb: npt.NDArray[np.uint8],
               compensation: MotionCompensation, measured: Homography | None = None,
               cut_similarity: float = SAME_SCENE_SIMILARITY, size: Size | None = None) -> Motion:
        """Take the next frame, (H, W, 3) uint8; return its step to the frame before.

        ``frame_id`` rises by one a frame.  The step's flow is for an image of ``size``, the
        frame's own unless given.  ``measured``: the step's homography as another sensor
        has it, which compensation by IMU takes; without one that tracks the image.  With
        compensation off nothing is tracked, the step is the identity and a cut goes unnoticed.

        A cut is a frame that nothing could be followed into and whose picture correlates less
        than ``cut_similarity`` with the one before; with a measured step, with the one before as
        it would look from here.
        """
        size = size or rgb.shape[:2]
        step, cut = still(size), False
        grey = self.grey = small_grey(rgb)
        if compensation is MotionCompensation.OFF:
            self._previous = None
            return self._keep(frame_id, Motion(step, cut))
        if self._previous is not None and self._size == size:
            by_sensor = compensation is MotionCompensation.IMU and measured is not None
            found: npt.NDArray[np.floating] | None = measured
            if not by_sensor:
                found = camera_motion(self._previous, grey)
                self.failures += found is None
            if found is not None:
                step = step._replace(homography=found.astype(np.float32))
            if found is None or by_sensor:
                before = self._previous if found is None else _seen_from_here(self._previous, step)
                cut = similarity(before, grey) < cut_similarity
            if compensation is MotionCompensation.IMAGE and not cut:
                step = step._replace(flow=residual_flow(self._previous, grey, step))
        self._previous, self._size = grey, size
        return self._keep(frame_id, Motion(step, cut))

    def _keep(self, frame_id: int, motion: Motion) -> Motion:
        self._steps.keep(frame_id, motion.step)
        return motion

    def since(self, keyframe_id: int, frame_id: int) -> Warp | None:
        """Return :meth:`Steps.since` of the frames taken."""
        return self._steps.since(keyframe_id, frame_id)


def _seen_from_here(previous: Grey, step: Warp) -> Grey:
    """Return the frame before as the step says that it looks from where this one was taken."""
    return resample(previous.astype(np.float32), step).astype(np.uint8)


def small_grey(rgb: npt.NDArray[np.uint8]) -> Grey:
    """Return the grey image, of :data:`SHORT_SIDE`, that motion is found on."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = SHORT_SIDE / min(grey.shape)
    # Small images grow: DIS works on patches at several scales, and in an image under 32 pixels
    # OpenCV 5.0 reads beyond its buffers.
    return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
                      np.uint8)


def residual_flow(previous: Grey, grey: Grey, step: Warp) -> Flow:
    """Return what dense optical flow adds to a step's homography; ``step``'s own is not read.

    DIS flow (Kroeger et al., ECCV 2016) that begins at the homography.
    """
    rows, cols = grey.shape
    source = _apply(step.homography, *centres((rows, cols)))
    by_camera = np.dstack([((source.x + 1) * cols - 1) / 2 - np.arange(cols, dtype=np.float32),
                           ((source.y + 1) * rows - 1) / 2
                           - np.arange(rows, dtype=np.float32)[:, None]])
    # A new one each time: an image of another shape would leave its scales to later ones.
    dense = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    dense.setFinestScale(FLOW_FINEST_SCALE)
    dense.setGradientDescentIterations(FLOW_STEPS)
    residue = dense.calc(grey, previous, by_camera.copy()) - by_camera
    size = step.flow.shape[1:]
    source = _apply(step.homography, *centres(size))
    inside = np.minimum((1 - np.abs(source.x)) * (cols / 2), (1 - np.abs(source.y)) * (rows / 2))
    share = np.clip(inside / FLOW_BORDER_PX, 0, 1)
    smaller = cv2.resize(residue, size[::-1], interpolation=cv2.INTER_AREA)
    return np.stack([smaller[..., 0] * (2 / cols) * share, smaller[..., 1] * (2 / rows) * share])


def similarity(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Return the correlation of two grey images' thumbnails, in [-1, 1].

    Two images that show nothing are alike; one that does and one that does not, are not.
    """
    p, q = (cv2.resize(image, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
            for image in (a, b))
    if p.std() < FLAT or q.std() < FLAT:
        return float(p.std() < FLAT and q.std() < FLAT)
    return float(np.corrcoef(p.ravel(), q.ravel())[0, 1])


def camera_motion(previous: Grey, grey: Grey) -> npt.NDArray[np.float64] | None:
    """Return the homography of ``grey`` to ``previous``, or None where there is none to be found.

    Corners (Shi and Tomasi) are followed with pyramidal Lucas-Kanade, then a homography is fitted
    with RANSAC.
    """
    corners = cv2.goodFeaturesToTrack(grey, MAX_CORNERS, CORNER_QUALITY, CORNER_DISTANCE_PX)
    if corners is None or len(corners) < MIN_INLIERS:
        return None
    # The stub does not know that the points to begin with may be None.
    moved, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
        grey, previous, corners, None, winSize=(TRACK_WINDOW_PX, TRACK_WINDOW_PX),
        maxLevel=TRACK_LEVELS)
    kept = found.ravel() == 1
    if kept.sum() < MIN_INLIERS:
        return None
    matrix, inliers = cv2.findHomography(
        corners[kept], moved[kept], cv2.RANSAC, RANSAC_THRESHOLD_PX, maxIters=RANSAC_ITERATIONS,
        confidence=RANSAC_CONFIDENCE)
    if matrix is None or inliers.sum() < max(MIN_INLIERS, MIN_INLIER_SHARE * kept.sum()):
        return None
    normalised = from_pixels(matrix, grey.shape)
    return normalised if is_plausible(normalised) else None


def from_pixels(matrix: npt.NDArray[np.float64], size: Size) -> npt.NDArray[np.float64]:
    """Return a homography of pixels, between images of ``size``, in normalised coordinates."""
    to_normalised = pixels_to_normalised(size)
    product = to_normalised @ matrix @ np.linalg.inv(to_normalised)
    return np.asarray(product / product[2, 2], np.float64)


def is_plausible(homography: npt.NDArray[np.float64]) -> bool:
    """Tell whether a step could be a camera's: finite, no fold, no corner thrown far away."""
    if not np.isfinite(homography).all() or np.linalg.det(homography[:2, :2]) <= 0:
        return False
    moved = homography @ _IMAGE_CORNERS
    if (moved[2] <= 0).any():
        return False
    shift = np.abs(moved[:2] / moved[2] - _IMAGE_CORNERS[:2])
    return bool(shift.max() <= MAX_CORNER_SHIFT)
