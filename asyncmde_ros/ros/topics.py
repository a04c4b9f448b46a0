"""What is published under a topic's name, and what to do where it is not what is listened to."""

from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

COMPRESSED = '/compressed'
"""What image_transport appends to a topic's name for JPEG and PNG."""

DEPTH_FORMAT = '/compressedDepth'
"""Its plugin for depth images; in CompressedImages as well, behind a header of its own."""


def type_name(kind: Any) -> str:
    """Return a message type's name as in ``ros2 topic list -t``: 'sensor_msgs/msg/Image'."""
    return f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'


def image_topic(node: Node, transport: str) -> str:
    """Return the name to subscribe to for images; rclpy still applies the remappings to it.

    Compressed images are beside the topic that ``image`` is remapped to, as image_transport has
    it, unless ``image/compressed`` is remapped itself.
    """
    if transport != 'compressed':
        return 'image'
    own = f'image{COMPRESSED}'
    if node.resolve_topic_name(own) != node.resolve_topic_name(own, only_expand=True):
        return own
    return node.resolve_topic_name('image') + COMPRESSED


def published_types(node: Node, topic: str) -> list[str]:
    """Return the types that publishers of ``topic``, a full name, have; sorted."""
    return sorted({info.topic_type for info in node.get_publishers_info_by_topic(topic)})


def instead(node: Node, topic: str, kind: Any) -> str:
    """Say what else than ``kind`` is published on ``topic``; empty where it is ``kind``."""
    types = published_types(node, topic)
    wanted = type_name(kind)
    if not types or wanted in types:
        return ''
    return f', which carries {type_words(types)} and not {type_words([wanted])}'


def why_no_images(node: Node, topic: str, kind: Any) -> str:
    """Say why nobody publishes images of type ``kind`` on ``topic``, and what to do about it."""
    types = published_types(node, topic)
    if types:
        return f'{topic} carries {type_words(types)}: {_remedy(topic, types)}'
    base = (topic.removesuffix(COMPRESSED) or topic) if kind is CompressedImage else topic
    for near in (base, base + COMPRESSED):
        types = published_types(node, near) if near != topic else []
        if _readable(near, types):
            return (f'no publisher on {topic}, but {near} carries {type_words(types)}: '
                    + _remedy(near, types, base))
    beneath = {name: published_types(node, name) for name, _ in node.get_topic_names_and_types()
               if name.rpartition('/')[0] == base}
    found = [f'{name} carries {type_words(types)}'
             for name, types in sorted(beneath.items()) if types]
    if found:
        return f'no publisher on {topic}; {", ".join(found)}, which {_UNREADABLE}'
    return f'no publisher on {topic}: is that the camera\'s topic? (ros2 topic list)'


_UNREADABLE = ('this node does not read: it takes sensor_msgs/Image, or '
               'sensor_msgs/CompressedImage with JPEG or PNG')


def _readable(topic: str, types: Iterable[str]) -> bool:
    return type_name(Image) in types or (type_name(CompressedImage) in types
                                         and not topic.endswith(DEPTH_FORMAT))


def _remedy(topic: str, types: list[str], remapped: str | None = None) -> str:
    """Return what to set for the images on ``topic``; ``remapped`` is what ``image`` is now."""
    if not _readable(topic, types):
        return f'which {_UNREADABLE}'
    if type_name(Image) in types:
        remap = '' if topic == remapped else f' and -r image:={topic}'
        return f'input.image_transport:=raw{remap}'
    base = topic.removesuffix(COMPRESSED)
    remap = ('' if base == remapped and base != topic else
             f' and -r image:={base}' if base not in ('', topic) else
             f' and -r image{COMPRESSED}:={topic}')
    return f'input.image_transport:=compressed{remap}'


def type_words(types: Iterable[str]) -> str:
    """Return types as people write them: 'sensor_msgs/Image and std_msgs/String'."""
    return ' and '.join(name.replace('/msg/', '/') for name in types)
