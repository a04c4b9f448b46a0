"""What can be changed while the pipeline runs."""

from dataclasses import dataclass
from enum import Enum

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.upright import Rotation


class MotionCompensation(str, Enum):
    """How the memory moves with the image.

    Not, by one homography a frame, by optical flow as well, or by a gyroscope's rotation.
    """

    OFF = 'off'
    HOMOGRAPHY = 'homography'
    IMAGE = 'image'
    IMU = 'imu'


class FastPathModel(str, Enum):
    """What every frame goes through.

    ``glance``: a keyframe's depth, moved, and mended by glances of a small network between the
    refreshes.  ``spatial_memory``: AsyncMDE's network, which fuses a keyframe's features with the
    frame's.  ``auto``: what is nearer to the truth where it runs.
    """

    AUTO = 'auto'
    GLANCE = 'glance'
    SPATIAL_MEMORY = 'spatial_memory'


class OutputResolution(str, Enum):
    """The resolution that depth is returned at."""

    INPUT = 'input'
    NETWORK = 'network'


SAME_SCENE_SIMILARITY = 0.3
"""Correlation of two frames' thumbnails below which, if tracking failed too, the scene was cut.

Measured over cuts in a street video (at most 0.22) and tracking failures in fast footage without
cuts (0.33 and above, but for one frame of a motocross jump)."""


class OldMemory(str, Enum):
    """What becomes of depth that rests on too old a keyframe."""

    MARK = 'mark'
    WITHHOLD = 'withhold'


@dataclass(frozen=True)
class Settings:
    """Live settings; the pipeline reads one consistent copy per frame.

    ``slow_path_max_rate_hz``: 0 is as fast as the machine allows.  ``temporal_smoothing`` is beta
    of AsyncMDE III-C-1, in [0, 1]: the share of this frame's T (1 is no smoothing).
    ``gate_temperature`` is k of eq. 6, above 0.  ``cut_similarity``: of two frames that tracking
    lost each other in, the correlation below which the scene was cut; -1 takes none for a cut.
    ``cut_trust``: the share of its trust that a memory must keep from one frame to the next, or it
    is dropped; 0 never drops it.  ``max_memory_age_s``: 0 for no limit.  ``rotation`` turns the
    image upright for the networks; depth and trust are those of the image as it is given.
    ``refresh_size`` is the (rows, cols) that the foundation model sees at a refresh, None what the
    machine and the motion ask for; only where a keyframe's depth is the memory.
    """

    slow_path_enabled: bool = True
    slow_path_max_rate_hz: float = 0.0
    temporal_smoothing: float = 0.5
    gate_temperature: float = 4.0
    motion_compensation: MotionCompensation = MotionCompensation.IMAGE
    cut_similarity: float = SAME_SCENE_SIMILARITY
    cut_trust: float = 0.3
    max_memory_age_s: float = 5.0
    old_memory: OldMemory = OldMemory.MARK
    output_resolution: OutputResolution = OutputResolution.INPUT
    rotation: Rotation = Rotation.NONE
    refresh_size: Size | None = None
