"""The demo's film plays whatever was recorded at its pace, and never stands in the demo's way."""

import pytest

pytest.importorskip('av', reason='left out: needs av')

from itertools import pairwise
from pathlib import Path

import numpy as np

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.media import film as module
from asyncmde_ros.lab.media.film import Film
from asyncmde_ros.lab.media.sources import open_video

MS = 10**6
TICK_MS = 0.02  # of the film's time base, rounded up


def shown_ms(path: Path, stamps_ms: list[float], rate_hz: float = 30) -> list[float]:
    """Film pictures of these stamps; return when the film shows them."""
    film = Film(path, rate_hz)
    for stamp_ms in stamps_ms:
        film.add(np.full((48, 64, 3), 90, np.uint8), np.ones((48, 64, 3), np.uint8),
                 10**18 + round(stamp_ms * MS), '')
    film.close()
    with open_video(path) as source:
        return [frame.stamp_ns / MS for frame in source]


@pytest.mark.proves('film-odd')
@pytest.mark.parametrize(('stamps_ms', 'right_ms'), [
    ([0, 33, 70, 500], [0, 33, 70, 500]),
    ([0, 11.1108, 22.2216], [0, 11.1108, 22.2216]),  # 90.0025 Hz
    ([0, 0.067, 0.133], [0, 1000 / 240, 2000 / 240]),  # a driver's wrong unit
    ([0, 0, 0], [0, 1000 / 30, 2000 / 30]),
    ([100, 133, 0, 33], [0, 33, 33 + 1000 / 30, 66 + 1000 / 30]),
    ([0, 3_600_000, 3_600_033], [0, 1000, 1033])])
def test_the_pace_is_the_recordings_where_it_has_one(
        tmp_path: Path, stamps_ms: list[float], right_ms: list[float]) -> None:
    assert shown_ms(tmp_path / 'film.mp4', stamps_ms) == pytest.approx(right_ms, abs=TICK_MS)


def test_a_slow_source_is_shown_as_slow(tmp_path: Path) -> None:
    stamps_ms = [0, 4000, 8000]
    assert shown_ms(tmp_path / 'film.mp4', stamps_ms, rate_hz=0.25) == stamps_ms


@pytest.mark.proves('film-odd')
@pytest.mark.parametrize('sizes', [
    [(48, 64), (96, 64), (30, 90), (48, 64)], [(3000, 4096), (48, 64)], [(5, 5), (49, 65)]])
def test_sizes_may_change_and_be_any(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    film = Film(tmp_path / 'film.mp4', 30)
    for index, (rows, cols) in enumerate(sizes):
        film.add(np.full((rows, cols, 3), 90, np.uint8),
                 np.ones((rows // 2 or 1, cols // 2 or 1, 3), np.uint8), index * 33 * MS, 'words')
    sheet = film.sheet()
    assert 90 in sheet and max(sheet.shape) <= module.SHEET_COLUMNS * max(module.TILE) + 100
    film.close()
    with open_video(tmp_path / 'film.mp4') as source:
        shapes = {frame.image.shape for frame in source}
    assert len(shapes) == 1


def test_a_sheet_spreads_over_a_long_film(tmp_path: Path) -> None:
    film = Film(tmp_path / 'film.mp4', 30)
    for index in range(120):
        film.add(np.full((24, 32, 3), 2 * index, np.uint8), np.ones((24, 32, 3), np.uint8),
                 index * 33 * MS, '')
    film.close()
    sheet = film.sheet()
    greys = [int(sheet[row * 30 + 10, column * 70 + 10, 0]) for row in range(3)
             for column in range(2)]
    assert greys[0] < 20 and greys[-1] > 200
    assert all(later - earlier > 20 for earlier, later in pairwise(greys))


def test_without_a_frame_there_is_no_film(tmp_path: Path) -> None:
    film = Film(tmp_path / 'film.mp4', 30)
    film.close()
    with pytest.raises(MediaError, match='nothing to show'):
        film.sheet()
    assert not list(tmp_path.iterdir())
