"""Who asks is answered: from the newest frame, one of the past, or one that is to come."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import importlib
from types import SimpleNamespace as Made

import numpy as np
from geometry_msgs.msg import Point, Point32, Polygon, PolygonStamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from support.clouds import table
from support.publishers import KeepingPublisher, PublishingNode

from asyncmde_ros.pipeline.feature_cache import Keyframe
from asyncmde_ros.pipeline.field import MapField
from asyncmde_ros.pipeline.points import ImageField
from asyncmde_ros.pipeline.results import DepthResult, PipelineState
from asyncmde_ros.ros import queries
from asyncmde_ros.ros.messages import from_nanoseconds, to_nanoseconds
from asyncmde_ros.ros.queries import (
    KEPT_S,
    MOST_WAITING,
    PATIENCE_S,
    Queries,
    SeenFrame,
)
from asyncmde_ros.ros.query_messages import Kind, Query, Reason
from asyncmde_ros.ros.query_settings import MOST_POINTS, Grid, QuerySettings

IMAGE = (48, 64)
FRAME_NS = 33_000_000
START_NS = 10**12
NO_GRID = QuerySettings()


class Desk:
    """Queries on a node without ROS; frame n shows the depth n everywhere."""

    def __init__(self, settings: QuerySettings = NO_GRID) -> None:
        self.node, self.settings, self.now_s, self.frames = PublishingNode(), settings, 0.0, 0
        self.queries = Queries(self.node, lambda: self.settings,  # type: ignore[arg-type]
                               lambda: self.now_s)
        self.publisher: KeepingPublisher = self.node.publishers['query/depth']
        self.publisher.subscribers = 1
        self.queries.open()

    def stamp(self, frame: int) -> int:
        return START_NS + frame * FRAME_NS

    def show(self, depth: bool = True) -> int:
        """Show the next frame; return its stamp."""
        self.frames += 1
        stamp_ns = self.stamp(self.frames)
        result = DepthResult(PipelineState.WAITING_FOR_MEMORY, stamp_ns)
        if depth:
            field = MapField(np.full((12, 16), self.frames, np.float32),
                             np.full((12, 16), 0.5, np.float32))
            result = DepthResult(PipelineState.READY, stamp_ns, keyframe=Keyframe(
                1, stamp_ns - 4 * FRAME_NS, 0, 1, 0.0), field=ImageField(field, IMAGE))
        self.queries.saw(SeenFrame(Header(stamp=from_nanoseconds(stamp_ns), frame_id='camera'),
                                   IMAGE, result, None))
        return stamp_ns

    def ask(self, stamp_ns: int = 0, points: list | None = None) -> None:
        self.queries.ask(Query(Kind.POINTS, stamp_ns, np.array(
            [[3.0, 4], [-7, 1]] if points is None else points, float).reshape(-1, 2)))

    def answers(self) -> list[PointCloud2]:
        """Return the answers since the last time."""
        sent, self.publisher.sent = self.publisher.sent, []
        return sent


def told(message: PointCloud2) -> tuple[int, list[float], list[int]]:
    rows = table(message)
    return (to_nanoseconds(message.header.stamp), rows['inverse_depth'].tolist(),
            rows['reason'].tolist())


def test_the_newest_frame_answers_at_once() -> None:
    desk = Desk()
    desk.show()
    newest = desk.show()
    desk.ask()
    answer, = desk.answers()
    assert told(answer) == (newest, pytest.approx([2, np.nan], nan_ok=True),
                            [Reason.KNOWN, Reason.OUTSIDE])
    assert answer.header.frame_id == 'camera'
    assert table(answer)['age'][0] == pytest.approx(4 * FRAME_NS / 1e9)


@pytest.mark.proves('query-frame')
def test_a_frame_of_the_last_second_answers_for_itself() -> None:
    desk = Desk()
    stamps = [desk.show() for _ in range(40)]
    kept = [stamp for stamp in stamps if stamps[-1] - stamp <= KEPT_S * 1e9]
    for stamp in kept:
        desk.ask(stamp)
    assert [told(answer)[:2] for answer in desk.answers()] == [
        (stamp, pytest.approx([stamps.index(stamp) + 1, np.nan], nan_ok=True)) for stamp in kept]
    desk.ask(stamps[0])
    desk.ask(kept[3] + 1)
    for answer, stamp in zip(desk.answers(), (stamps[0], kept[3] + 1), strict=True):
        assert told(answer) == (stamp, pytest.approx([np.nan] * 2, nan_ok=True),
                                [Reason.GONE] * 2)
    assert len(desk.node.warnings) == 2 and 'keeps 1 s' in desk.node.warnings[0]


@pytest.mark.proves('query-frame')
def test_a_query_waits_for_its_frame() -> None:
    desk = Desk()
    desk.ask(desk.stamp(3))
    desk.show()
    desk.ask(desk.stamp(2))
    assert desk.answers() == []
    desk.show()
    assert [told(answer)[0] for answer in desk.answers()] == [desk.stamp(2)]
    desk.show()
    assert [told(answer)[0] for answer in desk.answers()] == [desk.stamp(3)]


@pytest.mark.proves('query-frame')
def test_a_frame_that_never_comes_is_given_up() -> None:
    desk = Desk()
    desk.ask(desk.stamp(2) - 5)  # between two frames: it was lost
    desk.ask(desk.stamp(10**6))  # of another clock
    desk.show()
    assert desk.answers() == []
    desk.show()
    assert [told(answer)[2] for answer in desk.answers()] == [[Reason.GONE] * 2]
    desk.now_s = PATIENCE_S + 0.1
    desk.show()
    assert [told(answer)[2] for answer in desk.answers()] == [[Reason.GONE] * 2]


@pytest.mark.proves('query-frame')
def test_of_too_many_that_wait_the_oldest_are_given_up() -> None:
    desk = Desk()
    for frame in range(MOST_WAITING + 3):
        desk.ask(desk.stamp(100 + frame))
    assert [told(answer)[0] for answer in desk.answers()] == [
        desk.stamp(100 + frame) for frame in range(3)]


@pytest.mark.proves('query-no-depth')
def test_without_depth_every_point_says_so() -> None:
    desk = Desk(QuerySettings(Grid(2, 1)))
    desk.ask()
    assert told(desk.answers()[0])[1:] == (pytest.approx([np.nan] * 2, nan_ok=True),
                                           [Reason.WITHHELD] * 2)
    stamp = desk.show(depth=False)
    desk.ask(stamp)
    for answer in desk.answers():
        assert told(answer) == (stamp, pytest.approx([np.nan] * 2, nan_ok=True),
                                [Reason.WITHHELD] * 2)
        assert np.isnan(table(answer)['age']).all()


def test_a_grid_is_answered_with_every_frame_row_by_row_until_it_is_taken_away() -> None:
    desk = Desk(QuerySettings(Grid(4, 2)))
    stamps = [desk.show() for _ in range(3)]
    answers = desk.answers()
    assert [to_nanoseconds(answer.header.stamp) for answer in answers] == stamps
    grid = answers[-1]
    assert (grid.height, grid.width) == (2, 4)
    rows = table(grid)
    assert set(rows['kind']) == {Kind.GRID} and set(rows['inverse_depth']) == {3}
    np.testing.assert_allclose(rows['u'], [7.5, 23.5, 39.5, 55.5] * 2)
    np.testing.assert_allclose(rows['v'], [11.5] * 4 + [35.5] * 4)
    desk.settings = QuerySettings()
    desk.queries.follow_settings()
    desk.show()
    assert desk.answers() == []


def test_nothing_is_computed_that_nobody_listens_to(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(QuerySettings(Grid(4, 2)))
    desk.publisher.subscribers = 0
    monkeypatch.setattr(ImageField, 'at', lambda *_: pytest.fail('computed'))
    desk.show()
    desk.ask()
    assert desk.answers() == []


def test_time_that_goes_back_forgets_the_frames_of_the_other_time() -> None:
    desk = Desk()
    for _ in range(5):
        desk.show()
    desk.frames = 1
    desk.show()
    desk.ask(desk.stamp(4))
    assert desk.answers() == [], 'it is still to come, this time'
    desk.ask(desk.stamp(1))
    assert told(desk.answers()[0])[2] == [Reason.GONE] * 2


@pytest.mark.proves('query-bad')
def test_messages_are_read_and_what_is_wrong_with_one_costs_that_one() -> None:
    desk = Desk()
    desk.show()
    polygon = PolygonStamped(polygon=Polygon(points=[Point32(x=1.0, y=2.0)]))
    desk.node.heard['query'](bytes(serialize_message(polygon)))
    desk.node.heard['query/click'](Point(x=5.0, y=6.0))
    assert [(table(answer)['u'].tolist(), set(table(answer)['kind']))
            for answer in desk.answers()] == [([1], {Kind.POINTS}), ([5], {Kind.CLICK})]
    desk.node.heard['query'](b'junk')
    desk.ask(points=np.zeros((MOST_POINTS + 1, 2)))
    assert desk.answers() == [] and len(desk.node.warnings) == 2
    assert 'PolygonStamped' in desk.node.warnings[0] and '20000' in desk.node.warnings[1]
    desk.queries.close()
    assert desk.node.heard == {}


def test_a_detectors_boxes_are_listened_to_where_their_messages_are_installed(
        monkeypatch: pytest.MonkeyPatch) -> None:
    assert 'query/detections' not in Desk().node.heard
    imported = importlib.import_module
    monkeypatch.setattr(queries.importlib, 'import_module', lambda name: (
        Made(Detection2DArray=object) if name == 'vision_msgs.msg' else imported(name)))
    desk = Desk()
    stamp = desk.show()
    box = Made(center=Made(position=Made(x=20.0, y=20.0)), size_x=10.0, size_y=10.0)
    desk.node.heard['query/detections'](Made(
        header=Header(stamp=from_nanoseconds(stamp)),
        detections=[Made(bbox=box), Made(bbox=Made(**{**vars(box), 'size_x': np.nan}))]))
    assert told(desk.answers()[0]) == (stamp, pytest.approx([1, np.nan], nan_ok=True),
                                       [Reason.KNOWN, Reason.OUTSIDE])
