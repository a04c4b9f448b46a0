"""Evidence for a moved memory: where it comes from, what it survives, what it lets in."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.warps import sideways

from asyncmde_ros.pipeline import evidence
from asyncmde_ros.pipeline.motion import source_of, still

SIZE = (126, 168)
NONE = np.zeros(SIZE, np.float32)


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(128, 60, SIZE)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 3 - 256, 0, 255).astype(np.uint8)


def test_what_the_keyframe_did_not_see_is_not_covered() -> None:
    covered = evidence.coverage(source_of(sideways(0.25, SIZE), SIZE))
    assert covered[:, -38:].max() == 0  # a quarter of the columns came into view
    assert covered[:, :-43].min() == 1
    assert (np.diff(covered[63, -60:]) <= 0).all()
    behind = still(SIZE)._replace(homography=np.diag([1, 1, -1]).astype(np.float32))
    assert evidence.coverage(source_of(behind, SIZE)).max() == 0


def test_a_still_scene_is_sound_whatever_the_exposure() -> None:
    picture = texture() // 2 + 40
    for now in (picture, picture + 25, picture - 25):
        seen = evidence.look(picture, now, still(SIZE))
        assert seen.soundness.min() == 1 and seen.presence.min() == 1
        assert seen.change == 0


def test_what_moved_by_itself_is_not_sound_and_what_rests_is() -> None:
    before = texture()
    now = before.copy()
    now[40:80, 60:110] = texture(1)[40:80, 60:110]
    seen = evidence.look(before, now, still(SIZE))
    assert seen.soundness[45:75, 65:105].mean() < 0.1
    assert seen.presence[45:75, 65:105].mean() < 0.6
    assert seen.soundness[:25].min() > 0.99
    assert 0.05 < seen.change < evidence.MOST_CHANGE


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


@given(soundness=st.floats(0, 1), moved=st.floats(0, 1), misfit=st.floats(0, 2))
def test_a_glance_gets_more_where_less_is_sound_and_the_better_it_fits(
        soundness: float, moved: float, misfit: float) -> None:
    def share(sound: float, far: float, off: float) -> float:
        found = evidence.glance_share(np.full(SIZE, sound, np.float32), far, off, NONE)
        assert found.shape == SIZE and 0 <= found.min() <= found.max() <= 1
        return float(found[0, 0])
    given_share = share(soundness, moved, misfit)
    assert share(soundness / 2, moved, misfit) >= given_share - 1e-6
    assert share(soundness, moved + 0.1, misfit) >= given_share - 1e-6
    assert share(soundness, moved, misfit + 0.1) <= given_share + 1e-6


def test_of_a_still_and_sound_memory_nothing_is_replaced() -> None:
    assert evidence.glance_share(np.ones(SIZE, np.float32), 0.0, 0.0, NONE + 1).max() == 0


def test_shares_are_those_of_independent_errors() -> None:
    of_memory = evidence.DOUBTED_ERROR * 0.5 + evidence.MOVED_ERROR * 0.1
    of_glance = evidence.GLANCE_ERROR + evidence.MISFIT * 0.05
    found = evidence.glance_share(np.full(SIZE, 0.5, np.float32), 0.1, 0.05, NONE)
    np.testing.assert_allclose(found, of_memory**2 / (of_memory**2 + of_glance**2), rtol=1e-5)


def test_what_stands_out_is_a_surprise_and_is_taken_where_the_images_differ_too() -> None:
    rng = np.random.default_rng(0)
    memory = cv2.GaussianBlur(rng.random(SIZE).astype(np.float32), (0, 0), 6) * 10
    glance = memory + cv2.GaussianBlur(rng.normal(0, 0.1, SIZE).astype(np.float32), (0, 0), 2)
    glance[40:80, 60:110] += 2  # something stands there now
    sound = np.ones(SIZE, np.float32)
    sound[30:90, 50:120] = 0
    found = evidence.surprise(evidence.difference(glance, memory), sound)
    assert found[45:75, 65:105].min() > 0.9 and found[:20].max() == 0
    share = evidence.glance_share(sound, 0.0, 1.0, found)
    assert share[45:75, 65:105].min() > 0.9 and share[:20].max() == 0
    assert evidence.glance_share(np.ones(SIZE, np.float32), 0.0, 1.0, found).max() == 0


def test_misfit_does_not_depend_on_scale_and_shift_and_grows_with_what_is_wrong() -> None:
    memory, ones = texture().astype(np.float32), np.ones(SIZE, np.float32)
    assert evidence.misfit(0.2 * memory - 7, memory, ones) == pytest.approx(0, abs=1e-3)
    little, much = (evidence.misfit(memory + wrong * texture(1), memory, ones)
                    for wrong in (0.1, 0.5))
    assert 0 < little < much


def test_displacement_is_the_mean_shift_by_the_short_side() -> None:
    assert evidence.displacement(source_of(still(SIZE), SIZE)) == 0
    assert evidence.displacement(source_of(sideways(0.25, SIZE), SIZE)) == pytest.approx(
        0.25 * 168 / 126, rel=1e-3)


def test_confidence_is_lower_at_edges_and_far_away() -> None:
    depth = np.full(SIZE, 10, np.float32)
    depth[:, 84:] = 1
    found = evidence.confidence(depth)
    assert 1 - evidence.UNSURE <= found.min() and found.max() <= 1
    near, edge, far = found[60, 20], found[60, 83], found[60, 150]
    assert near > edge and near > far and near > 0.97


def test_a_contradiction_is_relative_to_how_near_things_are() -> None:
    memory = np.full(SIZE, 10, np.float32)
    memory[:, 84:] = 2
    found = evidence.contradiction(evidence.difference(memory + 1.5, memory), memory)
    assert found[:, :70].max() == 0 and found[:, 100:].min() > 0.3


@pytest.mark.parametrize('value', [0.0, -3.0, 1e-12])
def test_depth_that_says_nothing_gives_finite_trust(value: float) -> None:
    flat = np.full(SIZE, value, np.float32)
    ones = np.ones(SIZE, np.float32)
    apart = evidence.difference(flat, flat)
    for found in (evidence.confidence(flat), evidence.contradiction(apart, flat),
                  evidence.misfit(flat, flat, ones)):
        assert np.isfinite(found).all()
