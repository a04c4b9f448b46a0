"""Metres by odometry: images and poses become measurements, in a thread of its own."""

import threading
from collections import deque
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from nav_msgs.msg import Odometry as OdometryMessage
from std_msgs.msg import Header

from asyncmde_ros.errors import in_words
from asyncmde_ros.ros.measuring import NO_TF, ImageView
from asyncmde_ros.ros.messages import NANOSECONDS, to_nanoseconds
from asyncmde_ros.ros.transforms import Transforms, rigid_pose
from asyncmde_ros.ros.worker import Worker, drained
from asyncmde_ros.scale.observations import Array, Measurement
from asyncmde_ros.scale.odometry import Odometry, reduced
from asyncmde_ros.scale.poses import Poses

EVERY = 2
"""Every other picture is looked at: corners are followed over twice the step for half the work."""

MOST_READY = 8


class _QueuedImage(NamedTuple):
    header: Header
    rgb: npt.NDArray[np.uint8]
    view: ImageView


class OdometrySource:
    """Takes images and odometry from the executor's thread; gives measurements later."""

    def __init__(self, transforms: Transforms | None, fixed_frame: str, drift: float) -> None:
        """``fixed_frame``: that of tf in which the camera moves; empty: odometry is offered.

        ``drift`` is the odometry's, as a share of the path.
        """
        self._transforms, self._fixed = transforms, fixed_frame
        self._odometry = Odometry(EVERY, drift)
        self._poses, self._lock = Poses(), threading.Lock()
        self._base: str | None = None
        self._ready: deque[Measurement] = deque(maxlen=MOST_READY)
        self.trouble = ''
        """Why the newest image had no pose; empty where it had one."""
        self._worker = Worker('odometry', self._look, in_order=True)

    def close(self) -> None:
        """End the thread."""
        self._worker.close()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._worker.join()

    def offer_pose(self, message: OdometryMessage) -> None:
        """Take a pose of the robot; what is none is said, and not taken."""
        try:
            pose = rigid_pose(message.pose.pose.position, message.pose.pose.orientation)
        except ValueError as error:
            self.trouble = f'the odometry is no pose: {error}'
            return
        with self._lock:
            self._base = message.child_frame_id
            self._poses.add(to_nanoseconds(message.header.stamp) / NANOSECONDS, pose)

    def offer(self, header: Header, rgb: npt.NDArray[np.uint8], view: ImageView) -> None:
        """Take an image (rows, cols, 3); returns at once."""
        self._worker.offer(_QueuedImage(header, rgb, view))

    def take(self) -> list[Measurement]:
        """Return what was measured since the last time; returns at once."""
        return drained(self._ready)

    def _look(self, picture: _QueuedImage, patient: bool) -> bool:
        """Follow the corners of an image; False where its pose may still come."""
        stamp_s = to_nanoseconds(picture.header.stamp) / NANOSECONDS
        pose = self._pose(picture, stamp_s)
        if pose is None and patient:
            return False
        size = reduced(picture.rgb.shape[:2])
        grey = cv2.cvtColor(cv2.resize(picture.rgb, size[::-1], interpolation=cv2.INTER_AREA),
                            cv2.COLOR_RGB2GRAY)
        try:
            found = self._odometry.update(stamp_s, np.asarray(grey, np.uint8),
                                          picture.view.lens.scaled(size), pose)
        except Exception as error:  # the thread goes on
            self.trouble = in_words(error)
            return True
        if pose is not None:
            self.trouble = ''
        if found is not None:
            self._ready.append(found)
        return True

    def _pose(self, picture: _QueuedImage, stamp_s: float) -> Array | None:
        """Return the camera's pose at its image; None, with the trouble said, while unknown."""
        camera = picture.view.frame
        if self._fixed:
            pose = None if self._transforms is None else self._transforms.pose(
                self._fixed, camera, picture.header.stamp)
            if pose is None:
                self.trouble = (NO_TF if self._transforms is None else
                                f'tf does not tell where {camera or "(no frame)"} is from '
                                f'{self._fixed} at the stamps of the images')
            return pose
        with self._lock:
            robot = self._poses.at(stamp_s)
        if robot is None:
            self.trouble = 'no odometry at the stamps of the images'
            return None
        mounted = self._mounted(camera)
        return None if mounted is None else np.asarray(robot @ mounted, np.float64)

    def _mounted(self, camera: str) -> Array | None:
        """Return where the camera is on the robot."""
        if self._base == camera:
            return np.eye(4)
        pose = None if self._transforms is None or not self._base else self._transforms.pose(
            self._base, camera)
        if pose is None:
            self.trouble = (
                'the odometry names no child_frame_id' if not self._base else
                NO_TF.replace('the sensor', 'the odometry') if self._transforms is None else
                f'tf does not tell where {camera or "(no frame)"} is from {self._base}')
        return pose
