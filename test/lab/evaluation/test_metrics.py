"""Scores equal their formulas, and are None rather than a number where there is nothing."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asyncmde_ros.lab.evaluation import metrics
from asyncmde_ros.lab.evaluation.metrics import (
    FrameScores,
    mean_scores,
    resize_to,
    score,
    scores_against_teacher,
)

SHAPE = (5, 9)
MAX_DEPTH_M = 10.0

depths = hnp.arrays(np.float32, SHAPE, elements=st.floats(0.0625, 20, width=32))
holes = st.sampled_from([math.nan, math.inf, 0.0, -1.0])
broken_depths = hnp.arrays(np.float32, SHAPE,
                           elements=st.floats(0.0625, 20, width=32) | holes)
masks = hnp.arrays(np.bool_, SHAPE)


def brute_force(depth: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> FrameScores:
    """Score pixel by pixel, in the words of the docstring."""
    rows, cols = truth.shape
    at = [(row, col) for row in range(rows) for col in range(cols)]
    valid = {p for p in at if mask[p] and 1e-3 < truth[p] < MAX_DEPTH_M}
    scored = [p for p in at if p in valid and math.isfinite(depth[p]) and depth[p] > 0]
    coverage = len(scored) / len(valid) if valid else None
    if not scored:
        return FrameScores(None, None, None, None, None, None, None, 0, coverage)
    d = {p: float(depth[p]) for p in scored}
    g = {p: float(truth[p]) for p in valid}
    ratios = [max(d[p] / g[p], g[p] / d[p]) for p in scored]
    edges = [(p, q) for p in valid for q in ((p[0], p[1] + 1), (p[0] + 1, p[1])) if q in valid
             and abs(g[p] - g[q]) > 0.1 * min(g[p], g[q])]
    sides = {p for edge in edges for p in edge}
    near = [abs(d[p] - g[p]) / g[p] for p in scored
            if any(max(abs(p[0] - e[0]), abs(p[1] - e[1])) <= 3 for e in sides)]
    steepness = [abs(math.log(d[p] / d[q])) / abs(math.log(g[p] / g[q])) for p, q in edges
                 if p in d and q in d]
    return FrameScores(
        absrel=sum(abs(d[p] - g[p]) / g[p] for p in scored) / len(scored),
        rmse=math.sqrt(sum((d[p] - g[p]) ** 2 for p in scored) / len(scored)),
        delta1=sum(r < 1.25 for r in ratios) / len(scored),
        delta2=sum(r < 1.25 ** 2 for r in ratios) / len(scored),
        delta3=sum(r < 1.25 ** 3 for r in ratios) / len(scored),
        edge_absrel=sum(near) / len(near) if near else None,
        edge_sharpness=float(np.median(steepness)) if steepness else None,
        pixels=len(scored), coverage=coverage)


@given(broken_depths, broken_depths, masks)
def test_equals_brute_force(depth: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> None:
    found = astuple(score(depth, truth, MAX_DEPTH_M, mask))
    for value, expected in zip(found, astuple(brute_force(depth, truth, mask)), strict=True):
        assert (value is None) == (expected is None)
        assert value is None or value == pytest.approx(expected, rel=1e-9)


def test_by_hand() -> None:
    truth = np.array([[1, 2, 4, 5, 10, 0]])  # the last two do not count
    depth = np.array([[1.2, 2, 6, 2.5, 7, 7]])
    scores = score(depth, truth, MAX_DEPTH_M)
    assert scores.absrel == pytest.approx((0.2 + 0 + 0.5 + 0.5) / 4)
    assert scores.rmse == pytest.approx(math.sqrt((0.04 + 0 + 4 + 6.25) / 4))
    # Ratios 1.2, 1, 1.5, 2 against 1.25, 1.5625, 1.953125.
    assert (scores.delta1, scores.delta2, scores.delta3) == (0.5, 0.75, 0.75)
    assert (scores.pixels, scores.coverage) == (4, 1.0)


def test_a_perfect_prediction() -> None:
    truth = np.linspace(1, 9, 45).reshape(SHAPE)
    assert score(truth, truth, MAX_DEPTH_M) == FrameScores(0, 0, 1, 1, 1, 0, 1, 45, 1)


def step(near_m: float = 2, far_m: float = 4, at: int = 10) -> np.ndarray:
    depth = np.full((6, 20), near_m, np.float32)
    depth[:, at:] = far_m
    return depth


def test_edges_reach_three_pixels_to_either_side() -> None:
    depth = step()
    depth[:, 6] *= 2  # the fourth pixel from the left side of the step, column 9, is the third
    inside = score(depth, step(), MAX_DEPTH_M)
    assert inside.edge_absrel == pytest.approx(1 / 8)
    depth = step()
    depth[:, 5] *= 2
    outside = score(depth, step(), MAX_DEPTH_M)
    assert outside.edge_absrel == 0 and outside.absrel == pytest.approx(1 / 20)


def test_a_scene_without_steps_has_no_edge_scores() -> None:
    slope = np.tile(2 * 1.09 ** np.arange(12), (4, 1))  # 9 % from one pixel to the next
    scores = score(slope, slope, MAX_DEPTH_M)
    assert scores.edge_absrel is None and scores.edge_sharpness is None and scores.absrel == 0


def test_a_hole_between_two_depths_is_no_edge() -> None:
    truth = step()
    truth[:, 10] = 0
    assert score(truth, truth, MAX_DEPTH_M).edge_absrel is None


def test_sharpness() -> None:
    truth = step()
    assert score(truth, truth, MAX_DEPTH_M).edge_sharpness == pytest.approx(1)
    assert score(3 * truth, truth, MAX_DEPTH_M).edge_sharpness == pytest.approx(1)  # of scale
    assert score(step(2, 2), truth, MAX_DEPTH_M).edge_sharpness == 0
    assert score(step(at=11), truth, MAX_DEPTH_M).edge_sharpness == 0  # sharp, elsewhere
    blurred = step()
    blurred[:, 9:11] = [2 * 2 ** (1 / 4), 2 * 2 ** (3 / 4)]  # half of the step in log depth
    assert score(blurred, truth, MAX_DEPTH_M).edge_sharpness == pytest.approx(0.5)


def test_holes_in_the_prediction_show_as_coverage() -> None:
    depth = step()
    depth[0], depth[1], depth[2] = np.nan, np.inf, 0
    scores = score(depth, step(), MAX_DEPTH_M)
    assert (scores.absrel, scores.pixels, scores.coverage) == (0, 60, 0.5)


@pytest.mark.parametrize('truth', [np.zeros((6, 20)), np.full((6, 20), np.nan),
                                   np.full((6, 20), MAX_DEPTH_M)])
def test_a_frame_without_truth_is_undefined(truth: np.ndarray) -> None:
    assert score(step(), truth, MAX_DEPTH_M) == FrameScores(*[None] * 7, pixels=0, coverage=None)


def test_an_empty_mask_is_undefined() -> None:
    scores = score(step(), step(), MAX_DEPTH_M, np.zeros((6, 20), bool))
    assert scores == FrameScores(*[None] * 7, pixels=0, coverage=None)


def test_a_frame_without_prediction_is_undefined_and_uncovered() -> None:
    scores = score(np.full((6, 20), np.nan), step(), MAX_DEPTH_M)
    assert scores == FrameScores(*[None] * 7, pixels=0, coverage=0.0)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match='shapes differ'):
        score(step(), step()[:, 1:], MAX_DEPTH_M)
    with pytest.raises(ValueError, match='shapes differ'):
        scores_against_teacher(step(), step()[:, 1:])


def test_the_mean_is_over_the_frames_that_are_defined() -> None:
    undefined = score(step(), np.zeros((6, 20)), MAX_DEPTH_M)
    good, bad = score(step(), step(), MAX_DEPTH_M), score(2 * step(), step(), MAX_DEPTH_M)
    flat = score(step(2, 2), step(2, 2), MAX_DEPTH_M)
    mean = mean_scores([good, undefined, bad, flat])
    assert mean.absrel == pytest.approx(1 / 3)
    assert mean.edge_absrel == pytest.approx(1 / 2)  # the flat frame has no edges
    assert (mean.pixels, mean.coverage) == (360, 1)
    nothing = FrameScores(*[None] * 7, pixels=0, coverage=None)
    assert mean_scores([]) == mean_scores([undefined]) == nothing


def test_resizing_is_bilinear() -> None:
    ramp = np.arange(4, dtype=np.float64)[None].repeat(4, axis=0)
    resized = resize_to(ramp, (4, 8))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized[0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    np.testing.assert_array_equal(resize_to(ramp, (4, 4)), ramp)


def test_a_hole_in_a_prediction_stays_one_when_resized() -> None:
    prediction = np.ones((6, 6))
    prediction[3, 3] = np.nan
    resized = resize_to(prediction, (12, 12))
    assert np.isnan(resized[6:8, 6:8]).all() and np.isfinite(resized[:4, :4]).all()


def test_the_teacher_agrees_with_any_affine_version_of_itself(rng: np.random.Generator) -> None:
    teacher = rng.uniform(1, 5, (8, 8)).astype(np.float32)
    for prediction in (teacher, 3 * teacher + 7, -teacher):
        scores = scores_against_teacher(prediction, teacher)
        assert scores.absrel == pytest.approx(0, abs=1e-5)
        assert (scores.delta1, scores.pixels, scores.coverage) == (1, 64, 1)


def test_closeness_to_the_teacher_by_hand() -> None:
    # A constant prediction becomes the mean inverse depth, 2: depth ratios 1/2, 1, 3/2 of
    # the teacher's.
    scores = scores_against_teacher(np.full((1, 3), 9.0), np.array([[1.0, 2, 3]]))
    assert scores.absrel == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert scores.delta1 == pytest.approx(1 / 3)


def test_what_the_teacher_calls_far_away_does_not_count(rng: np.random.Generator) -> None:
    teacher = rng.uniform(1, 5, (8, 8))
    prediction = teacher.copy()
    teacher[0] = [0, 1e-6, 0.01, -1, 0.2, 0, 0, 0]  # below 5 % of nearly 5
    prediction[0] = 100
    scores = scores_against_teacher(prediction, teacher)
    assert scores.absrel == pytest.approx(0, abs=1e-9) and scores.pixels == 56


def test_a_fit_below_the_floor_is_bounded() -> None:
    teacher = np.array([[1.0, 1, 1, 1, 20]])  # floor 0.05 * 16.2
    prediction = np.array([[1.0, 1, 1, -30, 20]])
    scores = scores_against_teacher(prediction, teacher)
    assert scores.absrel is not None and scores.absrel < 20 / 0.81


def test_the_teacher_or_the_prediction_without_anything() -> None:
    ones = np.ones((4, 4))
    nearly_all_far = np.zeros((10, 10))
    nearly_all_far[0, :3] = 1
    assert scores_against_teacher(np.ones((10, 10)), nearly_all_far).absrel is None
    for teacher in (np.zeros((4, 4)), -ones, np.nan * ones):
        scores = scores_against_teacher(ones, teacher)
        assert scores.absrel is None and scores.pixels == 0 and scores.coverage is None
    scores = scores_against_teacher(np.nan * ones, ones)
    assert (scores.absrel, scores.delta1, scores.coverage) == (None, None, 0.0)
    half = np.where(np.arange(16).reshape(4, 4) < 8, np.nan, 1.0)
    assert scores_against_teacher(half, ones).coverage == 0.5


@given(depths, depths)
def test_closeness_is_the_formula(prediction: np.ndarray, teacher: np.ndarray) -> None:
    scores = scores_against_teacher(prediction, teacher)
    floor = 0.05 * np.percentile(teacher, 95)
    used = teacher > floor
    fitted = metrics.alignment.fit(prediction, teacher, used)
    assert fitted is not None
    mine = 1 / np.maximum(fitted.scale * prediction[used].astype(float) + fitted.shift, floor)
    its = 1 / teacher[used].astype(float)
    assert scores.absrel == pytest.approx(np.mean(np.abs(mine - its) / its))
    assert scores.delta1 == pytest.approx(np.mean(np.maximum(mine / its, its / mine) < 1.25))
