"""Scores of samples: invariant, ordered, and undisturbed by a few wild pixels."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.lab.training.quality import (
    Thresholds,
    depth_distribution_score,
    gradient_continuity_score,
    reason_to_drop,
)

SIZE = (60, 80)
RAMP = np.add.outer(np.linspace(0, 1, SIZE[0]), np.linspace(0, 0.02, SIZE[1]))
NOISE = np.random.default_rng(0).random(SIZE)
CONSTANT = np.full(SIZE, 3.0)
SCORES = (depth_distribution_score, gradient_continuity_score)


def scene() -> np.ndarray:
    """Return a floor that comes nearer, a box on it and a far wall."""
    depth = np.tile(np.linspace(-1, 4, SIZE[0]).clip(0)[:, None], SIZE[1])
    depth[20:45, 20:40] = 3.5
    return cv2.GaussianBlur(depth, (0, 0), 0.7)


@pytest.mark.parametrize('score', SCORES)
@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-2, 1e3), shift=st.floats(-100, 100))
def test_scale_and_shift_do_not_matter(score, scale: float, shift: float) -> None:
    for depth in (RAMP, NOISE):
        # Values at the border of two bins may change sides by rounding.
        assert score(scale * depth + shift) == pytest.approx(score(depth), abs=0.02)


@pytest.mark.parametrize('score', SCORES)
@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 12), cols=st.integers(1, 12), seed=st.integers(0, 1000))
def test_scores_of_any_map_are_shares(score, rows: int, cols: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth = rng.random((rows, cols), np.float32)
    depth[rng.random((rows, cols)) < 0.3] = rng.choice([np.nan, np.inf, -np.inf])
    assert 0 <= score(depth) <= 1


def test_distribution_orders_ramp_cutout_and_constant() -> None:
    cutout = np.zeros(SIZE)
    cutout[20:40, 20:40] = 1
    ramp, two_values, constant = map(depth_distribution_score, (RAMP, cutout, CONSTANT))
    assert ramp > 0.95
    assert ramp > depth_distribution_score(scene()) > two_values > constant == 0
    assert two_values < 0.05


def test_continuity_orders_smooth_scene_and_noise() -> None:
    assert gradient_continuity_score(RAMP) > 0.99
    assert gradient_continuity_score(CONSTANT) == 1
    assert gradient_continuity_score(scene()) > 0.8
    assert gradient_continuity_score(NOISE) < 0.15


def test_more_noise_is_less_continuous() -> None:
    scores = [gradient_continuity_score(scene() + strength * NOISE)
              for strength in (0, 0.02, 0.1, 0.5)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize('score', SCORES)
def test_a_few_wild_pixels_hardly_matter(score) -> None:
    wild = scene()
    wild[5, 5], wild[50, 70] = 1e6, -1e6
    assert score(wild) == pytest.approx(score(scene()), abs=0.06)


@pytest.mark.parametrize('score', SCORES)
def test_rounding_of_a_constant_is_no_structure(score) -> None:
    rounded = CONSTANT.astype(np.float32) * (1 + 1e-7 * NOISE).astype(np.float32)
    assert score(rounded) == score(CONSTANT)


@pytest.mark.parametrize('score', SCORES)
def test_unknown_pixels_are_left_out(score) -> None:
    holes = RAMP.copy()
    holes[10:20, 10:30] = np.nan
    holes[40, 40] = np.inf
    assert score(holes) == pytest.approx(score(RAMP), abs=0.1)


def test_reasons() -> None:
    thresholds = Thresholds()
    assert reason_to_drop(RAMP, thresholds) is None
    assert reason_to_drop(scene(), thresholds) is None
    empty = RAMP.copy()
    empty[5:] = np.nan
    for depth, name in ((CONSTANT, 'distribution'), (NOISE, 'continuity'), (empty, 'valid'),
                        (np.full(SIZE, np.nan), 'valid')):
        reason = reason_to_drop(depth, thresholds)
        assert reason is not None and reason.startswith(name)
    assert reason_to_drop(CONSTANT, Thresholds(distribution=0)) is None
