"""Evidence for a moved memory: where it comes from, what it survives, what it lets in."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.pipeline import evidence
from asyncmde_ros.pipeline.motion import Warp, still

SIZE = (126, 168)


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(128, 60, SIZE)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 3 - 256, 0, 255).astype(np.uint8)


def sideways(share: float) -> Warp:
    """The camera turned so that the keyframe's image moved left by a share of its width."""
    homography = np.eye(3, dtype=np.float32)
    homography[0, 2] = 2 * share
    return still(SIZE)._replace(homography=homography)


def test_what_the_keyframe_did_not_see_is_not_covered() -> None:
    covered = evidence.coverage(sideways(0.25), SIZE)
    assert covered[:, -38:].max() == 0  # a quarter of the columns came into view
    assert covered[:, :-43].min() == 1
    assert (np.diff(covered[63, -60:]) <= 0).all()
    assert evidence.coverage(still(SIZE)._replace(
        homography=np.diag([1, 1, -1]).astype(np.float32)), SIZE).max() == 0


def test_a_still_scene_is_trusted_whole_whatever_the_exposure() -> None:
    picture = texture() // 2 + 40
    for now in (picture, picture + 25, picture - 25):
        trusted = evidence.trust(picture, now, still(SIZE))
        assert trusted.min() == 1


def test_what_moved_by_itself_is_not_trusted_and_what_rests_is() -> None:
    before = texture()
    now = before.copy()
    now[40:80, 60:110] = texture(1)[40:80, 60:110]
    trusted = evidence.trust(before, now, still(SIZE))
    assert trusted[45:75, 65:105].mean() < 0.3
    assert trusted[:25].min() > 0.99


@given(scale=st.floats(0.2, 50), shift=st.floats(-100, 100), seed=st.integers(0, 99))
def test_alignment_finds_scale_and_shift_where_the_weight_is(scale: float, shift: float,
                                                             seed: int) -> None:
    rng = np.random.default_rng(seed)
    glance = rng.random(SIZE).astype(np.float32)
    memory = (scale * glance + shift).astype(np.float32)
    weight = np.ones(SIZE, np.float32)
    memory[:40], weight[:40] = 1e4, 0  # nonsense that has no weight
    found = evidence.align(glance, memory, weight)
    assert found.scale == pytest.approx(scale, rel=1e-2)
    assert found.shift == pytest.approx(shift, abs=1e-2 * (scale + abs(shift)) + 1e-3)


def test_an_alignment_never_turns_a_glance_over() -> None:
    ramp = np.tile(np.linspace(0, 1, SIZE[1], dtype=np.float32), (SIZE[0], 1))
    ones = np.ones(SIZE, np.float32)
    assert evidence.align(ramp, 1 - ramp, ones).scale == pytest.approx(evidence.LEAST_SCALE)
    nothing = evidence.align(ramp, ramp, np.zeros(SIZE, np.float32))
    assert np.isfinite(nothing).all()


def test_the_glance_replaces_only_what_is_both_doubtful_and_different() -> None:
    rng = np.random.default_rng(0)
    memory = cv2.GaussianBlur(rng.random(SIZE).astype(np.float32), (0, 0), 6) * 10
    glance = memory + cv2.GaussianBlur(rng.normal(0, 0.1, SIZE).astype(np.float32), (0, 0), 2)
    glance[40:80, 60:110] += 2  # something stands there now
    sure, unsure = np.ones(SIZE, np.float32), np.ones(SIZE, np.float32)
    unsure[30:90, 50:120] = 0
    assert evidence.kept_share(memory, glance, sure).min() == 1
    kept = evidence.kept_share(memory, glance, unsure)
    assert kept[45:75, 65:105].max() < 0.1
    assert kept[:20].min() == 1  # elsewhere nothing is mixed in


def test_where_memory_and_glance_agree_nothing_is_replaced() -> None:
    memory = texture().astype(np.float32)
    nowhere = np.zeros(SIZE, np.float32)
    assert evidence.kept_share(memory, memory.copy(), nowhere).min() == 1
