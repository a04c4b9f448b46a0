"""What the node listens to: images, their calibration, and an IMU."""

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu
from std_msgs.msg import Header

from asyncmde_ros.images.codec import Stream
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.rotation import (
    Intrinsics,
    Missing,
    RotationSensor,
    quaternion_matrix,
)
from asyncmde_ros.ros.camera_info import view_of
from asyncmde_ros.ros.following import FollowingInput
from asyncmde_ros.ros.messages import to_nanoseconds
from asyncmde_ros.ros.qos import newest_only
from asyncmde_ros.ros.topics import image_topic, instead, why_no_images
from asyncmde_ros.ros.transforms import Rotations, tf_rotations

IMU_QUEUE = 200
"""Measurements that may wait while a frame is computed: half a second of a fast IMU."""

RECENT_INFOS = 8
PATIENCE_FRAMES = 60
"""Depth maps without a calibration before that is said."""


class ImageInput(FollowingInput):
    """The image subscription."""

    def __init__(self, node: Node, callback: Callable[..., None], transport: str,
                 reliability: str, depth: int) -> None:
        """``transport``: raw or compressed; ``reliability``: auto, reliable or best_effort."""
        self._kind: Any = CompressedImage if transport == 'compressed' else Image
        super().__init__(node, image_topic(node, transport), callback, reliability, depth)
        self.stream = Stream(self.topic)

    def kind(self, types: Collection[str]) -> Any:
        return self._kind

    def why_nothing(self) -> str:
        return why_no_images(self._node, self.topic, self._kind)


class Calibration:
    """The camera's calibration for each image, without waiting for it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._recent: deque[CameraInfo] = deque(maxlen=RECENT_INFOS)
        self._without = 0
        self._subscription = node.create_subscription(
            CameraInfo, 'camera_info', self._on_info,
            newest_only(ReliabilityPolicy.BEST_EFFORT, RECENT_INFOS),
            qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _on_info(self, message: CameraInfo) -> None:
        self._recent.append(message)

    def of(self, header: Header) -> CameraInfo | None:
        """Return the calibration of an image's stamp, else the newest from before it, else any.

        A camera's calibration seldom changes, so another is right where that of this image is
        late or lost; what is published with it gets the image's header all the same.  None if
        there has been none.
        """
        stamp_ns = to_nanoseconds(header.stamp)
        before = None
        for info in reversed(self._recent):
            info_ns = to_nanoseconds(info.header.stamp)
            if info_ns == stamp_ns:
                return info
            if before is None and info_ns < stamp_ns:
                before = info
        if self._recent:
            return before or self._recent[-1]
        self._without += 1
        if self._without == PATIENCE_FRAMES:
            topic = self._node.resolve_topic_name('camera_info')
            self._node.get_logger().warning(
                f'no calibration on {topic}{instead(self._node, topic, CameraInfo)}: depth comes '
                'without depth/camera_info')
        return None


class ImuRotation:
    """Fills the pipeline's rotation sensor from an IMU, its calibration and tf.

    Warns once where something is missing; the pipeline follows the image meanwhile.
    """

    def __init__(self, node: Node, sensor: RotationSensor, rotation: npt.ArrayLike) -> None:
        """Listen, and empty the ``sensor``.

        ``rotation``: quaternion [x, y, z, w] from the IMU's to the camera's optical frame; four
        zeros ask tf.
        """
        self._node = node
        self._sensor = sensor
        self._imu_frame = ''
        self._warned = False
        self._calibrated = False
        given = np.asarray(rotation, np.float64)
        sensor.clear()
        sensor.extrinsics = quaternion_matrix(given) if given.any() else None
        # Before tf, whose listener nobody would let go if an override were wrong here.
        self._subscription = node.create_subscription(
            Imu, 'imu', self._on_imu,
            QoSProfile(depth=IMU_QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies())
        self._tf: Rotations | None = None if given.any() else tf_rotations(node)

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)
        if self._tf is not None:
            self._tf.close()

    def update(self, info: CameraInfo | None, image: Size, camera_frame: str) -> None:
        """Fill the sensor with what is known before a frame.

        ``info`` is the calibration of an ``image`` (rows, cols).
        """
        self._take()
        if self._sensor.extrinsics is None and self._tf is not None and self._imu_frame:
            self._sensor.extrinsics = self._tf(camera_frame, self._imu_frame)
        self._calibrated = _is_calibrated(info)
        self._sensor.intrinsics = None
        if info is not None and self._calibrated:
            view = view_of(info, image)
            if view.fits:
                self._sensor.intrinsics = Intrinsics(view.intrinsics(info), view.size)

    def tell(self) -> None:
        """Say, once, what the pipeline lacked for a frame."""
        missing = self._sensor.missing
        if missing is None or self._warned:
            return
        self._warned = True
        lacking, name, kind = self._lacking(missing)
        if name is not None:
            topic = self._node.resolve_topic_name(name)
            lacking += f' on {topic}{instead(self._node, topic, kind)}'
        self._node.get_logger().warning(
            f'motion from the image instead of the IMU, for want of {lacking}')

    def _lacking(self, missing: Missing) -> tuple[str, str | None, Any]:
        """Return what is missing in words, and the topic and type that it would come by."""
        if missing is Missing.ANGULAR_VELOCITY:
            return 'angular velocity for these stamps', 'imu', Imu
        if missing is Missing.EXTRINSICS:
            return ('the rotation from the IMU to the camera (parameter imu.rotation, or tf)',
                    None, None)
        what = "a calibration of the images' size" if self._calibrated else 'a calibration'
        return what, 'camera_info', CameraInfo

    def _take(self) -> None:
        """Take what has come while the executor was busy, which gives one message in its turn."""
        with self._subscription.handle:
            while taken := self._subscription.handle.take_message(Imu, False):
                self._on_imu(taken[0])

    def _on_imu(self, message: Imu) -> None:
        self._imu_frame = message.header.frame_id
        rate = message.angular_velocity
        self._sensor.add(to_nanoseconds(message.header.stamp), (rate.x, rate.y, rate.z))


def _is_calibrated(info: CameraInfo | None) -> bool:
    """Tell whether K is a pinhole camera's, and so has an inverse."""
    return (info is not None and info.width > 0 and info.height > 0
            and bool(np.isfinite(info.k).all() and info.k[0] > 0 and info.k[4] > 0
                     and info.k[3] == info.k[6] == info.k[7] == 0 and info.k[8] == 1))
