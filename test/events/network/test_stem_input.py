"""What the stem reads: the window's own events, and what all until its end have added up to."""

import numpy as np
import pytest

from asyncmde_ros.events.network.config import ADDED_UP, EventNetworkConfig
from asyncmde_ros.events.network.inputs import StemInput
from asyncmde_ros.events.packets import Events
from asyncmde_ros.events.reconstruction import DECAY_NS, Reconstruction
from asyncmde_ros.events.representation import voxel_grid
from asyncmde_ros.events.window import Window

SIZE = (12, 16)
BINS = 3
LASTED_NS = 30_000_000


@pytest.fixture
def windows() -> list[Window]:
    rng = np.random.default_rng(0)
    found = []
    for index in range(3):
        begin = index * LASTED_NS
        t = np.sort(rng.integers(begin, begin + LASTED_NS, 400))
        x, y = (rng.integers(0, side, 400).astype(np.uint16) for side in reversed(SIZE))
        found.append(Window(Events(x, y, t, rng.random(400) < x / SIZE[1], SIZE), begin,
                            begin + LASTED_NS, index == 0))
    return found


def test_first_the_voxel_grid_of_the_window_alone(windows: list[Window]) -> None:
    inputs = StemInput(SIZE, BINS)
    for window in windows:
        found = inputs.add(window)
        assert found.shape == (EventNetworkConfig('any', bins=BINS).inputs, *SIZE)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[:BINS], voxel_grid(window.events, BINS))


def test_then_the_picture_that_the_pipeline_would_get(windows: list[Window]) -> None:
    inputs, pictures = StemInput(SIZE, BINS), Reconstruction(SIZE)
    for window in windows:
        picture = pictures.add(window)
        shown = inputs.add(window)[BINS]
        np.testing.assert_allclose((shown + 2) * 255 / 4, picture.grey, rtol=0, atol=1e-3)


def test_then_how_many_events_have_not_faded(windows: list[Window]) -> None:
    inputs = StemInput(SIZE, BINS)
    for window in windows:
        last = inputs.add(window)[BINS + ADDED_UP - 1]
    kept = np.zeros(SIZE)
    for window in windows:
        for x, y, t in zip(window.events.x, window.events.y, window.events.t, strict=True):
            kept[y, x] += np.exp((int(t) - windows[-1].end_ns) / DECAY_NS)
    np.testing.assert_allclose(np.expm1(last), kept, rtol=1e-4)


def test_where_the_stream_begins_anew_nothing_is_left(windows: list[Window]) -> None:
    inputs = StemInput(SIZE, BINS)
    alone = [inputs.add(window) for window in windows][0]
    again = inputs.add(windows[0])
    np.testing.assert_array_equal(again, alone)
    assert not np.array_equal(inputs.add(windows[1])[BINS], alone[BINS])
