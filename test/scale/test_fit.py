"""Scale and shift of one map, by points of which some are wrong."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.scale.fit import fit, median
from asyncmde_ros.scale.observations import CELLS, Samples

A, B = 0.04, 0.05


def samples(relative: npt.ArrayLike, inverse_depth: npt.ArrayLike, share: float = 0.01) -> Samples:
    r, q = np.asarray(relative, float), np.asarray(inverse_depth, float)
    return Samples(r, q, share * q, np.ones(r.size))


def room(count: int, rng: np.random.Generator, shape_error: float = 0.0) -> Samples:
    r = rng.uniform(0.5, 20, count)
    q = (A * r + B) * (1 + shape_error * rng.standard_normal(count))
    return samples(r, q)


def test_points_on_the_line_give_it() -> None:
    found = fit(room(50, np.random.default_rng(1)), 0.0)
    assert found is not None and not found.degenerate
    assert (found.a, found.b) == (pytest.approx(A), pytest.approx(B))
    assert found.inliers.all() and found.residual == pytest.approx(0, abs=1e-9)


@pytest.mark.proves('scale-wrong-points')
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2 ** 32 - 1), share=st.floats(0, 0.35),
       factor=st.floats(-3, 3), unit=st.sampled_from([1e-4, 1.0, 1e4]))
def test_gross_outliers_do_not_matter(seed: int, share: float, factor: float,
                                      unit: float) -> None:
    rng = np.random.default_rng(seed)
    clean = room(60, rng, 0.01)
    q = clean.inverse_depth.copy()
    wrong = rng.choice(60, int(share * 60), replace=False)
    factor = factor if abs(factor) > 0.7 else 1.0
    q[wrong] *= np.exp(factor * rng.uniform(0.8, 1.2, len(wrong)))
    found = fit(samples(clean.relative * unit, q), 0.0)
    assert found is not None and not found.degenerate
    near, far = found.a * unit * 15 + found.b, found.a * unit * 1 + found.b
    assert near == pytest.approx(A * 15 + B, rel=0.03)
    assert far == pytest.approx(A + B, rel=0.06)


@pytest.mark.proves('scale-wrong-points')
def test_an_object_that_moves_does_not_matter() -> None:
    """Ten points that agree with each other, at a distance of their own."""
    rng = np.random.default_rng(3)
    world = room(40, rng, 0.02)
    r = np.concatenate([world.relative, np.linspace(9, 11, 10)])
    q = np.concatenate([world.inverse_depth, np.full(10, 2.0)])
    found = fit(samples(r, q), 0.0)
    assert found is not None and not found.inliers[40:].any()
    assert found.a * 10 + found.b == pytest.approx(A * 10 + B, rel=0.03)


def test_the_covariance_is_that_of_repeated_fits() -> None:
    found = [fit(room(60, np.random.default_rng(seed), 0.05), 0.0) for seed in range(200)]
    values = np.array([(one.a, one.b) for one in found if one is not None])
    stated = np.mean([one.covariance for one in found if one is not None], axis=0)
    assert len(values) == 200
    ratio = np.cov(values.T) / stated
    assert 0.5 < ratio.min() and ratio.max() < 2
    assert values.mean(axis=0) == pytest.approx([A, B], rel=0.05)


@pytest.mark.proves('scale-degenerate')
@settings(max_examples=40, deadline=None)
@given(relative=st.floats(0.5, 20), count=st.integers(1, 40), shift=st.floats(-0.01, 0.05),
       seed=st.integers(0, 2 ** 32 - 1))
def test_all_at_one_distance_holds_the_shift(relative: float, count: int, shift: float,
                                             seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = (A * relative + B) * (1 + 0.01 * rng.standard_normal(count))
    found = fit(samples(relative * (1 + 1e-3 * rng.standard_normal(count)), q), shift)
    assert found is not None and found.degenerate
    assert found.b == shift
    assert found.a * relative + shift == pytest.approx(A * relative + B, rel=0.03)


def test_a_wall_in_a_noisy_map_is_at_one_distance() -> None:
    """The map's noise looks like a range of distances; one blurred edge even like a slope."""
    rng = np.random.default_rng(0)
    r = np.concatenate([0.75 * (1 + 0.1 * rng.standard_normal(300)), np.linspace(3, 5, 5)])
    q = np.concatenate([0.078 * (1 + 0.01 * rng.standard_normal(300)), np.linspace(0.08, 0.1, 5)])
    found = fit(samples(r, q), 0.0)
    assert found is not None and found.degenerate
    assert found.a == pytest.approx(0.078 / 0.75, rel=0.03)


def test_a_single_range_is_one_equation() -> None:
    found = fit(samples([4.0], [0.5]), 0.1)
    assert found is not None and found.degenerate
    assert (found.a, found.b) == (pytest.approx(0.1), 0.1)
    assert found.covariance[0, 0] > 0


def test_what_falls_with_what_should_rise_gives_no_negative_scale() -> None:
    r = np.linspace(1, 10, 30)
    found = fit(samples(r, 1 - 0.09 * r), 0.0)
    assert found is None or found.a > 0


def test_points_of_one_cell_do_not_tell_the_shift() -> None:
    """Many points on one small thing are one opinion."""
    r = np.linspace(3, 6, 100)
    some = Samples(r, A * r + B, 0.001 * r, np.full(100, 1 / 100))
    found = fit(some, 0.0)
    assert found is not None and found.degenerate


def test_without_a_point_there_is_no_fit() -> None:
    assert fit(samples([], []), 0.0) is None
    assert fit(samples([0.0], [0.5]), 0.0) is None, 'the map is 0 there: no scale makes it 0.5'


def test_the_same_points_give_the_same_fit() -> None:
    first, second = (fit(room(300, np.random.default_rng(2), 0.1), 0.0) for _ in range(2))
    assert first is not None and second is not None
    assert (first.a, first.b) == (second.a, second.b)


def test_what_points_have_wrong_in_common_is_wrong_in_the_fit() -> None:
    """Too near by 0.01/m is a shift of it, by 2 % a scale of both, half of the points a mean."""
    clean = room(60, np.random.default_rng(4))
    q = clean.inverse_depth
    half = np.where(np.arange(60) % 2, 0.01, 0)
    some = replace(clean, common=np.stack([np.full(60, 0.01), 0.02 * q, half], 1),
                   errors=(('a', 0), ('a', 1), ('b', 0)))
    found = fit(some, 0.0)
    assert found is not None and found.errors == some.errors
    assert found.common[:, 0] == pytest.approx([0, 0.01], abs=1e-6)
    assert found.common[:, 1] == pytest.approx([0.02 * A, 0.02 * B], rel=1e-4)
    centre, mean = (np.average(some, weights=1 / q ** 2) for some in (clean.relative, half))
    assert found.common[:, 2] @ (centre, 1) == pytest.approx(mean, rel=0.01)
    assert found.covariance == pytest.approx(fit(clean, 0.0).covariance)  # type: ignore


def test_a_held_shift_holds_what_is_wrong_in_common_too() -> None:
    wall = samples(np.full(30, 5.0), np.full(30, 0.3))
    found = fit(replace(wall, common=np.full((30, 1), 0.01), errors=(('a', 0),)), 0.05)
    assert found is not None and found.degenerate
    assert found.common[:, 0] == pytest.approx([0.002, 0])


@pytest.mark.parametrize('count', [1, 2, 3, 10, 101])
def test_the_median_is_numpys(count: int) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    assert median(values) == np.median(values)


@pytest.mark.parametrize('seed', range(30))
def test_the_fit_is_where_the_textbook_s_reweighting_ends(seed: int) -> None:
    """Least squares by np.linalg, from where the fit ended and for ten rounds: nothing moves.

    One room in a thousand has a point at the limit of what counts, and two ends; none of these.
    """
    rng = np.random.default_rng(seed)
    count, wrong, shape = int(rng.integers(50, 300)), rng.uniform(0, 0.3), rng.uniform(0, 0.15)
    some = room(count, rng, shape)
    q = some.inverse_depth * np.where(rng.random(count) < wrong, rng.uniform(0.2, 5, count), 1)
    some = replace(samples(some.relative, q), weight=1 / rng.integers(1, 4, count))
    found = fit(some, 0.0)
    assert found is not None and not found.degenerate
    line = np.array([found.a, found.b])
    rows = np.stack([some.relative, np.ones(count)], axis=1)
    error = float(np.median(np.abs(q / (rows @ line) - 1)[found.inliers]))
    for _ in range(10):
        p = rows @ line
        sigma = np.hypot(some.sigma, np.clip(1.4826 * error, 0.01, 0.3) * p)
        distance = np.abs(q - p) / sigma
        inliers = distance < 4
        weight = some.weight * inliers * np.minimum(1, 1.345 / np.maximum(distance, 1e-9))
        root = np.sqrt(weight) / sigma
        line = np.linalg.lstsq(rows * root[:, None], q * root, rcond=None)[0]
        error = float(np.median(np.abs(q / (rows @ line) - 1)[inliers]))
    away = line - (found.a, found.b)
    assert away @ np.linalg.inv(found.covariance) @ away < 0.02 ** 2
    assert np.linalg.inv((rows * root[:, None]).T @ (rows * root[:, None])) == pytest.approx(
        found.covariance, rel=0.02)


def test_no_line_puts_the_map_behind_the_camera_where_another_fits() -> None:
    """Most points are of a line that falls to 0 in the midst of what the map has."""
    r = np.linspace(2, 4, 60)
    q = 0.15 * (r - 1)
    q[::5], q[1::5] = (0.02 * some + 0.9 for some in (r[::5], r[1::5]))
    free, bound = (fit(samples(r, q), 0.9, whole=whole)
                   for whole in (None, np.linspace(0.2, 4, CELLS ** 2)))
    assert free is not None and (free.a, free.b) == (pytest.approx(0.15), pytest.approx(-0.15))
    assert bound is not None and (bound.a, bound.b) == (pytest.approx(0.02), pytest.approx(0.9))


def test_a_line_through_part_of_a_scan_does_not_beat_what_is_about_right_everywhere() -> None:
    """As a wall that the network has turned, and two things in front of it."""
    rng = np.random.default_rng(5)
    r = np.concatenate([np.linspace(0.5, 2, 200), np.linspace(2, 2.4, 80)])
    q = np.concatenate([np.linspace(0.13, 0.2, 200), np.linspace(0.25, 0.3, 80)])
    found = fit(samples(r, q * (1 + 0.05 * rng.standard_normal(280))), 0.0)
    assert found is not None and np.count_nonzero(found.inliers) > 250
