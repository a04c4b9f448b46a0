"""How everything under ``depth/`` is published."""

from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from asyncmde_ros.ros.qos import newest_only


def depth_publisher(node: LifecycleNode, kind: Any, name: str) -> Publisher:
    """Return a publisher of ``depth/<name>``: reliable, the newest only, and overridable."""
    return node.create_lifecycle_publisher(
        kind, f'depth/{name}', newest_only(ReliabilityPolicy.RELIABLE),
        qos_overriding_options=QoSOverridingOptions.with_default_policies())
