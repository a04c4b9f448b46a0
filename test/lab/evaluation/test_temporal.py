"""Scores over time: zero for exact geometry, the brute-force formulas otherwise."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asyncmde_ros.lab.evaluation import temporal
from asyncmde_ros.lab.evaluation.sequence import PinholeIntrinsics, open_sequence
from asyncmde_ros.lab.evaluation.temporal import f1, flow_warps, frame_f1, opw, tae, tcd

SIZE = (24, 32)
CAMERA = PinholeIntrinsics(30.0, 28.0, 15.5, 11.5)
FLOAT32 = 1e-6
MAX_DEPTH_M = 10.0

ROUNDED_PROJECTION = 2.0
"""x100: half a pixel of rounding, on planes whose depth changes by up to 4 % a pixel."""

small_depths = hnp.arrays(np.float32, (4, 5), elements=st.floats(0.5, 8, width=32)
                          | st.sampled_from([0.0, np.nan]))


def camera_at(x_m: float = 0, z_m: float = 0, turn_rad: float = 0) -> np.ndarray:
    """Return camera-to-world: shifted, and turned about the vertical axis."""
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([0.0, turn_rad, 0.0]))[0]
    pose[:3, 3] = x_m, 0, z_m
    return pose


def render_plane(pose: np.ndarray, normal: tuple[float, float, float] = (0, 0, 1),
                 distance_m: float = 4) -> np.ndarray:
    """Return the exact depth of the plane normal . world = distance."""
    rows, cols = np.mgrid[:SIZE[0], :SIZE[1]]
    rays = np.stack([(cols - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy,
                     np.ones(SIZE)], axis=2) @ pose[:3, :3].T
    return (distance_m - pose[:3, 3] @ normal) / (rays @ normal)


def brute_tae(depths: list[np.ndarray], poses: list[np.ndarray]) -> float | None:
    """Return eq. 4 over T - 1 pairs, one pixel at a time."""
    errors = []
    for first, second in pairwise(zip(depths, poses, strict=True)):
        for (depth, pose), (other, other_pose) in ((first, second), (second, first)):
            moved: dict[tuple[int, int], float] = {}
            for (row, col), z in np.ndenumerate(depth):
                if not z > 0:
                    continue
                point = np.array([(col - CAMERA.cx) / CAMERA.fx * z,
                                  (row - CAMERA.cy) / CAMERA.fy * z, z, 1], np.float64)
                x, y, new_z, _ = np.linalg.inv(other_pose) @ pose @ point
                if new_z <= 0:
                    continue
                target = (round(CAMERA.fy * y / new_z + CAMERA.cy),
                          round(CAMERA.fx * x / new_z + CAMERA.cx))
                moved[target] = min(new_z, moved.get(target, np.inf))
            relative = [abs(z - other[at]) / other[at] for at, z in moved.items()
                        if 0 <= at[0] < depth.shape[0] and 0 <= at[1] < depth.shape[1]
                        and other[at] > 0]
            if relative:
                errors.append(np.mean(relative))
    return 100 * float(np.mean(errors)) if errors else None


def assert_close(found: float | None, expected: float | None) -> None:
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found == pytest.approx(expected, rel=1e-4, abs=FLOAT32)


def brute_nearest(queries: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    return ((queries[:, None] - cloud[None]) ** 2).sum(axis=2).min(axis=1)


def test_tae_is_zero_for_a_plane_seen_while_driving_at_it() -> None:
    poses = [camera_at(z_m=0.2 * index) for index in range(4)]
    assert tae([render_plane(pose) for pose in poses], poses, CAMERA) == pytest.approx(0, abs=1e-9)


def test_tae_is_zero_for_a_floor_seen_while_moving_sideways() -> None:
    # Depth is the same along a row, so that rounding to whole columns changes nothing.
    poses = [camera_at(x_m=0.3 * index) for index in range(3)]
    depths = [render_plane(pose, (0, 0.5, 1)) for pose in poses]
    assert tae(depths, poses, CAMERA) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize('normal', [(0.4, 0, 1), (0, 0.5, 1), (-0.3, 0.3, 1)])
def test_tae_is_small_for_any_plane_and_motion(normal: tuple[float, float, float]) -> None:
    poses = [camera_at(0.1 * index, 0.15 * index, 0.05 * index) for index in range(4)]
    depths = [render_plane(pose, normal) for pose in poses]
    exact = tae(depths, poses, CAMERA)
    assert exact is not None and exact < ROUNDED_PROJECTION
    depths[2] = 1.1 * depths[2]
    flickering = tae(depths, poses, CAMERA)
    assert flickering is not None and flickering > exact + ROUNDED_PROJECTION


def test_tae_of_a_rescaled_frame_by_hand() -> None:
    # A still camera: |2 - 1| / 1 and |1 - 2| / 2 for the first pair, 0 for the second.
    depth = np.ones(SIZE)
    assert tae([2 * depth, depth, depth], [np.eye(4)] * 3, CAMERA) == pytest.approx(
        100 * (1 + 0.5 + 0 + 0) / 4)


@settings(deadline=None)
@given(st.lists(small_depths, min_size=1, max_size=3), st.integers(0, 2**31))
def test_tae_equals_brute_force(depths: list[np.ndarray], seed: int) -> None:
    rng = np.random.default_rng(seed)
    poses = [camera_at(rng.normal(0, 0.1), rng.normal(0, 0.5), rng.normal(0, 0.05))
             for _ in depths]
    assert_close(tae(depths, poses, CAMERA), brute_tae(depths, poses))


def test_the_nearest_of_two_surfaces_hides_the_other() -> None:
    # A pillar at 1 m before a wall at 4 m, and a step to the side by 2 pixels at the wall.
    pillar = np.full(SIZE, 4.0)
    pillar[:, 16] = 1.0
    moved = temporal.reprojected(pillar, camera_at(x_m=-4 * 2 / CAMERA.fx), CAMERA)
    # The wall moves by 2 pixels to the left, the pillar by 8 onto it.
    assert (moved[:, 8] == 1).all() and (np.delete(moved[:, :30], [8, 14], axis=1) == 4).all()
    assert np.isinf(moved[:, 14]).all() and np.isinf(moved[:, 30:]).all()


def test_tae_skips_what_cannot_be_compared() -> None:
    depth, empty = np.ones(SIZE), np.full(SIZE, np.nan)
    here, behind = np.eye(4), camera_at(turn_rad=np.pi)
    assert tae([depth, depth], [here, None], CAMERA) is None
    assert tae([depth, empty], [here, here], CAMERA) is None
    assert tae([depth, depth], [here, behind], CAMERA) is None
    assert tae([depth], [here], CAMERA) is None
    assert tae([], [], CAMERA) is None
    assert tae([depth, depth, depth], [here, here, None], CAMERA) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError):
        tae([depth, depth], [here], CAMERA)


def test_tcd_by_hand() -> None:
    # Walls 0.1 m apart, each point straight before one of the other wall's or nearly.
    depth = np.full(SIZE, 100.0)
    # Points 100 m apart: the nearest is the same pixel's.
    far = PinholeIntrinsics(1.0, 1.0, 15.5, 11.5)
    expected = np.mean([(0.1 * np.hypot(row - 11.5, col - 15.5)) ** 2 + 0.1 ** 2
                        for row in range(SIZE[0]) for col in range(SIZE[1])])
    assert tcd([depth, depth + 0.1], [np.eye(4)] * 2, far) == pytest.approx(2 * expected,
                                                                            rel=1e-3)


@settings(deadline=None)
@given(st.lists(small_depths, min_size=2, max_size=3), st.integers(0, 2**31))
def test_tcd_equals_brute_force(depths: list[np.ndarray], seed: int) -> None:
    rng = np.random.default_rng(seed)
    # A world whose origin is far away must not cost precision.
    poses = [camera_at(5000 + rng.normal(), rng.normal(), rng.normal()) for _ in depths]
    clouds = [temporal.back_project(depth, CAMERA) @ pose[:3, :3].T + pose[:3, 3]
              for depth, pose in zip(depths, poses, strict=True)]
    expected = [brute_nearest(one, two).mean() + brute_nearest(two, one).mean()
                for one, two in pairwise(clouds) if len(one) and len(two)]
    assert_close(tcd(depths, poses, CAMERA), float(np.mean(expected)) if expected else None)


def test_tcd_does_not_change_with_the_world(rng: np.random.Generator) -> None:
    depths = list(rng.uniform(1, 5, (3, *SIZE)))
    poses = [camera_at(0.1 * index) for index in range(3)]
    elsewhere = camera_at(7, -3, 2)
    moved = [elsewhere @ pose for pose in poses]
    assert tcd(depths, poses, CAMERA) == pytest.approx(tcd(depths, moved, CAMERA), rel=1e-4)


def test_thinning_keeps_the_expected_distance(rng: np.random.Generator) -> None:
    depths = list(rng.uniform(1, 5, (2, 60, 80)))
    poses = [np.eye(4)] * 2
    everything = tcd(depths, poses, CAMERA)
    thinned = tcd(depths, poses, CAMERA, query_points=1000)
    assert thinned == pytest.approx(everything, rel=0.1) and thinned != everything
    assert thinned == tcd(depths, poses, CAMERA, query_points=1000)


def test_tcd_skips_frames_without_pose_or_points() -> None:
    depth, empty = np.ones(SIZE), np.zeros(SIZE)
    assert tcd([depth, empty, depth], [np.eye(4)] * 3, CAMERA) is None
    assert tcd([depth, depth], [np.eye(4), None], CAMERA) is None
    assert tcd([depth], [np.eye(4)], CAMERA) is None
    assert tcd([depth, depth, empty], [np.eye(4)] * 3, CAMERA) == 0


def test_an_empty_cloud_has_no_nearest_point() -> None:
    with pytest.raises(ValueError, match='empty'):
        temporal.nearest_squared(np.zeros((1, 3)), np.zeros((0, 3)))


@settings(deadline=None)
@given(small_depths, small_depths, st.floats(0.05, 2))
def test_f1_equals_brute_force(depth: np.ndarray, truth: np.ndarray, threshold_m: float) -> None:
    found = frame_f1(depth, truth, CAMERA, MAX_DEPTH_M, threshold_m)
    valid = truth > 0
    real = temporal.back_project(np.where(valid, truth, 0), CAMERA)
    predicted = temporal.back_project(np.where(valid, depth, 0), CAMERA)
    if not len(real):
        assert found is None
        return
    if not len(predicted):
        assert found == 0
        return
    distances = [np.sqrt(brute_nearest(predicted, real)), np.sqrt(brute_nearest(real, predicted))]
    if min(np.abs(each - threshold_m).min() for each in distances) < 1e-5:
        return  # float32 may fall on either side
    precision, recall = ((each < threshold_m).mean() for each in distances)
    both = precision + recall
    assert found == pytest.approx(2 * precision * recall / both if both else 0)


def test_f1_by_hand() -> None:
    truth = np.full(SIZE, 2.0)
    assert frame_f1(truth, truth, CAMERA, MAX_DEPTH_M) == 1
    assert frame_f1(truth + 1, truth, CAMERA, MAX_DEPTH_M) == 0
    half = truth.copy()
    half[:12] = np.nan  # precision 1; a row has 2 / 28 m to the next, so recall is 1/2
    assert frame_f1(half, truth, CAMERA, MAX_DEPTH_M) == pytest.approx(2 / 3)


def test_f1_counts_only_where_the_truth_is_known() -> None:
    truth = np.full(SIZE, 2.0)
    truth[:12], truth[12] = 0, MAX_DEPTH_M
    depth = np.full(SIZE, 2.0)
    depth[:13] = 7
    assert frame_f1(depth, truth, CAMERA, MAX_DEPTH_M) == 1


def test_f1_of_frames_that_are_empty() -> None:
    truth, empty = np.full(SIZE, 2.0), np.zeros(SIZE)
    assert frame_f1(truth, empty, CAMERA, MAX_DEPTH_M) is None
    assert frame_f1(empty, truth, CAMERA, MAX_DEPTH_M) == 0
    assert f1([truth] * 4, [truth, None, empty, truth + 1], CAMERA, MAX_DEPTH_M) == 0.5
    assert f1([], [], CAMERA, MAX_DEPTH_M) is None


def textured(rng: np.random.Generator) -> np.ndarray:
    noise = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return cv2.resize(noise, (320, 200), interpolation=cv2.INTER_CUBIC)


def window(picture: np.ndarray, left: int) -> np.ndarray:
    return np.ascontiguousarray(picture[40:160, left:left + 160])


def test_opw_is_zero_for_a_still_scene(rng: np.random.Generator) -> None:
    image = window(textured(rng), 0)
    depth = rng.uniform(1, 5, image.shape[:2]).astype(np.float32)
    warps = flow_warps([image] * 3, image.shape[:2])
    assert len(warps) == 2
    assert all(np.abs(warp.weight - 1).max() < 1e-3 for warp in warps)
    assert opw([depth] * 3, warps) == pytest.approx(0, abs=0.1)  # x100: flow within 1/32 px


def test_opw_of_a_rescaled_frame_by_hand(rng: np.random.Generator) -> None:
    image = window(textured(rng), 0)
    depth = np.full(image.shape[:2], 2, np.float32)
    warps = flow_warps([image] * 3, image.shape[:2])
    # |2 - 3| / 2, then |3 - 2| / 3.
    assert opw([depth, 1.5 * depth, depth], warps) == pytest.approx(100 * (1 / 2 + 1 / 3) / 2)


def test_opw_follows_the_motion(rng: np.random.Generator) -> None:
    picture = textured(rng)
    relief = cv2.resize(rng.uniform(2, 6, (10, 15)).astype(np.float32), (320, 200))
    lefts = [30, 33, 36]
    warps = flow_warps([window(picture, left) for left in lefts], (120, 160))
    moving = opw([window(relief, left) for left in lefts], warps)
    held = opw([window(relief, 30)] * 3, warps)
    assert moving is not None and held is not None
    assert moving < 0.5 < 2 < held


def test_the_flow_is_masked_where_it_leaves_the_image_or_does_not_match(
        rng: np.random.Generator) -> None:
    picture = textured(rng)
    first, second = window(picture, 30), window(picture, 42)
    second[50:70, 60:80] = 255 - second[50:70, 60:80]
    warp, = flow_warps([first, second], (120, 160))
    assert np.median(np.abs(warp.target - np.stack(np.meshgrid(
        np.arange(160), np.arange(120)), axis=2) - (-12, 0))) < 0.1
    assert not warp.weight[:, :10].any()  # left the image
    assert warp.weight[55:65, 77:87].mean() < 0.1 < 0.8 < warp.weight[80:110, 30:150].mean()
    assert warp.weight.min() >= 0 and warp.weight.max() <= 1


class KnownFlow:
    """Gives the flows it was made with, in turn."""

    def __init__(self, *flows: np.ndarray) -> None:
        self.flows = list(flows)

    def calc(self, first: np.ndarray, second: np.ndarray, initial: None) -> np.ndarray:
        return self.flows.pop(0)


def constant_flow(x_px: float) -> np.ndarray:
    return np.full((*SIZE, 2), (x_px, 0), np.float32)


@pytest.mark.parametrize('backward_px, consistent', [
    (-2, True), (-1.3, True),  # 0.49 < 0.01 (4 + 1.69) + 0.5
    (-1.2, False), (0, False)])  # 0.64 > 0.01 (4 + 1.44) + 0.5
def test_the_weight_of_flow_that_does_not_come_back(backward_px: float, consistent: bool) -> None:
    image = np.full((*SIZE, 3), 90, np.uint8)
    warp = temporal.flow_warp(KnownFlow(constant_flow(2), constant_flow(backward_px)), image,
                               image)
    np.testing.assert_array_equal(warp.weight[:, :-2], float(consistent))
    assert not warp.weight[:, -2:].any()  # left the image


def test_the_weight_of_colours_that_differ() -> None:
    image = np.full((*SIZE, 3), 100, np.uint8)
    changed = image + np.array([10, 0, 20], np.uint8)
    warp = temporal.flow_warp(KnownFlow(constant_flow(0), constant_flow(0)), image, changed)
    np.testing.assert_allclose(warp.weight, np.exp(-50 * (10 ** 2 + 20 ** 2) / 255 ** 2),
                               rtol=1e-5)


def test_flow_is_at_the_size_of_the_depth_maps(rng: np.random.Generator) -> None:
    warp, = flow_warps([window(textured(rng), 0)] * 2, (60, 80))
    assert warp.weight.shape == (60, 80) and warp.target.shape == (60, 80, 2)


def test_opw_leaves_holes_out(rng: np.random.Generator) -> None:
    image = window(textured(rng), 0)
    warps = flow_warps([image] * 2, image.shape[:2])
    depth = np.full(image.shape[:2], 2, np.float32)
    holes = depth.copy()
    holes[:40], holes[40:50], holes[50:60] = np.nan, 0, np.inf
    assert opw([holes, depth], warps) == opw([depth, holes], warps) == 0
    assert opw([depth, np.zeros_like(depth)], warps) is None
    assert opw([depth], []) is None and opw([], []) is None
    with pytest.raises(ValueError, match='2 depth maps need 1 warps'):
        opw([depth, depth], [])
    with pytest.raises(ValueError, match='shapes differ'):
        opw([depth[1:], depth[1:]], warps)


@pytest.mark.parametrize('name', ['kitchen', 'tartanair'])
def test_the_truth_of_the_shared_sequences_agrees_with_its_poses(shared: Path, name: str
                                                                 ) -> None:
    frames = open_sequence(shared / 'data/eval' / name, 4)
    indices = range(frames.length)
    depths = [np.where(frames.depth(index) < frames.max_depth_m, frames.depth(index), np.nan)
              for index in indices]
    poses = [frames.pose(index) for index in indices]
    assert frames.calibration is not None
    camera = frames.calibration.scaled(frames.rgb(0).shape[:2], depths[0].shape)
    true = tae(depths, poses, camera)
    backwards = tae(depths[::-1], poses, camera)
    assert true is not None and backwards is not None
    assert true < 1 and true < backwards  # a wrong convention costs several times that
    assert f1(depths, depths, camera, frames.max_depth_m) == 1
