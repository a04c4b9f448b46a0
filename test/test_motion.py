"""Tracked homographies against known ones."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.pipeline.motion import (
    MotionEstimator,
    from_pixels,
    identity,
    is_plausible,
    track,
)

SIZE = (252, 336)
SUBPIXEL = 0.5 * 2 / SIZE[1]
"""Half a pixel, in normalised coordinates."""


def texture(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (32, 42, 3), np.uint8)
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def pixel_homography(angle: float, dx: float, dy: float, zoom: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2] = cv2.getRotationMatrix2D((SIZE[1] / 2, SIZE[0] / 2), angle, zoom)
    matrix[:2, 2] += dx, dy
    return matrix


def corner_error(a: np.ndarray, b: np.ndarray) -> float:
    corners = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]).T
    p, q = a @ corners, b @ corners
    return float(np.abs(p[:2] / p[2] - q[:2] / q[2]).max())


@given(angle=st.floats(-3, 3), dx=st.floats(-12, 12), dy=st.floats(-12, 12),
       zoom=st.floats(0.96, 1.04))
@settings(deadline=None, max_examples=15)
def test_a_known_motion_is_found(angle: float, dx: float, dy: float, zoom: float) -> None:
    before = texture()
    to_previous = pixel_homography(angle, dx, dy, zoom)
    # warpAffine with WARP_INVERSE_MAP: pixel x of the new image shows the old at to_previous(x).
    now = cv2.warpAffine(before, to_previous[:2], SIZE[::-1], borderMode=cv2.BORDER_REFLECT,
                         flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    estimator = MotionEstimator()
    estimator.update(1, before, enabled=True)
    step, cut = estimator.update(2, now, enabled=True)
    assert corner_error(step, from_pixels(to_previous, SIZE)) < SUBPIXEL and not cut
    assert estimator.failures == 0


def test_the_product_of_steps_leads_back_to_the_keyframe() -> None:
    estimator, picture = MotionEstimator(), texture()
    shift, frames = 4, 6
    for index in range(frames):
        estimator.update(index, np.roll(picture, -shift * index, axis=1), enabled=True)
    expected = from_pixels(np.array([[1, 0, shift * (frames - 2.0)], [0, 1, 0], [0, 0, 1]]), SIZE)
    product = estimator.since(1, frames - 1)
    assert product is not None and corner_error(product, expected) < SUBPIXEL * 3
    again = estimator.since(1, frames - 1)
    np.testing.assert_array_equal(product, again)


def test_a_product_continued_step_by_step_equals_one_formed_at_once() -> None:
    picture = texture()
    continued, at_once = MotionEstimator(), MotionEstimator()
    for index in range(8):
        view = np.roll(picture, 3 * index, axis=0)
        continued.update(index, view, enabled=True)
        at_once.update(index, view, enabled=True)
        stepwise = continued.since(0, index)
    np.testing.assert_allclose(stepwise, at_once.since(0, 7), atol=1e-6)


def test_past_a_quarter_turn_the_keyframe_is_behind_the_camera() -> None:
    """A product whose last element turns negative must not come back into view."""
    estimator = MotionEstimator()
    c, s = np.cos(np.radians(3)), np.sin(np.radians(3))
    yaw = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    estimator._steps = dict.fromkeys(range(1, 61), yaw)
    for degrees in (3, 60, 120, 180):
        product = estimator.since(0, degrees // 3)
        assert product is not None and np.isfinite(product).all()
        ahead = (product @ np.array([0, 0, 1]))[2] > 0
        assert ahead == (degrees < 90)


def test_a_picture_without_texture_is_a_counted_failure_and_identity() -> None:
    estimator = MotionEstimator()
    blank = np.full((*SIZE, 3), 128, np.uint8)
    estimator.update(1, blank, enabled=True)
    step, cut = estimator.update(2, blank, enabled=True)
    np.testing.assert_array_equal(step, identity())
    assert not cut, 'two pictures of nothing are the same scene'
    assert estimator.failures == 1


@pytest.mark.parametrize('after', [texture(1), np.full((*SIZE, 3), 5, np.uint8)],
                         ids=['another scene', 'covered lens'])
def test_a_cut_is_noticed_once(after: np.ndarray) -> None:
    estimator = MotionEstimator()
    pictures = [texture(), texture(), after, after]
    cuts = [estimator.update(i, picture, enabled=True).cut for i, picture in enumerate(pictures)]
    assert cuts == [False, False, True, False]


def test_off_is_identity_and_counts_nothing() -> None:
    estimator, picture = MotionEstimator(), texture()
    estimator.update(1, picture, enabled=False)
    step, _ = estimator.update(2, np.roll(picture, 9, axis=1), enabled=False)
    np.testing.assert_array_equal(step, identity())
    assert estimator.failures == 0


def test_a_keyframe_older_than_the_history_is_unknown() -> None:
    estimator, picture = MotionEstimator(history=4), texture()
    for index in range(10):
        estimator.update(index, picture, enabled=False)
    assert estimator.since(2, 9) is None
    assert estimator.since(7, 9) is not None


def test_unrelated_pictures_do_not_give_a_wild_motion() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 255, SIZE, np.uint8) for _ in range(2))
    step = track(a, b)
    assert step is None or is_plausible(step)


@pytest.mark.parametrize('matrix', [
    np.diag([-1.0, 1.0, 1.0]), np.diag([1.0, 1.0, np.nan]),
    np.array([[1, 0, 3.0], [0, 1, 0], [0, 0, 1]]), np.array([[1, 0, 0], [0, 1, 0], [2.0, 0, 1]])])
def test_mirrors_jumps_and_folds_are_not_plausible(matrix: np.ndarray) -> None:
    assert not is_plausible(matrix)
