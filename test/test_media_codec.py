"""Every supported encoding gives RGB; everything malformed gives an ImageError."""

import array
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.errors import ImageError
from asyncmde_ros.media import codec
from asyncmde_ros.media.codec import decode_compressed, decode_image

ROWS, COLS = 6, 8
CHANNELS = {'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4, '8UC4': 4, 'mono8': 1,
            '8UC1': 1, 'yuv422_yuy2': 2, 'yuyv': 2, 'yuv422': 2, 'uyvy': 2, 'nv12': 1, 'nv21': 1}
YUV_TOLERANCE = 2  # OpenCV's fixed-point arithmetic against the equations
PADDING = 5

untimed = settings(deadline=None)  # a busy machine is no failure


def rows_of(encoding, height=ROWS):
    return height * 3 // 2 if encoding.startswith('nv') else height


def image_message(encoding, pixels, padding=0, height=ROWS, width=COLS):
    """Build a message from (rows, row bytes) uint8, rows padded with a value that would show."""
    padded = np.pad(pixels, ((0, 0), (0, padding)), constant_values=255)
    return SimpleNamespace(encoding=encoding, height=height, width=width, step=padded.shape[1],
                           is_bigendian=0, data=array.array('B', padded.tobytes()))


def random_message(encoding, padding=0):
    shape = (rows_of(encoding), COLS * CHANNELS[encoding])
    pixels = np.random.default_rng(7).integers(16, 236, shape, np.uint8)
    return image_message(encoding, pixels, padding), pixels


def reason_of(decode, message):
    with pytest.raises(ImageError) as caught:
        decode(message)
    return caught.value.reason


def bt601(y, u, v):
    """RGB of video-range BT.601, from the standard's equations."""
    luma = 255 / 219 * (np.float64(y) - 16)
    u, v = (255 / 224 * (np.float64(chroma) - 128) for chroma in (u, v))
    rgb = (luma + 1.402 * v, luma - 0.344136 * u - 0.714136 * v, luma + 1.772 * u)
    return np.clip(np.rint(rgb), 0, 255)


@pytest.mark.parametrize('encoding', CHANNELS)
@pytest.mark.parametrize('padding', [0, PADDING])
def test_row_padding_does_not_matter(encoding, padding):
    message, pixels = random_message(encoding, padding)
    rgb = decode_image(message)
    assert rgb.shape == (ROWS, COLS, 3)
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, decode_image(image_message(encoding, pixels)))


@pytest.mark.parametrize('encoding, order', [
    ('rgb8', [0, 1, 2]), ('bgr8', [2, 1, 0]), ('8UC3', [2, 1, 0]), ('rgba8', [0, 1, 2]),
    ('bgra8', [2, 1, 0]), ('8UC4', [2, 1, 0]), ('mono8', [0, 0, 0]), ('8UC1', [0, 0, 0])])
def test_channel_order(encoding, order):
    message, pixels = random_message(encoding)
    expected = pixels.reshape(ROWS, COLS, CHANNELS[encoding])[..., order]
    np.testing.assert_array_equal(decode_image(message), expected)


@pytest.mark.parametrize('encoding, places', [
    ('yuv422_yuy2', (0, 1, 3)), ('yuyv', (0, 1, 3)), ('yuv422', (1, 0, 2)), ('uyvy', (1, 0, 2))])
def test_packed_yuv_follows_bt601(encoding, places):
    message, pixels = random_message(encoding)
    first_y, u, v = places
    expected = bt601(pixels[:, first_y::2], np.repeat(pixels[:, u::4], 2, axis=1),
                     np.repeat(pixels[:, v::4], 2, axis=1))
    difference = np.abs(decode_image(message) - np.moveaxis(expected, 0, 2))
    assert difference.max() <= YUV_TOLERANCE


@pytest.mark.parametrize('encoding, u, v', [('nv12', 0, 1), ('nv21', 1, 0)])
def test_semi_planar_yuv_follows_bt601(encoding, u, v):
    message, pixels = random_message(encoding)
    chroma = pixels[ROWS:].repeat(2, axis=0)
    expected = bt601(pixels[:ROWS], chroma[:, u::2].repeat(2, axis=1),
                     chroma[:, v::2].repeat(2, axis=1))
    difference = np.abs(decode_image(message) - np.moveaxis(expected, 0, 2))
    assert difference.max() <= YUV_TOLERANCE


@pytest.mark.parametrize('padding', [0, PADDING])
def test_rgb8_is_a_view(padding):
    message, _ = random_message('rgb8', padding)
    rgb = decode_image(message)
    message.data[0] ^= 0xFF
    assert rgb[0, 0, 0] == message.data[0]


@pytest.mark.parametrize('wrap', [bytes, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_buffer_will_do(wrap):
    message, pixels = random_message('bgr8')
    message.data = wrap(bytes(message.data))
    np.testing.assert_array_equal(decode_image(message), pixels.reshape(ROWS, COLS, 3)[..., ::-1])


@pytest.mark.parametrize('encoding', ['', 'RGB8', 'mono16', '32FC1', 'bayer_rggb8'])
def test_other_encodings_are_named(encoding):
    message, _ = random_message('rgb8')
    message.encoding = encoding
    with pytest.raises(ImageError, match=f"encoding '{encoding}' is not supported") as caught:
        decode_image(message)
    assert caught.value.reason == 'encoding'


@pytest.mark.parametrize('encoding, field, value, reason', [
    ('rgb8', 'width', 0, 'size'),
    ('rgb8', 'height', 0, 'size'),
    ('rgb8', 'height', codec.MAX_PIXELS // COLS + 1, 'size'),
    ('yuv422_yuy2', 'width', COLS - 1, 'size'),
    ('uyvy', 'width', COLS - 1, 'size'),
    ('nv12', 'width', COLS - 1, 'size'),
    ('nv21', 'height', ROWS - 1, 'size'),
    ('rgb8', 'step', 0, 'step'),
    ('rgb8', 'step', 3 * COLS - 1, 'step'),
    ('rgb8', 'width', COLS + 1, 'step'),
    ('rgb8', 'step', 3 * COLS + 1, 'data'),
    ('rgb8', 'step', 2**32 - 1, 'data'),
    ('rgb8', 'height', ROWS + 1, 'data'),
    ('rgb8', 'data', b'', 'data'),
    ('rgb8', 'data', None, 'data'),
    ('nv12', 'data', bytes(ROWS * COLS), 'data'),
])
def test_a_field_that_does_not_fit_is_named(encoding, field, value, reason):
    message, _ = random_message(encoding)
    setattr(message, field, value)
    with pytest.raises(ImageError, match=field if reason == 'size' else reason) as caught:
        decode_image(message)
    assert caught.value.reason == reason


def test_page_padding_after_the_last_row_is_ignored_and_more_is_refused():
    message, pixels = random_message('rgb8')
    message.data.extend(bytes(codec.MAX_SPARE_BYTES))
    np.testing.assert_array_equal(decode_image(message).reshape(pixels.shape), pixels)
    message.data.append(0)
    assert reason_of(decode_image, message) == 'data'


@untimed
@given(encoding=st.sampled_from([*CHANNELS, 'mono16']), height=st.integers(-1, 9),
       width=st.integers(-1, 9), step=st.integers(-1, 40), data=st.binary(max_size=400))
def test_any_message_gives_rgb_or_an_image_error(encoding, height, width, step, data):
    message = SimpleNamespace(encoding=encoding, height=height, width=width, step=step, data=data)
    try:
        rgb = decode_image(message)
    except ImageError:
        return
    assert rgb.shape == (height, width, 3)
    assert rgb.dtype == np.uint8


@untimed
@given(encoding=st.sampled_from([*CHANNELS]), half_height=st.integers(1, 6),
       half_width=st.integers(1, 6), padding=st.integers(0, 7))
def test_any_well_formed_message_gives_rgb(encoding, half_height, half_width, padding):
    height, width = 2 * half_height, 2 * half_width
    pixels = np.zeros((rows_of(encoding, height), width * CHANNELS[encoding]), np.uint8)
    message = image_message(encoding, pixels, padding, height, width)
    assert decode_image(message).shape == (height, width, 3)


def test_cv_bridge_agrees():
    cv_bridge = pytest.importorskip('cv_bridge', reason='needs the cv_bridge of a ROS 2 install')
    messages = pytest.importorskip('sensor_msgs.msg', reason='needs sensor_msgs')
    for encoding in ('rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'yuv422', 'yuv422_yuy2'):
        ours, _ = random_message(encoding)
        theirs = messages.Image(encoding=encoding, height=ROWS, width=COLS, step=ours.step,
                                data=ours.data)
        expected = cv_bridge.CvBridge().imgmsg_to_cv2(theirs, 'rgb8')
        np.testing.assert_array_equal(decode_image(ours), expected, err_msg=encoding)


# CompressedImage

def smooth_picture():
    """(48, 64, 3) RGB that JPEG keeps well, its channels all different."""
    rows, cols = np.mgrid[0:48, 0:64].astype(np.uint8)
    return np.stack((4 * cols, 5 * rows, 255 - 2 * cols - 2 * rows), axis=2)


JPEG_TOLERANCE = 12  # quality 95 with subsampled chroma on the smooth picture


def encode(extension, rgb, *options):
    return cv2.imencode(extension, np.ascontiguousarray(rgb[..., ::-1]), options)[1].tobytes()


def compressed(data, text='rgb8; jpeg compressed bgr8'):
    return SimpleNamespace(format=text, data=array.array('B', data))


def png_chunk(kind, body):
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png_claiming(width, height):
    """A well-formed PNG header over hardly any data."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', header)
            + png_chunk(b'IDAT', zlib.compress(bytes(100))) + png_chunk(b'IEND', b''))


def jpeg_claiming(width, height):
    data = encode('.jpg', smooth_picture())
    return data.replace(struct.pack('>HH', 48, 64), struct.pack('>HH', height, width), 1)


def with_exif_rotation(jpeg):
    """Insert an EXIF segment that asks viewers to turn the picture by 90 degrees."""
    tag = struct.pack('>HHIHH', 0x0112, 3, 1, 6, 0)  # orientation, SHORT, one, rotate
    exif = b'Exif\0\0' + b'MM\0*' + struct.pack('>IH', 8, 1) + tag + struct.pack('>I', 0)
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', 2 + len(exif)) + exif + jpeg[2:]


@pytest.mark.parametrize('text', [
    'jpeg', 'bgr8; jpeg compressed bgr8', 'rgb8; jpeg compressed bgr8', 'rgb8; jpeg compressed ',
    'rgb8; png compressed ', ''])
@pytest.mark.parametrize('extension, tolerance', [('.jpg', JPEG_TOLERANCE), ('.png', 0)])
def test_colours_are_rgb_whatever_the_format_says(text, extension, tolerance):
    rgb = smooth_picture()
    decoded = decode_compressed(compressed(encode(extension, rgb), text))
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert np.abs(decoded.astype(int) - rgb).max() <= tolerance


def test_progressive_jpeg():
    rgb = smooth_picture()
    decoded = decode_compressed(compressed(encode('.jpg', rgb, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)))
    assert np.abs(decoded.astype(int) - rgb).max() <= JPEG_TOLERANCE


def test_mono_and_alpha_become_three_channels():
    grey = smooth_picture()[..., 0]
    for stored in (grey, np.dstack((grey, grey, grey, 255 - grey))):
        decoded = decode_compressed(compressed(cv2.imencode('.png', stored)[1].tobytes()))
        np.testing.assert_array_equal(decoded, np.dstack((grey, grey, grey)))


def test_16_bit_png_keeps_its_high_byte():
    deep = np.array([[0, 0x00FF, 0x0100, 0x80FF, 0xFF00, 0xFFFF]], np.uint16)
    message = compressed(cv2.imencode('.png', deep)[1].tobytes(), 'mono16; png compressed mono16')
    np.testing.assert_array_equal(decode_compressed(message)[..., 0], deep >> 8)


def test_exif_rotation_is_ignored():
    rotated = with_exif_rotation(encode('.jpg', smooth_picture()))
    assert cv2.imdecode(np.frombuffer(rotated, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)
    assert decode_compressed(compressed(rotated)).shape == (48, 64, 3)


@pytest.mark.parametrize('text', ['16UC1; compressedDepth png', '32FC1; compressedDepth rvl'])
def test_compressed_depth_is_refused(text):
    assert reason_of(decode_compressed, compressed(encode('.png', smooth_picture()), text)) \
        == 'encoding'


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
def test_truncation_at_any_byte_is_noticed(extension):
    data = encode(extension, smooth_picture()[::4, ::4])
    for length in range(len(data)):
        assert reason_of(decode_compressed, compressed(data[:length])) == 'compressed', length


def test_padding_after_a_jpeg_is_ignored():
    assert decode_compressed(compressed(encode('.jpg', smooth_picture()) + bytes(100))).any()


@pytest.mark.parametrize('claim', [png_claiming, jpeg_claiming])
@pytest.mark.parametrize('width, height', [(60_000, 60_000), (0, 64), (64, 0)])
def test_the_size_is_checked_before_decoding(claim, width, height, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    assert reason_of(decode_compressed, compressed(claim(width, height))) == 'size'


def test_a_chunk_that_claims_more_than_there_is_is_not_believed(monkeypatch):
    data = bytearray(encode('.png', smooth_picture()))
    data[data.index(b'IDAT') - 4] = 0x7F  # 2 GiB
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    assert reason_of(decode_compressed, compressed(data)) == 'compressed'


def test_a_marker_without_length_cannot_hide_the_frame_header():
    # libjpeg takes RST0 for a bare marker and reads the large frame header right after it; a
    # walk that took that header for RST0's segment would go on to the small one.
    large = b'\xff\xc0' + struct.pack('>HBHHB', 8, 8, 60_000, 60_000, 0)
    data = encode('.jpg', smooth_picture())
    hidden = data[:2] + b'\xff\xd0' + large + data[2:]
    assert reason_of(decode_compressed, compressed(hidden)) == 'compressed'


@pytest.mark.parametrize('data', [b'', b'\xff\xd8', b'\x89PNG\r\n\x1a\n', b'BM' + bytes(100)])
def test_what_is_neither_jpeg_nor_png_is_refused(data):
    assert reason_of(decode_compressed, compressed(data)) == 'compressed'


@untimed
@given(extension=st.sampled_from(['.jpg', '.png']),
       damage=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=8),
       cut=st.integers(0, 300))
def test_any_damage_gives_rgb_or_an_image_error(extension, damage, cut):
    data = bytearray(encode(extension, smooth_picture()))
    for position, flip in damage:
        data[position % len(data)] ^= flip
    del data[len(data) - cut:]
    _decode_or_image_error(data)


@untimed
@given(start=st.sampled_from([b'', b'\xff\xd8', b'\xff\xd8\xff\xc0', b'\x89PNG\r\n\x1a\n']),
       rest=st.binary(max_size=200))
def test_any_bytes_give_rgb_or_an_image_error(start, rest):
    _decode_or_image_error(start + rest)


def _decode_or_image_error(data):
    try:
        rgb = decode_compressed(compressed(data))
    except ImageError:
        return
    assert rgb.ndim == 3 and rgb.shape[2] == 3
    assert rgb.dtype == np.uint8


def test_media_never_imports_ros():
    modules = 'codec, sources, picture, example'
    probe = (f'import sys; from asyncmde_ros.media import {modules}; '
             'sys.exit(any(name in sys.modules for name in ("rclpy", "sensor_msgs", "rosbags")))')
    assert subprocess.run([sys.executable, '-c', probe], check=False).returncode == 0
