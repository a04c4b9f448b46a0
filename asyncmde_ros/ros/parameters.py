"""The node's parameters: names, defaults, ranges, words; and their translation to settings."""

import array
import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from asyncmde_ros.engine.choice import BACKENDS
from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.engine.loader import Threads
from asyncmde_ros.model.geometry import parse_size
from asyncmde_ros.pipeline.rotation import quaternion_matrix
from asyncmde_ros.pipeline.settings import (
    SAME_SCENE_SIMILARITY,
    FastPathModel,
    MotionCompensation,
    OldMemory,
    OutputResolution,
    Settings,
)
from asyncmde_ros.pipeline.upright import Rotation

MAX_THREADS = 256

ALIKE = 0.8
"""Names at least this much alike, by difflib's measure, are one and its misspelling."""


@dataclass(frozen=True)
class Specification:
    """One parameter; ``live`` ones act on the running node, the others are read at configure."""

    name: str
    default: bool | int | float | str | tuple[float, ...]
    description: str
    live: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def descriptor(self) -> ParameterDescriptor:
        descriptor = ParameterDescriptor(
            name=self.name, description=self.description, read_only=not self.live,
            # "ros2 param set ... 2" is an int and means 2.0, or "2" where that is a choice,
            # [0, 0, 0, 1] are ints and mean floats; YAML's off is a bool and means "off".
            dynamic_typing=(isinstance(self.default, (float, tuple)) or 'off' in self.choices
                            or any(choice.isdecimal() for choice in self.choices)))
        if self.choices:
            descriptor.additional_constraints = 'one of: ' + ', '.join(self.choices)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=self.low, to_value=self.high)]
            else:
                descriptor.integer_range = [
                    IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
        return descriptor

    def meant(self, value: Any) -> Any:
        """Return what a value of a neighbouring type stands for."""
        if value is False and 'off' in self.choices:
            return 'off'
        if self.choices:
            return str(value)
        if isinstance(self.default, tuple):
            return [float(item) for item in value]
        return float(value) if isinstance(self.default, float) else value

    def objection(self, value: object) -> str | None:
        """Say what is wrong with ``value``, None if nothing is."""
        if value is False and 'off' in self.choices:
            return None
        if self.choices and (isinstance(value, bool) or str(value) not in self.choices):
            return f'{value!r} is not one of {", ".join(self.choices)}'
        if isinstance(self.default, tuple):
            items = _items(value)
            if items is None or not all(_is_number(item) for item in items):
                return f'{(value if items is None else items)!r} is not a list of numbers'
            if not np.isfinite(items).all():
                return f'{items!r} holds what is no finite number'
        if isinstance(self.default, float):
            if not _is_number(value):
                return f'{value!r} is not a number'
            if self.low is not None and self.high is not None and not (
                    self.low <= value <= self.high):
                return f'{value!r} is outside the range [{self.low:g}, {self.high:g}]'
        check = _CHECKS.get(self.name)
        if check is not None:
            try:
                check(value)
            except ValueError as error:
                return str(error)
        return None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _items(value: object) -> list[Any] | None:
    """Return what an array of any kind holds, None for what is no array."""
    return list(value) if isinstance(value, (list, tuple, array.array)) else None


def _check_rotation(value: Any) -> None:
    if len(value) != 4 or any(value):
        quaternion_matrix(value)


_CHECKS: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(('input.size', 'refresh.size'), lambda value: parse_size(str(value))),
    'imu.rotation': _check_rotation}
"""Raise ValueError with what is wrong with a value."""


def _values(enum: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(item.value) for item in enum)  # type: ignore[attr-defined]


SPECIFICATIONS = (
    Specification('autostart', True, 'Configure and activate at start; with false a lifecycle '
                                     'manager does.'),
    Specification('backend', 'auto', 'What computes the networks; auto takes TensorRT where it '
                                     'works, then PyTorch on a GPU, then OpenVINO on the CPU.',
                  choices=BACKENDS),
    Specification('precision', 'auto', 'auto: the fastest that the hardware has and that keeps '
                                       'the warps exact; fp32: float32 throughout.',
                  choices=_values(Precision)),
    Specification('model.name', 'vits', 'Pair of foundation model and fast network: vits '
                                        '(Apache-2.0), or vitb with your own weights.',
                  choices=('vits', 'vitb')),
    Specification('model.foundation_weights', '', 'Foundation weights to use instead of the '
                                                  'fetched ones: a path; empty for none.'),
    Specification('model.fast_weights', '', 'Fast network weights to use instead of the shipped '
                                            'ones: a path; empty for none.'),
    Specification('model.glance_weights', '', 'Adapter of the foundation model for glances to '
                                              'use instead of the shipped one: a path; empty for '
                                              'none.'),
    Specification('engine.directory', '', 'Folder of built TensorRT engines, found there or '
                                          'built into it: a path; empty for the cache.'),
    Specification('input.size', 'auto', "Network size HxW in pixels, multiples of 14, of the "
                                        "upright image, or 'auto': at the camera's aspect a short "
                                        'side of 252 on a CPU, 518 on a GPU.'),
    Specification('input.image_transport', 'raw', 'Message type of the input: sensor_msgs/Image, '
                                                  'or CompressedImage on <image>/compressed.',
                  choices=('raw', 'compressed')),
    Specification('input.reliability', 'auto', 'QoS of the image subscription; auto is reliable '
                                               'when every publisher offers it.',
                  choices=('auto', 'reliable', 'best_effort')),
    Specification('input.rotation', '0',
                  'Degrees to turn the image clockwise so that it is upright, for a camera that '
                  'is mounted upside down (180) or on its side (90, 270); depth is turned back '
                  "and fits the image as it came. auto: by the camera's roll in tf against "
                  'base_link, 0 until it is known.',
                  live=True, choices=(*(str(rotation.value) for rotation in Rotation), 'auto')),
    Specification('refresh.size', 'auto', "Size HxW in pixels, multiples of 14, of the upright "
                                          "image that the foundation model sees at a refresh, or "
                                          "'auto': of two sizes the one that leaves the least "
                                          'error, by what a refresh takes and how fast the image '
                                          'moves. With fast_path.model glance.', live=True),
    Specification('fast_path.model', 'auto',
                  "What every frame goes through. glance: a keyframe's depth, moved with what is "
                  'seen, and mended by glances of a small network; spatial_memory: the '
                  "AsyncMDE paper's network, which fuses the keyframe's features with the "
                  "frame's; auto: glance, on a GPU spatial_memory.",
                  choices=_values(FastPathModel)),
    Specification('fast_path.threads', 0, 'Cores for the fast network, or for glances; 0 '
                                          'chooses.',
                  low=0, high=MAX_THREADS),
    Specification('fast_path.overload', 'warp',
                  'With fast_path.model spatial_memory, for a frame that the network has no time '
                  'for: warp gives the last depth, moved with the camera; drop gives none.',
                  choices=('warp', 'drop')),
    Specification('slow_path.threads', 0, 'Cores for the foundation model; 0 chooses: with '
                                          'fast_path.model glance all that there are, in turn '
                                          'with glances.',
                  low=0, high=MAX_THREADS),
    Specification('slow_path.enabled', True, 'Refresh the memory; with false the last keyframe '
                                             'is carried on until a scene cut or a jump in time.',
                  live=True),
    Specification('slow_path.max_rate', 0.0, 'Most refreshes per second [Hz]; 0 is as many as '
                                             'the machine can.', live=True, low=0.0, high=1000.0),
    Specification('memory.temporal_smoothing', 0.5,
                  "With fast_path.model spatial_memory: beta, the share of this frame's own trust "
                  "map against the frame before's; 1 is no smoothing.",
                  live=True, low=0.0, high=1.0),
    Specification('memory.gate_temperature', 4.0,
                  'With fast_path.model spatial_memory: k, how sharply the semantic gate switches '
                  'to the fine one.',
                  live=True, low=0.1, high=100.0),
    Specification('memory.motion_compensation', 'image',
                  'Moves the memory with what is seen: homography (one a frame, from tracked '
                  'corners), image (optical flow as well, for parallax and moving things), imu '
                  "(the camera's rotation from sensor_msgs/Imu on the topic imu), or off, which "
                  'does not notice scene cuts in the images either.',
                  live=True, choices=_values(MotionCompensation)),
    Specification('memory.cut_similarity', SAME_SCENE_SIMILARITY,
                  'Scene cut: the correlation of two frames below which, where tracking fails '
                  'as well, the memory is dropped and a refresh asked for; -1 for never.',
                  live=True, low=-1.0, high=1.0),
    Specification('memory.cut_trust', 0.3,
                  'Lost memory: the share of its trust that the memory must keep from one frame '
                  'to the next, or it is dropped and a refresh asked for; 0 for never.',
                  live=True, low=0.0, high=1.0),
    Specification('memory.max_age', 5.0,
                  'Age of the keyframe [s] beyond which depth is marked or withheld; 0 for no '
                  'limit.', live=True, low=0.0, high=3600.0),
    Specification('memory.when_too_old', 'mark',
                  'What becomes of depth beyond memory.max_age: mark (depth/memory and '
                  '/diagnostics say so) or withhold.', live=True, choices=_values(OldMemory)),
    Specification('imu.rotation', (0.0, 0.0, 0.0, 0.0),
                  "Rotation from the IMU's frame to the camera's optical frame, as a quaternion "
                  '[x, y, z, w]; four zeros take it from tf. [0.5, -0.5, 0.5, 0.5] for a camera '
                  "that looks along the IMU's x, z of the IMU being up."),
    Specification('output.resolution', 'input', "Size of the depth image: the input's, or the "
                                                "network's.", live=True,
                  choices=_values(OutputResolution)),
)
_BY_NAME = {specification.name: specification for specification in SPECIFICATIONS}


def declare(node: Node) -> None:
    """Declare every parameter and refuse values outside their choices from now on."""
    node.add_on_set_parameters_callback(_validate)
    for specification in SPECIFICATIONS:
        default = specification.default
        node.declare_parameter(specification.name,
                               list(default) if isinstance(default, tuple) else default,
                               specification.descriptor())


def misspelt(given: Iterable[str]) -> dict[str, str]:
    """Map each given name that is no parameter, but like one, to that one.

    ROS ignores what a node does not declare, since a file of parameters may serve several nodes.
    """
    names = {name: name for name in _BY_NAME}
    names |= {name.rpartition('.')[2]: name for name in _BY_NAME}  # without its group
    found = {}
    for name in given:
        alike = difflib.get_close_matches(name, names, n=1, cutoff=ALIKE)
        if name not in _BY_NAME and alike:
            found[name] = names[alike[0]]
    return found


def any_live(parameters: Iterable[Parameter]) -> bool:
    """Tell whether one of them is of those that act on the running node."""
    return any(parameter.name in _BY_NAME and _BY_NAME[parameter.name].live
               for parameter in parameters)


def _validate(parameters: list[Parameter]) -> SetParametersResult:
    """Check without acting; rclpy has checked the other types and ranges already."""
    for parameter in parameters:
        specification = _BY_NAME.get(parameter.name)
        objection = specification and specification.objection(parameter.value)
        if objection:
            return SetParametersResult(successful=False, reason=f'{parameter.name}: {objection}')
    return SetParametersResult(successful=True)


def read_settings(node: Node) -> Settings:
    """Return the live settings as they are now."""
    def value(name: str) -> Any:
        return _BY_NAME[name].meant(node.get_parameter(name).value)
    return Settings(
        slow_path_enabled=value('slow_path.enabled'),
        slow_path_max_rate_hz=value('slow_path.max_rate'),
        temporal_smoothing=value('memory.temporal_smoothing'),
        gate_temperature=value('memory.gate_temperature'),
        motion_compensation=MotionCompensation(value('memory.motion_compensation')),
        cut_similarity=value('memory.cut_similarity'),
        cut_trust=value('memory.cut_trust'),
        max_memory_age_s=value('memory.max_age'),
        old_memory=OldMemory(value('memory.when_too_old')),
        output_resolution=OutputResolution(value('output.resolution')),
        refresh_size=parse_size(str(value('refresh.size'))),
        rotation=Rotation.NONE if turns_by_tf(node) else Rotation(int(value('input.rotation'))))


def turns_by_tf(node: Node) -> bool:
    """Tell whether the images are to be turned by what tf says."""
    return bool(node.get_parameter('input.rotation').value == 'auto')


def read_threads(node: Node) -> Threads:
    return Threads(node.get_parameter('fast_path.threads').value,
                   node.get_parameter('slow_path.threads').value)


def read_rotation(node: Node) -> list[float]:
    """Return the rotation from the IMU to the camera as a quaternion, zeros for tf's."""
    value: list[float] = _BY_NAME['imu.rotation'].meant(node.get_parameter('imu.rotation').value)
    return value


def read_path(node: Node, name: str) -> Path | None:
    """Return a parameter that holds a path, None where it is empty."""
    text = node.get_parameter(name).value
    try:
        return Path(text).expanduser() if text else None
    except RuntimeError:  # of a user that there is none; said when it is looked for
        return Path(text)
