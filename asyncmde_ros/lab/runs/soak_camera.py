"""The soak's camera and listener: good images, spoilt ones, and what comes back."""

import array
import time
from collections.abc import Callable
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from asyncmde_ros.lab.bench.pictures import Pan
from asyncmde_ros.lab.runs.video_publisher import image_message
from asyncmde_ros.lab.soak.ledger import Ledger
from asyncmde_ros.lab.soak.schedule import SPOILT
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.ros.messages import from_nanoseconds, to_nanoseconds
from asyncmde_ros.ros.qos import newest_only
from asyncmde_ros.ros.startup import start_ros

IMAGE: Size = (480, 640)
RATE_HZ = 30.0
FRAME = 'camera_optical_frame'

QUEUE = 10
"""Messages that wait for the listener; its own slowness must not look like the node's drops."""

MUCH_TOO_LONG = 10_000
"""Bytes after the last row, more than a driver's page."""

RIBBON = 8
"""An image so many times as low is longer than any camera's."""

FOCAL_SHARE = 0.8
"""Focal length per width: a lens of 64 degrees."""


def _set_bytes(message: Image, data: 'array.array[int]') -> None:
    message.data = data


def _wrong_step(message: Image) -> None:
    message.step = 3


def _truncate(message: Image) -> None:
    _set_bytes(message, message.data[:len(message.data) // 2])


def _unknown_encoding(message: Image) -> None:
    message.encoding = 'fancy'


def _empty(message: Image) -> None:
    message.height = message.width = 0
    _set_bytes(message, array.array('B'))


def _lengthen(message: Image) -> None:
    _set_bytes(message, message.data + array.array('B', bytes(MUCH_TOO_LONG)))


def _make_ribbon(message: Image) -> None:
    message.height //= RIBBON
    _set_bytes(message, message.data[:message.height * message.step])


Spoil = Callable[[Image], None]

SPOILERS: dict[str, Spoil] = dict(zip(SPOILT, (
    _wrong_step, _truncate, _unknown_encoding, _empty, _lengthen, _make_ribbon), strict=True))
"""In the order of SPOILT."""


class SoakCamera(Node):
    """Shows a slow pan at ``rate_hz`` and keeps the ledger of what is answered.

    ``size``, ``rate_hz``, ``jump_s`` (added to the stamps; None: they are zero) and ``spoil``
    may be changed at any time and act on the next image.  ``diagnosed`` is what the node last
    said on /diagnostics.
    """

    def __init__(self, namespace: str) -> None:
        super().__init__('soak_camera', namespace=namespace)
        self.ledger = Ledger()
        self.diagnosed: dict[str, str] = {}
        self.size = IMAGE
        self.rate_hz = RATE_HZ
        self.jump_s: float | None = 0.0
        self.spoil: Spoil | None = None
        self.parameters = self.create_client(SetParameters, 'depth_node/set_parameters')
        self._name = f'{namespace}/depth_node: depth'
        self._pans: dict[Size, Pan] = {}
        self._count = 0
        reliable = newest_only(ReliabilityPolicy.RELIABLE)
        self._images = self.create_publisher(Image, 'image', reliable)
        self._infos = self.create_publisher(CameraInfo, 'camera_info', reliable)
        self.create_subscription(
            Image, 'depth/relative', self._on_depth,
            QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.RELIABLE))
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, QUEUE)

    @property
    def watched(self) -> bool:
        """Whether somebody listens to the images."""
        return self._images.get_subscription_count() > 0

    def show(self) -> None:
        """Publish the next image, stamped now or as ``jump_s`` has it, and its calibration."""
        if self.size not in self._pans:
            self._pans[self.size] = Pan(self.size)
        message = image_message(self._pans[self.size].at(self._count), FRAME, Time())
        self._count += 1
        if self.jump_s is not None:
            message.header.stamp = from_nanoseconds(
                self.get_clock().now().nanoseconds + round(1e9 * self.jump_s))
        if self.spoil is not None:
            self.spoil(message)
        rows, cols = self.size
        focal_px = FOCAL_SHARE * cols
        self._infos.publish(CameraInfo(
            header=message.header, height=rows, width=cols, distortion_model='plumb_bob',
            k=[focal_px, 0.0, cols / 2, 0.0, focal_px, rows / 2, 0.0, 0.0, 1.0]))
        self.ledger.show(to_nanoseconds(message.header.stamp), time.monotonic(),
                         good=self.spoil is None)
        self._images.publish(message)

    def _on_depth(self, message: Image) -> None:
        self.ledger.answer(to_nanoseconds(message.header.stamp), time.monotonic())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._name:
                self.diagnosed = {value.key: value.value for value in status.values}


class Visitor:
    """Another participant that subscribes, as a tool that somebody starts and ends again."""

    def __init__(self, namespace: str, topics: tuple[str, ...]) -> None:
        self._context = rclpy.Context()
        start_ros([], self._context)
        self._node = Node('soak_visitor', namespace=namespace, context=self._context)
        self.received: set[str] = set()
        for topic in topics:
            self._node.create_subscription(Image, topic, self._note(topic),
                                           newest_only(ReliabilityPolicy.RELIABLE))
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def spin(self) -> None:
        """Handle a message if one is there."""
        self._executor.spin_once(timeout_sec=0)

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _note(self, topic: str) -> Callable[[Any], None]:
        return lambda _: self.received.add(topic)
