"""Scale and shift are least squares, frame by frame or over a sequence, and say when undefined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asyncmde_ros.lab.evaluation import alignment
from asyncmde_ros.lab.evaluation.alignment import ScaleShift, fit, fit_sequence, to_depth

EVERYWHERE = np.ones((2, 3), bool)
PREDICTION = np.array([[1, 2, 3], [4, 5, 6]], np.float32)

frames = hnp.arrays(np.float32, (3, 8), elements=st.floats(-100, 100, width=32))
masks = hnp.arrays(np.bool_, (3, 8))


def test_an_affine_prediction_is_recovered() -> None:
    found = fit(PREDICTION, 0.25 * PREDICTION.astype(np.float64) + 0.5, EVERYWHERE)
    assert found is not None
    assert (found.scale, found.shift) == pytest.approx((0.25, 0.5), abs=1e-12)


def test_by_hand() -> None:
    # Points (0, 1), (1, 1), (2, 4): slope 3/2, through the means (1, 2).
    found = fit(np.array([0., 1, 2]), np.array([1., 1, 4]), np.ones(3, bool))
    assert found is not None
    assert (found.scale, found.shift) == pytest.approx((1.5, 0.5))


@given(frames, frames, masks)
def test_equals_numpys_least_squares(prediction: np.ndarray, truth: np.ndarray,
                                     mask: np.ndarray) -> None:
    found = fit(prediction, truth, mask)
    p, g = prediction[mask].astype(np.float64), truth[mask].astype(np.float64)
    if p.size < 2:
        assert found is None
        return
    assert found is not None
    design = np.stack([p, np.ones_like(p)], axis=1)
    solution, *_ = np.linalg.lstsq(design, g, rcond=None)

    def loss(scale: float, shift: float) -> float:
        return float(((scale * p + shift - g) ** 2).sum())

    # Almost constant predictions have many near-solutions: compare what is minimised.
    assert loss(found.scale, found.shift) <= loss(*solution) * (1 + 1e-6) + 1e-6


@given(st.lists(st.tuples(frames, frames, masks), max_size=4))
def test_a_sequence_equals_one_large_frame(parts: list) -> None:
    found = fit_sequence(iter(parts))
    if not parts:
        assert found is None
        return
    whole = fit(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    assert (found is None) == (whole is None)
    if found and whole:
        p = np.concatenate([part[0][part[2]] for part in parts]).astype(np.float64)
        np.testing.assert_allclose(found.scale * p + found.shift,
                                   whole.scale * p + whole.shift, rtol=1e-6, atol=1e-6)


def test_a_sequences_fit_is_not_the_mean_of_its_frames() -> None:
    line = np.array([[0., 1]])
    both = np.ones((1, 2), bool)
    found = fit_sequence([(line, line, both), (line, line + 1, both)])
    assert found == ScaleShift(1.0, 0.5)
    assert fit_sequence([(line, line, both), (10 * line, 10 * line, both)]) == ScaleShift(1, 0)


@pytest.mark.parametrize('value', [0.0, 0.1, -3.7, 1e6])
def test_a_constant_prediction_gives_the_mean_truth(value: float) -> None:
    found = fit(np.full((2, 3), value, np.float32), PREDICTION, EVERYWHERE)
    assert found == ScaleShift(0.0, 3.5)
    assert fit_sequence([(np.full((2, 3), value, np.float32), PREDICTION, EVERYWHERE)] * 3
                        ) == ScaleShift(0.0, 3.5)


def test_a_prediction_that_barely_varies_is_not_constant() -> None:
    prediction = np.ones((2, 3), np.float32)
    prediction[0, 0] = np.nextafter(np.float32(1), np.float32(2))
    found = fit(prediction, np.where(prediction > 1, 2.0, 1.0), EVERYWHERE)
    assert found is not None
    assert found.scale == pytest.approx(1 / np.spacing(np.float32(1)))


def test_too_few_pixels_have_no_fit() -> None:
    mask = np.zeros((2, 3), bool)
    assert fit(PREDICTION, PREDICTION, mask) is None
    mask[0, 0] = True
    assert fit(PREDICTION, PREDICTION, mask) is None
    mask[1, 1] = True
    assert fit(PREDICTION, PREDICTION, mask) is not None
    assert fit_sequence([]) is None
    # Two frames with a pixel each have two pixels.
    mask[1, 1] = False
    assert fit_sequence([(PREDICTION, PREDICTION, mask)] * 2) == ScaleShift(0.0, 1.0)


@pytest.mark.parametrize('hole', [np.nan, np.inf, -np.inf])
def test_holes_are_left_out(hole: float) -> None:
    prediction, truth = PREDICTION.copy(), 2.0 * PREDICTION.astype(np.float64)
    prediction[0, 0], truth[0, 1] = hole, hole
    assert fit(prediction, truth, EVERYWHERE) == ScaleShift(2.0, 0.0)
    assert fit(np.full((2, 3), hole), truth, EVERYWHERE) is None


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match='shapes differ'):
        fit(PREDICTION, PREDICTION.T, EVERYWHERE)


def test_valid_truth_is_between_the_bounds() -> None:
    truth = np.array([np.nan, -1, 0, 1e-3, 2e-3, 9.99, 10, np.inf])
    np.testing.assert_array_equal(alignment.valid_truth(truth, 10), [0, 0, 0, 0, 1, 1, 0, 0])


def test_inverse_truth() -> None:
    truth = np.array([0, 4, np.nan], np.float32)
    np.testing.assert_array_equal(
        alignment.inverse_truth(truth, alignment.valid_truth(truth, 10)), [0, 0.25, 0])


def test_depth_by_hand() -> None:
    # Inverse depths 2, 0.5, 0.05, 0, -1 and 3000 per metre, 10 m at most.
    prediction = np.array([1, 0.25, 0.025, 0, -0.5, 1500])
    depth = to_depth(prediction, ScaleShift(2, 0), 10)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [0.5, 2, 10, 10, 10, 1e-3], rtol=1e-6)


def test_what_is_not_finite_does_not_become_depth() -> None:
    prediction = np.array([np.nan, np.inf, -np.inf, 1])
    for scale in (2, -2, 0):
        depth = to_depth(prediction, ScaleShift(scale, 3), 10)
        np.testing.assert_array_equal(np.isfinite(depth), [0, 0, 0, 1])


@given(frames, st.floats(-10, 10), st.floats(-10, 10))
def test_depth_is_within_its_bounds(prediction: np.ndarray, scale: float, shift: float) -> None:
    depth = to_depth(prediction, ScaleShift(scale, shift), 8)
    assert depth.min() >= np.float32(1e-3) and depth.max() <= 8
