"""Makes the videos that the tests read: any codec, container, stamps and flags, by PyAV."""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

SIZE = (96, 128)


def picture(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return a smooth picture whose waves tell its index; no mirroring leaves it alike."""
    down, across = np.mgrid[:size[0], :size[1]] / np.array(size).reshape(2, 1, 1)
    wave = np.sin(2 * np.pi * (across + 0.31 * index) + 1)
    return np.stack([128 + 90 * wave, 60 + 100 * down, 128 - 60 * wave * down],
                    axis=2).astype(np.uint8)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean difference of two pictures, in grey levels."""
    return float(np.abs(first.astype(int) - second).mean())


@contextlib.contextmanager
def usual_scheduling() -> Iterator[None]:
    """Undo what SVT-AV1 does to whoever encodes with it as root.

    It makes the calling thread SCHED_FIFO with the highest priority and leaves it so, and whatever
    that thread starts as well: a node that is busy then gets a core for itself for ever.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def encode(path: Path, pictures: Iterable[np.ndarray], codec: str = 'libx264', *,
           pix_fmt: str = 'yuv420p', options: Mapping[str, str] | None = None, rate: float = 25,
           stamps: Sequence[int] | None = None, time_base: Fraction = Fraction(1, 1000),
           container: Mapping[str, str] | None = None, kind: str | None = None) -> Path:
    """Write a video; ``stamps`` in units of ``time_base`` instead of the rate's own."""
    with usual_scheduling(), av.open(path, 'w', format=kind,
                                     container_options=dict(container or {})) as file:
        stream = None
        for index, rgb in enumerate(pictures):
            if stream is None:
                stream = file.add_stream(codec, Fraction(rate).limit_denominator(1001),
                                         dict(options or {}))
                stream.height, stream.width = rgb.shape[:2]
                stream.pix_fmt = pix_fmt
                if stamps is not None:
                    stream.codec_context.time_base = time_base
            frame = av.VideoFrame.from_ndarray(rgb, 'rgb24').reformat(format=pix_fmt)
            frame.pts = index if stamps is None else stamps[index]
            frame.time_base = 1 / Fraction(rate).limit_denominator(1001) if stamps is None \
                else time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def turned(path: Path, matrix: Sequence[int]) -> Path:
    """Give an mp4 file a display matrix, (a, b, c, d) of whole numbers."""
    data = bytearray(path.read_bytes())
    a, b, c, d = matrix
    upright = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], '>i4').tobytes()
    at = data.index(upright, data.index(b'tkhd'))
    data[at:at + len(upright)] = np.array(
        [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], '>i4').tobytes()
    path.write_bytes(data)
    return path


def png_bomb() -> bytes:
    """Return a small PNG whose header claims 100,000 pixels a side."""
    data = bytearray(encoded_picture('.png', np.zeros((8, 8, 3), np.uint8)))
    data[16:24] = struct.pack('>II', 100_000, 100_000)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    return bytes(data)


def encoded_picture(suffix: str, rgb: np.ndarray) -> bytes:
    """Return a picture file's bytes."""
    return cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
