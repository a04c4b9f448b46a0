"""Videos of any kind give their own frames, stamped, or a word; films hold what they are given."""

import pytest

pytest.importorskip('av', reason='left out: needs av')

import gc
import itertools
import logging
import os
import re
import resource
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.repository import ROOT
from support.videos import SIZE, difference, encode, picture, turned

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.media import video
from asyncmde_ros.lab.media.frames import ASSUMED_RATE_HZ, VideoFrame
from asyncmde_ros.lab.media.sources import open_video
from asyncmde_ros.lab.media.video import VideoWriter

RATE_HZ = 20
LENGTH = 12
GREY_TOLERANCE = 6
ALIKE = 5.0
"""Mean grey levels between a frame and itself after any of the codecs; other frames of ``picture``
differ by more than twice as much (test_pictures_tell_their_index)."""

INTERLACED = [
    ('clip.mts', 'libx264', 'yuv420p', {'flags': '+ildct+ilme'}),
    ('clip.mpg', 'mpeg2video', 'yuv420p', {'flags': '+ildct+ilme'}),
    ('clip.mov', 'prores_ks', 'yuv422p10le', {'flags': '+ildct'}),
    ('clip.avi', 'dvvideo', 'yuv420p', {})]
OTHERS = [
    ('clip.mp4', 'libsvtav1', 'yuv420p', {'preset': '11'}),
    ('clip.mp4', 'libx264', 'yuv420p10le', {}),
    ('clip.mkv', 'ffv1', 'yuv444p16le', {}),
    ('clip.mkv', 'libx264rgb', 'rgb24', {}),
    ('clip.webm', 'libvpx-vp9', 'yuv420p', {}),
    ('clip.avi', 'mjpeg', 'yuvj420p', {'qscale': '2'}),
    ('clip.ts', 'mpeg4', 'yuv420p', {'b': '2M'})]


def grey(index: int) -> np.ndarray:
    return np.full((48, 64, 3), 20 * index, np.uint8)


def pictures(count: int = LENGTH, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    return [picture(index, size) for index in range(count)]


def read(path: Path) -> list[VideoFrame]:
    with open_video(path) as source:
        return list(source)


def stamps_ms(frames: Sequence[VideoFrame]) -> list[float]:
    return [frame.stamp_ns / 1e6 for frame in frames]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Return a video whose frames tell their index by their brightness."""
    path = tmp_path / 'clip.mp4'
    with VideoWriter(path, RATE_HZ) as writer:
        for index in range(LENGTH):
            writer.write(grey(index))
    return path


def test_pictures_tell_their_index() -> None:
    assert min(difference(*pair) for pair in itertools.pairwise(pictures())) > 2 * ALIKE


# Reading


def test_a_video_gives_its_frames_in_order_with_stamps(clip: Path) -> None:
    with open_video(clip) as source:
        assert (source.rate_hz, source.length) == (RATE_HZ, LENGTH)
        frames = list(source)
        assert not source.dropped
    assert [frame.stamp_ns for frame in frames] == [index * 10**9 // RATE_HZ
                                                   for index in range(LENGTH)]
    for index, frame in enumerate(frames):
        assert np.abs(frame.image - grey(index).astype(int)).max() <= GREY_TOLERANCE


def test_frames_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    image = read(encode(tmp_path / 'red.mp4', [red]))[0].image
    assert image.mean(axis=(0, 1)).argmax() == 0


def test_a_source_can_be_left_and_taken_up_again(clip: Path) -> None:
    with open_video(clip) as source:
        first = [frame.stamp_ns for frame in itertools.islice(source, 3)]
        assert next(iter(source)).stamp_ns == 150_000_000
    assert first == [0, 50_000_000, 100_000_000]
    assert list(source) == []  # closed


@pytest.mark.proves('video-kinds')
@pytest.mark.parametrize(('name', 'codec', 'pix_fmt', 'options'), INTERLACED + OTHERS,
                         ids=lambda value: value if isinstance(value, str) else '')
def test_every_kind_of_video_gives_its_own_frames(
        tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str, pix_fmt: str,
        options: dict[str, str]) -> None:
    shown = pictures(size=(576, 720) if codec == 'dvvideo' else SIZE)
    path = encode(tmp_path / name, shown, codec, pix_fmt=pix_fmt, options=options)
    with av.open(path) as file:
        assert next(file.decode(video=0)).interlaced_frame == (
            (name, codec, pix_fmt, options) in INTERLACED)
    with open_video(path) as source:
        assert source.rate_hz == pytest.approx(25, rel=0.01)
        frames = list(source)
    np.testing.assert_allclose(stamps_ms(frames), 40 * np.arange(LENGTH), atol=1)
    for frame, right in zip(frames, shown, strict=True):
        assert difference(frame.image, right) < ALIKE
    assert not caplog.records


@pytest.mark.proves('video-kinds')
@pytest.mark.parametrize('matrix', ['bt709', 'smpte170m', 'bt2020nc', 'bt2020c', 'unknown'])
@pytest.mark.parametrize('full', [False, True])
def test_colours_are_what_the_file_says(tmp_path: Path, matrix: str, full: bool) -> None:
    """Against the definition, of one colour: H.273's matrix coefficients and ranges."""
    y, u, v = 120, 100, 170
    planes = np.full((96, 64), y, np.uint8)
    planes[64:80], planes[80:] = u, v
    path = tmp_path / 'colour.mp4'
    with av.open(path, 'w') as file:
        stream = file.add_stream('libx264', 25, {
            'qp': '0', 'x264-params': f'fullrange={"on" if full else "off"}'
            + ('' if matrix == 'unknown' else f':colormatrix={matrix}')})
        stream.height, stream.width, stream.pix_fmt = 64, 64, 'yuv420p'
        frame = av.VideoFrame.from_ndarray(planes, 'yuv420p')
        frame.color_range = 2 if full else 1
        frame.pts = 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    red, blue = {'bt709': (0.2126, 0.0722), 'bt2020nc': (0.2627, 0.0593)}.get(
        matrix, (0.299, 0.114))
    scale = (1, 1, 0) if full else (255 / 219, 255 / 224, 16)
    light, cb, cr = (y - scale[2]) * scale[0], (u - 128) * scale[1], (v - 128) * scale[1]
    r, b = light + 2 * (1 - red) * cr, light + 2 * (1 - blue) * cb
    g = (light - red * r - blue * b) / (1 - red - blue)
    assert read(path)[0].image[30, 30] == pytest.approx(np.clip([r, g, b], 0, 255), abs=3)


@pytest.mark.proves('video-kinds')
@pytest.mark.parametrize(('matrix', 'right'), [
    ((1, 0, 0, 1), lambda rgb: rgb),
    ((0, 1, -1, 0), lambda rgb: np.rot90(rgb, -1)),  # a phone held upright
    ((-1, 0, 0, -1), lambda rgb: np.rot90(rgb, 2)),
    ((0, -1, 1, 0), lambda rgb: np.rot90(rgb)),
    ((-1, 0, 0, 1), lambda rgb: rgb[:, ::-1]),  # a camera that faces its owner
    ((1, 0, 0, -1), lambda rgb: rgb[::-1]),
    ((0, 1, 1, 0), lambda rgb: rgb.transpose(1, 0, 2)),
    ((0, -1, -1, 0), lambda rgb: np.rot90(rgb.transpose(1, 0, 2), 2))])
def test_pictures_stand_upright(tmp_path: Path, matrix: Sequence[int], right: object) -> None:
    assert callable(right)
    path = turned(encode(tmp_path / 'turned.mp4', pictures(1)), matrix)
    image = read(path)[0].image
    assert image.flags.c_contiguous
    assert difference(image, right(picture(0))) < ALIKE


def test_stamps_of_a_varying_rate_are_the_files_own(tmp_path: Path) -> None:
    stamps = [0, 33, 67, 100, 300, 333, 367, 433, 467, 500, 533, 567]
    path = encode(tmp_path / 'phone.mp4', pictures(), stamps=stamps)
    with open_video(path) as source:
        assert source.rate_hz == pytest.approx(30, rel=0.35)
        assert stamps_ms(list(source)) == stamps


@pytest.mark.proves('video-rate')
@pytest.mark.parametrize('claim_hz', [1, 900])
def test_a_rate_that_the_stamps_belie_is_theirs(tmp_path: Path, claim_hz: float) -> None:
    path = encode(tmp_path / 'claims.mkv', pictures(), 'mpeg4', rate=claim_hz,
                  stamps=range(0, 40 * LENGTH, 40))
    with open_video(path) as source:
        assert source.rate_hz == pytest.approx(25, rel=0.01)
        assert stamps_ms(list(source)) == list(range(0, 40 * LENGTH, 40))


@pytest.mark.proves('video-rate')
def test_stamps_that_no_camera_gives_are_not_believed(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / 'unit.mp4', pictures(), stamps=range(LENGTH),
                  time_base=Fraction(1, 90_000), options={'bf': '0'})
    with open_video(path) as source:
        assert source.rate_hz is None
        frames = list(source)
    np.testing.assert_allclose(np.diff(stamps_ms(frames)), 1000 / ASSUMED_RATE_HZ, rtol=1e-6)
    assert re.search('unit.mp4: its stamps say 90000 Hz', caplog.text)


@pytest.mark.proves('video-rate')
def test_frames_without_stamps_follow_each_other(tmp_path: Path) -> None:
    frames = read(encode(tmp_path / 'bare.h264', pictures()))
    assert len(frames) == LENGTH
    np.testing.assert_allclose(np.diff(stamps_ms(frames)), 40, rtol=1e-6)


def test_frames_out_of_order_without_times_of_their_own_are_evenly_spaced(
        tmp_path: Path) -> None:
    frames = read(encode(tmp_path / 'bidirectional.avi', pictures(), options={'bf': '2'}))
    for frame, right in zip(frames, pictures(), strict=True):
        assert difference(frame.image, right) < ALIKE
    np.testing.assert_allclose(np.diff(stamps_ms(frames)), 40, rtol=1e-6)


@pytest.mark.proves('video-rate')
def test_stamps_rise_where_the_files_go_back(tmp_path: Path) -> None:
    path = encode(tmp_path / 'joined.ts', pictures(), 'mpeg2video')
    path.write_bytes(2 * path.read_bytes())
    frames = read(path)
    assert len(frames) == 2 * LENGTH
    assert (np.diff([frame.stamp_ns for frame in frames]) > 0).all()


@pytest.mark.proves('source-damaged')
@pytest.mark.parametrize('content', [None, b'', b'no video at all' * 100])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / 'bad.mp4'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match='bad.mp4'):
        open_video(path)


def test_a_folder_and_an_unreadable_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match='is not a file'):
        open_video(tmp_path)


@pytest.mark.proves('video-unusable')
@pytest.mark.parametrize('cover', [False, True])
def test_sound_and_its_cover_are_no_video(tmp_path: Path, cover: bool) -> None:
    path = tmp_path / 'song.m4a'
    with av.open(path, 'w', format='mp4') as file:
        sound = file.add_stream('aac', 8000, layout='mono')
        streams = [sound]
        if cover:
            picture_stream = file.add_stream('mjpeg', 1)
            picture_stream.height, picture_stream.width = SIZE
            picture_stream.pix_fmt = 'yuvj420p'
            picture_stream.disposition = av.stream.Disposition.attached_pic.value
            streams.append(picture_stream)
            file.mux(picture_stream.encode(
                av.VideoFrame.from_ndarray(picture(0), 'rgb24').reformat(format='yuvj420p')))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', 'mono')
        frame.sample_rate, frame.pts = 8000, 0
        file.mux(sound.encode(frame))
        for stream in streams:
            file.mux(stream.encode(None))
    with av.open(path) as file:
        assert len(file.streams.video) == cover
    with pytest.raises(MediaError, match=r'song.m4a is no video: .* no moving pictures'):
        open_video(path)


@pytest.mark.proves('video-unusable')
def test_a_codec_that_is_not_to_be_had_is_named(clip: Path) -> None:
    clip.write_bytes(clip.read_bytes().replace(b'avc1', b'zzzz'))
    with pytest.raises(MediaError, match=r'codec.*ffmpeg -i'):
        open_video(clip)


@pytest.mark.proves('video-unusable')
def test_pictures_that_are_too_large_are_not_decoded(
        clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, 'MAX_PIXELS', 48 * 64 - 1)
    with pytest.raises(MediaError, match='64 x 48'):
        open_video(clip)


@pytest.mark.proves('odd-name')
@pytest.mark.parametrize('name', [b'caf\xe9.mp4', b'20:15 walk.mp4', b'%03d.mp4'])
def test_any_name_will_do(tmp_path: Path, clip: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    with VideoWriter(path, RATE_HZ) as writer:
        writer.write(grey(3))
    assert len(read(path)) == 1
    path.write_bytes(b'damaged')
    with pytest.raises(MediaError, match='cannot be read'):
        open_video(path)


def test_a_title_that_is_no_utf8_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / 'titled.mkv'
    with av.open(path, 'w', metadata_encoding='latin-1') as file:
        file.metadata['title'] = 'caf\xe9'
        stream = file.add_stream('mpeg4', 25)
        stream.height, stream.width, stream.pix_fmt = *SIZE, 'yuv420p'
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), 'rgb24')))
        file.mux(stream.encode(None))
    assert len(read(path)) == 1


@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs Linux')
def test_memory_is_given_back_without_the_collector(tmp_path: Path) -> None:
    """It comes at any time, and counts objects, not the megabytes that hang on them."""
    count, rounds = 60, 4
    path = encode(tmp_path / 'long.mp4', [picture(0, (480, 640))] * count)

    def resident_bytes() -> int:
        return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()

    gc.disable()
    try:
        for turn in range(rounds):
            with open_video(path) as source:
                assert sum(1 for _ in source) == count
            del source
            if turn == 0:
                before = resident_bytes()  # what is made once is there
        assert resident_bytes() - before < 0.2 * (rounds - 1) * count * 480 * 640 * 3
    finally:
        gc.enable()


# Damage


def damaged(path: Path, share: float, count: int = 60) -> Path:
    """Invert bytes of a file, at ``share`` of its length."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * share)
    data[start:start + count] = bytes(value ^ 0xff for value in data[start:start + count])
    path.write_bytes(data)
    return path


@pytest.mark.proves('video-damaged')
@pytest.mark.parametrize(('name', 'codec', 'options'), [
    ('clip.mp4', 'mpeg4', {'b': '1M', 'g': '8'}), ('clip.avi', 'mpeg4', {'b': '1M', 'g': '8'}),
    ('clip.ts', 'libx264', {'g': '8', 'bf': '2', 'qp': '10'}),
    ('clip.mov', 'libx264', {'g': '8', 'qp': '10'}),
    ('clip.mpg', 'mpeg2video', {'b': '2M', 'g': '8'})])
def test_what_was_not_decoded_is_counted_and_never_used(
        tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str,
        options: dict[str, str]) -> None:
    count = 32
    path = encode(tmp_path / name, (picture(index % 20) for index in range(count)), codec,
                  options=options)
    whole = {frame.stamp_ns: frame.image for frame in read(path)}
    assert len(whole) == count and not caplog.records
    with open_video(damaged(path, 0.4)) as source:
        frames = list(source)
        left_out = source.dropped.total()
    assert left_out >= 1
    assert count - 12 <= len(frames) < count  # it goes on at the next keyframe at the latest
    for frame in frames:
        assert difference(frame.image, whole[frame.stamp_ns]) < 1
    assert f'{left_out} of {left_out + len(frames)} frames could not be decoded' in caplog.text
    assert len(caplog.records) <= len(source.dropped) + 2  # not a line for each


@pytest.mark.proves('video-damaged')
@pytest.mark.parametrize(('name', 'codec', 'container'), [
    ('clip.mp4', 'libx264', {'movflags': 'faststart'}), ('clip.mov', 'mpeg4', {
        'movflags': 'faststart'}), ('clip.mkv', 'libx264', {}), ('clip.avi', 'mpeg4', {})])
def test_a_file_that_breaks_off_is_played_up_to_there_with_a_word(
        tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str,
        container: dict[str, str]) -> None:
    count = 50
    path = encode(tmp_path / name, (picture(index % 20) for index in range(count)), codec,
                  container=container, options={'g': '10', 'b': '2M'})
    whole, data = {frame.stamp_ns: frame.image for frame in read(path)}, path.read_bytes()
    assert len(whole) == count and not caplog.records
    path.write_bytes(data[:len(data) * 6 // 10])
    frames = read(path)
    assert 10 < len(frames) < 40
    for frame in frames:
        assert (frame.image == whole[frame.stamp_ns]).all()
    assert re.search(rf'{name}: breaks off', caplog.text)


@pytest.mark.proves('source-damaged')
def test_a_truncated_index_is_named(clip: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:-200])  # it is at the end
    with pytest.raises(MediaError, match='complete'):
        open_video(clip)


@pytest.mark.proves('video-damaged')
@pytest.mark.parametrize(('name', 'codec'), [
    ('clip.mp4', 'libx264'), ('clip.avi', 'mpeg4'), ('clip.mkv', 'ffv1'), ('clip.ts', 'libx264')])
def test_any_damage_gives_frames_or_a_media_error(
        tmp_path_factory: pytest.TempPathFactory, name: str, codec: str) -> None:
    folder = tmp_path_factory.mktemp('damage')
    data = encode(folder / name, pictures(), codec).read_bytes()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(1, 255)), max_size=20),
           st.integers(0, len(data)))
    def check(flips: list[tuple[int, int]], length: int) -> None:
        bad = bytearray(data)
        for position, bits in flips:
            bad[position] ^= bits
        path = folder / f'bad{Path(name).suffix}'
        path.write_bytes(bad[:length])
        try:
            with open_video(path) as source:
                stamps = [frame.stamp_ns for frame in itertools.islice(source, 100)]
        except MediaError as error:
            assert path.name in str(error)
        else:
            assert stamps[0] == 0 and (np.diff(stamps) > 0).all()

    logging.disable()
    try:
        check()
    finally:
        logging.disable(logging.NOTSET)


def test_real_videos(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in sorted((shared / 'data' / 'train' / 'videos').glob('*.mp4'))[:3]:
        with open_video(path) as source:
            stamps = [frame.stamp_ns for frame in itertools.islice(source, 60)]
        assert stamps[0] == 0
        periods = np.diff(stamps) * source.rate_hz / 1e9
        np.testing.assert_allclose(periods, 1, atol=1e-3, err_msg=path.name)
    assert not caplog.records


# Writing


@pytest.mark.proves('film-odd')
@pytest.mark.parametrize('encoder', ['libx264', 'mpeg4'])
@pytest.mark.parametrize('rate_hz', [1e-3, 0.2, 15.0015, 29.97, 90.0025, 120, 14_925.37, 1e9])
def test_any_rate_becomes_a_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str,
                                 rate_hz: float) -> None:
    monkeypatch.setattr(video, 'ENCODERS', {encoder: video.ENCODERS[encoder]})
    path = tmp_path / 'film.mp4'
    with VideoWriter(path, rate_hz) as writer:
        for index in range(4):
            writer.write(grey(index))
    with av.open(path) as file:
        stamps = [float(frame.pts * frame.time_base) for frame in file.decode(video=0)]
    step = np.diff(stamps)
    np.testing.assert_allclose(step, max(1 / rate_hz, 1 / video.TICKS_PER_S),
                               atol=1.1 / video.TICKS_PER_S)


@pytest.mark.proves('film-odd')
@pytest.mark.parametrize('encoder', ['libx264', 'mpeg4'])
@pytest.mark.parametrize(('size', 'written'), [
    ((3000, 8192), (1406, 3840)), ((2, 9000), (2, 3840)), ((5000, 40), (2160, 16)),
    ((1, 1), (2, 2)), ((49, 65), (48, 64)), ((48, 64), (48, 64))])
def test_any_size_becomes_a_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str,
                                 size: tuple[int, int], written: tuple[int, int]) -> None:
    monkeypatch.setattr(video, 'ENCODERS', {encoder: video.ENCODERS[encoder]})
    path = tmp_path / 'film.mp4'
    with VideoWriter(path, 29.97) as writer:
        writer.write(np.full((*size, 3), 90, np.uint8))
    image = read(path)[0].image
    assert image.shape == (*written, 3)
    assert difference(image, np.full((*written, 3), 90)) < GREY_TOLERANCE


def test_frames_of_another_size_are_fitted_with_one_warning(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / 'film.mp4'
    with VideoWriter(path, 30) as writer:
        for size in ((48, 64), (96, 64), (10, 300), (48, 64)):
            writer.write(np.full((*size, 3), 200, np.uint8))
    images = [frame.image for frame in read(path)]
    assert [image.shape for image in images] == 4 * [(48, 64, 3)]
    assert images[1][24, [2, 61]].max() < 40 and images[1][24, 32].min() > 180  # bars beside it
    assert images[2][[2, 45], 32].max() < 40
    assert len(caplog.records) == 1


def test_frames_are_shown_at_the_times_given(tmp_path: Path) -> None:
    path = tmp_path / 'film.mp4'
    with VideoWriter(path, 30) as writer:
        for at_s in (0, 0.1, 0.5, 0.5, 0.4):
            writer.write(grey(5), at_s)
    times = stamps_ms(read(path))
    assert times[:3] == [0, 100, 500]
    assert 500 < times[3] < times[4] < 501  # rising, whatever is asked for


@pytest.mark.proves('output-is-source')
def test_what_stood_there_stays_until_the_film_is_complete(tmp_path: Path) -> None:
    path = tmp_path / 'film.mp4'
    path.write_bytes(b'before')
    with VideoWriter(path, 30) as writer:
        writer.write(grey(1))
        assert path.read_bytes() == b'before'
    assert len(read(path)) == 1
    with VideoWriter(path, 30):
        pass
    assert len(read(path)) == 1  # nothing was written: nothing is replaced
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_beside_leaves_a_film_of_what_there_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / 'film.mp4', 30) as writer:
        writer.write(grey(1))
        raise KeyboardInterrupt
    assert len(read(tmp_path / 'film.mp4')) == 1


@pytest.mark.parametrize('blocked', ['missing/film.mp4', 'folder'])
def test_a_film_that_cannot_be_written_is_named(tmp_path: Path, blocked: str) -> None:
    (tmp_path / 'folder').mkdir()
    with pytest.raises(MediaError, match=f'{blocked} cannot be written'), \
            VideoWriter(tmp_path / blocked, 30) as writer:
        writer.write(grey(1))
    assert [path.name for path in tmp_path.rglob('*')] == ['folder']


@pytest.mark.proves('output-is-source')
@pytest.mark.parametrize('call', ['write', 'fsync'])
def test_on_a_full_disk_the_film_is_whole_or_not_there(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str,
        rng: np.random.Generator) -> None:
    path = tmp_path / 'film.mp4'
    path.write_bytes(b'before')

    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(MediaError, match=r'film.mp4 cannot be written: (No space|File too)'), \
                VideoWriter(path, 30) as writer:
            if call == 'fsync':
                monkeypatch.setattr('os.fsync', full)
            else:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
            for _ in range(30):
                writer.write(rng.integers(0, 256, (480, 640, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b'before'
    assert list(tmp_path.iterdir()) == [path]


def test_the_requirement_is_the_one_of_setup_py() -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    requirement = video.INSTALL.partition('"')[2].rstrip('"')
    assert f"'{requirement}'" in setup
