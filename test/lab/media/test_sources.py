"""Cameras give stamped RGB frames, or one error that says what is wrong."""

import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.media import camera
from asyncmde_ros.lab.media.sources import open_camera

RATE_HZ = 20


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
    monkeypatch.setattr(camera.cv2, 'VideoCapture', lambda _: capture)


@pytest.mark.parametrize('rate_hz', [0.0, -1.0, float('nan'), 90_000.0])
def test_a_senseless_rate_is_none(monkeypatch: pytest.MonkeyPatch, rate_hz: float) -> None:
    fake_capture(monkeypatch, FakeCapture(rate_hz))
    with open_camera(0) as source:
        assert source.rate_hz is None


@pytest.mark.proves('source-damaged')
def test_a_camera_stamps_by_the_clock_and_says_when_it_stops(
        monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(1_000, 10)
    monkeypatch.setattr(camera.time, 'time_ns', lambda: next(ticks))
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


def test_reading_media_imports_neither_ros_nor_what_only_bags_need() -> None:
    probe = ('import sys; from asyncmde_ros.images import codec, picture; '
             'from asyncmde_ros.lab.media import example, sources; '
             'sys.exit(any(name in sys.modules for name in ("rclpy", "sensor_msgs", "rosbags")))')
    assert subprocess.run([sys.executable, '-c', probe], check=False).returncode == 0
