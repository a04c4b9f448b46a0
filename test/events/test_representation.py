"""Dense arrays of events against their formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.events.packets import Events, no_events
from asyncmde_ros.events.representation import age_counts, time_surface, voxel_grid


def events(*rows: tuple[int, int, int, bool]) -> Events:
    x, y, t, p = np.array(rows, np.int64).T
    return Events(x.astype(np.uint16), y.astype(np.uint16), t, p.astype(np.bool_), (2, 3))


EVENTS = events((0, 0, 100, True), (1, 0, 130, False), (2, 1, 175, True), (2, 1, 200, True))


def test_an_event_is_shared_by_the_two_bins_next_to_its_time() -> None:
    raw = np.zeros((3, 2, 3))
    raw[0, 0, 0] = 1
    raw[0, 0, 1], raw[1, 0, 1] = -0.4, -0.6  # at 2 * 30 / 100
    raw[1, 1, 2], raw[2, 1, 2] = 0.5, 0.5 + 1
    seen = raw != 0
    expected = np.zeros_like(raw)
    expected[seen] = (raw[seen] - raw[seen].mean()) / raw[seen].std()
    found = voxel_grid(EVENTS, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 50),
                          st.booleans()), min_size=1, max_size=20), st.integers(1, 5))
def test_voxels_as_the_formula_has_them(rows: list[tuple[int, int, int, bool]], bins: int
                                        ) -> None:
    rows.sort(key=lambda row: row[2])
    first, last = rows[0][2], rows[-1][2]
    raw = np.zeros((bins, 2, 3))
    for x, y, t, p in rows:
        at = (bins - 1) * (t - first) / max(1, last - first)
        for number in range(bins):
            raw[number, y, x] += (1 if p else -1) * max(0.0, 1 - abs(number - at))
    seen = np.abs(raw) > 1e-9
    expected = np.where(seen, raw, 0)
    found = voxel_grid(events(*rows), bins)
    if seen.sum() and expected[seen].std() > 1e-3:
        expected[seen] = (expected[seen] - expected[seen].mean()) / expected[seen].std()
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.isfinite(found).all()


def test_nothing_seen_is_zero() -> None:
    assert not voxel_grid(no_events((2, 3)), 4).any()
    assert not time_surface(no_events((2, 3)), 10).any()


def test_a_time_surface_has_the_age_of_the_last_event() -> None:
    surface = time_surface(EVENTS, 50)
    assert surface.shape == (2, 2, 3)
    assert surface[0, 1, 2] == 1
    assert surface[0, 0, 0] == pytest.approx(np.exp(-2))
    assert surface[1, 0, 1] == pytest.approx(np.exp(-1.4))
    assert np.count_nonzero(surface) == 3
    np.testing.assert_allclose(time_surface(EVENTS, 50, 250), surface * np.exp(-1), rtol=1e-6)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match='bins'):
        voxel_grid(EVENTS, 0)
    with pytest.raises(ValueError, match='decay'):
        time_surface(EVENTS, 0)


def test_events_are_counted_by_their_age() -> None:
    found = age_counts(EVENTS, 200, 4, 25)
    expected = np.zeros((4, 2, 3))
    expected[0, 1, 2] = 1  # of 200
    expected[1, 1, 2] = 1  # of 175, just 25 before
    expected[2, 0, 1] = 1  # of 130; that of 100 is 100 before, and too old
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(age_counts(EVENTS, 174, 1, 1000)[0], [[1, 1, 0], [0, 0, 0]])
    assert age_counts(EVENTS, 180, 1, 1000).sum() == 3, 'what is after the end does not count'
    assert not age_counts(no_events((2, 3)), 200, 4, 25).any()


@pytest.mark.parametrize(('bins', 'bin_ns'), [(0, 25), (4, 0)])
def test_ages_need_bins(bins: int, bin_ns: int) -> None:
    with pytest.raises(ValueError, match='both must be positive'):
        age_counts(EVENTS, 200, bins, bin_ns)
