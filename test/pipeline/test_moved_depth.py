"""The fast path without a network: a keyframe's depth, moved, and mended by glances."""

import cv2
import numpy as np
import pytest
from support.warps import sideways

from asyncmde_ros.model.preprocess import at_size
from asyncmde_ros.pipeline import evidence
from asyncmde_ros.pipeline.feature_cache import Keyframe, Slot
from asyncmde_ros.pipeline.motion import Warp, resample, small_grey, still
from asyncmde_ros.pipeline.moved_depth import MovedDepth, TrackedFrame

SIZE = (252, 336)
DEPTH_SIZE = (336, 448)


def picture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(128, 90, DEPTH_SIZE)
    grey = np.clip(cv2.GaussianBlur(noise, (0, 0), 4) * 6 - 640, 0, 255).astype(np.uint8)
    return np.dstack([grey] * 3)


def ramp(size: tuple[int, int] = DEPTH_SIZE) -> np.ndarray:
    return np.tile(np.linspace(1, 9, size[1], dtype=np.float32), (size[0], 1))


def slot(frame_id: int, depth: np.ndarray, seen: np.ndarray, generation: int = 1,
         epoch: int = 0) -> Slot:
    made = Slot({})
    made.keyframe = Keyframe(frame_id, frame_id, epoch, generation, 0.0)
    made.depth, made.grey = depth, small_grey(seen)
    return made


def view(frame_id: int, seen: np.ndarray, warp: Warp | None = None) -> TrackedFrame:
    """A frame all of whose earlier frames are ``warp`` away, but for itself."""
    away = warp or still(SIZE)
    return TrackedFrame(frame_id, seen, small_grey(seen), away,
                        lambda earlier, later: still(SIZE) if earlier == later else away)


def with_object(depth: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Something near that stands before the scene, as tall as half of it."""
    depth, seen = depth.copy(), seen.copy()
    rows, cols = depth.shape
    depth[rows // 4:3 * rows // 4, cols // 4:cols // 2] = 14
    rows, cols = seen.shape[:2]
    part = np.s_[rows // 4:3 * rows // 4, cols // 4:cols // 2]
    seen[part] = 0.25 * picture(1)[part] + np.where(seen[part] < 128, 190, 0)  # unlike everywhere
    return depth, seen


def test_without_motion_the_keyframe_s_depth_is_given_to_the_bit_and_trusted() -> None:
    moved = MovedDepth()
    depth, trust = moved.step(view(3, picture()), slot(1, ramp(), picture()), None).maps()
    np.testing.assert_allclose(depth, ramp(), atol=1e-5)
    np.testing.assert_allclose(trust, evidence.confidence(at_size(ramp(), trust.shape)), atol=1e-4)
    assert moved.keyframe is not None and (moved.trust_kept, moved.mean_trust) == (1, 1)


def test_depth_moves_with_the_camera_and_what_came_into_view_is_not_trusted() -> None:
    moved, seen, warp = MovedDepth(), picture(), sideways(0.25, SIZE)
    now = np.dstack([resample(seen[..., 0].astype(np.float32), warp)] * 3).astype('u1')
    depth, trust = moved.step(view(2, now, warp), slot(1, ramp(), seen), None).maps()
    np.testing.assert_allclose(depth[:, :330], ramp()[:, 112:442], atol=0.02)
    cols = trust.shape[1]
    assert trust[:, -cols // 5:].max() == 0 and trust[:, :cols // 2].min() > 0.9


def test_a_glance_mends_what_moved_by_itself_in_the_scale_of_the_memory() -> None:
    moved, seen = MovedDepth(), picture()
    memory = slot(1, ramp(), seen)
    nearer, now = with_object(ramp(), seen)
    small = cv2.resize(nearer, (224, 168), interpolation=cv2.INTER_AREA)
    glance = slot(2, 0.1 * small - 3, now)  # its own scale and shift
    before, doubt = moved.step(view(2, now), memory, None).maps()
    assert abs(before[168, 168] - 14) > 5 and doubt[63, 63] < 0.5
    depth, trust = moved.step(view(3, now), memory, glance).maps()
    middle = np.s_[120:220, 130:210]
    assert np.median(np.abs(depth[middle] - 14)) < 2 < np.median(np.abs(before[middle] - 14))
    far = np.s_[:, 300:]
    np.testing.assert_allclose(depth[far], ramp()[far], atol=1e-4)  # what rests is the memory's
    assert trust[63, 63] < 0.3 and trust[63, 140] > 0.9


@pytest.mark.parametrize('glance', [
    slot(1, ramp((168, 224)) * 0, picture()), slot(0, ramp((168, 224)) * 0, picture()),
    slot(2, ramp((168, 224)) * 0, picture(), epoch=7), Slot({})])
def test_a_glance_from_before_the_keyframe_or_of_another_epoch_is_left_alone(glance: Slot
                                                                             ) -> None:
    moved, memory = MovedDepth(), slot(1, ramp(), picture())
    depth, _ = moved.step(view(3, picture(5)), memory, glance).maps()
    np.testing.assert_allclose(depth, ramp(), atol=1e-5)


def test_a_glance_is_looked_at_once_and_again_with_a_new_keyframe(
        monkeypatch: pytest.MonkeyPatch) -> None:
    moved, seen = MovedDepth(), picture()
    mixed = evidence.glance_share
    calls = []
    monkeypatch.setattr(evidence, 'glance_share',
                        lambda *given: (calls.append(given), mixed(*given))[1])
    glance = slot(5, ramp((168, 224)), seen)
    for frame in (6, 7, 8):
        moved.step(view(frame, seen), slot(1, ramp(), seen), glance)
    assert len(calls) == 1
    moved.step(view(9, seen), slot(3, ramp(), seen, generation=2), glance)
    assert len(calls) == 2
    moved.step(view(10, seen), slot(6, ramp(), seen, generation=3), glance)
    assert len(calls) == 2  # the keyframe is newer now


def test_trust_that_collapses_shows_and_forgetting_starts_anew() -> None:
    moved, memory = MovedDepth(), slot(1, ramp(), picture())
    moved.step(view(2, picture()), memory, None)
    moved.step(view(3, picture(3)), memory, None)
    assert moved.trust_kept < 0.5
    moved.forget()
    assert moved.keyframe is None
    moved.step(view(4, picture(3)), memory, None)
    assert moved.trust_kept == 1
