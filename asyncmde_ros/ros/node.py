"""The depth node: a camera's images in, relative depth out, at the camera's rate."""

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, TimeReference

from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import AsyncMDEError, ImageError
from asyncmde_ros.geometry import Size, parse_size
from asyncmde_ros.media.codec import decode_compressed, decode_image
from asyncmde_ros.pipeline.depth_pipeline import (
    DepthPipeline,
    DepthResult,
    DepthSource,
    PipelineState,
)
from asyncmde_ros.pipeline.overload import MS, Overload
from asyncmde_ros.ros import parameters
from asyncmde_ros.ros.logs import forward_logs
from asyncmde_ros.ros.messages import (
    MEMORY_SOURCE,
    depth_image,
    from_nanoseconds,
    scaled_camera_info,
    to_nanoseconds,
)
from asyncmde_ros.ros.qos import newest_only, offered_reliability

DISCOVERY_PERIOD_S = 0.5
"""How often the camera's publishers are looked up, to ask for the reliability that they offer."""

POLL_S = 0.05
"""How often loading looks for Ctrl-C."""

LOADER_TIMEOUT_S = 0.5
"""Longest wait for an interrupted load; the node has a second to end in."""

THROTTLE_S = 5.0

WAITING_FRAMES = 2
"""Images that may wait, where one that waited too long is answered in a moment."""


Transition = Callable[['DepthNode', LifecycleState], TransitionCallbackReturn]


def _reported(callback: Transition) -> Transition:
    """Log what goes wrong in a transition; rclpy would turn it into an error without a word."""
    @functools.wraps(callback)
    def wrapped(node: 'DepthNode', state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except Exception as error:
            node.get_logger().error(f'{callback.__name__}: {error}')
            return TransitionCallbackReturn.ERROR
    return wrapped


class DepthNode(LifecycleNode):
    """Lifecycle node around :class:`DepthPipeline`.

    Configure loads and warms up, activate subscribes, deactivate keeps the model, cleanup frees
    it.  ``dropped`` counts images that gave no depth, by reason; ``answered`` the others, by where
    their depth is from.
    """

    def __init__(self, stop: threading.Event) -> None:
        """``stop`` set means that the process is to end."""
        super().__init__('depth_node')
        self.dropped: Counter[str] = Counter()
        self.answered: Counter[DepthSource] = Counter()
        self._overload = Overload()
        self._stop = stop
        forward_logs(self.get_logger())
        self._pipeline: DepthPipeline | None = None
        self._loader: threading.Thread | None = None
        self._images: Subscription | None = None
        self._infos: Subscription | None = None
        self._discovery: Timer | None = None
        self._reliability: ReliabilityPolicy | None = None
        self._camera_info: CameraInfo | None = None
        self._state: PipelineState | None = None
        parameters.declare(self)
        self.add_post_set_parameters_callback(self._apply)
        overridable = QoSOverridingOptions.with_default_policies()
        newest = newest_only(ReliabilityPolicy.RELIABLE)
        self._depth_publisher = self.create_lifecycle_publisher(
            Image, 'depth/relative', newest, qos_overriding_options=overridable)
        self._info_publisher = self.create_lifecycle_publisher(
            CameraInfo, 'depth/camera_info', newest, qos_overriding_options=overridable)
        self._memory_publisher = self.create_lifecycle_publisher(
            TimeReference, 'depth/memory', newest, qos_overriding_options=overridable)

    # Start and end

    def autostart(self) -> bool:
        """Configure and activate if the parameter says so; False if that failed."""
        if not self.get_parameter('autostart').value:
            return True
        return (self.trigger_configure() is TransitionCallbackReturn.SUCCESS
                and self.trigger_activate() is TransitionCallbackReturn.SUCCESS)

    def close(self) -> bool:
        """Free everything; False if a thread is still inside the runtime."""
        self._unsubscribe()
        self._camera_info = self._state = None
        idle = True
        if self._pipeline is not None:
            idle = self._pipeline.close()
            self._pipeline = None
        if self._loader is not None:
            self._loader.join(LOADER_TIMEOUT_S)
            idle = idle and not self._loader.is_alive()
        return idle

    # Lifecycle

    @_reported
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        outcome: list[DepthPipeline | Exception] = []
        self.get_logger().info('loading the networks')
        cancel = threading.Event()
        self._loader = threading.Thread(target=self._load, args=(outcome, cancel), name='loader',
                                        daemon=True)
        self._loader.start()
        while self._loader.is_alive():
            if self._stop.is_set():
                cancel.set()
                return TransitionCallbackReturn.FAILURE
            self._loader.join(POLL_S)
        self._loader = None
        result = outcome[0]
        if isinstance(result, Exception):
            self.get_logger().error(f'cannot configure: {result}')
            return TransitionCallbackReturn.FAILURE
        self._pipeline = result
        size = result.status.size
        self.get_logger().info(f'ready at {size[0]}x{size[1]}')
        return super().on_configure(state)

    @_reported
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self._pipeline is not None:
            self._pipeline.reset()  # what it saw before may be long ago
        self._choose_reliability()
        self._infos = self.create_subscription(
            CameraInfo, 'camera_info', self._on_camera_info,
            newest_only(ReliabilityPolicy.BEST_EFFORT))
        self._discovery = self.create_timer(DISCOVERY_PERIOD_S, self._choose_reliability)
        return super().on_activate(state)

    @_reported
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._unsubscribe()
        return super().on_deactivate(state)

    @_reported
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return super().on_cleanup(state)

    @_reported
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.get_logger().error(f'a transition from {state.label} failed; back to unconfigured')
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def _load(self, outcome: list[DepthPipeline | Exception], cancel: threading.Event) -> None:
        """Build the pipeline away from the main thread, which must stay able to hear Ctrl-C."""
        try:
            model = Model(self.get_parameter('model.name').value,
                          self.get_parameter('backend').value,
                          Precision(self.get_parameter('precision').value),
                          parameters.read_threads(self),
                          parameters.read_path(self, 'model.foundation_weights'),
                          parameters.read_path(self, 'model.fast_weights'),
                          parameters.read_path(self, 'engine.directory'))
            model.log_choice()
            outcome.append(DepthPipeline(model, parameters.read_settings(self),
                                         parse_size(self.get_parameter('input.size').value),
                                         cancel))
        except Exception as error:
            outcome.append(error)

    def _apply(self, changed: list[Parameter]) -> None:
        if self._pipeline is not None:
            self._pipeline.settings = parameters.read_settings(self)

    # Subscriptions

    def _image_topic(self) -> str:
        topic = self.resolve_topic_name('image')
        return f'{topic}/compressed' if self._compressed() else topic

    def _warps(self) -> bool:
        return self.get_parameter('fast_path.overload').value == 'warp'

    def _compressed(self) -> bool:
        return self.get_parameter('input.image_transport').value == 'compressed'

    def _choose_reliability(self) -> None:
        """Subscribe to the images, again where the publishers' offer has changed."""
        topic = self._image_topic()
        chosen = self.get_parameter('input.reliability').value
        if chosen == 'auto':
            offers = [info.qos_profile.reliability
                      for info in self.get_publishers_info_by_topic(topic)]
            reliability = offered_reliability(offers)
            if not offers and self._images is not None:
                return  # the camera is away; what it offered last is the best guess
        else:
            reliability = ReliabilityPolicy[chosen.upper()]
        if self._images is not None and reliability is self._reliability:
            return
        if self._images is not None:
            self.destroy_subscription(self._images)
        self._reliability = reliability
        profile: QoSProfile = newest_only(reliability, WAITING_FRAMES if self._warps() else 1)
        self._images = self.create_subscription(
            CompressedImage if self._compressed() else Image, topic,
            self._on_image, profile)  # type: ignore[arg-type]
        self.get_logger().info(f'listening to {topic} ({reliability.name.lower()})')

    def _unsubscribe(self) -> None:
        if self._discovery is not None:
            self.destroy_timer(self._discovery)
        for subscription in (self._images, self._infos):
            if subscription is not None:
                self.destroy_subscription(subscription)
        self._discovery = self._images = self._infos = None

    # Frames

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _on_image(self, message: Image | CompressedImage, info: Mapping[str, Any]) -> None:
        if self._pipeline is None:
            return
        started_ns = time.time_ns()
        # Zero or absent where a middleware does not tell when a message came.
        late = self._overload.hurry(info.get('received_timestamp') or started_ns, started_ns)
        try:
            rgb = decode_compressed(message) if self._compressed() else decode_image(message)
            result = self._pipeline.process(rgb, to_nanoseconds(message.header.stamp),
                                            late and self._warps())
            self._report(result)
            if result.depth is not None:
                self._publish(message, rgb.shape[:2], result)
                self.answered[result.source] += 1
                if result.source is DepthSource.NETWORK:
                    self._overload.took(MS * (time.time_ns() - started_ns))
        except ImageError as error:
            self.dropped[error.reason] += 1
            self._warn(f'image dropped: {error}')
        except AsyncMDEError as error:
            self.dropped['engine'] += 1
            self._warn(f'no depth for this image: {error}')
        except Exception as error:  # a frame may be lost, the node may not
            self.dropped['internal'] += 1
            self._warn(f'no depth for this image, through a fault of ours: {error!r}')

    def _publish(self, message: Image | CompressedImage, image: Size,
                 result: DepthResult) -> None:
        assert result.depth is not None and result.keyframe is not None
        # Small messages first: whoever gets the depth has its age and calibration already.
        self._memory_publisher.publish(TimeReference(
            header=message.header, time_ref=from_nanoseconds(result.keyframe.stamp_ns),
            source=MEMORY_SOURCE[result.source]))
        if self._camera_info is not None:
            self._info_publisher.publish(scaled_camera_info(
                self._camera_info, message.header, image, result.depth.shape))
        self._depth_publisher.publish(depth_image(message.header, result.depth))

    def _report(self, result: DepthResult) -> None:
        if result.state is not self._state:
            self._state = result.state
            self.get_logger().info(result.state.value)
        if result.source is DepthSource.WARPED:
            warped = self.answered[DepthSource.WARPED] + 1
            self.get_logger().info(
                f'{warped} of {warped + self.answered[DepthSource.NETWORK]} frames so far had '
                'no time for the network: their depth is the last one, moved with the camera',
                throttle_duration_sec=THROTTLE_S)

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=THROTTLE_S)
