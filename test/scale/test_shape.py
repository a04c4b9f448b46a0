"""How far fits to a few places of a map are from the fit to all of it."""

import numpy as np
import numpy.typing as npt
import pytest

from asyncmde_ros.scale.fit import Fit, fit
from asyncmde_ros.scale.observations import CELLS, Observations, PastMap, overview, sample
from asyncmde_ros.scale.shape import KERNEL, SHAPE_ERROR, gain_of_all, straying

SHAPE = (96, 128)
ROWS, COLS = np.mgrid[0:SHAPE[0], 0:SHAPE[1]]
ROOM = (2 + np.abs(ROWS - 48) / 12 + COLS / 32).astype(np.float32)
A, B = 0.04, 0.05


def measured(rows: npt.ArrayLike, cols: npt.ArrayLike, wrong: float | npt.ArrayLike = 0.0) -> Fit:
    """Fit to pixels, where inverse depth is larger than the map says by a share."""
    rows, cols = np.broadcast_arrays(rows, cols)
    q = (A * ROOM[rows, cols] + B) * (1 + np.asarray(wrong))
    seen = Observations(np.stack([cols, rows], 1).astype(float), q, 0.01 * q, SHAPE, 0.0, 'any')
    found = fit(sample([(PastMap(0.0, ROOM, 1.0, 0.0), seen)]), 0.0, whole=overview(ROOM))
    assert found is not None
    return found


def test_an_overview_is_the_map_at_the_middles_of_cells() -> None:
    wide, tall = (overview(some).reshape(CELLS, CELLS) for some in (ROOM, ROOM.T))
    assert wide[0, 0] == ROOM[4, 4] and wide[11, 15] == ROOM[92, 124]
    assert np.isnan(wide[12:]).all() and np.isfinite(wide[:12]).all()
    assert np.array_equal(tall, wide.T, equal_nan=True)


def test_a_line_is_less_sure_than_points_all_over() -> None:
    rng = np.random.default_rng(0)
    everywhere = measured(rng.integers(0, 96, 128), rng.integers(0, 128, 128))
    line = measured(48, np.arange(128))
    shares = [np.sqrt(one.covariance[0, 0]) / one.a for one in (everywhere, line)]
    assert shares[0] < 0.05 and shares[1] > 0.1
    assert line.a == pytest.approx(A, rel=1e-3), 'it is as it was, but less sure'


def test_the_gain_of_all_is_what_a_fit_gains() -> None:
    """Weighted least squares by np.linalg, of a map that is wrong in one cell."""
    whole = overview(ROOM)
    known = np.isfinite(whole)
    gain = gain_of_all(A, B, whole, 0.2)
    p = A * whole[known] + B
    rows = np.stack([whole[known], np.ones(p.size)], 1) / p[:, None]
    for cell in (0, 77, 190):
        error = np.zeros(p.size)
        error[cell] = 0.01
        moved = np.linalg.lstsq(rows, 1 + error, rcond=None)[0] - (A, B)
        assert gain[:, np.flatnonzero(known)[cell]] * 0.01 == pytest.approx(moved, rel=1e-6)


def test_the_covariance_is_that_of_shapes_that_are_wrong() -> None:
    """Lines in maps with errors drawn from the field that is assumed, against the whole map."""
    rng = np.random.default_rng(1)
    root = np.linalg.cholesky(KERNEL + 1e-9 * np.eye(CELLS))
    line, cells = measured(48, np.arange(128)), np.isfinite(overview(ROOM))
    gain = gain_of_all(A, B, overview(ROOM), 0.2)
    away = []
    for _ in range(60):
        field = 0.2 * SHAPE_ERROR * root @ rng.standard_normal((CELLS, CELLS)) @ root.T
        along = np.interp(np.arange(128), 8 * np.arange(CELLS) + 3.5, field[6])
        found = measured(48, np.arange(128), along)
        away.append(np.array([found.a, found.b]) - (A, B) - gain[:, cells] @ field.ravel()[cells])
    stated = 0.2 ** 2 * line.covariance
    ratio = np.diag(np.mean([np.outer(one, one) for one in away], axis=0)) / np.diag(stated)
    assert 0.4 < ratio.min() and ratio.max() < 2


def test_a_flat_map_has_no_gain() -> None:
    flat = np.where(np.isfinite(overview(ROOM)), 3.0, np.nan)
    assert not gain_of_all(A, B, flat, 0.2).any()
    assert np.array_equal(straying(np.zeros((2, CELLS ** 2))), np.zeros((2, 2)))
