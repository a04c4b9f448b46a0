"""What events add up to, by hand; and pictures of what was simulated."""

import math

import numpy as np
import pytest

from asyncmde_ros.events.packets import Events, joined, no_events
from asyncmde_ros.events.reconstruction import SMALLEST_SPAN, Picture, Reconstruction
from asyncmde_ros.events.simulator import Simulator, StampedGrey, in_between, lin_log
from asyncmde_ros.events.window import Window

SIZE = (24, 32)
DECAY_NS = 1000
GREY = 127  # of 255, where as much is above as below


def events(*rows: tuple[int, int, int, int]) -> Events:
    x, y, t, p = np.array(rows, np.int64).reshape(-1, 4).T
    return Events(x.astype(np.uint16), y.astype(np.uint16), t, p.astype(np.bool_), SIZE)


def block(t: int, p: int, times: int = 1) -> list[tuple[int, int, int, int]]:
    """A third of the pixels."""
    return [(x, y, t, p) for x in range(16) for y in range(16)] * times


def test_events_count_less_the_older_they_are() -> None:
    found = Reconstruction(SIZE, DECAY_NS).add(Window(
        events(*block(400, 1, 6), (20, 20, 500, 0), (20, 20, 900, 0)), 0, 1000, True))
    low, high = 0.0, 6 * math.exp(-0.6)
    middle, half = (low + high) / 2, max(high - low, SMALLEST_SPAN) / 2
    assert found.grey[5, 5] == pytest.approx(127.5 + 127.5 * (high - middle) / half, abs=1)
    # Of another pixel the events are by one percentile beyond black.
    assert found.grey[20, 20] == pytest.approx(max(0, 127.5 + 127.5 * (
        -math.exp(-0.5) - math.exp(-0.1) - middle) / half), abs=1)


@pytest.mark.proves('event-time')
def test_a_window_that_begins_anew_forgets() -> None:
    first, second = (Reconstruction(SIZE, DECAY_NS) for _ in range(2))
    first.add(Window(events(*block(400, 1, 9)), 0, 1000, True))
    window = Window(events(*block(1400, 0, 3)), 1000, 2000, True)
    np.testing.assert_array_equal(first.add(window).grey, second.add(window).grey)


@pytest.mark.proves('event-stillness')
def test_what_does_not_move_fades_to_grey_and_is_not_seen() -> None:
    reconstruction = Reconstruction(SIZE, DECAY_NS)
    found = reconstruction.add(Window(events(*block(900, 1, 6)), 0, 1000, True))
    assert found.seen == pytest.approx(256 / (24 * 32), abs=0.01)  # but for a corner
    assert found.grey[5, 5] > found.grey[20, 20] + 100
    for number in range(1, 9):
        found = reconstruction.add(Window(no_events(SIZE), 1000 * number, 1000 * number + 1000,
                                          False))
    assert found.seen == 0
    assert np.ptp(found.grey) <= 1


@pytest.mark.proves('event-stillness')
def test_lonely_events_are_not_seen() -> None:
    lonely = [(x, y, 900, 1) for x in range(0, 32, 3) for y in range(0, 24, 3)]
    found = Reconstruction(SIZE, DECAY_NS).add(Window(events(*lonely), 0, 1000, True))
    assert found.seen == 0


@pytest.mark.proves('event-hot-pixel')
def test_a_hot_pixel_has_what_is_around_it() -> None:
    hot = [(4, 4, 990, 1)] * 500
    with_it, without = (Reconstruction(SIZE, DECAY_NS).add(
        Window(events(*block(980, 0, 6), *more), 0, 1000, True)) for more in (hot, []))
    assert abs(int(with_it.grey[4, 4]) - int(without.grey[4, 4])) <= 1


def test_no_events_make_a_picture_of_one_grey() -> None:
    found = Reconstruction(SIZE).add(Window(no_events(SIZE), 0, 10, True))
    assert (found.grey == GREY).all()
    assert found.seen == 0


def test_a_picture_that_moved_is_found_again() -> None:
    def scene(shift: float) -> np.ndarray:
        rows, cols = np.mgrid[:48, :64]
        return np.asarray(128 + 60 * np.sin((cols - shift) / 5) + 50 * np.cos(rows / 6), np.uint8)
    simulator, reconstruction = Simulator((48, 64)), Reconstruction((48, 64))
    found = Picture(scene(0), 0)
    simulator.see(scene(0), 0)
    before = StampedGrey(scene(0), 0)
    for number in range(1, 9):
        now = StampedGrey(scene(2 * number), number * 10_000_000)
        parts = [simulator.see(*picture) for picture in in_between(before, now)]
        found = reconstruction.add(Window(joined(parts, (48, 64)), before.stamp_ns + 1,
                                          now.stamp_ns + 1, number == 1))
        before = now
    # The mean over time of each pixel is not told, and here the same in each row.
    truth = lin_log(scene(16))
    truth -= truth.mean(axis=1, keepdims=True)
    seen = found.grey - found.grey.mean(axis=1, keepdims=True)
    assert np.corrcoef(truth.ravel(), seen.ravel())[0, 1] > 0.8


def test_a_decay_is_positive() -> None:
    with pytest.raises(ValueError, match='decay'):
        Reconstruction(SIZE, 0)
