"""The event node: an event camera's events in, relative depth out, at a fixed rate."""

import time
from dataclasses import replace
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from asyncmde_ros.events import foundation
from asyncmde_ros.events.depth import Sight, as_rgb
from asyncmde_ros.events.live import LiveEvents, Moment
from asyncmde_ros.events.node.decoding import Decoder
from asyncmde_ros.events.node.diagnostics import (
    BLIND,
    NO_EVENTS,
    NOTHING_MOVES,
    Rates,
    diagnose_events,
)
from asyncmde_ros.events.node.inputs import EventInput, readable
from asyncmde_ros.events.node.settings import BY_NAME, EventConfiguration
from asyncmde_ros.events.node.stream import EventStream
from asyncmde_ros.pipeline.results import DepthResult, PipelineState
from asyncmde_ros.ros import parameters
from asyncmde_ros.ros.configuration import EngineConfiguration
from asyncmde_ros.ros.diagnostics import Circumstances
from asyncmde_ros.ros.guard import guarded
from asyncmde_ros.ros.messages import NANOSECONDS, from_nanoseconds, grey_image
from asyncmde_ros.ros.pipeline_node import THROTTLE_S, Frame, PipelineNode
from asyncmde_ros.ros.qos import newest_only
from asyncmde_ros.ros.queries import SeenFrame
from asyncmde_ros.ros.tokens import OVERRUN

LOOK_S = 0.02
"""How often it is looked whether a window has passed without events."""


class EventDepthNode(PipelineNode):
    """An event camera's events to depth: windows of them to pictures, and those as images."""

    picture = 'window'

    def __init__(self) -> None:
        self._events: EventInput | None = None
        self._stream: EventStream | None = None
        self._start()
        super().__init__('event_depth_node', EventConfiguration, BY_NAME)
        self._pictures = self.create_lifecycle_publisher(
            Image, 'events/image', newest_only(ReliabilityPolicy.RELIABLE),
            qos_overriding_options=QoSOverridingOptions.with_default_policies())
        self._ready = self.create_guard_condition(guarded(self, self._on_ready))
        # Not in the stream's thread: while this one is busy, what has come has not been taken.
        self.create_timer(LOOK_S, guarded(self, self._pass_time),
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _start(self) -> None:
        self._sight, self._rates = Sight(), Rates()
        self._rates_now: tuple[float, ...] = (0.0, 0.0, 0.0)
        self._seen: float | None = None
        self._windows = 0

    @staticmethod
    def adapter(asked: EngineConfiguration) -> Path | None:
        assert isinstance(asked, EventConfiguration)
        return foundation.adapter(asked.model, asked.adapter)

    def check(self) -> None:
        readable(parameters.read_as(self, EventConfiguration).message)

    def listen(self) -> str:
        asked = parameters.read_as(self, EventConfiguration)
        self._start()
        live = LiveEvents(round(asked.window_s * NANOSECONDS), round(asked.decay_s * NANOSECONDS))
        self._stream = EventStream(Decoder(asked.sensor), live, self._ready.trigger,
                                   self._warn_of_events)
        self._events = EventInput(self, self._on_events, asked.message, asked.reliability)
        return self._events.topic

    def listen_no_longer(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _on_events(self, kind: str, serialised: bytes, missed: int) -> None:
        if self._stream is not None:
            self._stream.lost(missed)
            self._stream.offer(kind, serialised)

    def _pass_time(self) -> None:
        if self._events is not None and self._stream is not None:
            self._events.drain()
            self._stream.passed()

    # Windows

    def _on_ready(self) -> None:
        """Give the newest picture its depth; whatever comes meanwhile waits in the thread."""
        moment = None if self._stream is None else self._stream.fetch()
        if moment is None or self._pipeline is None:
            return
        for _ in range(moment.skipped + 1):
            self.statistics.image()
        if moment.skipped:
            self.statistics.drop(OVERRUN, moment.skipped)
        self._windows += moment.skipped + 1
        with self.losing_no_more():
            self._see(moment)

    def _see(self, moment: Moment) -> None:
        assert self._pipeline is not None
        header = Header(stamp=from_nanoseconds(moment.stamp_ns), frame_id=moment.frame_id)
        picture, blind = moment.picture, self._sight.blind
        self._seen = picture.seen
        if self._sight.look(picture, moment.begins_anew):
            self._pipeline.reset()
        if self._sight.blind and not blind:
            self.get_logger().info(NOTHING_MOVES)
        if self._pictures.get_subscription_count():
            self._pictures.publish(grey_image(header, picture.grey))
        if self._sight.blind:
            self.statistics.drop(BLIND)
            withheld = DepthResult(PipelineState.WAITING_FOR_MEMORY, moment.stamp_ns)
            self._queries.saw(SeenFrame(header, picture.grey.shape, withheld, None))
            return
        now_ns = time.time_ns()
        self.give_depth(Frame(header, as_rgb(picture), now_ns, now_ns))

    # Words

    def circumstances(self, around: Circumstances) -> Circumstances:
        around = replace(around, inputs='events')
        if self._events is None or self._stream is None:
            return around
        heard = self._stream.heard
        self._rates_now = self._rates.of(heard.messages, heard.events, self._windows)
        withheld = ''
        if self._sight.blind:
            withheld = NOTHING_MOVES if self._rates_now[1] else NO_EVENTS
        return replace(around, trouble=self._events.trouble or heard.trouble,
                       refused=around.refused or heard.trouble, withheld=withheld)

    def more_diagnostics(self) -> list[DiagnosticStatus]:
        if self._events is None or self._stream is None:
            return []
        return [diagnose_events(
            self.get_fully_qualified_name(), self._stream.heard, self._rates_now,
            self._events.message, self._seen, self._events.trouble)]

    def _warn_of_events(self, text: str) -> None:
        # A place of its own in the logger, which throttles by that.
        self.get_logger().warning(text, throttle_duration_sec=THROTTLE_S)
