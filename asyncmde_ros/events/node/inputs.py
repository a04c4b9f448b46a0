"""The subscription to events, of whichever type is published and can be read here."""

import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.events import ros_messages
from asyncmde_ros.events.node.settings import ARRAY, AUTO, CLOUD, PACKET
from asyncmde_ros.ros.following import FollowingInput
from asyncmde_ros.ros.topics import published_types, type_name, type_words

QUEUE = 500
"""Messages that may wait while a picture has its depth: drivers send up to a thousand a second."""

OF_PACKAGE = {ros_messages.PACKET: PACKET, ros_messages.ARRAY: ARRAY}
KINDS = {type_name(PointCloud2): CLOUD,
         **{name: OF_PACKAGE[kind] for name, kind in ros_messages.TYPES.items()}}
"""What messages of these types are read as."""


def missing(name: str) -> str:
    """Say what to install for messages of a type, such as 'dvs_msgs/msg/EventArray'."""
    package = name.partition('/')[0]
    return (f'{type_words([name])} needs the package {package}, which is not installed: '
            f'sudo apt install ros-$ROS_DISTRO-{package.replace("_", "-")}, or build it from '
            'source; or have a bridge publish sensor_msgs/PointCloud2')


def message_class(name: str) -> Any | None:
    """Return a message type's class, None where its package is not installed."""
    package, _, short = name.partition('/msg/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), short)
    except (ImportError, AttributeError):
        return None


def readable(kind: str) -> list[str]:
    """Return the types that may be read as a ``kind``, or as any with auto.

    Raises AsyncMDEError, which says what to install, where a kind is asked for whose messages are
    not installed.
    """
    names = [name for name, of in KINDS.items() if kind in (AUTO, of)]
    if not any(message_class(name) for name in names):
        raise AsyncMDEError(f'events.message: {kind}: {missing(names[0])}')
    return names


class EventInput(FollowingInput):
    """Events as bytes, with what they are read as."""

    def __init__(self, node: Node, callback: Callable[[str, bytes, int], None], message: str,
                 reliability: str) -> None:
        """``callback`` takes a kind, a message, and how many were lost before it."""
        self._take, self._names = callback, readable(message)
        self.message = ''
        """The kind that is listened to, empty for none yet."""
        super().__init__(node, 'events', self._on_message, reliability, QUEUE, raw=True)

    def kind(self, types: Collection[str]) -> Any | None:
        for name in self._names:
            if name in types and (found := message_class(name)) is not None:
                self.message = KINDS[name]
                return found
        return None

    def why_nothing(self) -> str:
        types = published_types(self._node, self.topic)
        lacking = [name for name in types if name in self._names]
        if lacking:
            return f'{self.topic} carries what cannot be read: {missing(lacking[0])}'
        words = ' or '.join(type_words([name]) for name in self._names)
        if types:
            return f'{self.topic} carries {type_words(types)}, and this node takes {words}'
        return (f'no publisher on {self.topic}: is that the topic of the event camera\'s driver? '
                f'(ros2 topic list; it carries {words})')

    def _on_message(self, serialised: bytes, info: Mapping[str, Any]) -> None:
        self._take(self.message, serialised, self.missed(info))
        self.drain()

    def drain(self) -> None:
        """Take what else has come: the executor gives one message in its turn."""
        subscription = self._subscription
        if subscription is None:
            return
        with subscription.handle:
            for _ in range(QUEUE):
                taken = subscription.handle.take_message(subscription.msg_type, True)
                if not taken:
                    break
                self._take(self.message, taken[0], self.missed(taken[1]))
