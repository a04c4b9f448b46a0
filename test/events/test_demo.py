"""A recording, real or simulated, to a picture."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from support import events as encode
from support.events import Event
from support.fakes import FakeModel

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import MediaError
from asyncmde_ros.events import demo
from asyncmde_ros.events.depth import EventDepth
from asyncmde_ros.events.drawing import draw_depth, draw_events, query_points
from asyncmde_ros.events.packets import Events, no_events
from asyncmde_ros.events.reconstruction import Picture
from asyncmde_ros.events.recording import open_recording
from asyncmde_ros.events.window import Window, Windows
from asyncmde_ros.images.picture import read_picture
from asyncmde_ros.lab.media.frames import FrameSource, VideoFrame

SIZE = (60, 80)


class Panned(FrameSource):
    """A picture that moves to the right."""

    rate_hz, length = 30.0, None

    def __init__(self, count: int, size: tuple[int, int] = (120, 160)) -> None:
        self.dropped: Counter[str] = Counter()
        self.closed = False
        self._count, self._size = count, size

    def __iter__(self) -> Iterator[VideoFrame]:
        rows, cols = np.mgrid[:self._size[0], :self._size[1]]
        for number in range(self._count):
            grey = 128 + 60 * np.sin((cols - 2 * number) / 5) + 50 * np.cos(rows / 9)
            yield VideoFrame(number * 10_000_000,
                             np.repeat(grey[..., None], 3, axis=2).astype(np.uint8))

    def close(self) -> None:
        self.closed = True


def busy(path: Path) -> Path:
    """A recording of a tenth of a second in which every pixel has events."""
    random = np.random.default_rng(0)
    times = np.sort(random.integers(0, 100_000, 20_000))
    events = [Event(int(x), int(y), int(t), int(p)) for x, y, t, p in zip(
        random.integers(0, 80, 20_000), random.integers(0, 60, 20_000), times,
        random.integers(0, 2, 20_000), strict=True)]
    return encode.raw_file(path, encode.evt2(events), 'evt 2.0', 'geometry 80x60')


def test_a_recording_makes_a_picture(tmp_path: Path) -> None:
    recording = open_recording(busy(tmp_path / 'a.raw'))
    path = demo.run(recording, cast(Model, FakeModel()), tmp_path,
                    Windows(SIZE, duration_ns=20_000_000))
    assert path == tmp_path / 'events.png'
    sheet = read_picture(path, oriented=False)
    # Three pictures in a row, four moments.
    assert sheet.shape[1] // 3 in range(80, 90) and sheet.shape[0] // 4 in range(60, 70)


def test_a_recording_without_events_says_so(tmp_path: Path) -> None:
    path = encode.raw_file(tmp_path / 'a.raw', b'', 'evt 2.0', 'geometry 80x60')
    with pytest.raises(MediaError, match='there were no events'):
        demo.run(open_recording(path), cast(Model, FakeModel()), tmp_path,
                 Windows(SIZE, duration_ns=20_000_000))


def test_a_simulated_recording_is_of_a_sensors_size_and_of_the_videos_times() -> None:
    source = Panned(4, (520, 640))
    with demo.SimulatedRecording(source) as recording:
        assert recording.size == (260, 320)
        packets = list(recording.packets())
    assert source.closed
    assert len(packets) == 3
    assert 0 < packets[0].t[0] <= packets[-1].t[-1] <= 30_000_000
    assert not recording.faults


def test_a_video_without_frames_says_so() -> None:
    with pytest.raises(MediaError, match='without frames'):
        demo.SimulatedRecording(Panned(0))


def test_moments_are_spread_over_a_run_of_any_length() -> None:
    for count in (1, 3, 8, 9, 100, 1000):
        sheet = demo._Sheet()
        for number in range(count):
            window = Window(no_events(SIZE), number, number + 1, False, thinned=2)
            sheet.add(window, EventDepth(Picture(np.zeros(SIZE, np.uint8), 0.0), None))
        kept = [window.begin_ns for window, _ in sheet._kept]
        assert sheet.thinned == 2 * count
        assert min(count, demo.MOMENTS) <= len(kept) <= 2 * demo.MOMENTS
        gaps = np.diff(kept)
        assert len(set(gaps.tolist())) <= 1, kept
        assert kept[-1] >= count // 2


def test_the_last_event_of_a_pixel_is_drawn() -> None:
    events = Events(np.array([1, 1, 2], np.uint16), np.array([0, 0, 1], np.uint16),
                    np.arange(3), np.array([True, False, True]), (2, 3))
    drawn = draw_events(events)
    assert tuple(drawn[0, 1]) == (90, 150, 255)
    assert tuple(drawn[1, 2]) == (255, 110, 80)
    assert tuple(drawn[0, 0]) == (24, 24, 24)


def test_depth_is_drawn_at_a_grid_of_points() -> None:
    points = query_points((60, 80), 8)
    assert len(points) == 6 * 8
    assert points[0].tolist() == [5, 5]
    depth = np.tile(np.linspace(0, 1, 80, dtype=np.float32), (60, 1))
    drawn = draw_depth(np.full((60, 80), 90, np.uint8), depth, 8)
    assert drawn[5, 5, 2] > drawn[5, 5, 0], 'far is blue'
    assert drawn[5, 75, 0] > drawn[5, 75, 2], 'near is red'
    assert tuple(drawn[0, 0]) == (30, 30, 30)
    assert (draw_depth(np.full((60, 80), 90, np.uint8), None) == 30).all()
