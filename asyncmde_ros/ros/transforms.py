"""Rotations between frames, from tf, where tf2_ros is installed."""

from typing import Protocol

from rclpy.node import Node

from asyncmde_ros.pipeline.rotation import Matrix, quaternion_matrix


class Rotations(Protocol):
    """The rotation from one frame to another, as someone else knows it."""

    def __call__(self, target: str, source: str) -> Matrix | None:
        """Return (3, 3), which takes directions in ``source`` to ``target``; None if unknown."""

    def close(self) -> None:
        """Listen no longer."""


def tf_rotations(node: Node) -> Rotations | None:
    """Return a lookup of the newest in tf, None where tf2_ros is not installed."""
    try:
        from rclpy.time import Time
        from tf2_ros import Buffer, TransformException, TransformListener
    except ImportError:
        return None

    class Lookup:

        def __init__(self) -> None:
            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, node)

        def __call__(self, target: str, source: str) -> Matrix | None:
            try:
                turn = self._buffer.lookup_transform(target, source, Time()).transform.rotation
                return quaternion_matrix((turn.x, turn.y, turn.z, turn.w))
            except (TransformException, ValueError):  # not known, or nonsense
                return None

        def close(self) -> None:
            self._listener.unregister()
    return Lookup()
