"""Every source of metres that is asked for, and why those that are silent are."""

from functools import partial

import numpy as np
import numpy.typing as npt
from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from std_msgs.msg import Header

from asyncmde_ros.ros.ground_source import GroundSource
from asyncmde_ros.ros.measuring import ImageView, Measuring
from asyncmde_ros.ros.messages import NANOSECONDS, to_nanoseconds
from asyncmde_ros.ros.metric_settings import GROUND, ODOMETRY, MetricSettings
from asyncmde_ros.ros.odometry_source import OdometrySource
from asyncmde_ros.ros.sensors import KINDS, topic_of
from asyncmde_ros.ros.topics import instead, published_types
from asyncmde_ros.ros.transforms import tf_transforms
from asyncmde_ros.scale.observations import Measurement

QUEUE = 5
"""Messages that may wait while a frame is computed."""

ODOMETRY_QUEUE = 50

UNSEEN = 'nothing of it was seen in the image, or it did not fit the depth'


class ScaleSources:
    """Listens while it is open; :meth:`take` never waits."""

    def __init__(self, node: LifecycleNode, settings: MetricSettings) -> None:
        self._node, self._settings = node, settings
        self._subscriptions: list[Subscription] = []
        asked = set(settings.sources)
        self._sensors = sorted(asked & set(KINDS))
        self._odometry: OdometrySource | None = None
        # Before tf and threads, which nobody would let go if an override of QoS were wrong here.
        kinds = {source: KINDS[source] for source in self._sensors}
        if ODOMETRY in asked and not settings.odometry_frame:
            kinds[ODOMETRY] = Odometry
        try:
            for source, kind in kinds.items():
                self._subscriptions.append(node.create_subscription(
                    kind, f'scale/{source}', partial(self._on_message, source),
                    QoSProfile(depth=ODOMETRY_QUEUE if source == ODOMETRY else QUEUE,
                               reliability=ReliabilityPolicy.BEST_EFFORT),
                    qos_overriding_options=QoSOverridingOptions.with_default_policies()))
        except Exception:
            self._unsubscribe()
            raise
        self._kinds = kinds
        self._tf = tf_transforms(node)
        self._measuring = Measuring(self._tf) if self._sensors else None
        if ODOMETRY in asked:
            self._odometry = OdometrySource(self._tf, settings.odometry_frame,
                                            settings.odometry_drift)
        self._ground = GroundSource(self._tf, settings) if GROUND in asked else None

    def close(self) -> None:
        """Listen no longer."""
        self._unsubscribe()
        for thread in (self._measuring, self._odometry):
            if thread is not None:
                thread.close()
        if self._tf is not None:
            self._tf.close()

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def take(self, header: Header, rgb: npt.NDArray[np.uint8], view: ImageView
             ) -> list[Measurement]:
        """Return what was measured since the last image; hand this one to who looks at it."""
        found: list[Measurement] = []
        if self._measuring is not None:
            self._measuring.look(view)
            found += self._measuring.take()
        if self._odometry is not None:
            self._odometry.offer(header, rgb, view)
            found += self._odometry.take()
        if self._ground is not None:
            found += self._ground.take(view, to_nanoseconds(header.stamp) / NANOSECONDS)
        return found

    @property
    def largest_m(self) -> float:
        """Return the depth that metres are known to: the floor's, where it alone tells them."""
        alone = self._ground is not None and len(self._settings.sources) == 1
        return self._ground.largest_m if alone and self._ground is not None else float('inf')

    def why_silent(self) -> str:
        """Say of each source why it does not speak, as far as that is known."""
        troubles = {} if self._measuring is None else dict(self._measuring.troubles)
        if self._odometry is not None:
            troubles[ODOMETRY] = self._odometry.trouble
        if self._ground is not None:
            troubles[GROUND] = self._ground.trouble or 'no floor is seen in the image'
        return '; '.join(f'{source}: {self._nobody(source) or troubles.get(source) or UNSEEN}'
                         for source in self._settings.sources)

    def _nobody(self, source: str) -> str:
        """Say that nobody publishes on a source's topic; empty where somebody does."""
        kind = self._kinds.get(source)
        if kind is None:
            return ''
        topic = topic_of(self._node, source)
        if not published_types(self._node, topic):
            return f'no publisher on {topic}'
        wrong = instead(self._node, topic, kind)
        return f'{topic}{wrong}' if wrong else ''

    def _on_message(self, source: str, message: object) -> None:
        if isinstance(message, Odometry):
            if self._odometry is not None:
                self._odometry.offer_pose(message)
        elif self._measuring is not None:
            self._measuring.offer(source, message)
