"""A camera image to the networks' input, and depth back to an image's size."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SCALE = (1 / (255 * np.array(IMAGENET_STD))).astype(np.float32)
SHIFT = (-np.array(IMAGENET_MEAN) / IMAGENET_STD).astype(np.float32)
"""A pixel p of 0 to 255 is normalised as ``SCALE * p + SHIFT``, per channel."""


def shrink(rgb: npt.NDArray[np.uint8], size: Size) -> npt.NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to ``size`` (rows, cols), bicubically as Depth Anything V2 does.

    Always a new array: the caller may use the image's memory again.
    """
    if rgb.shape[:2] == size:
        return rgb.copy()
    return np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def average(rgb: npt.NDArray[np.uint8], size: Size) -> npt.NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to ``size`` (rows, cols), each pixel the mean of those it covers.

    What a network that sees few pixels is given: nothing of the image is left out.
    """
    if rgb.shape[:2] == size:
        return rgb
    return np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def normalise(rgb: npt.NDArray[np.uint8], out: npt.NDArray[np.float32]) -> None:
    """Write (H, W, 3) uint8 RGB into ``out`` (1, 3, H, W), ImageNet-normalised."""
    for channel in range(3):
        np.multiply(rgb[..., channel], SCALE[channel], out=out[0, channel], dtype=np.float32)
        out[0, channel] += SHIFT[channel]


def write_image(rgb: npt.NDArray[np.uint8], out: npt.NDArray[Any]) -> None:
    """Write (H, W, 3) uint8 RGB into an engine's image.

    Normalised, or as it is into (1, H, W, 3) uint8: such an engine does that itself.
    """
    if out.dtype == np.uint8:
        out[0] = rgb
    else:
        normalise(rgb, out)


def at_size(depth: npt.NDArray[np.float32], size: Size) -> npt.NDArray[np.float32]:
    """Resize a map to ``size`` (rows, cols), bilinearly, pixel centres aligned.  Always new."""
    return np.asarray(cv2.resize(depth, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
