"""What nodes read when they are configured, and every parameter of the depth node."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from asyncmde_ros.engine.choice import (
    AUTO_BACKEND,
    BACKENDS,
    CPU_SHORT_SIDE,
    GPU_SHORT_SIDE,
)
from asyncmde_ros.engine.interface import DEFAULT_PRECISION, Precision
from asyncmde_ros.engine.loader import Threads
from asyncmde_ros.model.config import CONFIGS, DEFAULT_MODEL
from asyncmde_ros.model.geometry import AUTO_SIZE, Size, parse_size
from asyncmde_ros.pipeline.declaration import Declaration, Settable, declarations, parameter
from asyncmde_ros.pipeline.rotation import quaternion_matrix
from asyncmde_ros.pipeline.settings import DEFAULT_FAST_PATH, FastPathModel, Settings
from asyncmde_ros.ros.metric_settings import MetricSettings
from asyncmde_ros.ros.query_settings import QuerySettings

MAX_THREADS = 256

_configured = partial(parameter, settable=Settable.UNCONFIGURED)


def user_path(text: str) -> Path | None:
    """Return the path that a text holds, None where it is empty."""
    try:
        return Path(text).expanduser() if text else None
    except RuntimeError:  # of a user that there is none; said when it is looked for
        return Path(text)


def _quaternion(numbers: tuple[float, ...]) -> tuple[float, ...]:
    """Return a quaternion, or four zeros; ValueError for what is neither."""
    if len(numbers) != 4 or any(numbers):
        quaternion_matrix(numbers)
    return numbers


@dataclass(frozen=True)
class EngineConfiguration:
    """The parameters that act when a node is configured, whatever sensor its depth is of.

    Each is declared with what it does.

    ``imu_rotation`` is a quaternion (x, y, z, w), zeros where tf tells it; ``size`` (rows, cols).
    """

    autostart: bool = parameter(
        True, 'autostart',
        'Whether the node configures and activates itself at start. With false a lifecycle '
        'manager does it.', settable=Settable.AT_START)
    backend: str = _configured(
        AUTO_BACKEND, 'backend',
        'What computes the networks. auto: TensorRT where it works, else PyTorch on a GPU, else '
        'OpenVINO on the CPU.', choices=BACKENDS)
    precision: Precision = _configured(
        DEFAULT_PRECISION, 'precision',
        'Number format of the networks; warps are float32 in any case. auto: the fastest that '
        'keeps the depth, which on some CPUs is 8-bit integers in part. half: 16 bits where the '
        'hardware supports them. fp32: float32 throughout.')
    model: str = _configured(
        DEFAULT_MODEL, 'model.name',
        'Pair of foundation model and fast network: vits (Apache-2.0), or vitb with your own '
        'weights.', choices=tuple(CONFIGS))
    foundation_weights: Path | None = _configured(
        None, 'model.foundation_weights',
        'Path of a weights file for the foundation model. Empty: the fetched one.',
        text='', parse=user_path)
    fast_weights: Path | None = _configured(
        None, 'model.fast_weights',
        'Path of a weights file for the fast network. Empty: the shipped one.',
        text='', parse=user_path)
    glance_weights: Path | None = _configured(
        None, 'model.glance_weights',
        'Path of an adapter file with which the foundation model sees glances. Empty: the '
        'shipped one.', text='', parse=user_path)
    engine_directory: Path | None = _configured(
        None, 'engine.directory',
        "Path of the folder in which TensorRT engines are looked for and built. Empty: a folder "
        "in the user's cache.", text='', parse=user_path)
    size: Size | None = _configured(
        None, 'input.size',
        'Size HxW in pixels, multiples of 14, at which the network sees the upright image. auto: '
        f"the camera's aspect ratio, with a short side of {CPU_SHORT_SIDE} on a CPU and "
        f'{GPU_SHORT_SIDE} on a GPU.', text=AUTO_SIZE, parse=parse_size)
    fast_path: FastPathModel = _configured(
        DEFAULT_FAST_PATH, 'fast_path.model',
        "How each frame gets its depth. glance: a keyframe's depth is moved with the image and "
        "corrected by glances of a small network. spatial_memory: the AsyncMDE paper's network "
        "fuses the keyframe's features with the frame's. auto: glance on a CPU, spatial_memory "
        'on a GPU.')
    fast_threads: int = _configured(
        Threads.fast, 'fast_path.threads',
        'Cores for the fast network, or for glances. 0: chosen by the machine.',
        low=0, high=MAX_THREADS)
    slow_threads: int = _configured(
        Threads.slow, 'slow_path.threads',
        'Cores for the foundation model. 0: chosen by the machine; with fast_path.model glance '
        'refreshes and glances take turns on nearly all cores.', low=0, high=MAX_THREADS)
    imu_rotation: tuple[float, ...] = _configured(
        (0.0, 0.0, 0.0, 0.0), 'imu.rotation',
        "Rotation from the IMU's frame to the camera's optical frame, as a quaternion "
        '[x, y, z, w]. Four zeros: taken from tf. For a camera that looks along the x axis of an '
        'IMU whose z axis points up it is [0.5, -0.5, 0.5, 0.5].', parse=_quaternion)

    @property
    def threads(self) -> Threads:
        """Return the cores of both paths."""
        return Threads(self.fast_threads, self.slow_threads)


@dataclass(frozen=True)
class Configuration(EngineConfiguration):
    """Those of the depth node: what images need besides."""

    image_transport: str = _configured(
        'raw', 'input.image_transport',
        'Message type of the input. raw: sensor_msgs/Image. compressed: '
        'sensor_msgs/CompressedImage on <image>/compressed.', choices=('raw', 'compressed'))
    reliability: str = _configured(
        'auto', 'input.reliability',
        'Reliability (QoS) of the image subscription. auto: reliable if every publisher offers '
        'it.', choices=('auto', 'reliable', 'best_effort'))
    overload: str = _configured(
        'warp', 'fast_path.overload',
        'What a frame gets that comes too late for the network. warp: the last depth, moved with '
        'the camera. drop: nothing. Used with fast_path.model spatial_memory.',
        choices=('warp', 'drop'))


def declared(*settings: type[Any]) -> tuple[Declaration, ...]:
    """Return the parameters that are fields of some dataclasses.

    Those of a group are together, in the order of the groups' first ones.
    """
    found = [declaration for each in settings for declaration in declarations(each).values()]
    groups = list(dict.fromkeys(declaration.group for declaration in found))
    return tuple(sorted(found, key=lambda declaration: groups.index(declaration.group)))


PARAMETERS = declared(Configuration, Settings, MetricSettings, QuerySettings)
BY_NAME = {declaration.name: declaration for declaration in PARAMETERS}
