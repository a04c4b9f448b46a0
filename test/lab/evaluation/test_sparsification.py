"""The area under the sparsification error equals its definition, and ranks trust rightly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asyncmde_ros.lab.evaluation.sparsification import STEPS, sparsification

SHAPE = (8, 10)
MAX_DEPTH_M = 10.0

depths = hnp.arrays(np.float32, SHAPE, elements=st.floats(0.125, 12, width=32))
trusts = hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))


def removed_one_by_one(error: np.ndarray, order: np.ndarray) -> float:
    """Return the mean over the steps of what is left, by sorting and cutting off."""
    kept = error[np.argsort(-order, kind='stable')]
    return float(np.mean([kept[:round(kept.size * (1 - step / STEPS))].mean()
                          for step in range(STEPS)]))


def distinct(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return depth, truth and trust, no two trusts alike, of a multiple of STEPS pixels."""
    truth = rng.uniform(1, 9, SHAPE).astype(np.float32)
    depth = truth * rng.uniform(0.5, 2, SHAPE).astype(np.float32)
    return depth, truth, rng.permutation(truth.size).reshape(SHAPE).astype(np.float32)


def test_it_is_the_area_between_the_two_curves(rng: np.random.Generator) -> None:
    depth, truth, trust = distinct(rng)
    error = (np.abs(depth.astype(np.float64) - truth) / truth).ravel()
    oracle = removed_one_by_one(error, -error)
    found = sparsification(depth, truth, MAX_DEPTH_M, trust)
    assert found is not None
    assert found.trust == pytest.approx(
        (removed_one_by_one(error, trust.ravel()) - oracle) / error.mean())
    assert found.constant == pytest.approx((error.mean() - oracle) / error.mean())


@given(depths, depths, trusts)
def test_no_trust_is_better_than_the_errors_own_order(depth: np.ndarray, truth: np.ndarray,
                                                      trust: np.ndarray) -> None:
    found = sparsification(depth, truth, MAX_DEPTH_M, trust)
    if found is not None:
        assert found.trust >= -1e-9
        assert found.constant >= -1e-9


@given(depths, depths, st.floats(0, 1))
def test_one_value_everywhere_is_the_constant(depth: np.ndarray, truth: np.ndarray,
                                              value: float) -> None:
    found = sparsification(depth, truth, MAX_DEPTH_M, np.full(SHAPE, value))
    if found is not None:
        assert found.trust == pytest.approx(found.constant)


def test_right_trust_beats_a_constant_and_wrong_trust_is_worse(rng: np.random.Generator) -> None:
    depth, truth, _ = distinct(rng)
    error = np.abs(depth - truth) / truth
    right, wrong = (sparsification(depth, truth, MAX_DEPTH_M, sign * error) for sign in (-1, 1))
    assert right is not None and wrong is not None
    assert right.trust == pytest.approx(0, abs=1e-6)
    assert wrong.trust > right.constant > 0


def test_ties_do_not_depend_on_where_pixels_stand(rng: np.random.Generator) -> None:
    depth, truth, _ = distinct(rng)
    trust = rng.integers(0, 3, SHAPE).astype(np.float32)
    mirrored = sparsification(depth[::-1, ::-1], truth[::-1, ::-1], MAX_DEPTH_M,
                              trust[::-1, ::-1])
    assert sparsification(depth, truth, MAX_DEPTH_M, trust) == pytest.approx(mirrored)


def test_what_is_not_scored_does_not_count(rng: np.random.Generator) -> None:
    depth, truth, trust = distinct(rng)
    whole = sparsification(depth[:4], truth[:4], MAX_DEPTH_M, trust[:4])
    truth[4:] = 0
    assert sparsification(depth, truth, MAX_DEPTH_M, trust) == whole
    depth[:] = np.nan
    assert sparsification(depth, truth, MAX_DEPTH_M, trust) is None


def test_where_trust_is_unknown_it_is_the_least(rng: np.random.Generator) -> None:
    depth, truth, trust = distinct(rng)
    known = sparsification(depth, truth, MAX_DEPTH_M, trust)
    trust[trust == 0] = np.nan
    assert sparsification(depth, truth, MAX_DEPTH_M, trust) == known


def test_perfect_depth_has_nothing_to_remove() -> None:
    truth = np.full(SHAPE, 2, np.float32)
    assert sparsification(truth, truth, MAX_DEPTH_M, np.ones(SHAPE)) is None


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match='shapes differ'):
        sparsification(np.ones(SHAPE), np.ones(SHAPE), MAX_DEPTH_M, np.ones((2, 2)))
