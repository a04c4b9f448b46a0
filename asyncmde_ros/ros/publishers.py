"""How everything under ``depth/`` is published, and answers to queries."""

from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from asyncmde_ros.ros.qos import newest_only

ANSWERS = 20
"""That may wait for who asked."""


def depth_publisher(node: LifecycleNode, kind: Any, name: str) -> Publisher:
    """Return a publisher of ``depth/<name>``: reliable, the newest only, and overridable."""
    return node.create_lifecycle_publisher(
        kind, f'depth/{name}', newest_only(ReliabilityPolicy.RELIABLE),
        qos_overriding_options=QoSOverridingOptions.with_default_policies())


def answer_publisher(node: LifecycleNode, kind: Any, name: str) -> Publisher:
    """Return a publisher of ``query/<name>``: reliable, with room for a burst; overridable."""
    return node.create_lifecycle_publisher(
        kind, f'query/{name}', QoSProfile(depth=ANSWERS, reliability=ReliabilityPolicy.RELIABLE),
        qos_overriding_options=QoSOverridingOptions.with_default_policies())
