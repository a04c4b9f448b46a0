"""Pictures with something to follow everywhere, and the parts that PNG files consist of."""

import struct
import zlib

import cv2
import numpy as np

from asyncmde_ros.model.geometry import Size


def texture(size: Size, coarse: Size, seed: int = 0) -> np.ndarray:
    """Return random colours at ``coarse``, made ``size`` (rows, cols) smoothly: RGB uint8."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 255, (*coarse, 3), np.uint8), size[::-1],
                      interpolation=cv2.INTER_CUBIC)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
