"""What metres cost on top of a frame's depth."""

from itertools import count

import cv2
import numpy as np

from asyncmde_ros.images.codec import RGB
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.pictures import Pictures
from asyncmde_ros.lab.bench.progress import Work
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.scale.cloud import cloud
from asyncmde_ros.scale.estimator import ScaleEstimator
from asyncmde_ros.scale.ground import Ground, Plane
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.metric import metric
from asyncmde_ros.scale.observations import Map, Observations
from asyncmde_ros.scale.odometry import Odometry, reduced

A, B = 0.2, 0.1
"""Of 1/m = a relative + b."""

HEIGHT_M, TILT_RAD = 0.4, 0.2
PERIOD_S = 1 / 30
DRIVEN_M = 0.02
"""In one frame: 0.6 m/s."""

NOISE = 0.02


def works(options: BenchOptions, pictures: Pictures) -> dict[str, Work]:
    """Return the estimation of the scale by each source, the metric map, and its point cloud.

    The map is of a floor with a wall, at the camera's size; the cloud is of each pixel.
    """
    rows, cols = options.image
    lens = _lens(options.image)
    plane = Plane.of_tilt(HEIGHT_M, TILT_RAD)
    relative = _relative(lens, plane)
    depth_m = metric(relative, A, B)
    rays = lens.ray_map()
    ground = Ground(lens)
    covariance = np.diag([1e-6, 1e-6])
    return {
        **{f'scale_by_{number}_points': _estimation(relative, _points(relative, number))
           for number in (50, 300)},
        'scale_of_a_frame_without_a_measurement': _estimation(relative, None),
        'find_the_floor': lambda: ground.observe(relative, plane, 0.0),
        'follow_corners_(its_own_thread)': _following(
            [pictures.at(index) for index in range(8)]),
        'metric_map': lambda: metric(relative, A, B, covariance),
        'cloud': lambda: cloud(depth_m, rays),
        'cloud,_stride_4': lambda: cloud(depth_m, rays[::4, ::4], 4),
    }


def _lens(size: Size) -> Lens:
    rows, cols = size
    return Lens(np.array([[0.8 * cols, 0, cols / 2], [0, 0.8 * cols, rows / 2], [0, 0, 1]]), size)


def _relative(lens: Lens, plane: Plane) -> Map:
    """Return the relative map of the floor, up to a wall at 5 m."""
    inverse = np.maximum(lens.ray_map() @ plane.down.astype(np.float32) / HEIGHT_M, 0.2)
    # As a network errs: for whole patches.
    noise = cv2.resize(np.random.default_rng(0).standard_normal((12, 16)), lens.size[::-1],
                       interpolation=cv2.INTER_CUBIC)
    return ((inverse * (1 + NOISE * noise) - B) / A).astype(np.float32)


def _points(relative: Map, number: int) -> Observations:
    rng = np.random.default_rng(number)
    rows, cols = (rng.integers(0, side, number) for side in relative.shape)
    depth = 1 / (A * relative[rows, cols] + B) * (1 + 0.01 * rng.standard_normal(number))
    depth[rng.random(number) < 0.1] = 1.0
    return Observations.of_depth(np.stack([cols, rows], axis=1), depth, 0.01 * depth,
                                 (relative.shape[0], relative.shape[1]), 0.0, 'points')


def _estimation(relative: Map, points: Observations | None) -> Work:
    """Return a frame of the estimator, whose stamps go on."""
    estimator, numbers = ScaleEstimator(), count()

    def work() -> None:
        stamp_s = next(numbers) * PERIOD_S
        measured = [] if points is None else [Observations(
            points.pixels, points.inverse_depth, points.sigma, points.image, stamp_s, 'points')]
        estimator.update(stamp_s, relative, measured)
    return work


def _following(film: list[RGB]) -> Work:
    """Return a picture of a camera that drives sideways: the film there and back, over again."""
    size = reduced((film[0].shape[0], film[0].shape[1]))
    pictures = [np.asarray(cv2.cvtColor(cv2.resize(rgb, size[::-1]), cv2.COLOR_RGB2GRAY),
                           np.uint8) for rgb in film]
    odometry, lens, numbers = Odometry(), _lens(size), count()
    pose = np.eye(4)

    def work() -> None:
        number = next(numbers)
        at = number % (2 * len(pictures) - 2)
        at = min(at, 2 * len(pictures) - 2 - at)
        pose[0, 3] = at * DRIVEN_M
        odometry.update(number * PERIOD_S, pictures[at], lens, pose)
    return work
