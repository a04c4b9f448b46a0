"""How maps of one scene relate, and which are kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.scale.history import HISTORY_S, History, relate, thinned

SHAPE = (48, 64)
ROWS, COLS = np.mgrid[0:SHAPE[0], 0:SHAPE[1]]
ROOM = (2 + np.abs(ROWS - 24) / 3 + np.abs(COLS - 32) / 4).astype(np.float32)


@given(gain=st.floats(0.05, 20), offset=st.floats(-5, 5), wrong=st.floats(0, 0.2),
       seed=st.integers(0, 1000))
def test_a_relation_is_found_whatever_a_minority_does(gain: float, offset: float, wrong: float,
                                                      seed: int) -> None:
    rng = np.random.default_rng(seed)
    new = (ROOM * (1 + 0.01 * rng.standard_normal(SHAPE))).astype(np.float32)
    moved = rng.random(SHAPE) < wrong
    old = np.where(moved, 30 * rng.random(SHAPE), gain * ROOM + offset).astype(np.float32)
    old[rng.random(SHAPE) < 0.05] = np.nan
    found = relate(old, new)
    assert found is not None
    for value in (2.0, 5.0, 12.0):
        assert found.gain * value + found.offset == pytest.approx(
            gain * value + offset, abs=0.15 * gain)


def test_a_chain_of_noisy_maps_does_not_shrink() -> None:
    rng = np.random.default_rng(0)
    gain = 1.0
    maps = [(ROOM * (1 + 0.1 * rng.standard_normal(SHAPE))).astype(np.float32) for _ in range(50)]
    for old, new in zip(maps, maps[1:], strict=False):
        found = relate(old, new)
        assert found is not None
        gain *= found.gain
    assert gain == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize('other', [
    np.ones(SHAPE), ROOM[::-1] * 0 + np.nan, np.random.default_rng(0).random(SHAPE), -ROOM],
    ids=['flat', 'unknown', 'another scene', 'upside down'])
def test_what_does_not_show_the_scene_has_no_relation(other: np.ndarray) -> None:
    assert relate(other.astype(np.float32), ROOM) is None
    assert relate(ROOM, other.astype(np.float32)) is None


def test_maps_before_are_in_the_values_of_the_present() -> None:
    history = History()
    assert history.add(0.0, ROOM, True) is None
    assert history.add(0.1, ROOM, False) == (1, 0)
    assert history.add(0.2, ROOM / 2 - 1, True) == pytest.approx((2, 2), rel=1e-4)
    assert history.add(0.3, ROOM / 8, True) == pytest.approx((4, -1), rel=1e-4)
    for stamp_s in (0.0, 0.12, 0.2, 0.3):
        moment = history.nearest(stamp_s)
        assert moment.stamp_s == pytest.approx(stamp_s, abs=0.03)
        assert moment.gain * moment.relative + moment.offset == pytest.approx(ROOM / 8, rel=1e-4)


def test_what_is_old_or_of_another_scene_is_forgotten() -> None:
    history = History()
    history.add(0.0, ROOM, False)
    history.add(0.1, np.roll(ROOM, 24, axis=0), True)
    assert history.nearest(0.0).stamp_s == 0.1
    assert history.add(0.2 + HISTORY_S, ROOM, False) is None
    assert history.nearest(0.0).stamp_s == 0.2 + HISTORY_S


def test_a_large_map_is_kept_small() -> None:
    large = np.arange(1080 * 1920, dtype=np.float32).reshape(1080, 1920)
    small = thinned(large)
    assert max(small.shape) <= 400 and small.base is None
    assert thinned(ROOM).shape == SHAPE
