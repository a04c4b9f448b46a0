"""Queries and their answers as ROS messages."""

import struct
import sys
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Point, PolygonStamped
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.points import PointDepth
from asyncmde_ros.ros.messages import NANOSECONDS, set_data, to_nanoseconds
from asyncmde_ros.scale.estimator import Scale
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.metric import deviation, metric

Pixels = npt.NDArray[np.float64]

TYPES = {'f4': PointField.FLOAT32, 'u1': PointField.UINT8}

FIELDS = {'u': 'f4', 'v': 'f4', 'inverse_depth': 'f4', 'trust': 'f4', 'age': 'f4',
          'reason': 'u1', 'kind': 'u1'}
METRIC_FIELDS = {'x': 'f4', 'y': 'f4', 'z': 'f4', 'sigma': 'f4'}


class Kind(IntEnum):
    """What was asked: a message of points, the grid, a detector's boxes, or a click."""

    POINTS = 0
    GRID = 1
    BOXES = 2
    CLICK = 3


class Reason(IntEnum):
    """Why a point has no depth.

    It has one; it is not in the image, or no number; the frame it asks about had no depth; or
    that frame is not kept any longer, or never came.
    """

    KNOWN = 0
    OUTSIDE = 1
    WITHHELD = 2
    GONE = 3


class Query(NamedTuple):
    """What was asked of an image.

    ``stamp_ns`` is the image's, 0 for the newest one.  ``points`` are pixels (n, 2), as (x, y);
    of boxes (n, 4): centre x, centre y, width and height.
    """

    kind: Kind
    stamp_ns: int
    points: Pixels


class Metres(NamedTuple):
    """What makes metres of a frame's relative depth; beyond ``largest_m`` they are unknown."""

    lens: Lens
    scale: Scale
    largest_m: float


def polygon_query(data: bytes) -> Query:
    """Return what a serialized PolygonStamped asks; ValueError for one that is damaged.

    Read as what it is, a header and a row of floats (CDR, OMG DDS-XTypes 7.4.3): rclpy makes an
    object of each point, which takes 30 ms for ten thousand.
    """
    order = {b'\0\0': '>', b'\0\1': '<'}.get(bytes(data[:2]))
    if order is None:  # another encoding than ROS 2's usual one
        return _of_message(deserialize_message(data, PolygonStamped))
    body = memoryview(data)[4:]
    try:
        seconds, nanoseconds, length = struct.unpack_from(f'{order}iII', body)
        start = 12 + -(-length // 4) * 4
        count, = struct.unpack_from(f'{order}I', body, start)
        values = np.frombuffer(body, f'{order}f4', 3 * count, start + 4)
    except (struct.error, ValueError) as error:
        raise ValueError(f'{len(data)} bytes are no geometry_msgs/PolygonStamped: {error}'
                         ) from error
    return Query(Kind.POINTS, seconds * NANOSECONDS + nanoseconds,
                 values.reshape(-1, 3)[:, :2].astype(np.float64))


def _of_message(message: PolygonStamped) -> Query:
    points = np.array([(point.x, point.y) for point in message.polygon.points], np.float64)
    return Query(Kind.POINTS, to_nanoseconds(message.header.stamp), points.reshape(-1, 2))


def click_query(message: Point) -> Query:
    """Return what a click in rqt_image_view asks."""
    return Query(Kind.CLICK, 0, np.array([[message.x, message.y]], np.float64))


def box_query(message: Any) -> Query:
    """Return what a vision_msgs/Detection2DArray asks: the distance of each box's object."""
    boxes = [(found.bbox.center.position.x, found.bbox.center.position.y, found.bbox.size_x,
              found.bbox.size_y) for found in message.detections]
    return Query(Kind.BOXES, to_nanoseconds(message.header.stamp),
                 np.array(boxes, np.float64).reshape(-1, 4))


def answer(header: Header, query: Query, found: PointDepth, reason: Reason, age_s: float,
           metres: Metres | None, shape: Size | None = None) -> PointCloud2:
    """Return what is known of a query's points, in their order.

    ``found`` are depth and trust (n,), NaN where there is none, for which ``reason`` is why.
    ``age_s`` is how old the memory was.  With ``metres`` points have x, y, z and sigma, NaN where
    they are unknown.  ``shape`` is that of a grid (rows, cols).
    """
    fields = FIELDS | (METRIC_FIELDS if metres else {})
    layout = np.dtype([(name, kind) for name, kind in fields.items()], align=True)
    table = np.zeros(len(query.points), layout)
    pixels = query.points[:, :2]
    table['u'], table['v'] = pixels.T
    table['inverse_depth'], table['trust'] = found
    table['age'] = age_s
    table['reason'] = np.where(np.isnan(found.inverse_depth), reason, Reason.KNOWN)
    table['kind'] = query.kind
    if metres:
        places, deviations = _in_metres(pixels, found.inverse_depth, metres)
        table['x'], table['y'], table['z'] = places.T
        table['sigma'] = deviations
    rows, cols = shape or (1, len(table))
    assert layout.fields is not None
    message = PointCloud2(
        header=header, height=rows, width=cols, point_step=layout.itemsize,
        row_step=layout.itemsize * cols, is_bigendian=sys.byteorder == 'big',
        is_dense=bool((table['reason'] == Reason.KNOWN).all()
                      and (metres is None or np.isfinite(table['sigma']).all())),
        fields=[PointField(name=name, offset=layout.fields[name][1], datatype=TYPES[kind],
                           count=1) for name, kind in fields.items()])
    set_data(message, table)
    return message


def read_answer(message: PointCloud2) -> npt.NDArray[Any]:
    """Return an answer's points in their order, an array (n,) with the names of the fields."""
    types = {number: name for name, number in TYPES.items()}
    order = '>' if message.is_bigendian else '<'
    layout = np.dtype({'names': [field.name for field in message.fields],
                       'formats': [order + types[field.datatype] for field in message.fields],
                       'offsets': [field.offset for field in message.fields],
                       'itemsize': message.point_step})
    return np.frombuffer(message.data, layout)


def _in_metres(pixels: Pixels, relative: npt.NDArray[np.float32], metres: Metres
               ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Return points (n, 3) in the camera's optical frame and the depth's deviation (n,)."""
    scale = metres.scale
    z = metric(relative, scale.a, scale.b, scale.covariance, metres.largest_m)
    return metres.lens.rays(pixels) * z[:, None], deviation(relative, z, scale.covariance)
