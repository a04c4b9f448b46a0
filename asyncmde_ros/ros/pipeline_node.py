"""What nodes with a pipeline share, whatever sensor its pictures are from."""

import functools
import logging
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import AsyncMDEError, ImageError, in_words
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.overload import MS
from asyncmde_ros.pipeline.results import DepthResult, DepthSource, PipelineState
from asyncmde_ros.pipeline.settings import MotionCompensation, Settings
from asyncmde_ros.ros import parameters
from asyncmde_ros.ros.configuration import EngineConfiguration
from asyncmde_ros.ros.diagnostics import Circumstances, diagnose, diagnose_scale
from asyncmde_ros.ros.guard import guard_clock, guard_services, guarded
from asyncmde_ros.ros.inputs import Calibration, ImuRotation
from asyncmde_ros.ros.loading import BuildProgress, Loading, Recipe
from asyncmde_ros.ros.logs import forward_logs
from asyncmde_ros.ros.messages import image_stamp_ns
from asyncmde_ros.ros.metric_depth import MetricDepth
from asyncmde_ros.ros.metric_settings import MetricSettings
from asyncmde_ros.ros.mounting import Mounting
from asyncmde_ros.ros.outputs import Outputs
from asyncmde_ros.ros.parameter_files import files_of, objection
from asyncmde_ros.ros.queries import Queries, SeenFrame
from asyncmde_ros.ros.query_messages import Metres
from asyncmde_ros.ros.query_settings import QuerySettings
from asyncmde_ros.ros.releases import after_parameters_are_set
from asyncmde_ros.ros.sentences import STATES
from asyncmde_ros.ros.statistics import Statistics
from asyncmde_ros.ros.tokens import ENGINE, INTERNAL
from asyncmde_ros.ros.transitions import PatientNode

logger = logging.getLogger(__name__)

DIAGNOSTICS_PERIOD_S = 1.0

THROTTLE_S = 5.0
NO_METRES_S = 30.0
"""Between two lines that say why there are no metres: a camera that stands may long see none."""

Node = TypeVar('Node', bound='PipelineNode')


def _reported(callback: Callable[[Node, LifecycleState], TransitionCallbackReturn]
              ) -> Callable[[Node, LifecycleState], TransitionCallbackReturn]:
    """Log what goes wrong in a transition; rclpy would turn it into an error without a word."""
    @functools.wraps(callback)
    def wrapped(node: Node, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except Exception as error:
            node.get_logger().error(f'{callback.__name__}: {in_words(error)}')
            return TransitionCallbackReturn.ERROR
    return wrapped


class Frame(NamedTuple):
    """A picture that is to have depth: ``rgb`` is (rows, cols, 3) uint8.

    ``received_ns`` and ``began_ns``, when it came and when its turn did, are by ``time.time_ns``;
    ``may_be_late``: whether one that waited too long is answered in a moment.
    """

    header: Header
    rgb: npt.NDArray[np.uint8]
    received_ns: int
    began_ns: int
    may_be_late: bool = False


class PipelineNode(PatientNode):
    """Lifecycle node around :class:`DepthPipeline`.

    Configure loads and warms up, activate subscribes, deactivate keeps the model, cleanup frees
    it.  ``statistics`` says what became of each picture.  Whoever derives from it listens to a
    sensor, and gives its pictures to :meth:`give_depth`.
    """

    picture = 'image'
    """What one is called in logs."""

    def __init__(self, name: str, configuration: type[EngineConfiguration],
                 declared: parameters.ByName) -> None:
        """``configuration`` is read when the node is configured; ``declared`` has all parameters.
        """
        super().__init__(name)
        self.statistics = Statistics()
        forward_logs(self.get_logger())
        self._pipeline: DepthPipeline | None = None
        self._loading: Loading | None = None
        self._building = BuildProgress()
        self._calibration: Calibration | None = None
        self._imu_rotation: ImuRotation | None = None
        self._mounting: Mounting | None = None
        self._state: PipelineState | None = None
        self._refused = ''
        self._configuration, self._declared = configuration, declared
        parameters.declare(self, declared)
        for file in files_of(sys.argv):
            if trouble := objection(file, self.get_fully_qualified_name()):
                self.get_logger().warning(trouble)
        after_parameters_are_set(self, self._apply)
        self._outputs = Outputs(self)
        self._metric = MetricDepth(
            self, functools.partial(parameters.read_as, self, MetricSettings))
        self._queries = Queries(self, functools.partial(parameters.read_as, self, QuerySettings))
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        # Not the node's clock, which stands still with a paused simulation.
        self.create_timer(DIAGNOSTICS_PERIOD_S, guarded(self, self._diagnose),
                          clock=Clock(clock_type=ClockType.STEADY_TIME))
        guard_services(self)
        guard_clock(self)

    # What depends on the sensor

    @abstractmethod
    def listen(self) -> str:
        """Subscribe to the sensor; return its topic's full name."""

    @abstractmethod
    def listen_no_longer(self) -> None:
        """Undo :meth:`listen`, whether or not it was called."""

    @abstractmethod
    def circumstances(self, around: Circumstances) -> Circumstances:
        """Return ``around``, which holds for an inactive node, with what the sensor's input adds.
        """

    def check(self) -> None:
        """Raise AsyncMDEError where the parameters ask for what cannot be, before it is loaded."""

    def more_diagnostics(self) -> list[DiagnosticStatus]:
        """Return what else /diagnostics says."""
        return []

    # Start and end

    async def autostart(self) -> bool:
        """Configure and activate if the parameter says so; False if that failed."""
        if not self._asked().autostart:
            return True
        return (await self.configure() is TransitionCallbackReturn.SUCCESS
                and self.trigger_activate() is TransitionCallbackReturn.SUCCESS)

    @property
    def loading(self) -> bool:
        """Tell whether the networks are being loaded; after ``close`` that ends at once."""
        return self._loading is not None

    def close(self) -> None:
        """Free everything; a thread inside the runtime is not waited for longer than a moment."""
        self._unsubscribe()
        self._state = None
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None
        if self._loading is not None:
            self._loading.cancel()

    # Lifecycle

    async def prepare(self) -> TransitionCallbackReturn:
        self.get_logger().info('loading the networks')
        try:
            self.check()
            self._loading = Loading(self._recipe(), self.executor)
            pipeline = await self._loading.result()
        except Exception as error:
            self.get_logger().error(f'cannot configure: {in_words(error)}')
            return TransitionCallbackReturn.FAILURE
        finally:
            self._loading = None
        if pipeline is None:
            return TransitionCallbackReturn.FAILURE
        self._pipeline = pipeline
        # Set meanwhile, perhaps.
        self._pipeline.settings = parameters.read_as(self, Settings)
        size = pipeline.status.size
        self.get_logger().info(f'networks loaded at {size[0]}x{size[1]}')
        return TransitionCallbackReturn.SUCCESS

    @_reported
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self._pipeline is not None:
            self._pipeline.reset()  # what it saw before may be long ago
        self._subscribe()
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

    def _asked(self) -> EngineConfiguration:
        return parameters.read_as(self, self._configuration)

    @staticmethod
    def adapter(asked: EngineConfiguration) -> Path | None:
        """Return what adapts the foundation model to the node's pictures: to images nothing."""
        return None

    def _recipe(self) -> Recipe:
        """Return what builds the pipeline as the parameters say; it does not hold the node.

        At the end of the process it may still be at work, and nothing of the node may then be.
        """
        asked, settings = self._asked(), parameters.read_as(self, Settings)
        progress, adapter = self._building, self.adapter

        def build(cancel: threading.Event) -> DepthPipeline:
            model = Model(asked.model, asked.backend, asked.precision, asked.threads,
                          asked.foundation_weights, asked.fast_weights, asked.engine_directory,
                          progress, asked.glance_weights, adapter(asked))
            model.log_choice()
            return DepthPipeline(model, settings, asked.size, cancel, asked.fast_path)
        return build

    def _apply(self, changed: list[Parameter]) -> None:
        # rclpy also calls this for what subscriptions declare, also from within _follow_settings.
        if self._pipeline is None or not parameters.any_live(changed, self._declared):
            return
        self._pipeline.settings = parameters.read_as(self, Settings)
        try:
            self._follow_settings()
        except Exception as error:  # the parameter is set; a bad QoS override, say, is not refused
            self.get_logger().error(f'imu, scale: {in_words(error)}')

    # Subscriptions

    def _subscribe(self) -> None:
        # First, since of what has arrived the executor takes the older subscription's before.
        self._calibration = Calibration(self)
        self._metric.open(self.listen())
        self._queries.open()
        self._follow_settings()

    def _unsubscribe(self) -> None:
        self._metric.close()
        self._queries.close()
        self.listen_no_longer()
        for source in (self._calibration, self._imu_rotation, self._mounting):
            if source is not None:
                source.close()
        self._calibration = self._imu_rotation = self._mounting = None

    def _follow_settings(self) -> None:
        """Listen to what the settings ask for: an IMU, tf for the roll, sensors of distance."""
        if self._pipeline is None or self._calibration is None:
            return
        self._metric.follow_settings()
        self._queries.follow_settings()
        by_imu = self._pipeline.settings.motion_compensation is MotionCompensation.IMU
        if by_imu and self._imu_rotation is None:
            self._imu_rotation = ImuRotation(self, self._pipeline.rotation_sensor,
                                             self._asked().imu_rotation)
        elif not by_imu and self._imu_rotation is not None:
            self._imu_rotation.close()
            self._imu_rotation = None
        by_tf = parameters.turns_by_tf(self)
        if by_tf and self._mounting is None:
            self._mounting = Mounting(self)
        elif not by_tf and self._mounting is not None:
            self._mounting.close()
            self._mounting = None

    # Frames

    @contextmanager
    def losing_no_more(self) -> Iterator[None]:
        """Count and name what goes wrong with a picture: that may be lost, the node may not."""
        try:
            yield
        except ImageError as error:
            self.statistics.drop(error.reason)
            self._refused = str(error)
            self._warn(f'{self.picture} dropped: {error}')
        except AsyncMDEError as error:
            self.statistics.drop(ENGINE)
            self._warn(f'no depth for this {self.picture}: {error}')
        except Exception as error:
            self.statistics.drop(INTERNAL)
            self._warn(f'no depth for this {self.picture}, through a fault of ours: {error!r}')

    def give_depth(self, frame: Frame) -> None:
        """Publish a frame's depth, metres and answers, or count why there is none.

        To be called within :meth:`losing_no_more`, while the node is active.
        """
        assert self._pipeline is not None and self._calibration is not None
        header, rgb = frame.header, frame.rgb
        calibration = self._calibration.of(header)
        stamp_ns = image_stamp_ns(header)
        self._refused = ''
        self._turn_upright(header.frame_id)
        if self._imu_rotation is not None:
            self._imu_rotation.update(calibration, rgb.shape[:2], header.frame_id)
        result = self._pipeline.process(
            rgb, stamp_ns, frame.received_ns if frame.may_be_late else None, frame.began_ns,
            whole=self._outputs.wanted or self._metric.wants_map)
        self._report(result)
        metres = None
        if result.keyframe is None:
            self.statistics.drop(result.state.value)
        else:
            self._outputs.publish(header, rgb.shape[:2], calibration, result)
            self._count(result, stamp_ns, MS * (time.time_ns() - frame.received_ns))
            metres = self._measure(header, rgb, calibration, result)
        self._queries.saw(SeenFrame(header, rgb.shape[:2], result, metres))

    def _measure(self, header: Header, rgb: npt.NDArray[np.uint8], calibration: CameraInfo | None,
                 result: DepthResult) -> Metres | None:
        """Publish metres; whatever goes wrong with them, the image has had its depth."""
        try:
            return self._metric.update(header, rgb, calibration, result)
        except Exception as error:
            self._warn(f'no metres for this {self.picture}, through a fault of ours: {error!r}')
            return None

    def _turn_upright(self, camera_frame: str) -> None:
        """Let the pipeline turn images as tf says, where that is asked."""
        if self._mounting is None or self._pipeline is None:
            return
        rotation = self._mounting.rotation(camera_frame)
        if rotation is not self._pipeline.settings.rotation:
            self._pipeline.settings = replace(self._pipeline.settings, rotation=rotation)

    def _count(self, result: DepthResult, stamp_ns: int, work_ms: float) -> None:
        assert result.keyframe is not None and result.lag is not None
        now_ns = self.get_clock().now().nanoseconds  # of the simulation, where stamps are
        self.statistics.depth(
            result.source.value, MS * (now_ns - stamp_ns), work_ms, result.lag,
            MS * (stamp_ns - result.keyframe.stamp_ns), result.stale,
            result.keyframe.generation)

    # Words

    def _diagnose(self) -> None:
        status = None if self._pipeline is None else self._pipeline.status
        if not self.loading and (status is None or status.state is not PipelineState.BUILDING):
            self._building.end()
        around = self.circumstances(Circumstances(
            self._calibration is not None, self.loading, str(self._building),
            self._building.what, refused=self._refused))
        report = diagnose(self.get_fully_qualified_name(), self.statistics.snapshot(), status,
                          around, self.get_clock().now().to_msg())
        if self._metric.asked:
            trouble = self._metric.trouble()
            report.status = [*report.status, diagnose_scale(
                self.get_fully_qualified_name(), trouble, self._metric.values())]
            if trouble and self._state is PipelineState.READY:
                self.get_logger().warning(trouble, throttle_duration_sec=NO_METRES_S)
        report.status = [*report.status, *self.more_diagnostics()]
        self._diagnostics.publish(report)

    def _report(self, result: DepthResult) -> None:
        if self._imu_rotation is not None:
            self._imu_rotation.tell()
        if result.state is not self._state:
            self._state = result.state
            logger.info('%s', STATES[result.state])
        if result.source is DepthSource.WARPED:
            answered = self.statistics.answered
            warped = answered[DepthSource.WARPED.value] + 1
            self.get_logger().info(
                f'{warped} of {warped + answered[DepthSource.NETWORK.value]} frames so far had '
                'no time for the network: their depth is the last one, moved with the camera',
                throttle_duration_sec=THROTTLE_S)

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=THROTTLE_S)
