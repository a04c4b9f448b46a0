"""Depth at the points that somebody asks for, by message or as a grid with every frame."""

import importlib
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from geometry_msgs.msg import Point, PolygonStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from asyncmde_ros.errors import in_words
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline import boxes
from asyncmde_ros.pipeline.points import PointDepth, nothing
from asyncmde_ros.pipeline.results import DepthResult
from asyncmde_ros.ros.messages import NANOSECONDS, from_nanoseconds
from asyncmde_ros.ros.publishers import answer_publisher
from asyncmde_ros.ros.query_messages import (
    Kind,
    Metres,
    Query,
    Reason,
    answer,
    box_query,
    click_query,
    polygon_query,
)
from asyncmde_ros.ros.query_settings import MOST_POINTS, QuerySettings

QUEUE = 10
"""Queries that may wait while a frame is computed."""

KEPT_S = 1.0
"""For so long a frame can be asked about: a detector answers later than its image came."""

MOST_KEPT = 64

MOST_WAITING = 16
"""Queries about a frame that is still to come; of more the oldest is answered unknown."""

PATIENCE_S = 1.0
"""How long a query may wait for its frame, which may have been lost."""

THROTTLE_S = 5.0

GONE = ('a query asks about the image of {stamp:.3f} s, which this node never saw or no longer '
        'keeps (it keeps {kept:g} s): is its stamp that of the image?')


class SeenFrame(NamedTuple):
    """What was found of a frame: ``metres`` is None where no scale is known.

    ``image`` is (rows, cols).
    """

    header: Header
    image: Size
    result: DepthResult
    metres: Metres | None


class _Waiting(NamedTuple):
    query: Query
    since_s: float


class Queries:
    """Answers from the frames of the last second; nothing dense is made for it."""

    def __init__(self, node: LifecycleNode, settings: Callable[[], QuerySettings],
                 clock: Callable[[], float] = time.monotonic) -> None:
        """``settings`` reads the parameters; see :meth:`follow_settings`."""
        self._node, self._read, self._clock = node, settings, clock
        self._settings = settings()
        self._answers = answer_publisher(node, PointCloud2, 'depth')
        self._subscriptions: list[Subscription] = []
        self._frames: deque[SeenFrame] = deque(maxlen=MOST_KEPT)
        self._waiting: deque[_Waiting] = deque()

    def open(self) -> None:
        """Listen to queries."""
        self._listen('query', PolygonStamped, polygon_query, raw=True)
        self._listen('query/click', Point, click_query)
        detections = _detections()
        if detections is not None:
            self._listen('query/detections', detections, box_query)

    def close(self) -> None:
        """Listen no longer, and forget every frame."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._frames.clear()
        self._waiting.clear()

    def follow_settings(self) -> None:
        """Read the parameters."""
        self._settings = self._read()

    def _listen(self, topic: str, kind: Any, read: Callable[[Any], Query], raw: bool = False
                ) -> None:
        def on_message(message: Any) -> None:
            try:
                self.ask(read(message))
            except Exception as error:  # a query may be lost, the node may not
                self._warn(f'a query on {topic} is not answered: {in_words(error)}')
        self._subscriptions.append(self._node.create_subscription(
            kind, topic, on_message,
            QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(), raw=raw))

    def ask(self, query: Query) -> None:
        """Answer a query, or keep it until its frame has come."""
        if not self._answers.get_subscription_count():
            return
        if len(query.points) > MOST_POINTS:
            self._warn(f'a query has {len(query.points)} points, and is not answered: there may '
                       f'be up to {MOST_POINTS}')
            return
        newest = self._frames[-1] if self._frames else None
        if query.stamp_ns == 0:
            self._answer(query, newest, Reason.WITHHELD)
        elif newest is None or query.stamp_ns > newest.result.stamp_ns:
            self._waiting.append(_Waiting(query, self._clock()))
            if len(self._waiting) > MOST_WAITING:
                self._give_up(self._waiting.popleft().query)
        else:
            self._answer_of_the_past(query)

    def saw(self, frame: SeenFrame) -> None:
        """Take a frame, with depth or without; answer the grid, and who has waited for it."""
        stamp_ns = frame.result.stamp_ns
        if self._frames and stamp_ns <= self._frames[-1].result.stamp_ns:
            self._frames.clear()  # time went back: what is kept is of another time
        while self._frames and (stamp_ns - self._frames[0].result.stamp_ns
                                > KEPT_S * NANOSECONDS):
            self._frames.popleft()
        self._frames.append(frame)
        if self._settings.grid is not None and self._answers.get_subscription_count():
            points = self._settings.grid.points(frame.image)
            self._answer(Query(Kind.GRID, stamp_ns, points), frame, Reason.WITHHELD)
        self._answer_waiting(stamp_ns)

    def _answer_waiting(self, stamp_ns: int) -> None:
        waiting, self._waiting = self._waiting, deque()
        now_s = self._clock()
        for one in waiting:
            if one.query.stamp_ns <= stamp_ns:
                self._answer_of_the_past(one.query)
            elif now_s - one.since_s > PATIENCE_S:
                self._give_up(one.query)
            else:
                self._waiting.append(one)

    def _answer_of_the_past(self, query: Query) -> None:
        """Answer by the frame of the query's stamp, if it is kept."""
        for frame in reversed(self._frames):
            if frame.result.stamp_ns == query.stamp_ns:
                self._answer(query, frame, Reason.WITHHELD)
                return
        self._give_up(query)

    def _give_up(self, query: Query) -> None:
        self._warn(GONE.format(stamp=query.stamp_ns / NANOSECONDS, kept=KEPT_S))
        self._answer(query, None, Reason.GONE)

    def _answer(self, query: Query, frame: SeenFrame | None, unknown: Reason) -> None:
        """Publish what a frame tells of a query; without one ``unknown`` is why there is none."""
        if frame is None:
            camera = self._frames[-1].header.frame_id if self._frames else ''
            header = Header(stamp=from_nanoseconds(query.stamp_ns), frame_id=camera)
            self._answers.publish(answer(header, query, nothing(len(query.points)), unknown,
                                         math.nan, None))
            return
        result, grid = frame.result, self._settings.grid
        keyframe = result.keyframe
        self._answers.publish(answer(
            frame.header, query, _found(query, result),
            Reason.WITHHELD if keyframe is None else Reason.OUTSIDE,
            math.nan if keyframe is None else (result.stamp_ns - keyframe.stamp_ns) / NANOSECONDS,
            frame.metres, (grid.rows, grid.cols) if grid and query.kind is Kind.GRID else None))

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=THROTTLE_S)


def _found(query: Query, result: DepthResult) -> PointDepth:
    if query.kind is Kind.BOXES:
        return boxes.objects(result.at(boxes.samples(query.points)))
    return result.at(query.points)


def _detections() -> Any:
    """Return the type of a detector's boxes, None where vision_msgs is not installed."""
    try:
        return importlib.import_module('vision_msgs.msg').Detection2DArray
    except ImportError:
        return None
