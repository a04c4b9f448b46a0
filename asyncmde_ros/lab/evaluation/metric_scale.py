"""Metres without the truth's help: what a robot's sensors would measure, through its own core.

The truth is only asked where the sensor would have looked; scale and shift then come from
:class:`~asyncmde_ros.scale.estimator.ScaleEstimator`, over time, as on a robot.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation.alignment import Array, Mask, ScaleShift
from asyncmde_ros.scale.estimator import ScaleEstimator
from asyncmde_ros.scale.observations import Observations

NOTHING = 'none'
"""The scale of a robot that measures nothing: one for the sequence, by the truth."""

NOISE = 0.01
"""Standard deviation of a measured distance, as a share of it."""

GROSS = 0.1
"""Share of the points that are any distance."""

NEAREST_GROSS_M = 0.1
LINE_SHARE = 0.5
"""Share of a row that must have truth for a scan line to be there."""

SEED = 19


class Source(ABC):
    """A sensor that is simulated by the truth."""

    name: str

    @abstractmethod
    def pixels(self, valid: Mask, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Return the (n, 2) pixels, (row, column), of a depth map that it measures."""

    def gross(self, count: int, rng: np.random.Generator) -> Mask:
        """Return which of ``count`` measurements are gross outliers."""
        return np.zeros(count, bool)

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
class Points(Source):
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
class Scan(Source):
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


def parse(text: str) -> list[Source | None]:
    """Parse ``points:N,scan,none``; None is no sensor.  AsyncMDEError names what is wrong."""
    sources = [_parsed(word) for word in text.split(',')]
    if len(set(sources)) < len(sources):
        raise AsyncMDEError(f'--scale {text}: one source twice')
    return sources


def _parsed(word: str) -> Source | None:
    name, colon, count = word.partition(':')
    if name == 'points' and count.isdecimal() and int(count) > 0:
        return Points(int(count))
    if colon or name not in ('scan', NOTHING):
        raise AsyncMDEError(f'--scale {word!r}: there are points:N, scan and {NOTHING}')
    return Scan() if name == 'scan' else None


def scales(source: Source, maps: Mapping[int, npt.NDArray[np.float32]], truths: Sequence[Array],
           valid: Sequence[Mask], keyframes: Sequence[int | None], max_depth_m: float,
           rate_hz: float) -> dict[int, ScaleShift | None]:
    """Return what is known of each frame's scale and shift at its time; None before anything is.

    ``maps`` are relative inverse depth by frame, of the truths' size.  A frame with another
    keyframe than the one before is a refresh.  What is measured of a frame depends on its number
    and the source alone, not on what the map says.
    """
    estimator = ScaleEstimator()
    found: dict[int, ScaleShift | None] = {}
    last: int | None = None
    for index, relative in maps.items():
        stamp_s = index / rate_hz
        rng = np.random.default_rng([SEED, index])
        observed = source.observe(truths[index], valid[index], max_depth_m, stamp_s, rng)
        scale = estimator.update(stamp_s, relative, [observed], keyframes[index] != last)
        found[index] = None if scale is None else ScaleShift(scale.a, scale.b)
        last = keyframes[index]
    return found
