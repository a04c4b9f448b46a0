"""The small works around the networks, each apart."""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from asyncmde_ros.bench.options import Options
from asyncmde_ros.bench.pictures import Pictures
from asyncmde_ros.bench.progress import rounds
from asyncmde_ros.bench.statistics import Summary, summarise, timed_ms
from asyncmde_ros.media.codec import RGB, decode_compressed, decode_image
from asyncmde_ros.preprocess import normalise, shrink

Work = Callable[[], object]

YUY2_BYTES = 2
"""Bytes of a pixel in yuv422_yuy2."""


@dataclass
class StoredImage:
    """Stands for a sensor_msgs/Image, so that decoding can be timed without ROS."""

    encoding: str
    height: int
    width: int
    step: int
    data: 'array[int]'
    is_bigendian: int = 0


@dataclass
class StoredJpeg:
    """Stands for a sensor_msgs/CompressedImage."""

    data: 'array[int]'
    format: str = 'jpeg'


def measure(options: Options, pictures: Pictures,
            extra: Mapping[str, Work]) -> dict[str, Summary | None]:
    """Time each part in turn, round by round; ``extra`` adds parts that need ROS."""
    works = {**_works(options, pictures.at(0)), **extra}
    for work in works.values():
        work()  # the first call allocates
    times_ms: dict[str, list[float]] = {name: [] for name in works}
    for _ in rounds(options.seconds, 'parts'):
        for name, work in works.items():
            times_ms[name].append(timed_ms(work))
    return {name: summarise(times) for name, times in times_ms.items()}


def _works(options: Options, rgb: RGB) -> dict[str, Work]:
    rows, cols = options.image
    small = shrink(rgb, options.size)
    tensor = np.zeros((1, 3, *options.size), np.float32)
    depth = np.ascontiguousarray(small[..., 0], np.float32)
    bgr = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)
    # What the bytes show does not matter to a conversion: two of three channels pass for YUY2.
    raw = {encoding: _stored(encoding, rows, cols, pixels) for encoding, pixels in (
        ('rgb8', rgb), ('bgr8', bgr), ('yuv422_yuy2', rgb[..., :YUY2_BYTES]))}
    jpeg = StoredJpeg(_bytes(cv2.imencode('.jpg', bgr)[1]))
    return {
        'shrink': lambda: shrink(rgb, options.size),
        'normalise': lambda: normalise(small, tensor),
        **{f'decode_{encoding}': partial(decode_image, message)
           for encoding, message in raw.items()},
        'decode_jpeg': lambda: decode_compressed(jpeg),
        'upsample': lambda: cv2.resize(depth, (cols, rows), interpolation=cv2.INTER_LINEAR),
    }


def _stored(encoding: str, rows: int, cols: int, pixels: RGB) -> StoredImage:
    return StoredImage(encoding, rows, cols, cols * pixels.shape[2], _bytes(pixels))


def _bytes(pixels: RGB) -> 'array[int]':
    """Return a message's own storage, an array of bytes."""
    return array('B', pixels.tobytes())
