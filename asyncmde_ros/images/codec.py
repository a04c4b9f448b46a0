"""ROS image messages to RGB arrays; a malformed one gives an ImageError and nothing else.

The reasons that an error carries: ``encoding`` (not one of ours), ``size`` (width or height),
``step``, ``data`` (its length against the header) and ``compressed`` (a damaged JPEG or PNG).
"""

import re
import struct
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import ImageError
from asyncmde_ros.images.tone import Tone

RGB = npt.NDArray[np.uint8]

MAX_PIXELS = 64_000_000
"""No camera in use is larger; a header that claims more is damaged or hostile."""

MAX_SCANS = 100
"""Of a progressive JPEG, whose encoders write six to twenty.  Each goes over the whole picture
and needs but a few bytes, so that a small file could keep the decoder busy for minutes."""

MAX_SPARE_BYTES = 4095
"""What a driver that hands over whole 4 KiB pages may leave after the last row."""


class ImageMessage(Protocol):
    """What is read of a sensor_msgs/Image; the byte order, of 16-bit samples only."""

    encoding: str
    height: int
    width: int
    step: int
    is_bigendian: int
    data: Any  # any buffer: array.array, bytes, memoryview, ndarray


class CompressedImageMessage(Protocol):
    """What is read of a sensor_msgs/CompressedImage."""

    format: str
    data: Any


@dataclass
class Stream:
    """What decoding keeps of the ``topic`` that images come on ('': not known)."""

    topic: str = ''
    tone: Tone = field(default_factory=Tone)


@dataclass(frozen=True)
class _Layout:
    """How an encoding lies in memory, and the OpenCV conversion to RGB (None: it is RGB)."""

    channels: int  # samples per column
    conversion: int | None
    even_width: bool = False
    half_height_chroma: bool = False  # 4:2:0, chroma rows below the image: height is even too
    bytes: int = 1  # per sample; of two, the conversion is that of the 8-bit image made of them
    least_side: int = 1


# OpenCV names a mosaic by the second row's second and third pixel, ROS by the first row's first
# two: its rggb is OpenCV's BG.  Of fewer than three rows or columns OpenCV makes black.
_MOSAICS = {order: _Layout(1, conversion, least_side=3) for order, conversion in (
    ('rggb', cv2.COLOR_BayerBG2RGB), ('bggr', cv2.COLOR_BayerRG2RGB),
    ('gbrg', cv2.COLOR_BayerGR2RGB), ('grbg', cv2.COLOR_BayerGB2RGB))}
_MONO = _Layout(1, cv2.COLOR_GRAY2RGB)
_BGR = _Layout(3, cv2.COLOR_BGR2RGB)
_BGRA = _Layout(4, cv2.COLOR_BGRA2RGB)
_YUY2 = _Layout(2, cv2.COLOR_YUV2RGB_YUY2, even_width=True)
_UYVY = _Layout(2, cv2.COLOR_YUV2RGB_UYVY, even_width=True)

LAYOUTS = {
    'rgb8': _Layout(3, None),
    'bgr8': _BGR,
    '8UC3': _BGR,
    'rgba8': _Layout(4, cv2.COLOR_RGBA2RGB),
    'bgra8': _BGRA,
    '8UC4': _BGRA,
    'mono8': _MONO,
    '8UC1': _MONO,
    'yuv422_yuy2': _YUY2,
    'yuyv': _YUY2,
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'nv12': _Layout(1, cv2.COLOR_YUV2RGB_NV12, even_width=True, half_height_chroma=True),
    'nv21': _Layout(1, cv2.COLOR_YUV2RGB_NV21, even_width=True, half_height_chroma=True),
    **{f'bayer_{order}8': layout for order, layout in _MOSAICS.items()},
}
LAYOUTS |= {deep: replace(LAYOUTS[shallow], bytes=2) for deep, shallow in (
    ('mono16', 'mono8'), ('16UC1', '8UC1'), ('rgb16', 'rgb8'), ('bgr16', 'bgr8'),
    ('16UC3', '8UC3'), ('rgba16', 'rgba8'), ('bgra16', 'bgra8'), ('16UC4', '8UC4'),
    *((f'bayer_{order}16', f'bayer_{order}8') for order in _MOSAICS))}

_DEPTH_ENCODING = '32FC1'
_PERHAPS_DEPTH = '16UC1'
"""Millimetres (REP 118), or what a thermal camera measures: the topic's name must tell."""


def refuse_depth(encoding: str, topic: str) -> None:
    """Raise ImageError, reason ``encoding``, for a depth image: given by mistake."""
    if encoding == _DEPTH_ENCODING or encoding == _PERHAPS_DEPTH and 'depth' in topic.lower():
        raise ImageError('encoding', f'encoding {encoding}{topic and f" on {topic}"} looks like a '
                                     "depth image: give the camera's colour or infrared topic, "
                                     "one without 'depth' in its name")


def decode_image(message: ImageMessage, stream: Stream | None = None) -> RGB:
    """Return the image as (height, width, 3) uint8 RGB.

    rgb8 is a view on the message's own buffer, rows padded to ``step`` included; every other
    encoding is a new contiguous array.  YUV is BT.601, video range.  nv12 and nv21 follow ROS:
    ``height`` is the image's, and ``data`` holds half as many rows of chroma again.  Bayer
    mosaics are interpolated bilinearly.  16-bit samples become 8-bit ones by the range of
    ``stream``, by this image's own where there is none.

    ``data`` must reach to the end of the last padded row; up to MAX_SPARE_BYTES after it are
    ignored.  Raises ImageError, reason ``encoding``, ``size``, ``step`` or ``data``.
    """
    stream = stream or Stream()
    refuse_depth(message.encoding, stream.topic)
    layout = LAYOUTS.get(message.encoding)
    if layout is None and not message.encoding and not len(message.data):
        raise ImageError('encoding', 'the image is blank: no encoding, no data')
    if layout is None:
        raise ImageError('encoding', f'encoding {message.encoding!r} is not supported; these are: '
                                     f'{", ".join(LAYOUTS)}')
    height, width, step = message.height, message.width, message.step
    _check_size(height, width)
    if layout.even_width and width % 2:
        raise ImageError('size', f'width {width} is odd, which {message.encoding} cannot be')
    if layout.half_height_chroma and height % 2:
        raise ImageError('size', f'height {height} is odd, which {message.encoding} cannot be')
    _check_least_side(height, width, layout)
    row_bytes = width * layout.channels * layout.bytes
    if step < row_bytes:
        raise ImageError('step', f'step {step} is less than a row of {width} {message.encoding} '
                                 f'pixels ({row_bytes} bytes)')
    rows = height * 3 // 2 if layout.half_height_chroma else height
    data = _as_bytes(message.data)
    spare = data.size - step * rows
    if not 0 <= spare <= MAX_SPARE_BYTES:
        raise ImageError('data', f'data has {data.size} bytes; {rows} rows of step {step} are '
                                 f'{step * rows}')
    samples = data[:step * rows].reshape(rows, step)[:, :row_bytes]
    if layout.bytes > 1:
        deep = samples.view('>u2' if message.is_bigendian else '<u2')
        # Rows may begin at odd addresses, which not every processor reads words from.
        deep = np.require(deep, np.uint16, ['C', 'A'])
        pixels = stream.tone.to_8_bit(_in_channels(deep, layout.channels))
    else:
        pixels = _in_channels(samples, layout.channels)
    if layout.conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, layout.conversion), np.uint8)


def _in_channels(rows: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    return rows if channels == 1 else rows.reshape(len(rows), -1, channels)


_MOSAIC_PNG = re.compile(f'bayer_({"|".join(_MOSAICS)})(?:8|16); png compressed *')
"""What image_transport calls a mosaic that it stored as grey; for a JPEG it makes a picture."""


def decode_compressed(message: CompressedImageMessage, stream: Stream | None = None) -> RGB:
    """Return a JPEG or PNG as (height, width, 3) uint8 RGB, contiguous.

    The data says which of the two it is and that its colours are RGB, whatever ``format`` says;
    that field only tells depth, which is refused, and a mosaic that is stored as grey.  16-bit
    PNGs become 8-bit ones as in :func:`decode_image`, alpha is dropped, EXIF rotation is ignored
    (a CameraInfo describes the stored pixels).

    Truncation is always noticed.  A JPEG damaged in the middle may decode to a damaged image:
    the format has no checksum.  What a small file can cost is bounded by MAX_PIXELS and MAX_SCANS.
    Raises ImageError, reason ``encoding``, ``size``, ``data`` or ``compressed``.
    """
    if 'compressedDepth' in message.format:
        raise ImageError('encoding', f'format {message.format!r} holds depth, not a camera image')
    stream = stream or Stream()
    refuse_depth(message.format.partition(';')[0].strip(), stream.topic)
    data = _as_bytes(message.data)
    stored = _stored(data.tobytes())
    _check_size(stored.height, stored.width)
    mosaic = _MOSAIC_PNG.fullmatch(message.format)
    flags = (cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR if stored.deep or mosaic else
             cv2.IMREAD_COLOR)
    try:
        bgr = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError('compressed', f'data cannot be decoded: {error}') from error
    if bgr is None:
        raise ImageError('compressed', f'data ({data.size} bytes) is damaged')
    if stored.deep:
        bgr = stream.tone.to_8_bit(np.asarray(bgr, np.uint16))
    layout = _BGR if bgr.ndim == 3 else _MOSAICS[mosaic[1]] if mosaic else _MONO
    assert layout.conversion is not None
    _check_least_side(stored.height, stored.width, layout)
    return np.asarray(cv2.cvtColor(bgr, layout.conversion), np.uint8)


def _check_least_side(height: int, width: int, layout: _Layout) -> None:
    if min(height, width) < layout.least_side:
        raise ImageError('size', f'width x height is {width} x {height}; a mosaic needs '
                                 f'{layout.least_side} x {layout.least_side}')


def _check_size(height: int, width: int) -> None:
    if height <= 0 or width <= 0 or height * width > MAX_PIXELS:
        raise ImageError('size', f'width x height is {width} x {height}; it must be positive and '
                                 f'at most {MAX_PIXELS} pixels')


def _as_bytes(data: Any) -> RGB:
    """View any buffer as a flat uint8 array."""
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise ImageError('data', f'data is not a readable buffer: {error}') from error


_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_PNG_CHUNK = struct.Struct('>I4s')  # length of the body, type; a checksum follows the body
_PNG_CHECKSUM_BYTES = 4
_PNG_HEADER = struct.Struct('>IIB')  # width, height, bits per sample
_JPEG_START = b'\xff\xd8'
_JPEG_END = b'\xff\xd9'
_JPEG_SCAN = b'\xff\xda'
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE_MARKERS = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})  # no length follows them
_JPEG_FRAME_HEADER = struct.Struct('>HBHH')  # segment length, precision, height, width


def is_jpeg_or_png(data: bytes) -> bool:
    return data.startswith((_PNG_SIGNATURE, _JPEG_START))


def stored_size(data: bytes) -> tuple[int, int]:
    """Read (height, width) from a JPEG's or PNG's header, so that a bomb is refused undecoded.

    Raises ImageError, reason ``compressed``, for others, and for what is truncated.
    """
    stored = _stored(data)
    return stored.height, stored.width


class _Stored(NamedTuple):
    """What a file's header says of its picture; ``deep``: of 16-bit samples."""

    height: int
    width: int
    deep: bool = False


def _stored(data: bytes) -> _Stored:
    if data.startswith(_PNG_SIGNATURE):
        return _png_header(data)
    if data.startswith(_JPEG_START):
        return _jpeg_header(data)
    raise ImageError('compressed', f'data ({len(data)} bytes) is neither a JPEG nor a PNG')


def _png_header(data: bytes) -> _Stored:
    """Walk the chunks, so that none claims to be longer than the data.

    OpenCV 5 allocates whatever length a chunk claims, up to 2 GiB, before it reads the body.
    """
    stored = None
    position = len(_PNG_SIGNATURE)
    while position + _PNG_CHUNK.size <= len(data):
        length, kind = _PNG_CHUNK.unpack_from(data, position)
        body = position + _PNG_CHUNK.size
        position = body + length + _PNG_CHECKSUM_BYTES
        if position > len(data):
            break
        if stored is None:
            if kind != b'IHDR' or length < _PNG_HEADER.size:
                raise ImageError('compressed', f'data ({len(data)} bytes) is a PNG without header')
            width, height, bits = _PNG_HEADER.unpack_from(data, body)
            stored = _Stored(height, width, bits == 16)
        if kind == b'IEND':
            return stored
    raise ImageError('compressed', f'data ({len(data)} bytes) is a truncated PNG')


def _jpeg_header(data: bytes) -> _Stored:
    """Walk the segments to the frame header, more strictly than libjpeg does.

    Where libjpeg would skip garbage, an error is raised: a file in which the two could disagree
    about the frame header would get around the bound on its size.
    """
    position = len(_JPEG_START)
    while position + 2 + _JPEG_FRAME_HEADER.size <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length, _, height, width = _JPEG_FRAME_HEADER.unpack_from(data, position + 2)
        if marker in _JPEG_BARE_MARKERS or length < 2:
            break
        if marker in _JPEG_FRAME_MARKERS:
            # Older OpenCV decodes a cut-off JPEG without a word, grey where data is missing.
            if data.rfind(_JPEG_END, position) < 0:
                raise ImageError('compressed', f'data ({len(data)} bytes) is a truncated JPEG')
            # Compressed samples never hold this marker, and other segments hardly ever.
            scans = data.count(_JPEG_SCAN, position)
            if scans > MAX_SCANS:
                raise ImageError('compressed', f'data ({len(data)} bytes) is a JPEG of {scans} '
                                               f'scans; at most {MAX_SCANS} are decoded')
            return _Stored(height, width)
        position += 2 + length
    raise ImageError('compressed', f'data ({len(data)} bytes) is a JPEG without a frame header')
