"""ROS messages from arrays."""

import array
import copy
import sys

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from asyncmde_ros.geometry import Size

NANOSECONDS = 1_000_000_000


def to_nanoseconds(stamp: Time) -> int:
    return stamp.sec * NANOSECONDS + stamp.nanosec


def from_nanoseconds(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)


def set_data(message: Image, pixels: npt.NDArray[np.generic]) -> None:
    """Give ``message`` the bytes of ``pixels``.

    The public setter checks each byte in Python, over a quarter of a second for a VGA image;
    an array of the right type is what it would store.
    """
    data = array.array('B')
    data.frombytes(memoryview(np.ascontiguousarray(pixels)).cast('B'))
    message._data = data


def depth_image(header: Header, depth: npt.NDArray[np.float32]) -> Image:
    """Return (H, W) float32 as a 32FC1 image."""
    rows, cols = depth.shape
    message = Image(header=header, height=rows, width=cols, encoding='32FC1',
                    is_bigendian=int(sys.byteorder == 'big'), step=cols * depth.itemsize)
    set_data(message, depth)
    return message


def scaled_camera_info(info: CameraInfo, header: Header, size: Size) -> CameraInfo:
    """Return ``info`` for an image of ``size`` (rows, cols) with ``header``.

    Focal lengths and principal point of K and P scale with the image; the distortion model and
    the rectification do not depend on it.  Region and binning are not applied twice.
    """
    result = copy.deepcopy(info)
    result.header = header
    rows, cols = size
    if (info.height, info.width) in ((rows, cols), (0, 0)):
        return result
    x, y = cols / info.width, rows / info.height
    result.height, result.width = rows, cols
    result.k = [value * scale for value, scale
                in zip(info.k, (x,) * 3 + (y,) * 3 + (1,) * 3, strict=True)]
    result.p = [value * scale for value, scale
                in zip(info.p, (x,) * 4 + (y,) * 4 + (1,) * 4, strict=True)]
    return result
