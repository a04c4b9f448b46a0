"""Whatever a camera may send: an image comes out or an ImageError, at a bounded price."""

import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.pictures import png_chunk

from asyncmde_ros.errors import ImageError
from asyncmde_ros.images.codec import (
    MAX_PIXELS,
    MAX_SCANS,
    MAX_SPARE_BYTES,
    decode_compressed,
    decode_image,
)

thorough = settings(deadline=None, max_examples=300,  # a busy machine is no failure
                    suppress_health_check=[HealthCheck.too_slow])

CHANNELS = {'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4, '8UC4': 4, 'mono8': 1,
            '8UC1': 1, 'yuv422_yuy2': 2, 'yuyv': 2, 'yuv422': 2, 'uyvy': 2, 'nv12': 1, 'nv21': 1,
            'bayer_rggb8': 1, 'bayer_grbg8': 1}
DEEP = {'mono16': 2, 'bgr16': 6, 'rgba16': 8, 'bayer_gbrg16': 2}
"""Bytes per column of some encodings with 16-bit samples."""

STRANGE = ('16SC1', '8UC2', '32FC1', 'bayer_rggb12', 'RGB8', 'rgb8 ', '', '\0', 'ß' * 300)
REASONS = {'encoding', 'size', 'step', 'data', 'compressed'}

BOMB_S = 20.0
"""A refused bomb costs milliseconds, one that is decoded two seconds; the rest is for a busy
machine."""

BOMB_MIB = 1024
"""The largest picture that is decoded takes 411 MiB at its peak, 778 MiB with 16 bits, measured;
60000x60000 pixels would be 10 GiB."""

UINT32 = st.integers(0, 2**32 - 1)
SIDE = st.one_of(st.integers(0, 40), st.sampled_from(
    [1, 3, 2**16, 2**31 - 1, 2**31, 2**32 - 1, MAX_PIXELS, MAX_PIXELS + 1]), UINT32)


@st.composite
def raw_images(draw: st.DrawFn) -> SimpleNamespace:
    """Messages that are nearly right: each field fits the others, or does not by a little."""
    encoding = draw(st.one_of(st.sampled_from([*CHANNELS]), st.sampled_from([*DEEP]),
                              st.sampled_from(STRANGE)))
    height, width = draw(SIDE), draw(SIDE)
    row_bytes = width * (CHANNELS | DEEP).get(encoding, 2)
    step = draw(st.one_of(st.just(row_bytes), st.integers(-2, 9).map(lambda by: row_bytes + by),
                          UINT32))
    rows = height * 3 // 2 if encoding.startswith('nv') else height
    length = step * rows + draw(st.one_of(
        st.just(0), st.integers(-50, 50), st.sampled_from([MAX_SPARE_BYTES, MAX_SPARE_BYTES + 1])))
    length = max(0, min(length, 100_000))
    return SimpleNamespace(
        encoding=encoding, height=height, width=width, step=max(0, step),
        is_bigendian=draw(st.sampled_from([0, 1, 255])),
        data=draw(st.binary(min_size=min(length, 64), max_size=min(length, 64))).ljust(
            length, b'\x5a'))


@pytest.mark.proves('random-input')
@thorough
@given(raw_images())
def test_any_raw_image(message: SimpleNamespace) -> None:
    try:
        rgb = decode_image(message)
    except ImageError as error:
        assert error.reason in REASONS and str(error)
        return
    assert rgb.shape == (message.height, message.width, 3) and rgb.dtype == np.uint8


@thorough
@given(st.sampled_from([*CHANNELS]), st.integers(1, 20), st.integers(1, 20), st.integers(0, 9),
       st.integers(0, 1), st.integers(0, 2**32 - 1))
def test_byte_order_and_padding_change_nothing(encoding: str, height: int, width: int,
                                               padding: int, big: int, seed: int) -> None:
    row = width * CHANNELS[encoding]
    rows = height * 3 // 2 if encoding.startswith('nv') else height
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, row + padding), np.uint8)

    def decoded(data: np.ndarray, big: int) -> np.ndarray | str:
        try:
            return decode_image(SimpleNamespace(
                encoding=encoding, height=height, width=width, step=data.shape[1],
                is_bigendian=big, data=data.tobytes()))
        except ImageError as error:
            return error.reason
    np.testing.assert_array_equal(decoded(pixels, big),
                                  decoded(np.ascontiguousarray(pixels[:, :row]), 0))


# Files

def scene(size: tuple[int, int] = (40, 56)) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)


def encoded(extension: str, image: np.ndarray, *options: int) -> bytes:
    return bytes(cv2.imencode(extension, image, options)[1].tobytes())


FILES = (
    encoded('.jpg', scene()),
    encoded('.jpg', scene()[..., 0]),
    encoded('.jpg', scene(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    encoded('.jpg', scene(), cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    encoded('.png', scene()),
    encoded('.png', scene()[..., 0]),
    encoded('.png', np.dstack([scene(), scene()[..., :1]])),
    encoded('.png', scene().astype(np.uint16) * 257),
    encoded('.png', (scene()[..., 0] > 127).astype(np.uint8), cv2.IMWRITE_PNG_BILEVEL, 1))


def pieces(data: bytes) -> list[bytes]:
    """Split a file at its JPEG markers or PNG chunks."""
    if data.startswith(b'\x89PNG'):
        at, result = 8, [data[:8]]
        while at + 12 <= len(data):
            end = at + 12 + int.from_bytes(data[at:at + 4], 'big')
            result.append(data[at:end])
            at = end
        return result
    cuts = [i for i in range(len(data) - 1)
            if data[i] == 0xFF and data[i + 1] not in (0, 0xFF)] + [len(data)]
    return [data[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]


def decode_or_image_error(data: bytes, text: str = 'jpeg') -> np.ndarray | None:
    try:
        rgb = decode_compressed(SimpleNamespace(format=text, data=data))
    except ImageError as error:
        assert error.reason in REASONS and str(error)
        return None
    assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8 and rgb.size
    return rgb


@pytest.mark.parametrize('data', FILES)
def test_the_files_themselves_are_fine(data: bytes) -> None:
    rgb = decode_or_image_error(data)
    assert rgb is not None and rgb.shape == (40, 56, 3)


@pytest.mark.proves('random-input')
@thorough
@given(st.sampled_from(FILES),
       st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 255)), max_size=12),
       st.integers(0, 30_000), st.text(max_size=20))
def test_any_damage(data: bytes, damage: list[tuple[int, int]], keep: int, text: str) -> None:
    damaged = bytearray(data)
    for position, value in damage:
        damaged[position % len(damaged)] = value
    decode_or_image_error(bytes(damaged[:keep] if keep < len(damaged) else damaged), text)


@thorough
@given(st.sampled_from(FILES), st.data())
def test_pieces_of_files_left_out_repeated_and_mixed_up(data: bytes, draw: st.DataObject) -> None:
    parts = pieces(data) + pieces(draw.draw(st.sampled_from(FILES)))
    order = draw.draw(st.lists(st.integers(0, len(parts) - 1), max_size=40))
    decode_or_image_error(parts[0] + b''.join(parts[index] for index in order))


@thorough
@given(st.sampled_from(FILES[:4]), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_any_size_that_a_jpeg_claims(data: bytes, height: int, width: int) -> None:
    if height * width > 2**20:  # larger ones cost time; the bombs below do
        height, width = height % 1024, width % 1024
    at = data.index(struct.pack('>HH', 40, 56))
    decode_or_image_error(data[:at] + struct.pack('>HH', height, width) + data[at + 4:])


# Bombs

def png_of_nothing(width: int, height: int, whole: bool = False) -> bytes:
    """A header of 16-bit RGB over hardly any data, or over all that it claims, which is zeros."""
    header = struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)
    packed = zlib.compressobj(1)
    return (b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', header)
            + png_chunk(b'IDAT', packed.compress(bytes(height * (1 + 6 * width) if whole
                                                       else 10**6)) + packed.flush())
            + png_chunk(b'IEND', b''))


def png_with_a_large_text(size: int) -> bytes:
    """A chunk of text that is a thousand times as long once inflated."""
    body = b'Comment\0\0' + zlib.compress(bytes(size), 9)
    chunk = png_chunk(b'zTXt', body)
    data = encoded('.png', scene())
    return data[:33] + chunk + data[33:]


def jpeg_of_nothing(width: int, height: int) -> bytes:
    return encoded('.jpg', scene()).replace(struct.pack('>HH', 40, 56),
                                            struct.pack('>HH', height, width), 1)


def jpeg_of_scans(count: int) -> bytes:
    """The last scan of a progressive JPEG ``count`` times: a dozen bytes for each pass over it."""
    data = encoded('.jpg', np.zeros((4000, 4000), np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = data[data.rindex(b'\xff\xda'):-2]
    return data[:-2] + last * count + b'\xff\xd9'


BOMBS = {
    'png 60000x60000': lambda: png_of_nothing(60_000, 60_000),
    'png of the largest size': lambda: png_of_nothing(8_000, MAX_PIXELS // 8_000),
    'png of the largest size, whole': lambda: png_of_nothing(8_000, MAX_PIXELS // 8_000, True),
    'png with a text of 200 MB': lambda: png_with_a_large_text(200 * 10**6),
    'jpeg 60000x60000': lambda: jpeg_of_nothing(60_000, 60_000),
    'jpeg of the largest size': lambda: jpeg_of_nothing(8_000, MAX_PIXELS // 8_000),
    'jpeg of 5000 scans': lambda: jpeg_of_scans(5_000)}

PROBE = """
import re, sys, time
from types import SimpleNamespace
from asyncmde_ros.errors import ImageError
from asyncmde_ros.images.codec import decode_compressed
data = sys.stdin.buffer.read()
started = time.process_time()
try:
    print(decode_compressed(SimpleNamespace(format='', data=data)).shape)
except ImageError as error:
    print(error.reason)
print(time.process_time() - started)
# Not getrusage(), which counts what this process was before exec(): its parent's size.
print(int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) / 1024)
"""


@pytest.mark.proves('random-input')
@pytest.mark.parametrize('name', BOMBS)
def test_a_small_file_costs_little_whatever_it_claims(name: str) -> None:
    data = BOMBS[name]()
    assert len(data) < 4 * 2**20
    done = subprocess.run([sys.executable, '-c', PROBE], input=data, capture_output=True,
                          timeout=10 * BOMB_S, check=True)
    *outcome, seconds, peak_mib = done.stdout.decode().splitlines()
    assert float(seconds) < BOMB_S and float(peak_mib) < BOMB_MIB, outcome
    if '60000' in name:
        assert outcome == ['size']
    if 'scans' in name:
        assert outcome == ['compressed']


def test_as_many_scans_as_encoders_write_are_decoded() -> None:
    data = encoded('.jpg', scene(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert 6 <= data.count(b'\xff\xda') <= MAX_SCANS / 5
    assert decode_or_image_error(data) is not None
