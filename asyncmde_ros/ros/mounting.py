"""How a camera is mounted, from tf: which way is up in its images."""

import math
import time

from rclpy.node import Node

from asyncmde_ros.pipeline.rotation import Matrix
from asyncmde_ros.pipeline.upright import Rotation
from asyncmde_ros.ros.transforms import tf_rotations

BASE_FRAME = 'base_link'
"""Its z axis points up (REP 103, REP 105)."""

LOOK_PERIOD_S = 0.5
"""Between two looks at tf: a camera seldom moves on its robot, and the first should be soon."""

PATIENCE_LOOKS = 10
"""Looks in vain before that is said."""

STEEP = math.sin(math.radians(20))
"""Nearer to straight up or down than 20 degrees the picture has no upright."""

STICKINESS_DEG = 15.0
"""Beyond the middle between two rotations before the other is taken."""


def needed_rotation(camera: Matrix, before: Rotation | None) -> Rotation | None:
    """Return what turns a camera's images upright.

    ``camera`` (3, 3) takes directions in BASE_FRAME to the camera's optical frame (x right, y
    down, z ahead).  ``before``, what there was (None: nothing yet), is kept between two rotations
    and where the camera looks straight up or down.
    """
    right, down, _ = camera @ (0.0, 0.0, 1.0)
    if math.hypot(right, down) < STEEP:
        return before
    clockwise = math.degrees(math.atan2(-right, -down))  # brings up, seen there, to the top
    if before is not None:
        off = (clockwise - before + 180) % 360 - 180
        if abs(off) <= 45 + STICKINESS_DEG:
            return before
    return Rotation(round(clockwise / 90) % 4 * 90)


class Mounting:
    """The rotation of a camera's images by tf; none until tf knows, which is said once."""

    def __init__(self, node: Node) -> None:
        """Listen to tf."""
        self._node = node
        self._tf = tf_rotations(node)
        self._rotation: Rotation | None = None
        self._looked_s = -math.inf
        self._looks = 0
        if self._tf is None:
            node.get_logger().warning(
                'input.rotation: auto needs tf2_ros, which is not installed: images are not '
                'turned; name the degrees instead')

    def close(self) -> None:
        if self._tf is not None:
            self._tf.close()

    def rotation(self, camera_frame: str) -> Rotation:
        """Return what turns the images of ``camera_frame`` upright, as far as is known."""
        now_s = time.monotonic()
        if self._tf is not None and now_s - self._looked_s >= LOOK_PERIOD_S:
            self._looked_s = now_s
            camera = self._tf(camera_frame, BASE_FRAME)
            if camera is not None:
                self._rotation = needed_rotation(camera, self._rotation)
            self._looks += 1
            if self._rotation is None and self._looks == PATIENCE_LOOKS:
                self._node.get_logger().warning(
                    f'input.rotation: auto finds no upright between {camera_frame} and '
                    f'{BASE_FRAME} in tf: images are not turned until it does')
        return Rotation.NONE if self._rotation is None else self._rotation
