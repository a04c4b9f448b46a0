"""Every supported encoding gives RGB; everything malformed gives an ImageError."""

import array
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import png_chunk

from asyncmde_ros.errors import ImageError
from asyncmde_ros.images import codec
from asyncmde_ros.images.codec import Stream, decode_compressed, decode_image

ROWS, COLS = 6, 8
CHANNELS = {'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4, '8UC4': 4, 'mono8': 1,
            '8UC1': 1, 'yuv422_yuy2': 2, 'yuyv': 2, 'yuv422': 2, 'uyvy': 2, 'nv12': 1, 'nv21': 1,
            **{f'bayer_{order}8': 1 for order in ('rggb', 'bggr', 'gbrg', 'grbg')}}
DEEP = {'mono16': 'mono8', '16UC1': '8UC1', 'rgb16': 'rgb8', 'bgr16': 'bgr8', '16UC3': '8UC3',
        'rgba16': 'rgba8', 'bgra16': 'bgra8', '16UC4': '8UC4', 'bayer_rggb16': 'bayer_rggb8',
        'bayer_bggr16': 'bayer_bggr8', 'bayer_gbrg16': 'bayer_gbrg8',
        'bayer_grbg16': 'bayer_grbg8'}
"""The encodings of 16 bits, and those of 8 that have the same channels."""
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


@pytest.mark.proves('bad-image')
@pytest.mark.parametrize('encoding', ['', 'RGB8', 'mono1', '16SC1', '8UC2', 'bayer_rggb12'])
def test_other_encodings_are_named(encoding):
    message, _ = random_message('rgb8')
    message.encoding = encoding
    with pytest.raises(ImageError, match=f"encoding '{encoding}' is not supported") as caught:
        decode_image(message)
    assert caught.value.reason == 'encoding'


def test_a_blank_image_is_called_that():
    message, _ = random_message('rgb8')
    message.encoding, message.data = '', b''
    with pytest.raises(ImageError, match='is blank') as caught:
        decode_image(message)
    assert caught.value.reason == 'encoding'


@pytest.mark.proves('bad-image')
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
    ('bayer_gbrg8', 'width', 2, 'size'),
    ('bayer_gbrg8', 'height', 2, 'size'),
    ('mono16', 'step', 2 * COLS - 1, 'step'),
    ('rgba16', 'width', COLS + 1, 'step'),
    ('bgr16', 'step', 6 * COLS + 1, 'data'),
])
def test_a_field_that_does_not_fit_is_named(encoding, field, value, reason):
    message = random_deep(encoding)[0] if encoding in DEEP else random_message(encoding)[0]
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


@pytest.mark.proves('bad-image')
@untimed
@given(encoding=st.sampled_from([*CHANNELS, *DEEP, '32FC1']), height=st.integers(-1, 9),
       width=st.integers(-1, 9), step=st.integers(-1, 80), big=st.sampled_from([0, 1, 255]),
       data=st.binary(max_size=800))
def test_any_message_gives_rgb_or_an_image_error(encoding, height, width, step, big, data):
    message = SimpleNamespace(encoding=encoding, height=height, width=width, step=step,
                              is_bigendian=big, data=data)
    try:
        rgb = decode_image(message)
    except ImageError:
        return
    assert rgb.shape == (height, width, 3)
    assert rgb.dtype == np.uint8


@untimed
@given(encoding=st.sampled_from([*CHANNELS]), half_height=st.integers(2, 6),
       half_width=st.integers(2, 6), padding=st.integers(0, 7))
def test_any_well_formed_message_gives_rgb(encoding, half_height, half_width, padding):
    height, width = 2 * half_height, 2 * half_width
    pixels = np.zeros((rows_of(encoding, height), width * CHANNELS[encoding]), np.uint8)
    message = image_message(encoding, pixels, padding, height, width)
    assert decode_image(message).shape == (height, width, 3)


def test_cv_bridge_agrees():
    cv_bridge = pytest.importorskip('cv_bridge', reason='needs the cv_bridge of a ROS 2 install')
    messages = pytest.importorskip('sensor_msgs.msg', reason='needs sensor_msgs')
    for encoding in ('rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'yuv422', 'yuv422_yuy2',
                     *(name for name in CHANNELS if name.startswith('bayer'))):
        ours, _ = random_message(encoding)
        theirs = messages.Image(encoding=encoding, height=ROWS, width=COLS, step=ours.step,
                                data=ours.data)
        expected = cv_bridge.CvBridge().imgmsg_to_cv2(theirs, 'rgb8')
        np.testing.assert_array_equal(decode_image(ours), expected, err_msg=encoding)


# Bayer mosaics

def mosaic(rgb, order):
    """What a sensor keeps of (H, W, 3): the colours of ``order`` by rows, two by two."""
    kept = np.empty(rgb.shape[:2], rgb.dtype)
    for index, colour in enumerate(order):
        cell = slice(index // 2, None, 2), slice(index % 2, None, 2)
        kept[cell] = rgb[..., 'rgb'.index(colour)][cell]
    return kept


@pytest.mark.parametrize('shape', [(48, 64), (47, 63), (3, 3), (3, 9)])
@pytest.mark.parametrize('order', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_a_mosaic_is_the_picture_again(order, shape):
    """A sample stays as it is, and what lies between is the mean of its neighbours."""
    rgb = np.random.default_rng(5).integers(0, 256, (*shape, 3), np.uint8)
    bayer = mosaic(rgb, order)
    decoded = decode_image(image_message(f'bayer_{order}8', bayer, PADDING, *shape))
    inner = slice(1, -1), slice(1, -1)  # the border repeats
    np.testing.assert_array_equal(mosaic(decoded, order)[inner], bayer[inner])
    sampled = np.stack([mosaic(np.dstack([np.full(shape, colour == 'rgb'[channel], float)
                                          for colour in 'rgb']), order)
                        for channel in range(3)], axis=2)
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    for channel in range(3):
        weight = sampled[..., channel]
        near = (kernel if channel != 1 else np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]))
        mean = cv2.filter2D(bayer * weight, -1, near) / cv2.filter2D(weight, -1, near)
        expected = np.where(weight, bayer, mean)
        assert np.abs(decoded[inner][..., channel] - expected[inner]).max() <= 0.5


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('order', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_a_mosaic_in_a_png_is_one(order, bits):
    """As image_transport compresses bayer_* images with its format png."""
    bayer = mosaic(smooth_picture(), order)
    stored = bayer if bits == 8 else bayer.astype(np.uint16)
    message = compressed(cv2.imencode('.png', stored)[1].tobytes(),
                         f'bayer_{order}{bits}; png compressed ')
    rgb = decode_compressed(message).astype(int)
    if bits == 8:
        np.testing.assert_array_equal(
            rgb, decode_image(image_message(f'bayer_{order}8', bayer, 0, *bayer.shape)))
    assert np.abs(rgb - smooth_picture())[2:-2, 2:-2].max() <= 12
    message.format = f'bayer_{order}{bits}; jpeg compressed mono8'
    assert (np.ptp(decode_compressed(message), axis=2) == 0).all(), 'a grey picture'


def test_a_mosaic_in_a_png_that_is_too_small_or_in_colour():
    tiny = cv2.imencode('.png', np.zeros((2, 9), np.uint8))[1].tobytes()
    assert reason_of(decode_compressed, compressed(tiny, 'bayer_rggb8; png compressed ')) == 'size'
    colour = compressed(encode('.png', smooth_picture()), 'bayer_rggb8; png compressed ')
    np.testing.assert_array_equal(decode_compressed(colour), smooth_picture())


# 16 bits

def random_deep(encoding, padding=0, big=False, low=0, high=65535, height=ROWS, width=COLS):
    """A message of 16-bit samples, and the samples (rows, columns times channels)."""
    shape = height, width * CHANNELS[DEEP[encoding]]
    samples = np.random.default_rng(11).integers(low, high, shape, np.uint16, endpoint=True)
    stored = samples.astype('>u2' if big else '<u2')
    message = image_message(encoding, stored.view(np.uint8).reshape(height, -1), padding, height,
                            width)
    message.is_bigendian = int(big)
    return message, samples


@pytest.mark.parametrize('encoding', DEEP)
@pytest.mark.parametrize('padding, big', [(0, False), (PADDING, False), (0, True), (2, True)])
def test_16_bits_are_the_8_bit_encoding_of_their_range(encoding, padding, big):
    message, samples = random_deep(encoding, padding, big, 3000, 4000, 60, 80)
    decoded = decode_image(message)
    in_channels = samples.reshape(60, 80, -1)[..., :3]
    low, high = np.percentile(in_channels, (0.5, 99.5))
    shallow = np.clip(np.rint((samples - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
    expected = decode_image(image_message(DEEP[encoding], shallow, 0, 60, 80))
    assert decoded.shape == (60, 80, 3) and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - expected).max() <= 1


@pytest.mark.parametrize('encoding', [name for name in DEEP if '16UC' not in name])
def test_over_the_full_range_16_bits_are_cv_bridges(encoding):
    """cv_bridge converts the colours, then takes a 257th, whatever the range.

    A mosaic is the same to a grey level, since we do it the other way about.
    """
    message, samples = random_deep(encoding, height=64, width=66)
    samples[:8], samples[-8:] = 0, 65535
    message.data = samples.tobytes()
    conversion = codec.LAYOUTS[encoding].conversion
    deep = samples.reshape(64, 66, -1)
    theirs = np.rint((deep if conversion is None else cv2.cvtColor(deep, conversion)) / 257)
    assert np.abs(decode_image(message) - theirs).max() <= (1 if 'bayer' in encoding else 0)


def test_a_stream_keeps_its_range():
    """So that a thermal image does not flicker; another stream has another."""
    stream = Stream('/thermal/image_raw')
    usual, _ = random_deep('16UC1', low=20000, high=21000)
    hotter, _ = random_deep('16UC1', low=20500, high=21500)
    for _ in range(9):
        decode_image(usual, stream)
    assert decode_image(hotter, stream).mean() > decode_image(hotter).mean() + 60
    assert decode_image(hotter, Stream()).mean() == decode_image(hotter).mean()


# Depth by mistake

@pytest.mark.proves('depth-image')
@pytest.mark.parametrize('encoding, topic', [
    ('32FC1', ''), ('32FC1', '/camera/image'), ('16UC1', '/camera/depth/image_rect_raw'),
    ('16UC1', '/camera/aligned_depth_to_color/image_raw'), ('16UC1', '/Depth/raw')])
def test_a_depth_image_is_refused_as_one(encoding, topic):
    message, _ = random_deep('16UC1')
    message.encoding = encoding
    with pytest.raises(ImageError, match='looks like a depth image.*colour or infrared') as caught:
        decode_image(message, Stream(topic))
    assert caught.value.reason == 'encoding' and topic in str(caught.value)


@pytest.mark.parametrize('encoding, topic', [
    ('16UC1', '/thermal/image_raw'), ('16UC1', ''), ('mono16', '/depth_camera/ir/image_raw')])
def test_16_bits_of_light_or_heat_are_none(encoding, topic):
    message, _ = random_deep(encoding)
    assert decode_image(message, Stream(topic)).shape == (ROWS, COLS, 3)


@pytest.mark.proves('depth-image')
def test_a_compressed_depth_topic_is_refused_as_one():
    deep = np.arange(48, dtype=np.uint16).reshape(ROWS, COLS)
    message = compressed(cv2.imencode('.png', deep)[1].tobytes(), '16UC1; png compressed ')
    with pytest.raises(ImageError, match='looks like a depth image') as caught:
        decode_compressed(message, Stream('/camera/depth/image_rect_raw/compressed'))
    assert caught.value.reason == 'encoding'
    assert decode_compressed(message, Stream('/thermal/compressed')).shape == (ROWS, COLS, 3)


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


@pytest.mark.proves('narrow-range')
@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('high', [1023, 4095, 65535])
def test_a_16_bit_png_keeps_its_contrast(channels, high):
    picture = smooth_picture() if channels > 1 else smooth_picture()[..., :1]
    deep = (picture / 255 * high).astype(np.uint16)
    if channels == 4:
        deep = np.dstack([deep, np.full(deep.shape[:2], 65535, np.uint16)])
    stored = deep[..., [2, 1, 0, 3][:channels]] if channels > 1 else deep
    decoded = decode_compressed(compressed(cv2.imencode('.png', stored)[1].tobytes(),
                                           'mono16; png compressed mono16'))
    low, top = np.percentile(deep[..., :3], (0.5, 99.5))
    expected = np.clip((deep[..., :3] - low) * (255 / (top - low)), 0, 255)
    assert decoded.shape == (48, 64, 3) and decoded.dtype == np.uint8
    assert decoded.max() == 255 and np.abs(decoded - expected).max() <= 2


def test_a_16_bit_png_of_a_stream_keeps_its_range():
    stream = Stream('/thermal/compressed')
    dim, bright = (compressed(cv2.imencode('.png', smooth_picture()[..., 0].astype(np.uint16)
                                           * 16 + offset)[1].tobytes()) for offset in (0, 2000))
    decode_compressed(dim, stream)
    assert decode_compressed(bright, stream).mean() > decode_compressed(bright).mean() + 60


def test_exif_rotation_is_ignored():
    rotated = with_exif_rotation(encode('.jpg', smooth_picture()))
    assert cv2.imdecode(np.frombuffer(rotated, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)
    assert decode_compressed(compressed(rotated)).shape == (48, 64, 3)


@pytest.mark.parametrize('text', ['16UC1; compressedDepth png', '32FC1; compressedDepth rvl'])
def test_compressed_depth_is_refused(text):
    assert reason_of(decode_compressed, compressed(encode('.png', smooth_picture()), text)) \
        == 'encoding'


@pytest.mark.proves('compressed-damage')
@pytest.mark.parametrize('extension', ['.jpg', '.png'])
def test_truncation_at_any_byte_is_noticed(extension):
    data = encode(extension, smooth_picture()[::4, ::4])
    for length in range(len(data)):
        assert reason_of(decode_compressed, compressed(data[:length])) == 'compressed', length


def test_padding_after_a_jpeg_is_ignored():
    assert decode_compressed(compressed(encode('.jpg', smooth_picture()) + bytes(100))).any()


@pytest.mark.proves('compressed-damage')
@pytest.mark.parametrize('claim', [png_claiming, jpeg_claiming])
@pytest.mark.parametrize('width, height', [(60_000, 60_000), (0, 64), (64, 0)])
def test_the_size_is_checked_before_decoding(claim, width, height, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    assert reason_of(decode_compressed, compressed(claim(width, height))) == 'size'


@pytest.mark.proves('compressed-damage')
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


@pytest.mark.proves('compressed-damage')
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


@pytest.mark.proves('compressed-damage')
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
