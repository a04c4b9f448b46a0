"""Videos and cameras give stamped RGB frames, or one error that says what is wrong."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from asyncmde_ros.errors import MediaError
from asyncmde_ros.media import sources
from asyncmde_ros.media.sources import open_camera, open_video
from asyncmde_ros.media.video import VideoWriter

RATE_HZ = 20
LENGTH = 12
GREY_TOLERANCE = 6  # mp4v is lossy


def grey(index: int) -> np.ndarray:
    return np.full((48, 64, 3), 20 * index, np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Return a video whose frames tell their index by their brightness."""
    path = tmp_path / 'video.mp4'
    with VideoWriter(path, RATE_HZ) as writer:
        for index in range(LENGTH):
            writer.write(grey(index))
    return path


def test_a_video_gives_its_frames_in_order_with_stamps(video: Path) -> None:
    with open_video(video) as source:
        assert source.rate_hz == RATE_HZ
        assert source.length == LENGTH
        frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [index * 10**9 // RATE_HZ
                                                   for index in range(LENGTH)]
    for index, frame in enumerate(frames):
        assert np.abs(frame.image - grey(index).astype(int)).max() <= GREY_TOLERANCE


def test_frames_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    with VideoWriter(tmp_path / 'red.mp4', RATE_HZ) as writer:
        writer.write(red)
    with open_video(tmp_path / 'red.mp4') as source:
        image = next(iter(source)).image
    assert image.mean(axis=(0, 1)).argmax() == 0


def test_a_source_can_be_left_and_taken_up_again(video: Path) -> None:
    with open_video(video) as source:
        first = [frame.stamp_ns for frame in itertools.islice(source, 3)]
    assert first == [0, 50_000_000, 100_000_000]
    assert list(source) == []  # closed


@pytest.mark.parametrize('content', [None, b'', b'no video at all' * 100])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / 'bad.mp4'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match='bad.mp4'):
        open_video(path)


def test_a_truncated_video_is_named(video: Path) -> None:
    video.write_bytes(video.read_bytes()[:-200])  # the index is at the end
    with pytest.raises(MediaError, match='complete'):
        open_video(video)


class FakeCapture:
    """Stands in for cv2.VideoCapture: ``positions_ms`` is what the container tells."""

    def __init__(self, rate_hz: float = RATE_HZ, positions_ms: tuple[float, ...] = (),
                 opened: bool = True) -> None:
        self.rate_hz, self.positions_ms, self.opened = rate_hz, positions_ms, opened
        self.count = 0

    def isOpened(self) -> bool:
        return self.opened

    def get(self, name: int) -> float:
        return {cv2.CAP_PROP_FPS: self.rate_hz, cv2.CAP_PROP_FRAME_COUNT: -1.0,
                cv2.CAP_PROP_POS_MSEC: self.positions_ms[self.count - 1]
                if self.count else 0.0}[name]

    def set(self, name: int, value: float) -> bool:
        return True

    def grab(self) -> bool:
        self.count += 1
        return self.count <= len(self.positions_ms)

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.full((4, 6, 3), (0, 0, 255), np.uint8)

    def read(self) -> tuple[bool, np.ndarray | None]:
        return self.retrieve() if self.grab() else (False, None)

    def release(self) -> None:
        self.opened = False


def fake_capture(monkeypatch: pytest.MonkeyPatch, capture: FakeCapture) -> None:
    monkeypatch.setattr(sources.cv2, 'VideoCapture', lambda _: capture)


def test_stamps_rise_where_the_container_loses_its_positions(
        monkeypatch: pytest.MonkeyPatch, video: Path) -> None:
    fake_capture(monkeypatch, FakeCapture(positions_ms=(0, 50, 130, 0, 0)))
    with open_video(video) as source:
        assert source.length is None
        stamps_ms = [frame.stamp_ns / 1e6 for frame in source]
    assert stamps_ms == [0, 50, 130, 180, 230]


@pytest.mark.parametrize('rate_hz', [0.0, -1.0, float('nan'), 90_000.0])
def test_a_senseless_rate_is_none(monkeypatch: pytest.MonkeyPatch, video: Path,
                                  rate_hz: float) -> None:
    fake_capture(monkeypatch, FakeCapture(rate_hz, positions_ms=(0, 0)))
    with open_video(video) as source:
        assert source.rate_hz is None
        assert [frame.stamp_ns for frame in source] == [0, round(1e9 / sources.ASSUMED_RATE_HZ)]


def test_a_camera_stamps_by_the_clock_and_says_when_it_stops(
        monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(1_000, 10)
    monkeypatch.setattr(sources.time, 'time_ns', lambda: next(ticks))
    fake_capture(monkeypatch, FakeCapture(positions_ms=(0, 0)))
    with open_camera(0) as source:
        assert (source.rate_hz, source.length) == (RATE_HZ, None)
        frames = iter(source)
        assert [next(frames).stamp_ns, next(frames).stamp_ns] == [1_000, 1_010]
        with pytest.raises(MediaError, match='camera 0 stopped'):
            next(frames)


def test_closing_a_camera_ends_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_capture(monkeypatch, FakeCapture(positions_ms=(0, 0)))
    source = open_camera(0)
    frames = iter(source)
    assert tuple(next(frames).image[0, 0]) == (255, 0, 0)
    source.close()
    assert list(frames) == []


def test_a_camera_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_capture(monkeypatch, FakeCapture(opened=False))
    with pytest.raises(MediaError, match='camera 3'):
        open_camera(3)


def test_real_videos(shared: Path) -> None:
    for path in sorted((shared / 'data' / 'train' / 'videos').glob('*.mp4'))[:3]:
        with open_video(path) as source:
            stamps = [frame.stamp_ns for frame in itertools.islice(source, 60)]
        assert stamps[0] == 0
        periods = np.diff(stamps) * source.rate_hz / 1e9
        np.testing.assert_allclose(periods, 1, atol=1e-3, err_msg=path.name)
