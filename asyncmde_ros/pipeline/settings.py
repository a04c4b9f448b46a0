"""What can be changed while the pipeline runs."""

from dataclasses import dataclass
from enum import Enum


class MotionCompensation(str, Enum):
    """How the memory moves with the image: not, by one homography a frame, or by flow as well."""

    OFF = 'off'
    HOMOGRAPHY = 'homography'
    IMAGE = 'image'


class OutputResolution(str, Enum):
    """The resolution that depth is returned at."""

    INPUT = 'input'
    NETWORK = 'network'


@dataclass(frozen=True)
class Settings:
    """Live settings; the pipeline reads one consistent copy per frame.

    ``slow_path_max_rate_hz``: 0 is as fast as the machine allows.  ``temporal_smoothing`` is beta
    of AsyncMDE III-C-1, in [0, 1]: the share of this frame's T (1 is no smoothing).
    ``gate_temperature`` is k of eq. 6, above 0.
    """

    slow_path_enabled: bool = True
    slow_path_max_rate_hz: float = 0.0
    temporal_smoothing: float = 0.5
    gate_temperature: float = 4.0
    motion_compensation: MotionCompensation = MotionCompensation.IMAGE
    output_resolution: OutputResolution = OutputResolution.INPUT
