"""Image messages to RGB: our own decoder, and cv_bridge for the encodings that it leaves."""

import importlib.util
from functools import cache
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from asyncmde_ros.errors import ImageError
from asyncmde_ros.images.codec import RGB, Stream, decode_compressed, decode_image, refuse_depth


def to_rgb(message: Image | CompressedImage, stream: Stream) -> RGB:
    """Return (H, W, 3) uint8 RGB; ImageError for what is damaged or of an unknown encoding."""
    if isinstance(message, CompressedImage):
        return decode_compressed(message, stream)
    refuse_depth(message.encoding, stream.topic)  # which cv_bridge would refuse less helpfully
    try:
        return decode_image(message, stream)
    except ImageError as error:
        bridge = _bridge()
        if error.reason != 'encoding' or bridge is None:
            raise
        try:
            rgb = bridge.imgmsg_to_cv2(message, 'rgb8')
        except Exception as refusal:  # its errors are of several unrelated types
            raise ImageError('encoding', f'{error}; cv_bridge: {refusal}') from refusal
        if rgb.ndim != 3 or rgb.size == 0:
            raise ImageError('size', f'width x height is {message.width} x {message.height}') \
                from error
        return rgb


@cache
def _bridge() -> Any:
    """Return a CvBridge where ROS 2's cv_bridge is installed, else None.

    PyPI's package of the name is a port of ROS 1's, which fails on import beside ROS 2.
    """
    if importlib.util.find_spec('cv_bridge') is None:
        return None
    try:
        from cv_bridge import CvBridge
    except Exception:
        return None
    return CvBridge()
