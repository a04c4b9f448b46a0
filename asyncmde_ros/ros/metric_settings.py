"""The parameters of metres: which source tells them, and what is published."""

import math
from dataclasses import dataclass
from enum import Enum

from asyncmde_ros.pipeline.declaration import parameter
from asyncmde_ros.scale.odometry import DRIFT

NONE = 'none'
FIXED = 'fixed'
ODOMETRY = 'odometry'
GROUND = 'ground'
SOURCES = ('points', 'scan', 'range', ODOMETRY, GROUND, FIXED)


class Encoding(str, Enum):
    """Of ``depth/metric`` (REP-118): float32 metres, or 16-bit millimetres."""

    METRES = '32FC1'
    MILLIMETRES = '16UC1'


class Rectified(str, Enum):
    """Whether the image was rectified: its topic's name tells, yes, or no."""

    AUTO = 'auto'
    RECTIFIED = 'rectified'
    RAW = 'raw'

LISTENING = ('sources', 'odometry_frame', 'odometry_drift', 'ground_height_m', 'ground_tilt_rad',
             'ground_tilt_error_rad', 'ground_frame')
"""The settings that change what is listened to: with another value it starts anew."""


def _sources(text: str) -> tuple[str, ...]:
    """Return the sources that a text names, separated by commas; ValueError for one that is none.
    """
    words = [word.strip() for word in text.split(',')]
    if words in ([NONE], ['']):
        return ()
    for word in words:
        if word not in SOURCES:
            raise ValueError(f'{word!r} is no source: there are {", ".join(SOURCES)}, any of them '
                             f'separated by commas, and {NONE}')
    if FIXED in words and len(words) > 1:
        raise ValueError(f'{FIXED} stands alone: nothing is measured with it')
    return tuple(dict.fromkeys(words))


def _fixed(numbers: tuple[float, ...]) -> tuple[float, float]:
    if len(numbers) != 2 or numbers[0] < 0:
        raise ValueError(f'{list(numbers)} is not [a, b] with a of 0 or more')
    return numbers[0], numbers[1]


@dataclass(frozen=True)
class MetricSettings:
    """What can be changed at any time; each field is declared with what it does."""

    sources: tuple[str, ...] = parameter(
        (), 'scale.source',
        'What tells metres; any number of them, separated by commas or as a list. points: '
        'PointCloud2 (lidar, radar, stereo) on scale/points. scan: LaserScan on scale/scan. '
        'range: Range (sonar, time of flight) on scale/range. odometry: corners that are '
        'followed while the camera moves, and its motion, from scale/odometry or tf. ground: the '
        "floor, and the camera's height above it. fixed: scale.fixed. none: there are no metres.",
        text=NONE, parse=_sources, listed=True)
    fixed: tuple[float, float] = parameter(
        (0.0, 0.0), 'scale.fixed',
        'a and b of 1/m = a * relative + b, with scale.source fixed. They depend on the scene.',
        parse=_fixed)
    encoding: Encoding = parameter(
        Encoding.METRES, 'scale.encoding',
        'Encoding of depth/metric. 32FC1: metres, NaN where unknown. 16UC1: millimetres, 0 where '
        'unknown.')
    max_silence_s: float = parameter(
        5.0, 'scale.max_silence',
        'Time [s] without a measurement that was believed after which nothing metric is '
        'published. 0 sets no limit.', low=0.0, high=3600.0)
    max_range_m: float = parameter(
        0.0, 'scale.max_range',
        'Distance [m] beyond which metric depth is unknown. 0 sets no limit.',
        low=0.0, high=10000.0)
    odometry_frame: str = parameter(
        '', 'scale.odometry_frame',
        'Fixed frame of tf, such as odom, in which the camera moves, with scale.source odometry. '
        'Empty: nav_msgs/Odometry on scale/odometry tells the motion.')
    odometry_drift: float = parameter(
        DRIFT, 'scale.odometry_drift',
        'How wrong the odometry is over some seconds, as a share of the path and of the turn.',
        low=0.0, high=0.5)
    ground_height_m: float = parameter(
        0.0, 'scale.ground_height',
        "The camera's height above the floor [m], with scale.source ground. 0: from tf, with "
        'scale.ground_frame.', low=0.0, high=100.0)
    ground_tilt_rad: float = parameter(
        0.0, 'scale.ground_tilt',
        'How far the camera looks down from the horizontal [rad]. Used with scale.ground_height.',
        low=-1.6, high=1.6)
    ground_tilt_error_rad: float = parameter(
        0.0175, 'scale.ground_tilt_error',
        "Standard deviation of the camera's tilt and roll against the floor [rad]. One degree is "
        'worth 6 % at 1 m and 23 % at 3 m, for a camera 0.28 m above the floor: metres are '
        'published as far as the floor tells them.', low=0.0, high=0.5)
    ground_frame: str = parameter(
        'base_footprint', 'scale.ground_frame',
        'Frame of tf whose z axis is up and whose origin is on the floor. Used without '
        'scale.ground_height.')
    rectified: Rectified = parameter(
        Rectified.AUTO, 'scale.image',
        'Which part of camera_info holds for the images. raw: K and D. rectified: P. auto: '
        'rectified if the last name of the image topic contains rect, as image_proc has it.')
    stride: int = parameter(
        1, 'points.stride',
        'Every so manieth row and column becomes a point of depth/points.', low=1, high=64)
    organised: bool = parameter(
        False, 'points.organised',
        'Whether depth/points keeps the rows and columns of the image, with NaN for what is '
        'unknown. With false it has the known points only.')
    color: bool = parameter(
        False, 'points.color', 'Whether depth/points has the field rgb.')

    @property
    def largest_m(self) -> float:
        """Return the largest depth that is published, metres."""
        return self.max_range_m or math.inf

    def listens_as(self, other: 'MetricSettings') -> bool:
        """Tell whether the same is listened to, in the same way, as with other settings."""
        return all(getattr(self, name) == getattr(other, name) for name in LISTENING)

    def too_old(self, age_s: float) -> bool:
        """Tell whether a scale that was last measured so long ago is no longer used."""
        return bool(self.max_silence_s) and age_s > self.max_silence_s
