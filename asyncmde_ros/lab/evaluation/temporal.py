"""Scores of depth over time: what flickers, and what does not fit the camera's motion.

All take aligned depth maps of one size, (h, w) metres along the optical axis, in the order of
time.  A pixel that is not finite and positive is left out; a sequence without anything to
compare scores None.  ``calibration`` is that of the depth maps
(:meth:`~asyncmde_ros.lab.evaluation.sequence.Calibration.scaled`), ``poses`` are camera-to-world.
Equation numbers are those of GemDepth, appendix A.3.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.images.codec import RGB
from asyncmde_ros.lab.evaluation.alignment import Array, Mask, valid_truth
from asyncmde_ros.lab.evaluation.metrics import mean_of_defined
from asyncmde_ros.lab.evaluation.sequence import PinholeIntrinsics, Pose
from asyncmde_ros.model.geometry import Size

Points = npt.NDArray[np.float64]
"""(n, 3), metres"""

PERCENT = 100.0

QUERY_POINTS = 10_000
"""Points of a cloud whose nearest neighbour is looked for."""

F1_THRESHOLD_M = 0.05
"""Default d of eq. 7-8: a usual choice for rooms (Knapitsch et al., Tanks and Temples, 2017,
scale theirs with the scene)."""

KD_TREE: dict[str, bool | int | float | str] = {'algorithm': 4, 'leaf_max_size': 10}
"""FLANN's KDTREE_SINGLE, the one of its indices that is exact."""

EXACT_SEARCH: dict[str, bool | int | float | str] = {'checks': -1}

CONSISTENT_SHARE = 0.01
CONSISTENT_PX2 = 0.5
"""Forward and backward flow agree if |f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5 px^2 (Sundaram et
al., ECCV 2010, section 4)."""

PHOTOMETRIC_WEIGHT = 50.0
"""alpha in exp(-alpha |I - I'|^2), colours in [0, 1] (Lai et al., ECCV 2018, section 3.2)."""


def tae(depths: Sequence[Array], poses: Sequence[Pose | None], calibration: PinholeIntrinsics
        ) -> float | None:
    """Return the temporal alignment error (eq. 4; Yang et al., Depth Any Video, 2024), x100.

    For each consecutive pair, depth k is moved into camera k + 1 (every pixel back-projected,
    transformed and projected to the nearest pixel; the nearest point wins where several meet)
    and compared there by AbsRel with depth k + 1, over the pixels where both are defined:
    mean |f(x^k) - x^(k+1)| / x^(k+1).  The same backwards.  The result is 100 times the mean
    over both directions of all pairs.

    Normalisation: T frames have T - 1 pairs, so this divides by 2 (T - 1), as Video Depth
    Anything's published evaluation does.  Eq. 4 prints 1 / (2 (T - 2)), which is no mean and
    undefined for two frames; multiply by (T - 1) / (T - 2) for it.

    Two more choices: a direction without any overlap, or a frame without pose, is left out (that
    evaluation counts it as error 0), and occluded points are (it lets the last written win).
    Things that move count as error.  None where no pair can be compared.
    """
    errors = []
    for (depth, pose), (next_depth, next_pose) in pairwise(zip(depths, poses, strict=True)):
        if pose is None or next_pose is None:
            continue
        forward = np.linalg.inv(next_pose) @ pose
        errors.append(_reprojection_error(depth, next_depth, forward, calibration))
        errors.append(_reprojection_error(next_depth, depth, np.linalg.inv(forward), calibration))
    return mean_of_defined(errors, PERCENT)


def tcd(depths: Sequence[Array], poses: Sequence[Pose | None], calibration: PinholeIntrinsics,
        query_points: int = QUERY_POINTS) -> float | None:
    """Return the temporal Chamfer distance (eq. 5-6), in square metres as eq. 6 squares it.

    Depth maps become point clouds in one frame of reference (the world; distances are the same
    in that of the first camera), and each consecutive pair adds the mean squared distance from a
    point to the nearest of the other cloud, in both directions.  At most ``query_points``, evenly
    spaced over the valid pixels in row-major order, stand for their cloud in that mean; the
    nearest neighbour is looked for among all points of the other, so that thinning adds noise
    but no bias.  Pairs with a frame without pose or without points are left out.
    """
    clouds = [None if pose is None else _transform(back_project(depth, calibration), pose)
              for depth, pose in zip(depths, poses, strict=True)]
    distances = []
    for cloud, next_cloud in pairwise(clouds):
        if cloud is None or next_cloud is None or not (len(cloud) and len(next_cloud)):
            continue
        distances.append(float(
            np.mean(nearest_squared(_thinned(cloud, query_points), next_cloud))
            + np.mean(nearest_squared(_thinned(next_cloud, query_points), cloud))))
    return mean_of_defined(distances)


def f1(depths: Iterable[Array], truths: Iterable[Array | None], calibration: PinholeIntrinsics,
       max_depth_m: float, threshold_m: float = F1_THRESHOLD_M,
       query_points: int = QUERY_POINTS) -> float | None:
    """Return the mean over frames of F1 in [0, 1] (eq. 7-8), of :func:`frame_f1`.

    Frames without truth, or without a valid pixel of it, are left out.
    """
    return mean_of_defined(
        None if truth is None else
        frame_f1(depth, truth, calibration, max_depth_m, threshold_m, query_points)
        for depth, truth in zip(depths, truths, strict=True))


def frame_f1(depth: Array, truth: Array, calibration: PinholeIntrinsics, max_depth_m: float,
             threshold_m: float = F1_THRESHOLD_M, query_points: int = QUERY_POINTS
             ) -> float | None:
    """Return F1 in [0, 1] of a frame's point cloud against the truth's (eq. 7-8).

    Precision is the share of predicted points nearer than ``threshold_m`` to a true one, recall
    the share of true points that near to a predicted one, F1 their harmonic mean, 0 where both
    are 0.  Predicted points are those where the truth is valid, as for AbsRel: what the sensor
    did not see cannot be called wrong.  Both clouds are in the camera's frame, so no pose enters
    (the paper uses its predicted ones).  Thinned as for :func:`tcd`.  None without a valid truth,
    0 without a prediction for any of it.
    """
    valid = valid_truth(truth, max_depth_m)
    real = back_project(np.where(valid, truth, np.nan), calibration)
    predicted = back_project(np.where(valid, depth, np.nan), calibration)
    if not len(real):
        return None
    if not len(predicted):
        return 0.0
    limit = threshold_m ** 2
    precision = np.mean(nearest_squared(_thinned(predicted, query_points), real) < limit)
    recall = np.mean(nearest_squared(_thinned(real, query_points), predicted) < limit)
    both = precision + recall
    return float(2 * precision * recall / both) if both else 0.0


@dataclass(frozen=True)
class FlowWarp:
    """Where each pixel of an image went in the next, and how far to trust that.

    ``target`` is (h, w, 2) float32, the (x, y) pixel in the next image; ``weight`` is (h, w)
    float32 in [0, 1], the mask of :func:`opw`.
    """

    target: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]


def flow_warps(images: Iterable[RGB], size: Size) -> list[FlowWarp]:
    """Return the n - 1 warps between consecutive RGB images, (H, W, 3) uint8, at ``size``.

    Images are averaged down to ``size`` (rows, cols), that of the depth maps, and tracked by
    DIS optical flow (Kroeger et al., ECCV 2016; OpenCV's medium preset, on grey values).  The
    weight of pixel x with forward flow f, whose target x + f has backward flow b, is

        w = [x + f lies in the image] [|f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5]
            exp(-50 |I_t(x) - I_(t+1)(x + f)|^2)

    with RGB in [0, 1], the squares summed over the channels, and b and I_(t+1) interpolated
    bilinearly.  They depend on the images alone: compute them once for all rows of a table.
    """
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    small = [np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
             for image in images]
    return [flow_warp(estimator, image, following) for image, following in pairwise(small)]


def opw(depths: Sequence[Array], warps: Sequence[FlowWarp]) -> float | None:
    """Return the optical-flow-based warping error, x100: flicker, without poses.

    Mean over consecutive pairs of sum w |d_t(x) - d_(t+1)(x + f)| / d_t(x) / sum w, with flow f
    and weight w of :func:`flow_warps` and w = 0 where either depth is not defined; the second is
    interpolated bilinearly.  After OPW of FMNet (Wang et al., "Less is More: Consistent Video
    Depth Estimation with Masked Frames Modeling", ACM MM 2022), with three differences: relative
    to d_t, so that scenes of all sizes compare; weights normalised by their sum; and a classical
    flow, so that figures are not comparable with published ones.  True depth changes of things
    that come nearer count as error, alike for every method.  Pairs without weight are left out.
    """
    if len(warps) != max(len(depths) - 1, 0):
        raise ValueError(f'{len(depths)} depth maps need {max(len(depths) - 1, 0)} warps, not '
                         f'{len(warps)}')
    return mean_of_defined([_warping_error(depth, next_depth, warp) for (depth, next_depth), warp
                            in zip(pairwise(depths), warps, strict=True)], PERCENT)


def back_project(depth: Array, calibration: PinholeIntrinsics) -> Points:
    """Return the (n, 3) float64 points, in camera axes, of the finite positive pixels."""
    rows, cols = np.nonzero(_defined(depth))
    z = depth[rows, cols].astype(np.float64)
    return np.stack([(cols - calibration.cx) / calibration.fx * z,
                     (rows - calibration.cy) / calibration.fy * z, z], axis=1)


def nearest_squared(queries: Points, cloud: Points) -> npt.NDArray[np.float64]:
    """Return (n,) squared distances, exact to float32, from each query to the nearest point.

    Raises ValueError where ``cloud`` is empty.
    """
    if not len(cloud):
        raise ValueError('an empty cloud has no nearest point')
    # About its centre, a cloud far from the origin of its world keeps its float32 digits.
    centre = cloud.mean(axis=0)
    index = cv2.flann.Index(np.ascontiguousarray(cloud - centre, np.float32), KD_TREE)
    _, squared = index.knnSearch(np.ascontiguousarray(queries - centre, np.float32), 1,
                                 params=EXACT_SEARCH)
    return squared[:, 0].astype(np.float64)


def _defined(depth: Array) -> Mask:
    return np.isfinite(depth) & (depth > 0)


def _transform(points: Points, matrix: Array) -> Points:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _thinned(points: Points, count: int) -> Points:
    if len(points) <= count:
        return points
    return points[np.linspace(0, len(points) - 1, count).astype(np.intp)]


def _reprojection_error(depth: Array, other: Array, motion: Array, calibration: PinholeIntrinsics
                        ) -> float | None:
    moved = reprojected(depth, motion, calibration)
    both = np.isfinite(moved) & _defined(other)
    if not both.any():
        return None
    reference = other[both].astype(np.float64)
    return float(np.mean(np.abs(moved[both] - reference) / reference))


def reprojected(depth: Array, motion: Array, calibration: PinholeIntrinsics
                ) -> npt.NDArray[np.float64]:
    """Return the depth map as another camera of ``motion`` sees it; inf where it sees nothing."""
    x, y, z = _transform(back_project(depth, calibration), motion).T
    front = z > 0
    x, y, z = x[front], y[front], z[front]
    cols = np.rint(x / z * calibration.fx + calibration.cx)
    rows = np.rint(y / z * calibration.fy + calibration.cy)
    inside = (rows >= 0) & (rows < depth.shape[0]) & (cols >= 0) & (cols < depth.shape[1])
    moved = np.full(depth.shape, np.inf)
    np.minimum.at(moved, (rows[inside].astype(np.intp), cols[inside].astype(np.intp)), z[inside])
    return moved


def flow_warp(estimator: cv2.DISOpticalFlow, image: RGB, following: RGB) -> FlowWarp:
    """Return one warp of :func:`flow_warps`, between two images of the depth maps' size."""
    grey, next_grey = (np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
                       for rgb in (image, following))
    forward = _flow(estimator, grey, next_grey)
    backward = _flow(estimator, next_grey, grey)
    rows, cols = grey.shape
    x, y = np.meshgrid(np.arange(cols, dtype=np.float32), np.arange(rows, dtype=np.float32))
    target = np.stack([x, y], axis=2) + forward
    inside = ((target >= 0) & (target <= (cols - 1, rows - 1))).all(axis=2)
    back = _sampled(backward, target)
    disagreement = ((forward + back) ** 2).sum(axis=2)
    lengths = (forward ** 2).sum(axis=2) + (back ** 2).sum(axis=2)
    consistent = disagreement < CONSISTENT_SHARE * lengths + CONSISTENT_PX2
    colours = image.astype(np.float32) / 255
    difference = colours - _sampled(following.astype(np.float32) / 255, target)
    likeness = np.exp(-PHOTOMETRIC_WEIGHT * (difference ** 2).sum(axis=2))
    return FlowWarp(target, np.where(inside & consistent, likeness, 0).astype(np.float32))


def _flow(estimator: cv2.DISOpticalFlow, grey: npt.NDArray[np.uint8],
          following: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    # The stub does not know that the flow to begin with may be None.
    found = estimator.calc(grey, following, None)  # type: ignore[call-overload]
    return np.asarray(found, np.float32)


def _sampled(array: Array, target: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    # The stub does not know that the second map may be None, where the first has both axes.
    sampled = cv2.remap(  # type: ignore[call-overload]
        array.astype(np.float32, copy=False), target, None, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32)


def _warping_error(depth: Array, next_depth: Array, warp: FlowWarp) -> float | None:
    if not depth.shape == next_depth.shape == warp.weight.shape:
        raise ValueError(f'shapes differ: depth {depth.shape} and {next_depth.shape}, warp '
                         f'{warp.weight.shape}')
    # As NaN, a hole keeps out of every pixel that would be interpolated from it.
    moved = _sampled(np.where(_defined(next_depth), next_depth, np.nan), warp.target)
    used = _defined(depth) & np.isfinite(moved) & (warp.weight > 0)
    if not used.any():
        return None
    reference = depth[used].astype(np.float64)
    return float(np.average(np.abs(reference - moved[used]) / reference,
                            weights=warp.weight[used]))
