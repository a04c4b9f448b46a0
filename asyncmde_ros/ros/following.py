"""A subscription that follows what a sensor's publishers offer."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from asyncmde_ros.ros.guard import guarded
from asyncmde_ros.ros.qos import newest_only, offered_reliability
from asyncmde_ros.ros.releases import with_message_info
from asyncmde_ros.ros.topics import type_name

DISCOVERY_PERIOD_S = 0.5
"""How often the publishers are looked up, to ask for the reliability that they offer."""

PATIENCE_LOOKS = 10
"""After so many looks without a publisher that is said, once until one comes."""

MISTYPED_LOOKS = 2
"""So, where there are publishers, but of another type: what is there need not be waited for."""

INT64_MAX = 2**63 - 1

POLICIES = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY)
"""Overridable by ``qos_overrides``.  Reliability has a parameter: it may follow the sensor's."""


class Gaps:
    """Counts what a publisher sent and the subscription did not give, by sequence numbers."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Take the next message for the first."""
        self._last: int | None = None
        self._before_fall = INT64_MAX

    def missed(self, number: int | None) -> int:
        """Return how many are missing between the last message and number ``number``.

        None or a number outside a signed one's range, where a middleware does not count, is
        ignored; so is one that is not larger than the last: the publisher started anew, or
        another one came, and then so is the way back up to the first one's numbers.
        """
        if number is None or not 0 < number <= INT64_MAX:
            return 0
        last, self._last = self._last, number
        if last is None:
            return 0
        if number <= last:
            self._before_fall = last
            return 0
        if number > self._before_fall:
            self._before_fall = INT64_MAX
            return 0
        return number - last - 1


class FollowingInput:
    """Subscribes with the reliability that the publishers offer, and anew where that changes.

    ``publishers`` counts those that are heard; ``topic`` is the full name.
    """

    def __init__(self, node: Node, name: str, callback: Callable[..., None], reliability: str,
                 depth: int, raw: bool = False) -> None:
        """``reliability``: auto, reliable or best_effort; ``raw``: messages come as bytes."""
        self._node, self._name = node, name
        self._callback = with_message_info(callback)
        self._wanted, self._depth, self._raw = reliability, depth, raw
        self._subscription: Subscription | None = None
        self._chosen: tuple[Any, ReliabilityPolicy] | None = None
        self._gaps = Gaps()
        self.publishers = self._looks_in_vain = 0
        self.trouble = ''
        """Why nothing is to be expected, and what to do; empty where there is no reason."""
        self.topic = node.resolve_topic_name(name)
        self._choose()
        # Not the node's clock, which stands still with a paused simulation.
        self._timer: Timer = node.create_timer(DISCOVERY_PERIOD_S, guarded(node, self._choose),
                                               clock=Clock(clock_type=ClockType.STEADY_TIME))

    @abstractmethod
    def kind(self, types: Collection[str]) -> Any | None:
        """Return the message type to listen to where publishers have ``types``.

        None where that cannot be told yet.
        """

    @abstractmethod
    def why_nothing(self) -> str:
        """Say why nothing comes that could be read, and what to do about it."""

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def missed(self, info: Mapping[str, Any]) -> int:
        """Return how many messages a newer one replaced, or the way lost, before that of ``info``.

        Not known, and so zero, while several publishers number theirs independently.
        """
        return (self._gaps.missed(info.get('publication_sequence_number'))
                if self.publishers == 1 else 0)

    def _choose(self) -> None:
        """Subscribe, again where the publishers' offer has changed."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        kind = self.kind({info.topic_type for info in publishers})
        offers = [info.qos_profile.reliability for info in publishers
                  if kind is not None and info.topic_type == type_name(kind)]
        self._explain(bool(offers), bool(publishers))
        if len(offers) != self.publishers:
            self.publishers = len(offers)
            self._gaps.reset()
        if kind is None:
            return
        if self._wanted == 'auto':
            reliability = offered_reliability(offers)
            if not offers and self._subscription is not None:
                return  # the sensor is away; what it offered last is the best guess
        else:
            reliability = ReliabilityPolicy[self._wanted.upper()]
        if self._subscription is not None:
            if (kind, reliability) == self._chosen:
                return
            self._node.destroy_subscription(self._subscription)
            self._gaps.reset()
        self._chosen = kind, reliability
        profile: QoSProfile = newest_only(reliability, self._depth)
        self._subscription = self._node.create_subscription(
            kind, self._name, self._callback, profile,
            qos_overriding_options=QoSOverridingOptions(POLICIES), raw=self._raw)
        self._node.get_logger().info(f'listening to {self.topic} ({reliability.name.lower()})')

    def _explain(self, published: bool, otherwise: bool) -> None:
        """Say once why nothing comes; ``otherwise``: something is published there."""
        if published:
            self._looks_in_vain, self.trouble = 0, ''
            return
        self._looks_in_vain += 1
        if self._looks_in_vain < (MISTYPED_LOOKS if otherwise else PATIENCE_LOOKS):
            return
        trouble = self.why_nothing()
        if trouble != self.trouble:
            self.trouble = trouble
            self._node.get_logger().warning(trouble)
