"""ROS messages from arrays."""

import array
import copy
import sys

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from asyncmde_ros.errors import ImageError
from asyncmde_ros.model.geometry import Size

NANOSECONDS = 1_000_000_000
UINT32_MAX = 2**32 - 1


def to_nanoseconds(stamp: Time) -> int:
    return stamp.sec * NANOSECONDS + stamp.nanosec


def image_stamp_ns(header: Header) -> int:
    """Return an image's stamp [ns]; ImageError, reason ``stamp``, for one that is no time.

    Stamps are compared and subtracted; one second written in two ways would go back in time.
    """
    if header.stamp.nanosec >= NANOSECONDS:
        raise ImageError('stamp', f'stamp has {header.stamp.nanosec} nanoseconds; a second has '
                                  f'{NANOSECONDS}')
    return to_nanoseconds(header.stamp)


def from_nanoseconds(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)


def set_data(message: Image | PointCloud2, pixels: npt.NDArray[np.generic]) -> None:
    """Give ``message`` the bytes of ``pixels``.

    The public setter checks each byte in Python, over a quarter of a second for a VGA image;
    an array of the right type is what it would store.
    """
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(pixels).reshape(-1).view(np.uint8).data)
    message._data = data


def float_image(header: Header, values: npt.NDArray[np.float32]) -> Image:
    """Return (H, W) float32 as a 32FC1 image."""
    return _image(header, values, '32FC1', values.itemsize)


def millimetre_image(header: Header, values: npt.NDArray[np.uint16]) -> Image:
    """Return (H, W) uint16 as a 16UC1 image."""
    return _image(header, values, '16UC1', values.itemsize)


def grey_image(header: Header, grey: npt.NDArray[np.uint8]) -> Image:
    """Return (H, W) uint8 as a mono8 image."""
    return _image(header, grey, 'mono8', 1)


def rgb_image(header: Header, rgb: npt.NDArray[np.uint8]) -> Image:
    """Return (H, W, 3) uint8 as an rgb8 image."""
    return _image(header, rgb, 'rgb8', 3)


def _image(header: Header, pixels: npt.NDArray[np.generic], encoding: str, size: int) -> Image:
    rows, cols = pixels.shape[:2]
    message = Image(header=header, height=rows, width=cols, encoding=encoding,
                    is_bigendian=int(sys.byteorder == 'big'), step=cols * size)
    set_data(message, pixels)
    return message


def scaled_camera_info(info: CameraInfo, header: Header, image: tuple[float, float], depth: Size
                       ) -> CameraInfo:
    """Return the calibration of depth of size ``depth`` computed from an image (rows, cols).

    ``image`` is the size that the calibration says the image has.  A copy with ``header`` where
    the sizes agree.  Otherwise width, height, region of interest, K and P scale with the picture;
    distortion, rectification and binning do not depend on it.  A size beyond what the message can
    hold, of a calibration that is nonsense, becomes the largest.
    """
    result = copy.deepcopy(info)
    result.header = header
    if depth == image:
        return result
    y, x = (new / old for new, old in zip(depth, image, strict=True))
    result.height, result.width = _scaled(info.height, y), _scaled(info.width, x)
    result.k = [value * scale for value, scale
                in zip(info.k, (x,) * 3 + (y,) * 3 + (1,) * 3, strict=True)]
    result.p = [value * scale for value, scale
                in zip(info.p, (x,) * 4 + (y,) * 4 + (1,) * 4, strict=True)]
    region = result.roi
    region.x_offset, region.width = _scaled(region.x_offset, x), _scaled(region.width, x)
    region.y_offset, region.height = _scaled(region.y_offset, y), _scaled(region.height, y)
    return result


def _scaled(length: int, scale: float) -> int:
    return min(round(length * scale), UINT32_MAX)
