"""sensor_msgs/PointCloud2: its points as an array, and one from a cloud."""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from asyncmde_ros.ros.messages import set_data
from asyncmde_ros.scale.cloud import Cloud
from asyncmde_ros.scale.observations import Array

AXES = ('x', 'y', 'z')
FLOATS = {PointField.FLOAT32: 'f4', PointField.FLOAT64: 'f8', PointField.INT16: 'i2',
          PointField.INT32: 'i4'}
"""What is taken for coordinates."""

INTEGERS = {PointField.UINT8: 'u1', PointField.UINT16: 'u2', PointField.UINT32: 'u4',
            PointField.INT8: 'i1', PointField.INT16: 'i2', PointField.INT32: 'i4'}
COLOR = 'rgb'
"""As PCL and RViz have it: the bytes b, g, r, 0 of a float32."""


def table_of(message: PointCloud2, names: Sequence[str], formats: Mapping[int, str], wanted: str
             ) -> npt.NDArray[np.void]:
    """Return fields of a cloud's points, (rows, cols), without a copy.

    ``formats`` are numpy's of the types that are taken, which ``wanted`` names.  ValueError where
    a field is not there, or of another type, or the sizes do not agree.
    """
    fields = {field.name: field for field in message.fields}
    missing = [name for name in names if name not in fields]
    if missing:
        raise ValueError(f'the cloud has no field {missing[0]}, but {", ".join(fields) or "none"}')
    order = '>' if message.is_bigendian else '<'
    chosen = []
    for name in names:
        if fields[name].datatype not in formats:
            raise ValueError(f'the cloud\'s field {name} has the type {fields[name].datatype}: '
                             f'{wanted} are wanted')
        chosen.append(order + formats[fields[name].datatype])
    rows, cols, step = message.height, message.width, message.point_step
    try:
        point = np.dtype({'names': list(names), 'formats': chosen, 'itemsize': step,
                          'offsets': [fields[name].offset for name in names]})
        return np.ndarray((rows, cols), point, np.asarray(message.data, np.uint8).data,
                          strides=(message.row_step, step))
    except (ValueError, TypeError) as error:
        raise ValueError(f'the cloud\'s sizes do not agree ({rows} x {cols} points of {step} '
                         f'bytes, rows of {message.row_step}, {len(message.data)} bytes): {error}'
                         ) from error


def points_of(message: PointCloud2) -> Array:
    """Return the points (n, 3) of a cloud in its own frame; ValueError as :func:`table_of`."""
    table = table_of(message, AXES, FLOATS, 'floats')
    return np.stack([table[axis].ravel() for axis in AXES], axis=1).astype(np.float64)


def cloud_message(header: Header, cloud: Cloud) -> PointCloud2:
    """Return a cloud, organised if its points are (h, w, 3), with rgb if it has colors."""
    points = cloud.points
    shape = points.shape[:-1]
    fields = [PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
              for index, name in enumerate(AXES)]
    values = points
    if cloud.colors is not None:
        fields.append(PointField(name=COLOR, offset=12, datatype=PointField.FLOAT32, count=1))
        values = np.empty((*shape, 4), np.float32)
        values[..., :3] = points
        values[..., 3] = _packed(cloud.colors)
    step = 4 * values.shape[-1]
    rows, cols = shape if len(shape) == 2 else (1, *shape)
    message = PointCloud2(
        header=header, height=rows, width=cols, fields=fields, point_step=step,
        row_step=step * cols, is_bigendian=sys.byteorder == 'big',
        is_dense=len(shape) == 1)
    set_data(message, values)
    return message


def _packed(colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return (..., 3) RGB as (...) of which the four bytes are 0xrrggbb."""
    red, green, blue = (colors[..., channel].astype(np.uint32) for channel in range(3))
    return (red << 16 | green << 8 | blue).view(np.float32)
