"""Photos become clips: a virtual camera moves in front of one, with or without its depth.

Camera axes: x right, y down, z forward.  A pose (rotation, translation) takes points of the moved
camera to the photo's camera.  Lengths are in units of the nearest distance in the photo.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size

Picture = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]

SHARE_IN_DEPTH = 0.7
SHARE_WITH_OBJECT = 0.3
MARGIN = (0.12, 0.4)
"""How much larger than the frame the part of the photo is in which the camera moves."""

FIELD_OF_VIEW_DEG = (35.0, 90.0)
FARTHEST = (4.0, 15.0)
PERIOD_FRAMES = (14.0, 400.0)
"""Frames in which the slowest component of a path swings once: from fast to barely moving."""

SHAKE_FRAMES = (4.0, 10.0)
SHAKE_RAD = 0.006
MAX_PARALLAX = 0.25
"""Most by which near and far may shift against each other, as a share of the frame's width."""

MAX_ADVANCE = 0.4
"""Most by which the camera nears or leaves the photo, in units of the nearest distance."""

MAX_UNSEEN = 0.03
"""Share of the frame that may lie beyond the photo's borders."""

EDGE_STEP = 0.06
"""Two neighbours whose 1/distance differs by more than this are two surfaces, not one."""

HIDDEN_SHARE = 0.12
"""How far behind a near surface background is made up, as a share of the frame's width."""

SMALLEST_DEPTH = 1e-3


def photo_clip(rgb: Picture, inverse_depth: Field, frames: int, size: Size,
               rng: np.random.Generator, foreground: Picture | None = None) -> list[Picture]:
    """Return ``frames`` views of a photo, (*size, 3) uint8 RGB, from a camera on a smooth path.

    ``rgb`` is (H, W, 3) uint8, ``inverse_depth`` (H, W), larger is nearer, of any scale and
    offset.  ``rng`` draws whether the photo has depth or is flat, the path and its speed, and
    whether a cut-out of ``foreground`` (of the photo itself where None) moves in front.
    """
    margin = 1 + rng.uniform(*MARGIN)
    room = _even_margin(size, margin)
    window = _window(rgb.shape[:2], room, rng)
    source = _resample(rgb, window, room)
    if rng.random() < SHARE_IN_DEPTH:
        inverse = cv2.resize(inverse_depth, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        clip = _walk(source, _resample(inverse, window, room), frames, size, rng)
    else:
        clip = _slide(source, frames, size, rng)
    if rng.random() < SHARE_WITH_OBJECT:
        _pass_by(clip, rgb if foreground is None else foreground, rng)
    return clip


def wander(frames: int, dimensions: int, period: float, rng: np.random.Generator) -> Matrix:
    """Return a smooth random path (frames, dimensions), each coordinate within [-1, 1].

    A sum of sines, the slowest of which takes ``period`` frames.
    """
    time = np.arange(frames)[:, None] / period
    path = np.zeros((frames, dimensions))
    for harmonic, weight in ((1.0, 0.6), (1.7, 0.3), (2.9, 0.1)):
        phase, share = rng.uniform(0, 2 * np.pi, dimensions), rng.uniform(0, 1, dimensions)
        path += weight * share * np.sin(2 * np.pi * harmonic * time + phase)
    return path


def draw_log(low: float, high: float, rng: np.random.Generator) -> float:
    """Return a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def rotation(angles: npt.ArrayLike) -> Matrix:
    """Return the matrix of a rotation vector (3,), radians."""
    return np.asarray(cv2.Rodrigues(np.asarray(angles, np.float64))[0], np.float64)


def inverse_distance(inverse_depth: Field, farthest: float) -> Field:
    """Map affine-invariant inverse depth to 1/distance, from 1 to ``farthest``.

    Surfaces' blurred outlines become steps: half-way points would be drawn out into rubber.
    """
    low, high = np.percentile(inverse_depth, (2, 98))
    share = np.clip((inverse_depth - low) / max(high - low, 1e-6), 0, 1)
    value = (1 / farthest + share * (1 - 1 / farthest)).astype(np.float32)
    for side in (3, 5, 5):
        kernel = np.ones((side, side), np.uint8)
        least, most = cv2.erode(value, kernel), cv2.dilate(value, kernel)
        snapped = np.where(2 * value > least + most, most, least)
        value = np.where(most - least > EDGE_STEP, snapped, value)
    # The photo's own outlines are some pixels wide: let them go with the nearer surface.
    return np.asarray(cv2.dilate(value, np.ones((5, 5), np.uint8)), np.float32)


class PhotoWithDepth:
    """A photo with a distance at every pixel, seen by a camera that moves."""

    def __init__(self, rgb: Picture, inverse: Field, size: Size, focal: float) -> None:
        """``rgb`` (H, W, 3) and ``inverse`` (H, W), 1/distance; unmoved, frames are its middle.

        ``focal`` in pixels, of photo and frame alike; ``size`` is (rows, cols) of a frame.
        """
        self._rgb, self._size = rgb, size
        self._behind = _without_near(rgb, inverse, max(3, round(HIDDEN_SHARE * size[1])))
        self._to_photo, self._to_frame = _pinhole(focal, inverse.shape), _pinhole(focal, size)
        points = np.concatenate([_rays(self._to_photo, inverse.shape), inverse.reshape(1, -1)])
        # From far to near: of several values written to one pixel, the last one stays.
        self._points = np.ascontiguousarray(points[:, np.argsort(inverse, axis=None)])
        self._frame_rays = _rays(self._to_frame, size)

    def view(self, turn: Matrix, shift: Matrix) -> Picture:
        """Return the frame (*size, 3) uint8 of the camera at a pose (3, 3), (3,)."""
        inverse, uncovered = self._seen(turn, shift)
        lookup = (self._to_photo @ np.column_stack([turn, shift])).astype(np.float32)
        across, down, depth = (lookup[:, :3] @ self._frame_rays
                               + lookup[:, 3:] * inverse.reshape(1, -1))
        depth = np.maximum(depth, SMALLEST_DEPTH)
        x, y = (across / depth).reshape(self._size), (down / depth).reshape(self._size)
        frame = cv2.remap(self._rgb, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        behind = cv2.remap(self._behind, x, y, cv2.INTER_LINEAR,
                           borderMode=cv2.BORDER_REFLECT_101)
        cv2.copyTo(behind, uncovered, frame)
        return np.asarray(frame, np.uint8)

    def unseen(self, turn: Matrix, shift: Matrix) -> float:
        """Return the share of the frame's outline that shows what the photo does not."""
        rows, cols = self._size
        outline = [(x, y) for x in np.linspace(0, cols - 1, 9) for y in np.linspace(0, rows - 1, 9)
                   if x in (0, cols - 1) or y in (0, rows - 1)]
        rays = np.linalg.inv(self._to_frame) @ np.array([(x, y, 1) for x, y in outline]).T
        middle = float(np.median(self._points[3]))
        across, down, depth = self._to_photo @ (turn @ rays + shift[:, None] * middle)
        height, width = self._rgb.shape[:2]
        inside = ((depth > 0) & (across >= -0.5 * depth) & (across <= (width - 0.5) * depth)
                  & (down >= -0.5 * depth) & (down <= (height - 0.5) * depth))
        return 1 - float(inside.mean())

    def _seen(self, turn: Matrix, shift: Matrix) -> tuple[Field, Picture]:
        # The frame's own 1/distance, and a mask of what no point of the photo covers.
        rows, cols = self._size
        project = (self._to_frame @ np.column_stack([turn.T, -turn.T @ shift])).astype(np.float32)
        across, down, depth = project @ self._points
        depth = np.maximum(depth, SMALLEST_DEPTH)
        x = np.clip(np.rint(across / depth), -1, cols).astype(np.int32) + 1
        y = np.clip(np.rint(down / depth), -1, rows).astype(np.int32) + 1
        framed = np.zeros((rows + 2, cols + 2), np.float32)
        framed.ravel()[y * (cols + 2) + x] = self._points[3] / depth
        # Closing mends the cracks of surfaces that come nearer; the median, lone points.
        mended = cv2.morphologyEx(np.ascontiguousarray(framed[1:-1, 1:-1]), cv2.MORPH_CLOSE,
                                  np.ones((3, 3), np.uint8))
        inverse = np.asarray(cv2.medianBlur(mended, 3), np.float32)
        uncovered = (inverse <= 0).astype(np.uint8)
        return _fill_from_far(inverse, uncovered), uncovered


def cut_out(rgb: Picture, side: int, rng: np.random.Generator) -> tuple[Picture, Field]:
    """Return a random patch (side, side, 3) of a photo and a blob's soft mask in [0, 1]."""
    height, width = rgb.shape[:2]
    span = max(2, int(min(height, width) * rng.uniform(0.25, 0.9)))
    top, left = rng.integers(height - span + 1), rng.integers(width - span + 1)
    patch = cv2.resize(rgb[top:top + span, left:left + span], (side, side),
                       interpolation=cv2.INTER_AREA)
    y, x = (np.mgrid[:side, :side] + 0.5) * 2 / side - 1
    angle, outline = np.arctan2(y, x), np.full((side, side), 0.72)
    for lobes in range(2, 6):
        outline += rng.uniform(0, 0.22 / lobes) * np.cos(lobes * angle + rng.uniform(0, 6.3))
    softness = rng.uniform(1.5, 4) / side
    mask = np.clip((outline - np.hypot(x, y * rng.uniform(1, 1.8))) / softness, 0, 1)
    return np.asarray(patch, np.uint8), mask.astype(np.float32)


def _walk(rgb: Picture, inverse_depth: Field, frames: int, size: Size,
          rng: np.random.Generator) -> list[Picture]:
    view = np.deg2rad(rng.uniform(*FIELD_OF_VIEW_DEG))
    focal = size[1] / (2 * np.tan(view / 2))
    farthest = rng.uniform(*FARTHEST)
    inverse = inverse_distance(inverse_depth, farthest)
    photo = PhotoWithDepth(rgb, inverse, size, focal)
    period = draw_log(*PERIOD_FRAMES, rng)
    reach = MAX_PARALLAX * rng.random() * size[1] / focal / (1 - 1 / farthest)
    extent = np.array([reach, 0.6 * reach, MAX_ADVANCE * rng.random()])
    shifts = extent * wander(frames, 3, period, rng)
    # Turning back towards what is looked at keeps it in the frame, as a person filming does.
    back = rng.random() * float(np.median(inverse))
    turns = np.column_stack([shifts[:, 1] * back, -shifts[:, 0] * back, np.zeros(frames)])
    free = rng.random() * np.array([0.12, 0.15, 0.08])
    turns += free * wander(frames, 3, draw_log(*PERIOD_FRAMES, rng), rng)
    turns += SHAKE_RAD * rng.random() ** 2 * wander(frames, 3, draw_log(*SHAKE_FRAMES, rng), rng)

    def poses(share: float) -> list[tuple[Matrix, Matrix]]:
        return [(rotation(share * turn), share * shift)
                for turn, shift in zip(turns, shifts, strict=True)]

    share = _largest(lambda share: max(photo.unseen(*pose) for pose in poses(share)))
    return [photo.view(*pose) for pose in poses(share)]


def _slide(rgb: Picture, frames: int, size: Size, rng: np.random.Generator) -> list[Picture]:
    focal = float(max(size))
    photo, frame = _pinhole(focal, rgb.shape[:2]), _pinhole(focal, size)
    paths = [wander(frames, 3, draw_log(*PERIOD_FRAMES, rng), rng) for _ in range(2)]
    turns = rng.random(3) * np.array([0.25, 0.25, 0.4]) * paths[0]
    shifts = rng.random(3) * np.array([0.2, 0.2, 0.35]) * paths[1]
    turns += SHAKE_RAD * rng.random() ** 2 * wander(frames, 3, draw_log(*SHAKE_FRAMES, rng), rng)
    rows, cols = size
    corners = np.array([[0, cols - 1, cols - 1, 0], [0, 0, rows - 1, rows - 1], [1, 1, 1, 1]])
    most = np.array([[rgb.shape[1] - 1], [rgb.shape[0] - 1]])

    def lookups(share: float) -> list[Matrix]:
        # The photo is a plane at distance one: X, seen at turn X + shift, has z = 1 there.
        return [photo @ (rotation(share * turn) + np.outer(share * shift, (0, 0, 1)))
                @ np.linalg.inv(frame) for turn, shift in zip(turns, shifts, strict=True)]

    def unseen(share: float) -> float:
        beyond = 0.0
        for lookup in lookups(share):
            moved = lookup @ corners
            at = moved[:2] / moved[2]
            beyond = max(beyond, float(np.max(np.maximum(-at, at - most) / most)))
        return beyond

    share = _largest(unseen)
    turned = (cv2.warpPerspective(rgb, lookup, (cols, rows),
                                  flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                                  borderMode=cv2.BORDER_REFLECT_101) for lookup in lookups(share))
    return [np.asarray(view, np.uint8) for view in turned]


def _pass_by(clip: list[Picture], rgb: Picture, rng: np.random.Generator) -> None:
    rows, cols = clip[0].shape[:2]
    side = max(8, round(min(rows, cols) * rng.uniform(0.15, 0.7)))
    patch, mask = cut_out(rgb, side, rng)
    patch = np.clip(patch * rng.uniform(0.6, 1.2), 0, 255).astype(np.uint8)
    middle = rng.uniform(0.15, 0.85, 2) * (cols, rows)
    paths = wander(len(clip), 4, draw_log(*PERIOD_FRAMES, rng), rng)
    places = middle + paths[:, :2] * rng.uniform(0, 0.7, 2) * (cols, rows)
    scales = np.exp(0.4 * rng.random() * paths[:, 2])
    angles = np.rad2deg(rng.random() * paths[:, 3])
    for frame, place, scale, angle in zip(clip, places, scales, angles, strict=True):
        move = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), angle, scale)
        move[:, 2] += place - (side / 2 - 0.5)
        near = cv2.warpAffine(patch, move, (cols, rows), borderMode=cv2.BORDER_REPLICATE)
        weight = cv2.warpAffine(mask, move, (cols, rows))
        cv2.blendLinear(near, frame, weight, 1 - weight, dst=frame)


def _largest(unseen: Callable[[float], float]) -> float:
    # Which share of a path keeps the frame on the photo.
    share = 1.0
    while share > 1e-3 and unseen(share) > MAX_UNSEEN:
        share *= 0.8
    return share


def _even_margin(size: Size, margin: float) -> Size:
    # An even difference: unmoved, the frame's pixels are the photo's, not between them.
    rows, cols = (side + 2 * max(1, round(side * (margin - 1) / 2)) for side in size)
    return rows, cols


def _window(photo: tuple[int, ...], room: Size,
            rng: np.random.Generator) -> tuple[slice, slice]:
    # The largest part of the photo with the room's aspect ratio, or a little less.
    scale = min(photo[0] / room[0], photo[1] / room[1]) * rng.uniform(0.8, 1)
    rows, cols = (max(2, int(side * scale)) for side in room)
    top, left = rng.integers(photo[0] - rows + 1), rng.integers(photo[1] - cols + 1)
    return slice(top, top + rows), slice(left, left + cols)


def _resample(image: npt.NDArray[Any], window: tuple[slice, slice],
              room: Size) -> npt.NDArray[Any]:
    part = image[window]
    shrinks = part.shape[0] > room[0]
    return cv2.resize(part, room[::-1],
                      interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _pinhole(focal: float, size: tuple[int, ...]) -> Matrix:
    return np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])


def _rays(pinhole: Matrix, size: tuple[int, ...]) -> Field:
    # (3, pixels): the rays through the pixels' centres, z = 1.
    x = (np.arange(size[1]) - pinhole[0, 2]) / pinhole[0, 0]
    y = (np.arange(size[0]) - pinhole[1, 2]) / pinhole[1, 1]
    across, down = np.meshgrid(x, y)
    return np.stack([across.ravel(), down.ravel(), np.ones(across.size)]).astype(np.float32)


def _fill_from_far(inverse: Field, uncovered: Picture) -> Field:
    # An uncovered place belongs to the farther of the surfaces at its rim.  Wider windows for
    # what lies farther from any, mostly beyond the photo's borders.
    unknown = np.finfo(np.float32).max
    rim = cv2.dilate(uncovered, np.ones((3, 3), np.uint8)) - uncovered
    filled, side = np.where(rim, inverse, unknown), inverse.shape[1] // 8 | 1
    while (missing := (filled == unknown) & (uncovered > 0)).any():
        if side > 4 * max(inverse.shape):
            filled[missing] = inverse.max()
            break
        filled = np.where(missing, cv2.erode(filled, np.ones((side, side), np.uint8)), filled)
        side = 2 * side + 1
    return np.where(uncovered, filled, inverse)


def _without_near(rgb: Picture, inverse: Field, reach: int) -> Picture:
    # What may lie behind near surfaces, up to ``reach`` pixels from their outlines: the farther
    # side, mirrored there.
    outside = cv2.dilate(inverse, np.ones((3, 3), np.uint8)) - inverse > EDGE_STEP
    if not outside.any():
        return rgb
    distance, labels = cv2.distanceTransformWithLabels(
        1 - outside.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    height, width = inverse.shape
    rows, cols = np.mgrid[:height, :width]
    of_label = np.zeros((2, int(labels.max()) + 1), np.int64)
    of_label[:, labels[outside]] = rows[outside], cols[outside]
    row, col = of_label[0][labels], of_label[1][labels]
    near = (distance <= reach) & (inverse - inverse[row, col] > EDGE_STEP / 2)
    mirrored_row = np.clip(2 * row - rows, 0, height - 1)
    mirrored_col = np.clip(2 * col - cols, 0, width - 1)
    usable = ~near[mirrored_row, mirrored_col]
    behind = rgb[np.where(usable, mirrored_row, row), np.where(usable, mirrored_col, col)]
    return np.where(near[..., None], cv2.GaussianBlur(behind, (5, 5), 0), rgb)
