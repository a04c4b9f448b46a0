"""What can be changed while the pipeline runs; the declaration of those parameters."""

from dataclasses import dataclass
from enum import Enum

from asyncmde_ros.model.geometry import AUTO_SIZE, Size, parse_size
from asyncmde_ros.model.graph_tensors import GATE_TEMPERATURE, TEMPORAL_SMOOTHING
from asyncmde_ros.pipeline.declaration import parameter
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


DEFAULT_FAST_PATH = FastPathModel.AUTO


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


ROTATION_BY_TF = 'auto'
"""In place of degrees: what tf knows of the camera's roll."""


def _rotation(text: str) -> Rotation:
    """Return the rotation that a text stands for; none where tf tells it later."""
    return Rotation.NONE if text == ROTATION_BY_TF else Rotation(int(text))


@dataclass(frozen=True)
class Settings:
    """Live settings; the pipeline reads one consistent copy per frame.

    Each field is declared with what it does.  ``temporal_smoothing`` is beta of AsyncMDE III-C-1,
    ``gate_temperature`` k of eq. 6.  ``refresh_size`` is (rows, cols), None for the pipeline's own
    choice.
    """

    rotation: Rotation = parameter(
        Rotation.NONE, 'input.rotation',
        'Degrees by which the image is turned clockwise to be upright, for a camera that is '
        'mounted upside down (180) or on its side (90, 270). Depth is turned back and fits the '
        "image as it came. auto: by the camera's roll against base_link in tf; 0 until it is "
        'known.', choices=(*(str(rotation.value) for rotation in Rotation), ROTATION_BY_TF),
        parse=_rotation)
    refresh_size: Size | None = parameter(
        None, 'refresh.size',
        'Size HxW in pixels, multiples of 14, at which the foundation model sees the upright '
        'image at a refresh. auto: of two sizes the one with the smaller expected error, given '
        'how long a refresh takes and how fast the image moves. Used with fast_path.model glance.',
        text=AUTO_SIZE, parse=parse_size)
    slow_path_enabled: bool = parameter(
        True, 'slow_path.enabled',
        'Whether refreshes run. With false the last keyframe is used until a scene cut or a jump '
        'in time.')
    slow_path_max_rate_hz: float = parameter(
        0.0, 'slow_path.max_rate',
        'Upper limit on refreshes per second [Hz]. 0 sets no limit.', low=0.0, high=1000.0)
    temporal_smoothing: float = parameter(
        TEMPORAL_SMOOTHING, 'memory.temporal_smoothing',
        "The weight beta of this frame's own trust map against the previous frame's; 1 switches "
        'smoothing off. Used with fast_path.model spatial_memory.', low=0.0, high=1.0)
    gate_temperature: float = parameter(
        GATE_TEMPERATURE, 'memory.gate_temperature',
        'How sharply the semantic gate controls the fine gate (k). Used with fast_path.model '
        'spatial_memory.', low=0.1, high=100.0)
    motion_compensation: MotionCompensation = parameter(
        MotionCompensation.IMAGE, 'memory.motion_compensation',
        'How the memory is moved to the present frame. homography: one homography per frame, from '
        'tracked corners. image: optical flow as well, for parallax and moving objects. imu: the '
        "camera's rotation from sensor_msgs/Imu on the topic imu. off: the memory is not moved, "
        'and scene cuts in the images go unnoticed.')
    cut_similarity: float = parameter(
        SAME_SCENE_SIMILARITY, 'memory.cut_similarity',
        'Threshold for a scene cut: where tracking fails and two successive frames correlate less '
        'than this, the memory is dropped and a refresh is requested. -1 switches the check off.',
        low=-1.0, high=1.0)
    cut_trust: float = parameter(
        0.3, 'memory.cut_trust',
        'Threshold for a failed memory: if from one frame to the next the memory keeps less than '
        'this share of its trust, it is dropped and a refresh is requested. 0 switches the check '
        'off.', low=0.0, high=1.0)
    max_memory_age_s: float = parameter(
        5.0, 'memory.max_age',
        'Age of the keyframe [s] above which depth counts as too old (see memory.when_too_old). '
        '0 sets no limit.', low=0.0, high=3600.0)
    old_memory: OldMemory = parameter(
        OldMemory.MARK, 'memory.when_too_old',
        'What happens to depth that is too old. mark: it is published, and depth/memory and '
        '/diagnostics say so. withhold: it is not published.')
    output_resolution: OutputResolution = parameter(
        OutputResolution.INPUT, 'output.resolution',
        "Size of the depth image: the input image's, or the network's.")
    steady: bool = parameter(
        False, 'scale.steady',
        'Whether depth keeps one scale over time, as far as the pictures tell it: a refresh '
        'continues the scale of the depth before, and what the camera approaches grows. It makes '
        'each map by itself about 1 % less accurate. Used with fast_path.model glance and '
        'memory.motion_compensation image.')
