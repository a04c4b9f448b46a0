"""Metres for the node: from what sensors measured to what is published, frame by frame."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from asyncmde_ros.pipeline.results import DepthResult
from asyncmde_ros.ros.lens import LensKeeper, is_rectified
from asyncmde_ros.ros.measuring import Measuring, View
from asyncmde_ros.ros.messages import NANOSECONDS
from asyncmde_ros.ros.metric_outputs import MetricOutputs, scale_values
from asyncmde_ros.ros.metric_settings import FIXED, NONE, MetricSettings
from asyncmde_ros.ros.sensors import KINDS, Message, topic_of
from asyncmde_ros.ros.topics import instead, published_types
from asyncmde_ros.ros.transforms import tf_transforms
from asyncmde_ros.scale.estimator import Scale, ScaleEstimator

QUEUE = 5
"""Messages that may wait while a frame is computed."""


class MetricDepth:
    """Estimates the scale with every frame, and publishes metres where it is known."""

    def __init__(self, node: LifecycleNode, settings: Callable[[], MetricSettings]) -> None:
        """``settings`` reads the parameters; see :meth:`follow_settings`."""
        self._node, self._read = node, settings
        self._settings = settings()
        self._outputs = MetricOutputs(node)
        self._listening = False
        self._sensors: _Sensors | None = None
        self._lens = LensKeeper()
        self._start()

    def _start(self) -> None:
        self._estimator = ScaleEstimator()
        self._generation: int | None = None
        self._scale: Scale | None = None

    def open(self, image_topic: str) -> None:
        """Listen to the sensors; ``image_topic`` is the images' full name."""
        self._listening = True
        self._lens = LensKeeper(is_rectified(image_topic))
        self._start()
        self.follow_settings()

    def close(self) -> None:
        """Listen no longer."""
        self._listening = False
        self._close_sensors()

    def follow_settings(self) -> None:
        """Read the parameters, and listen to the sources that are asked for."""
        self._settings = self._read()
        wanted = set(self._settings.sources) & set(KINDS) if self._listening else set()
        if self._sensors is not None and self._sensors.sources == wanted:
            return
        self._close_sensors()
        if wanted:
            self._sensors = _Sensors(self._node, wanted)
        self._start()

    def _close_sensors(self) -> None:
        if self._sensors is not None:
            self._sensors.close()
            self._sensors = None

    def update(self, header: Header, rgb: npt.NDArray[np.uint8], info: CameraInfo | None,
               result: DepthResult) -> None:
        """Take an image's relative depth; publish what is known of it in metres."""
        depth, keyframe, settings = result.depth, result.keyframe, self._settings
        if not settings.sources or depth is None or keyframe is None:
            return
        lens = self._lens.of(info, rgb.shape[:2], settings.rectified)
        scale = self._fixed_scale()
        if self._sensors is not None:
            if lens is not None:
                self._sensors.measuring.look(View(lens, header.frame_id))
            refreshed = keyframe.generation != self._generation
            self._generation = keyframe.generation
            scale = self._estimator.update(result.stamp_ns / NANOSECONDS, depth,
                                           self._sensors.measuring.take(), refreshed)
        self._scale = scale
        if scale is not None and not settings.too_old(scale.age_s):
            self._outputs.publish(header, depth, rgb, lens, scale, settings)

    def _fixed_scale(self) -> Scale | None:
        a, b = self._settings.fixed
        if FIXED not in self._settings.sources or not a:
            return None
        return Scale(a, b, np.zeros((2, 2)), 0.0, 0, 0, None, False, (FIXED,))

    @property
    def asked(self) -> bool:
        """Tell whether metres are asked for: by a source, or by who listens."""
        return bool(self._settings.sources) or (self._listening and self._outputs.wanted)

    def trouble(self) -> str:
        """Say why there are no metres, and what to do; empty where there are."""
        settings, scale = self._settings, self._scale
        if not settings.sources:
            return (f'metres are asked for, and scale.source is {NONE}: set it to what the robot '
                    'has (docs/metres.md)')
        if scale is not None:
            if settings.too_old(scale.age_s):
                return (f'nothing was measured for {scale.age_s:.0f} s, longer than '
                        f'scale.max_silence: {self._why_silent()}')
            return ''
        if FIXED in settings.sources and not settings.fixed[0]:
            return 'scale.source is fixed, and scale.fixed is not set'
        return f'metres are asked for, and no source speaks: {self._why_silent()}'

    def values(self) -> dict[str, str]:
        """Return what /diagnostics tells of the scale."""
        return {} if self._scale is None else scale_values(self._scale)

    def _why_silent(self) -> str:
        if self._lens.trouble:
            return self._lens.trouble
        return '' if self._sensors is None else self._sensors.why_silent()


class _Sensors:
    """The subscriptions to sources, and the thread that reads what they say."""

    def __init__(self, node: LifecycleNode, sources: set[str]) -> None:
        self._node, self.sources = node, sources
        # First the subscriptions: an override of their QoS may be wrong.
        self._subscriptions: list[Subscription] = []
        self._tf = None
        try:
            for source in sorted(sources):
                self._subscriptions.append(node.create_subscription(
                    KINDS[source], f'scale/{source}', partial(self._on_message, source),
                    QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT),
                    qos_overriding_options=QoSOverridingOptions.with_default_policies()))
        except Exception:
            self._unsubscribe()
            raise
        self._tf = tf_transforms(node)
        self.measuring = Measuring(self._tf)

    def close(self) -> None:
        self._unsubscribe()
        self.measuring.close()
        if self._tf is not None:
            self._tf.close()

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_message(self, source: str, message: Message) -> None:
        self.measuring.offer(source, message)

    def why_silent(self) -> str:
        """Say of each source why it does not speak, as far as that is known."""
        troubles = dict(self.measuring.troubles)
        return '; '.join(f'{source}: {troubles.get(source) or self._nobody(source)}'
                         for source in sorted(self.sources))

    def _nobody(self, source: str) -> str:
        topic = topic_of(self._node, source)
        if not published_types(self._node, topic):
            return f'no publisher on {topic}'
        return (instead(self._node, topic, KINDS[source]).lstrip(', ')
                or 'nothing of it was seen in the image, or it did not fit the depth')
