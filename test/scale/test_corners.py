"""Corners that are followed over pictures whose motion is known."""

import numpy as np
import numpy.typing as npt
import pytest

from asyncmde_ros.scale.corners import BORDER_PX, CornerTracker
from test.support.planes import texture

ROWS, COLS = 120, 160
SIDE = COLS // 16


def view(x: int, y: int) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(texture(0)[100 + y:100 + y + ROWS, 100 + x:100 + x + COLS])


def test_corners_go_where_the_picture_goes() -> None:
    tracker = CornerTracker()
    assert tracker.renew() == 0
    assert tracker.follow(view(0, 0)).size == 0
    count = tracker.renew()
    start = tracker.pixels
    assert count == len(start) > 50
    kept = tracker.follow(view(4, -3))
    assert len(kept) > 0.8 * count
    assert tracker.pixels == pytest.approx(start[kept] + (-4, 3), abs=0.3)
    assert np.all(tracker.pixels >= BORDER_PX)
    assert np.all(tracker.pixels <= (COLS - 1 - BORDER_PX, ROWS - 1 - BORDER_PX))


def test_each_cell_has_one_corner_and_none_is_added_twice() -> None:
    tracker = CornerTracker()
    tracker.follow(view(0, 0))
    tracker.renew()
    cells = [tuple(cell) for cell in (tracker.pixels + 0.5) // SIDE]
    assert len(set(cells)) == len(cells)
    assert tracker.renew() == 0
    before = tracker.pixels
    tracker.keep(np.arange(10, len(before)))
    assert tracker.renew() == 10
    assert {tuple(at) for at in tracker.pixels} == {tuple(at) for at in before}


def test_where_corners_crowd_the_older_ones_are_kept() -> None:
    tracker = CornerTracker()
    assert tracker.thin().size == 0
    tracker.follow(view(0, 0))
    tracker.renew()
    first = tracker.pixels
    tracker.pixels = np.concatenate([first, np.clip(first + 1, 0, (COLS - 1, ROWS - 1))])
    kept = tracker.thin()
    cells = [tuple(cell) for cell in (tracker.pixels + 0.5) // SIDE]
    assert len(set(cells)) == len(cells) == len(kept)
    assert kept[:len(first)].tolist() == list(range(len(first)))


def test_another_picture_loses_them() -> None:
    tracker = CornerTracker()
    tracker.follow(view(0, 0))
    count = tracker.renew()
    tracker.follow(np.ascontiguousarray(texture(5)[:ROWS, :COLS]))
    assert len(tracker.pixels) < 0.2 * count
    tracker.follow(np.full((ROWS, COLS), 128, np.uint8))
    assert len(tracker.pixels) == 0 and tracker.renew() == 0
