"""Point clouds in and out of messages."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from asyncmde_ros.ros.point_cloud import cloud_message, points_of
from asyncmde_ros.scale.cloud import Cloud

POINTS = np.arange(36, dtype=np.float32).reshape(3, 4, 3)
COLORS = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)


def lidar(order: str = '<', kind: str = 'f4', rows: int = 2, padding: int = 5) -> PointCloud2:
    """A driver's cloud: intensity first, z before x, rows that end in something else."""
    datatype = {'f4': PointField.FLOAT32, 'f8': PointField.FLOAT64}[kind]
    size = int(kind[1])
    point = np.dtype({'names': ['intensity', 'z', 'x', 'y'],
                      'formats': ['u1', order + kind, order + kind, order + kind],
                      'offsets': [0, 3, 3 + size, 3 + 2 * size], 'itemsize': 3 + 3 * size + 2})
    table = np.zeros((rows, 4), point)
    for index, axis in enumerate('xyz'):
        table[axis] = POINTS[:rows, :, index]
    data = b''.join(row.tobytes() + b'x' * padding for row in table)
    return PointCloud2(
        height=rows, width=4, point_step=point.itemsize, is_bigendian=order == '>',
        row_step=4 * point.itemsize + padding, data=array.array('B', data),
        fields=[PointField(name=name, offset=point.fields[name][1], datatype=datatype, count=1)
                for name in ('z', 'x', 'y')])


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('kind', ['f4', 'f8'])
def test_points_are_read_whatever_their_layout(order: str, kind: str) -> None:
    found = points_of(lidar(order, kind))
    assert found.dtype == np.float64 and found.tolist() == POINTS[:2].reshape(-1, 3).tolist()


def test_an_empty_cloud_has_no_points() -> None:
    assert points_of(lidar(rows=0)).shape == (0, 3)
    made = cloud_message(Header(), Cloud(np.zeros((0, 3), np.float32), None))
    assert (made.width, len(made.data)) == (0, 0) and points_of(made).shape == (0, 3)


@pytest.mark.proves('scale-bad-message')
@pytest.mark.parametrize(('change', 'words'), [
    ({'fields': []}, 'no field x, but none'), ({'width': 400}, 'do not agree'),
    ({'row_step': 1_000_000}, 'do not agree'), ({'point_step': 4}, 'do not agree'),
    ({'height': 2**31}, 'do not agree')])
def test_a_cloud_that_is_none_is_named(change: dict, words: str) -> None:
    message = lidar()
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=words):
        points_of(message)


@given(st.binary(max_size=60), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1),
       st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1),
       st.integers(0, 255))
def test_any_message_gives_points_or_a_value_error(data: bytes, rows: int, cols: int, step: int,
                                                   row_step: int, offset: int, kind: int) -> None:
    message = PointCloud2(height=rows, width=cols, point_step=step, row_step=row_step,
                          data=array.array('B', data))
    message.fields = [PointField(name=axis, offset=offset, datatype=kind, count=1)
                      for axis in 'xyz']
    try:
        assert points_of(message).shape[1] == 3
    except ValueError as error:
        assert 'cloud' in str(error)


@pytest.mark.parametrize('colored', [False, True])
@pytest.mark.parametrize('organised', [False, True])
def test_a_cloud_is_what_pcl_and_rviz_read(colored: bool, organised: bool) -> None:
    points = POINTS if organised else POINTS.reshape(-1, 3)
    colors = COLORS if organised else COLORS.reshape(-1, 3)
    made = cloud_message(Header(frame_id='camera'), Cloud(points, colors if colored else None))
    assert (made.height, made.width) == ((3, 4) if organised else (1, 12))
    assert made.row_step == made.width * made.point_step
    assert len(made.data) == made.height * made.row_step
    assert made.header.frame_id == 'camera' and made.is_dense is not organised
    assert points_of(made).tolist() == POINTS.reshape(-1, 3).tolist()
    assert [field.name for field in made.fields] == ['x', 'y', 'z', *['rgb'] * colored]
    if colored:
        table = np.frombuffer(made.data, np.uint8).reshape(12, 16)
        assert table[:, 12:].tolist() == [[b, g, r, 0] for r, g, b in COLORS.reshape(-1, 3)]
