"""Queries and answers as messages."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import math
from types import SimpleNamespace as Made

import numpy as np
from geometry_msgs.msg import Point, Point32, Polygon, PolygonStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from support.clouds import table

from asyncmde_ros.pipeline.points import PointDepth, nothing
from asyncmde_ros.ros.messages import NANOSECONDS, from_nanoseconds
from asyncmde_ros.ros.point_cloud import points_of
from asyncmde_ros.ros.query_messages import (
    Kind,
    Metres,
    Query,
    Reason,
    answer,
    box_query,
    click_query,
    polygon_query,
    read_answer,
)
from asyncmde_ros.scale.estimator import Scale
from asyncmde_ros.scale.lens import Lens

numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


def polygon(points: list[tuple[float, float]], stamp_ns: int = 0, frame: str = '') -> bytes:
    message = PolygonStamped(
        header=Header(stamp=from_nanoseconds(stamp_ns), frame_id=frame),
        polygon=Polygon(points=[Point32(x=x, y=y, z=7.0) for x, y in points]))
    return bytes(serialize_message(message))


@settings(max_examples=60)
@given(points=st.lists(st.tuples(numbers, numbers), max_size=20), frame=st.text(max_size=9),
       stamp_ns=st.integers(0, 2**31 * NANOSECONDS - 1))
def test_a_polygon_is_read_as_rclpy_reads_it(points: list[tuple[float, float]], frame: str,
                                             stamp_ns: int) -> None:
    frame = frame.replace('\0', '').encode('utf-8', 'ignore').decode()
    query = polygon_query(polygon(points, stamp_ns, frame))
    assert query.kind is Kind.POINTS and query.stamp_ns == stamp_ns
    np.testing.assert_array_equal(query.points, np.array(points, np.float32).reshape(-1, 2))


@pytest.mark.proves('query-bad')
@settings(max_examples=60)
@given(keep=st.integers(4, 60), junk=st.binary(max_size=6))
def test_a_damaged_polygon_is_an_error_and_never_anything_else(keep: int, junk: bytes) -> None:
    whole = polygon([(1, 2), (3, 4), (5, 6)], 5, 'camera')
    try:
        query = polygon_query(whole[:min(keep, len(whole) - 1)] + junk)
    except ValueError as error:
        assert 'PolygonStamped' in str(error)
    else:
        assert query.points.shape == (3, 2)


def test_big_endian_bytes_are_read_as_well() -> None:
    body = (b'\0\0\0\0' + (9).to_bytes(4, 'big') + (8).to_bytes(4, 'big')
            + (1).to_bytes(4, 'big') + b'\0\0\0\0' + (1).to_bytes(4, 'big')
            + np.array([1.5, 2.5, 0], '>f4').tobytes())
    query = polygon_query(body)
    assert query.stamp_ns == 9 * NANOSECONDS + 8 and query.points.tolist() == [[1.5, 2.5]]


def test_clicks_and_boxes_are_queries() -> None:
    click = click_query(Point(x=3.0, y=4.0))
    assert click[:2] == (Kind.CLICK, 0) and click.points.tolist() == [[3, 4]]
    centre = Made(position=Made(x=10.0, y=20.0), theta=0.0)
    found = box_query(Made(
        header=Header(stamp=from_nanoseconds(12)),
        detections=[Made(bbox=Made(center=centre, size_x=4.0, size_y=6.0))] * 2))
    assert found.kind is Kind.BOXES and found.stamp_ns == 12
    assert found.points.tolist() == [[10, 20, 4, 6]] * 2
    assert box_query(Made(header=Header(), detections=[])).points.shape == (0, 4)


QUERY = Query(Kind.POINTS, 7, np.array([[63.5, 47.5], [-9, 5], [113.5, 47.5], [1, 1]]))
FOUND = PointDepth(np.array([2, np.nan, 1, 0], np.float32),
                   np.array([0.9, np.nan, 0.5, 0.1], np.float32))
LENS = Lens(np.array([[100.0, 0, 63.5], [0, 100, 47.5], [0, 0, 1]]), (96, 128))
SCALE = Scale(0.5, 0.0, np.diag([1e-4, 4e-4]), 0.5, 10, 8, 0.1, False, ('points',))


def test_an_answer_tells_each_point_in_order_and_why_it_is_not_known() -> None:
    header = Header(stamp=from_nanoseconds(7), frame_id='camera')
    message = answer(header, QUERY, FOUND, Reason.OUTSIDE, 0.25, None)
    rows = table(message)
    assert all(read_answer(message)[name].tobytes() == rows[name].tobytes()
               for name in rows.dtype.names)
    assert message.header == header and (message.height, message.width) == (1, 4)
    assert rows.dtype.names == ('u', 'v', 'inverse_depth', 'trust', 'age', 'reason', 'kind')
    np.testing.assert_array_equal(rows['u'], np.float32(QUERY.points[:, 0]))
    np.testing.assert_array_equal(rows['v'], np.float32(QUERY.points[:, 1]))
    np.testing.assert_array_equal(rows['inverse_depth'], FOUND.inverse_depth)
    np.testing.assert_array_equal(rows['trust'], FOUND.trust)
    assert rows['reason'].tolist() == [Reason.KNOWN, Reason.OUTSIDE, Reason.KNOWN, Reason.KNOWN]
    assert set(rows['kind']) == {Kind.POINTS} and set(rows['age']) == {0.25}
    assert not message.is_dense


def test_with_a_scale_points_are_where_they_are_in_metres() -> None:
    message = answer(Header(), QUERY, FOUND, Reason.OUTSIDE, 0, Metres(LENS, SCALE, math.inf))
    rows = table(message)
    np.testing.assert_allclose([rows[axis][0] for axis in 'xyz'], [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose([rows[axis][2] for axis in 'xyz'], [1, 0, 2], atol=1e-6)
    # z = 1 / (a r + b): dz = z^2 sqrt(r^2 P_aa + P_bb)
    assert rows['sigma'][2] == pytest.approx(4 * math.sqrt(1e-4 + 4e-4), rel=1e-5)
    for unknown in (1, 3):  # outside; infinitely far
        assert np.isnan([rows[axis][unknown] for axis in ('x', 'y', 'z', 'sigma')]).all()
    np.testing.assert_allclose(points_of(message)[2], [1, 0, 2], atol=1e-6)  # RViz reads so
    near = answer(Header(), QUERY, FOUND, Reason.OUTSIDE, 0, Metres(LENS, SCALE, 1.5))
    assert np.isnan(table(near)['z']).tolist() == [False, True, True, True]


def test_a_grid_keeps_its_rows_and_columns_and_no_points_are_an_answer_too() -> None:
    grid = answer(Header(), QUERY._replace(kind=Kind.GRID), FOUND, Reason.OUTSIDE, 0, None, (2, 2))
    assert (grid.height, grid.width) == (2, 2) and len(table(grid)) == 4
    empty = answer(Header(), QUERY._replace(points=np.empty((0, 2))), nothing(0), Reason.GONE,
                   math.nan, None)
    assert empty.width == 0 and not empty.data and empty.is_dense
