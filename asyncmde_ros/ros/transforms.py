"""Poses and rotations between frames, from tf, where tf2_ros is installed."""

from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node

from asyncmde_ros.pipeline.rotation import Matrix, quaternion_matrix


class Rotations(Protocol):
    """The rotation from one frame to another, as someone else knows it."""

    def __call__(self, target: str, source: str) -> Matrix | None:
        """Return (3, 3), which takes directions in ``source`` to ``target``; None if unknown."""

    def close(self) -> None:
        """Listen no longer."""


class Transforms(Rotations, Protocol):
    """Poses as well."""

    def pose(self, target: str, source: str, stamp: Time | None = None) -> Matrix | None:
        """Return (4, 4), which takes points in ``source`` to ``target``, metres; None if unknown.

        At ``stamp``, or the newest that is known.
        """


def rigid_pose(position: Any, orientation: Any) -> Matrix:
    """Return a pose of geometry_msgs as (4, 4); ValueError where it is none."""
    pose = np.eye(4)
    pose[:3, :3] = quaternion_matrix((orientation.x, orientation.y, orientation.z, orientation.w))
    pose[:3, 3] = position.x, position.y, position.z
    if not np.isfinite(pose).all():
        raise ValueError(f'a position of {position.x}, {position.y}, {position.z}')
    return pose


def tf_rotations(node: Node) -> Rotations | None:
    """Return a lookup of the newest in tf, None where tf2_ros is not installed."""
    return tf_transforms(node)


def tf_transforms(node: Node) -> Transforms | None:
    """Return a lookup in tf, None where tf2_ros is not installed.

    A node listens to tf once, however many ask: each message costs it time.
    """
    try:
        import rclpy.time
        from tf2_ros import Buffer, TransformException, TransformListener
    except ImportError:
        return None

    class Lookup:

        def __init__(self) -> None:
            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, node)
            self.users = 0

        def __call__(self, target: str, source: str) -> Matrix | None:
            pose = self.pose(target, source)
            return None if pose is None else pose[:3, :3]

        def pose(self, target: str, source: str, stamp: Time | None = None) -> Matrix | None:
            when = rclpy.time.Time() if stamp is None else rclpy.time.Time.from_msg(stamp)
            try:
                found = self._buffer.lookup_transform(target, source, when).transform
                return rigid_pose(found.translation, found.rotation)
            except (TransformException, ValueError):  # not known, or nonsense
                return None

        def close(self) -> None:
            self.users -= 1
            if not self.users:
                _listening.pop(node, None)
                self._listener.unregister()

    if node not in _listening:
        _listening[node] = Lookup()
    found: Transforms = _listening[node]
    _listening[node].users += 1
    return found


_listening: 'WeakKeyDictionary[Node, Any]' = WeakKeyDictionary()
