"""Pictures say what they should: colours, ranges, captions; files are whole."""

import pytest

pytest.importorskip('av', reason='left out: needs av')

import os
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from support.videos import difference, encoded_picture, picture, png_bomb

from asyncmde_ros.errors import MediaError
from asyncmde_ros.images.picture import (
    colorize,
    contact_sheet,
    dotted,
    fit,
    read_picture,
    read_units,
    side_by_side,
    within,
    write_png,
)

VGA = (480, 640)


def flat(value: float) -> np.ndarray:
    return np.full(VGA, value, np.float32)


def test_near_is_red_far_is_blue_and_unknown_is_black() -> None:
    depth = np.array([[0.25, 0.35, 0.65, 0.75, np.nan, np.inf, -np.inf]], np.float32)
    far_end, far, near, near_end, unknown, nearest, farthest = \
        colorize(depth, 0.25, 0.75)[0].astype(int)
    assert far[2] > far[0] and near[0] > near[2]
    assert tuple(unknown) == (0, 0, 0)
    assert far_end.any()
    np.testing.assert_array_equal(nearest, near_end)
    np.testing.assert_array_equal(farthest, far_end)


def test_values_beyond_the_range_take_its_end_colours() -> None:
    rgb = colorize(np.array([[-5, 0, 1, 7]], np.float32), 0, 1)[0]
    np.testing.assert_array_equal(rgb[0], rgb[1])
    np.testing.assert_array_equal(rgb[2], rgb[3])


@pytest.mark.parametrize('depth', [flat(1), flat(np.nan)])
def test_a_picture_without_contrast_is_no_error(depth: np.ndarray) -> None:
    rgb = colorize(depth, 1, 1)
    assert rgb.shape == (*VGA, 3)
    assert rgb.dtype == np.uint8


def test_colorize_leaves_its_input_alone() -> None:
    depth = flat(np.nan)
    colorize(depth, 0, 1)
    assert np.isnan(depth).all()


def test_side_by_side_keeps_both_pictures_above_a_dark_readable_caption() -> None:
    rgb, depth = np.full((*VGA, 3), 90, np.uint8), np.full((240, 320, 3), 200, np.uint8)
    pair = side_by_side(rgb, depth, 'frame 12   lag 4   12.3 ms')
    assert pair.shape == (480, 1280, 3)
    strip = pair[450:]
    assert (pair[:450, :640] == 90).all() and (pair[:450, 640:] == 200).all()
    assert strip.max() > 200 and np.median(strip) < 50
    text_rows = np.flatnonzero((strip > 200).any(axis=(1, 2)))
    assert text_rows[-1] - text_rows[0] >= 10  # pixels high


def test_a_long_caption_is_shrunk_to_fit() -> None:
    picture = side_by_side(*2 * [np.zeros((*VGA, 3), np.uint8)], 'very long ' * 40)
    assert not picture[:, -3:].any()
    assert picture.any()


def test_no_caption_leaves_the_picture_alone() -> None:
    rgb = np.full((*VGA, 3), 90, np.uint8)
    assert (side_by_side(rgb, rgb, '') == 90).all()


def test_a_contact_sheet_places_its_tiles_by_rows() -> None:
    tiles = [np.full((48, 64, 3), 50 * index, np.uint8) for index in range(1, 6)]
    sheet = contact_sheet(tiles, 3, [''] * 5)
    values = list(dict.fromkeys(sheet[24, :, 0])), list(dict.fromkeys(sheet[-24, :, 0]))
    background = sheet[-1, -1, 0]
    assert values == ([50, background, 100, 150], [200, background, 250])
    assert (tiles[0] == 50).all()


def test_a_contact_sheet_captions_copies() -> None:
    tiles = [np.full((*VGA, 3), 100, np.uint8)] * 2
    sheet = contact_sheet(tiles, 1, ['one', 'two'])
    assert (tiles[0] == 100).all()
    assert (sheet > 200).any()


@pytest.mark.parametrize('shapes, captions', [
    ([(48, 64, 3), (48, 60, 3)], ['', '']), ([(48, 64, 3)], []), ([], [])])
def test_a_contact_sheet_refuses_what_does_not_fit(shapes: list[tuple[int, ...]],
                                                   captions: list[str]) -> None:
    with pytest.raises(ValueError, match='contact sheet'):
        contact_sheet([np.zeros(shape, np.uint8) for shape in shapes], 2, captions)


def test_a_png_comes_back_as_it_was(tmp_path: Path, rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (20, 30, 3), np.uint8)
    path = tmp_path / 'picture.png'
    write_png(path, rgb)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], rgb)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_png_leaves_what_was_there(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'picture.png'
    path.write_bytes(b'before')

    def full(descriptor: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(MediaError, match='picture.png cannot be written: No space left'):
        write_png(path, np.zeros((8, 8, 3), np.uint8))
    assert path.read_bytes() == b'before'
    assert list(tmp_path.iterdir()) == [path]


def test_a_png_into_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match='missing/picture.png'):
        write_png(tmp_path / 'missing' / 'picture.png', np.zeros((8, 8, 3), np.uint8))


# Reading


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.bmp'])
@pytest.mark.parametrize('name', ['photo', os.fsdecode(b'caf\xe9')])
def test_a_picture_file_is_read_as_rgb(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f'{name}{suffix}'
    path.write_bytes(encoded_picture(suffix, picture(0)))
    assert difference(read_picture(path, oriented=True), picture(0)) < 3


def test_a_photo_is_turned_where_asked_for(tmp_path: Path) -> None:
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    jpeg = encoded_picture('.jpg', picture(0))
    path = tmp_path / 'upright.jpg'
    path.write_bytes(jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + jpeg[2:])
    assert difference(read_picture(path, oriented=True), np.rot90(picture(0), -1)) < 3
    assert difference(read_picture(path, oriented=False), picture(0)) < 3


def test_depth_is_read_in_its_units(tmp_path: Path, rng: np.random.Generator) -> None:
    units = rng.integers(0, 65536, (6, 8), np.uint16)
    path = tmp_path / 'depth.png'
    path.write_bytes(cv2.imencode('.png', units)[1].tobytes())
    np.testing.assert_array_equal(read_units(path), units)
    path.write_bytes(encoded_picture('.png', picture(0)))
    with pytest.raises(MediaError, match='16-bit'):
        read_units(path)


@pytest.mark.proves('picture-damaged')
@pytest.mark.parametrize('read', [lambda path: read_picture(path, oriented=True), read_units])
def test_a_picture_that_cannot_be_read_is_one_clear_error(
        tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = encoded_picture('.jpg', picture(0))
    for content in (b'', b'no picture', jpeg[:-30], encoded_picture('.png', picture(0))[:200],
                    b'BM' + struct.pack('<IIIIiiHHIIiiII', 10**9, 0, 54, 40, 100_000, 100_000, 1,
                                        24, 0, 0, 0, 0, 0, 0)):
        path = tmp_path / 'bad.jpg'
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r'bad\.jpg'):
            read(path)
    for path in (tmp_path, tmp_path / 'nowhere.png'):
        with pytest.raises(MediaError, match='cannot be read'):
            read(path)
    path = tmp_path / 'bomb.png'
    path.write_bytes(png_bomb())
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    with pytest.raises(MediaError, match=r'bomb\.png claims to have 100000 x 100000 pixels'):
        read(path)


def test_a_picture_is_fitted_in_its_own_aspect() -> None:
    wide = fit(np.full((10, 40, 3), 200, np.uint8), (40, 40))
    assert (wide[15:25] == 200).all() and not wide[:14].any() and not wide[26:].any()
    same = np.zeros((4, 5, 3), np.uint8)
    assert fit(same, (4, 5)) is same


@pytest.mark.parametrize(('size', 'most', 'right'), [
    ((100, 200), (300, 300), (100, 200)), ((3000, 8192), (2160, 3840), (1406, 3840)),
    ((9000, 1), (100, 100), (100, 1))])
def test_what_is_larger_is_shrunk_in_its_aspect(
        size: tuple[int, int], most: tuple[int, int], right: tuple[int, int]) -> None:
    assert within(size, most) == right


def test_dots_have_their_depths_colors_on_a_darker_picture() -> None:
    grey = np.full((40, 60, 3), 90, np.uint8)
    pixels = np.array([[10.0, 10], [50, 10], [30, 30], [-4, 10], [np.nan, 3], [59.4, 39.4]])
    depth = np.array([0, 1, np.nan, 1, 1, 0], np.float32)
    drawn = dotted(grey, pixels, depth, 0, 1)
    assert (drawn[20, 5] == 30).all() and (grey == 90).all()
    far, near = colorize(np.array([[0, 1]], np.float32), 0, 1)[0]
    np.testing.assert_array_equal(drawn[10, 10], far)
    np.testing.assert_array_equal(drawn[10, 50], near)
    np.testing.assert_array_equal(drawn[39, 59], far)
    assert (drawn[30, 30] == 30).all() and (drawn[22:39, 22:39] > 100).any(), 'a ring'
