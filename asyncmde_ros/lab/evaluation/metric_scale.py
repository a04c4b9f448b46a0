"""Metres without the truth's help: what a robot's sensors would measure, through its own core.

The truth is only asked where the sensor would have looked; scale and shift then come from
:class:`~asyncmde_ros.scale.estimator.ScaleEstimator`, over time, as on a robot.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation.alignment import Array, Mask, ScaleShift
from asyncmde_ros.lab.evaluation.sequence import Pose
from asyncmde_ros.lab.evaluation.sequence import Sequence as Footage
from asyncmde_ros.lab.media.frames import ASSUMED_RATE_HZ
from asyncmde_ros.scale.estimator import ScaleEstimator
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Observations
from asyncmde_ros.scale.odometry import SOURCE, Odometry, reduced

NOTHING = 'none'
"""The scale of a robot that measures nothing: one for the sequence, by the truth."""

NOISE = 0.01
"""Standard deviation of a measured distance, as a share of it."""

GROSS = 0.1
"""Share of the points that are any distance."""

NEAREST_GROSS_M = 0.1
LINE_SHARE = 0.5
"""Share of a row that must have truth for a scan line to be there."""

DRIFT = 0.01
"""Of the odometry, as a share of the way and of the turn."""

SEED = 19


@dataclass(frozen=True, eq=False)
class ScoredScene:
    """A sequence beside its ``truths`` (h, w) in metres, which count where they are ``valid``."""

    footage: Footage
    truths: Sequence[Array]
    valid: Sequence[Mask]
    max_depth_m: float

    @property
    def rate_hz(self) -> float:
        return self.footage.rate_hz or ASSUMED_RATE_HZ


class Source(ABC):
    """Something on a robot that measures distances, simulated by what is known of a sequence."""

    name: str

    def require(self, footage: Footage) -> None:
        """Raise AsyncMDEError for a sequence in which it can measure nothing."""
        if not footage.has_depth:
            raise AsyncMDEError(f'{footage.name} has no true depth for --scale to measure: '
                                f'only {NOTHING} can be scored on it')

    @abstractmethod
    def measure(self, scene: ScoredScene) -> Iterator[Observations | None]:
        """Yield what it measures of each frame, from the first on; None is nothing."""


class Sensor(Source):
    """A sensor that measures some pixels of the truth."""

    @abstractmethod
    def pixels(self, valid: Mask, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Return the (n, 2) pixels, (row, column), of a depth map that it measures."""

    def gross(self, count: int, rng: np.random.Generator) -> Mask:
        """Return which of ``count`` measurements are gross outliers."""
        return np.zeros(count, bool)

    def measure(self, scene: ScoredScene) -> Iterator[Observations | None]:
        """Yield what it measures; what of a frame depends on its number and the sensor alone."""
        for index, (truth, valid) in enumerate(zip(scene.truths, scene.valid, strict=True)):
            rng = np.random.default_rng([SEED, index])
            yield self.observe(truth, valid, scene.max_depth_m, index / scene.rate_hz, rng)

    def observe(self, truth: Array, valid: Mask, max_depth_m: float, stamp_s: float,
                rng: np.random.Generator) -> Observations:
        """Return what it measures of a true depth map (h, w), metres, where that is ``valid``."""
        rows, cols = self.pixels(valid, rng).T
        depth = truth[rows, cols] * (1 + NOISE * rng.standard_normal(rows.size))
        wrong = self.gross(rows.size, rng)
        depth[wrong] = rng.uniform(NEAREST_GROSS_M, max_depth_m, np.count_nonzero(wrong))
        return Observations.of_depth(np.stack([cols, rows], axis=1), depth, NOISE * depth,
                                     truth.shape, stamp_s, self.name)


@dataclass(frozen=True)
class Points(Sensor):
    """Random pixels, as of a sparse lidar or of triangulated corners; GROSS of them wrong."""

    count: int

    @property
    def name(self) -> str:  # type: ignore[override]
        return f'points:{self.count}'

    def pixels(self, valid: Mask, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        known = np.argwhere(valid)
        return known[rng.choice(len(known), min(self.count, len(known)), replace=False)]

    def gross(self, count: int, rng: np.random.Generator) -> Mask:
        return rng.random(count) < GROSS


@dataclass(frozen=True)
class Scan(Sensor):
    """One row of the image, as of a planar lidar.

    At the camera's height a level one meets the horizon, the middle row of a level camera; the
    nearest row that has truth in LINE_SHARE of its pixels stands for it, or the one with most.
    """

    name = 'scan'

    def pixels(self, valid: Mask, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        share = valid.mean(axis=1)
        enough = np.flatnonzero(share >= min(LINE_SHARE, share.max()))
        row = enough[np.argmin(np.abs(enough - (len(valid) - 1) / 2))]
        cols = np.flatnonzero(valid[row])
        return np.stack([np.full(cols.size, row), cols], axis=1)


@dataclass(frozen=True)
class KnownMotion(Source):
    """Corners of the pictures, triangulated with the sequence's own poses, which drift."""

    name = SOURCE

    def require(self, footage: Footage) -> None:
        super().require(footage)
        if not footage.has_poses:
            raise AsyncMDEError(f'{footage.name} has no poses of the camera (poses.txt), from '
                                f'which --scale {self.name} has its metres')
        if footage.calibration is None:
            raise AsyncMDEError(f'{footage.name} has no calibration (intrinsics_rgb in '
                                f'meta.json), which --scale {self.name} needs')

    def measure(self, scene: ScoredScene) -> Iterator[Observations | None]:
        footage, odometry = scene.footage, Odometry()
        known = footage.calibration
        if known is None:
            return
        size = footage.rgb(0).shape[:2]
        lens = Lens(np.array([[known.fx, 0, known.cx], [0, known.fy, known.cy], [0, 0, 1]]), size)
        small = lens.scaled(reduced(size))
        poses = drifted([footage.pose(index) for index in range(footage.length)])
        for index, pose in enumerate(poses):
            grey = cv2.cvtColor(footage.rgb(index), cv2.COLOR_RGB2GRAY)
            yield odometry.update(index / scene.rate_hz, np.asarray(cv2.resize(
                grey, small.size[::-1], interpolation=cv2.INTER_AREA), np.uint8), small, pose)


def drifted(poses: Sequence[Pose | None]) -> list[Pose | None]:
    """Return camera-to-world poses (4, 4) as an odometer with DRIFT has them.

    With the true step (R, t) from a known pose to the next, the odometer's has the translation
    (1 + DRIFT) t + DRIFT |t| n and the rotation R exp(DRIFT angle(R) m), n and m standard normal
    (3,), the same at every run: it says that the way is 1 % longer than it is, errs by 1 % of
    each step in every direction, and by 1 % of each turn about any axis, and all of that adds up.
    """
    rng = np.random.default_rng(SEED)
    found: list[Pose | None] = []
    true: Pose | None = None
    believed = np.eye(4)
    for pose in poses:
        if pose is not None:
            step = np.eye(4) if true is None else np.linalg.inv(true) @ pose
            turn = cv2.Rodrigues(step[:3, :3])[0]
            wrong, away = DRIFT * np.linalg.norm(turn) * rng.standard_normal(3), step[:3, 3]
            step[:3, 3] = ((1 + DRIFT) * away
                           + DRIFT * np.linalg.norm(away) * rng.standard_normal(3))
            step[:3, :3] = step[:3, :3] @ cv2.Rodrigues(wrong)[0]
            true, believed = pose, believed @ step
        found.append(None if pose is None else believed)
    return found


WITHOUT_NUMBER: dict[str, Source | None] = {
    source.name: source for source in (Scan(), KnownMotion())} | {NOTHING: None}


def parse(text: str) -> list[Source | None]:
    """Parse ``points:N,scan,odometry,none``; None is no sensor.  AsyncMDEError says what is wrong.
    """
    sources = [_parsed(word) for word in text.split(',')]
    if len(set(sources)) < len(sources):
        raise AsyncMDEError(f'--scale {text}: one source twice')
    return sources


def _parsed(word: str) -> Source | None:
    name, colon, count = word.partition(':')
    if name == 'points' and count.isdecimal() and int(count) > 0:
        return Points(int(count))
    if word not in WITHOUT_NUMBER:
        raise AsyncMDEError(f'--scale {word!r}: there are points:N, '
                            f'{", ".join(WITHOUT_NUMBER)}')
    return WITHOUT_NUMBER[word]


def scales(source: Source, maps: Mapping[int, npt.NDArray[np.float32]],
           keyframes: Sequence[int | None], scene: ScoredScene) -> dict[int, ScaleShift | None]:
    """Return what is known of each frame's scale and shift at its time; None before anything is.

    ``maps`` are relative inverse depth by frame, of the field of view of the pictures.  A frame
    with another keyframe than the one before is a refresh.
    """
    estimator = ScaleEstimator()
    found: dict[int, ScaleShift | None] = {}
    last: int | None = None
    for index, observed in enumerate(source.measure(scene)):
        if index not in maps:
            continue
        scale = estimator.update(index / scene.rate_hz, maps[index],
                                 [] if observed is None else [observed], keyframes[index] != last)
        found[index] = None if scale is None else ScaleShift(scale.a, scale.b)
        last = keyframes[index]
    return found
