"""The small works around the networks, each apart."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from asyncmde_ros.images.codec import RGB, decode_compressed, decode_image
from asyncmde_ros.lab.bench import metres
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.pictures import Pictures
from asyncmde_ros.lab.bench.progress import Work, in_turn
from asyncmde_ros.lab.bench.statistics import Summary
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.preprocess import normalise, shrink
from asyncmde_ros.pipeline import evidence
from asyncmde_ros.pipeline.feature_cache import Keyframe, Slot
from asyncmde_ros.pipeline.motion import MotionEstimator, Warp, compose, small_grey
from asyncmde_ros.pipeline.moved_depth import MovedDepth, TrackedFrame
from asyncmde_ros.pipeline.session import glance_size, refresh_sizes
from asyncmde_ros.pipeline.settings import Settings

YUY2_BYTES = 2
"""Bytes of a pixel in yuv422_yuy2."""

KEYFRAME_ID, GLANCE_ID, FRAME_ID = 0, 2, 3
"""Frames of the film that a memory of depth is of, that mend it, and that see it."""


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


def measure(options: BenchOptions, pictures: Pictures,
            extra: Mapping[str, Work]) -> dict[str, Summary]:
    """Time each part in turn, round by round; ``extra`` adds parts that need ROS."""
    works = {**_works(options, pictures.at(0)), **_memory_works(options, pictures),
             **metres.works(options, pictures), **extra}
    return in_turn(works, options.seconds, 'parts')


def _works(options: BenchOptions, rgb: RGB) -> dict[str, Work]:
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


def _memory_works(options: BenchOptions, pictures: Pictures) -> dict[str, Work]:
    """Return a frame of a memory of depth: moved only, and mixed with a new glance as well.

    The memory is of the larger refresh, which is the dearer one.
    """
    size = refresh_sizes(options.size)[1]
    film = [shrink(pictures.at(index), size) for index in range(FRAME_ID + 1)]
    estimator = MotionEstimator()
    steps = [estimator.update(index, picture, Settings.motion_compensation, size=options.size).step
             for index, picture in enumerate(film)]
    earlier = estimator.since(KEYFRAME_ID, GLANCE_ID)
    assert earlier is not None

    def since(frame_id: int, later_id: int) -> Warp:
        return compose(earlier, steps[FRAME_ID])  # a frame adds one step to what is known

    def slot(frame_id: int, depth: Size) -> Slot:
        made = Slot({})
        made.grey = small_grey(film[frame_id])
        made.depth = np.ascontiguousarray(shrink(film[frame_id], depth)[..., 0], np.float32)
        made.keyframe = Keyframe(frame_id, 0, 0, 1, 0.0)
        return made
    now = small_grey(film[FRAME_ID])
    view = TrackedFrame(FRAME_ID, film[FRAME_ID], now, steps[FRAME_ID], since)
    keyframe = slot(KEYFRAME_ID, size)
    glance = slot(GLANCE_ID, glance_size(options.size))
    moved, mixed = MovedDepth(), MovedDepth()

    def mix() -> None:
        assert glance.keyframe is not None
        glance.keyframe = replace(glance.keyframe, generation=glance.keyframe.generation + 1)
        mixed.step(view, keyframe, glance).maps()
    before = small_grey(film[KEYFRAME_ID])
    return {
        'move_memory': lambda: moved.step(view, keyframe, None).maps(),
        'mix_glance': mix,
        'photometric_evidence': lambda: evidence.look(before, now, earlier),
    }


def _stored(encoding: str, rows: int, cols: int, pixels: RGB) -> StoredImage:
    return StoredImage(encoding, rows, cols, cols * pixels.shape[2], _bytes(pixels))


def _bytes(pixels: RGB) -> 'array[int]':
    """Return a message's own storage, an array of bytes."""
    return array('B', pixels.tobytes())
