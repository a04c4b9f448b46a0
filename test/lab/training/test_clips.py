"""Clips to train on: photos under a moving camera, and rendered worlds."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pictures

from asyncmde_ros.lab.training import rendered, virtual_camera
from asyncmde_ros.lab.training.rendered import (
    Light,
    Scene,
    Shape,
    Solid,
    develop,
    random_scene,
    render,
    rendered_clip,
    texture_atlas,
)
from asyncmde_ros.lab.training.virtual_camera import (
    PhotoWithDepth,
    inverse_distance,
    photo_clip,
    rotation,
    wander,
)

SIZE = (84, 112)
MARGIN = 14
UNTURNED = np.eye(3)
STILL = (UNTURNED, np.zeros(3))
RED, BLUE = (200, 30, 30), (30, 30, 200)
SIDES = st.integers(2, 9).map(lambda patches: 14 * patches)


def photo(seed: int = 0, shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    return pictures.texture(shape, (16, 20), seed)


def ramp(shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    return np.tile(np.linspace(-3, 40, shape[0], dtype=np.float32)[:, None], (1, shape[1]))


def red_square_before_blue() -> PhotoWithDepth:
    shape = SIZE[0] + 2 * MARGIN, SIZE[1] + 2 * MARGIN
    rgb, inverse = np.full((*shape, 3), BLUE, np.uint8), np.full(shape, 0.1, np.float32)
    near = slice(40, 72), slice(54, 86)
    rgb[near], inverse[near] = RED, 1
    return PhotoWithDepth(rgb, inverse, SIZE, 100)


def share_of_red(frame: np.ndarray) -> float:
    return float((frame[..., 0] > frame[..., 2]).mean())


# Photos


def test_an_unmoved_camera_shows_the_photos_middle() -> None:
    shape = SIZE[0] + 2 * MARGIN, SIZE[1] + 2 * MARGIN
    rgb = photo(shape=shape)
    inverse = inverse_distance(ramp(shape), 8)
    frame = PhotoWithDepth(rgb, inverse, SIZE, 100).view(*STILL)
    np.testing.assert_allclose(frame.astype(int), rgb[MARGIN:-MARGIN, MARGIN:-MARGIN], atol=1)


@pytest.mark.parametrize('shift', [0.06, -0.06])
def test_near_moves_farther_than_far_and_hides_it(shift: float) -> None:
    scene = red_square_before_blue()
    before, after = (scene.view(np.eye(3), np.array([x, 0, 0])) for x in (0.0, shift))
    red = [np.argwhere(frame[..., 0] > frame[..., 2]).mean(0) for frame in (before, after)]
    assert red[1][1] - red[0][1] == pytest.approx(-shift * 100, abs=0.6)
    assert share_of_red(after) == pytest.approx(share_of_red(before), rel=0.05)


def test_what_comes_into_view_behind_is_background() -> None:
    frame = red_square_before_blue().view(np.eye(3), np.array([0.15, 0, 0]))
    mixed = (np.abs(frame.astype(int) - RED).max(-1) > 60) & (
        np.abs(frame.astype(int) - BLUE).max(-1) > 60)
    assert mixed.mean() < 0.02


def test_coming_nearer_magnifies_without_cracks() -> None:
    scene = red_square_before_blue()
    before, after = (scene.view(np.eye(3), np.array([0, 0, z])) for z in (0.0, 0.4))
    assert share_of_red(after) / share_of_red(before) == pytest.approx(1 / 0.6 ** 2, rel=0.1)
    red = (after[..., 0] > after[..., 2]).astype(np.uint8)
    closed = cv2.morphologyEx(red, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    assert (closed == red).all()


def test_inverse_distance_knows_no_scale_or_offset() -> None:
    first = inverse_distance(ramp(), 9)
    np.testing.assert_allclose(inverse_distance(5 * ramp() + 70, 9), first, rtol=1e-4)
    assert first.min() == pytest.approx(1 / 9) and first.max() == 1


def test_a_photo_without_depth_stays_whole() -> None:
    clip = photo_clip(photo(), np.ones((120, 160), np.float32), 4, SIZE,
                      np.random.default_rng(0))
    assert all(frame.std() > 10 for frame in clip)


@pytest.mark.parametrize('in_depth', [0, 1])
def test_the_same_seed_gives_the_same_photo_clip(in_depth: int,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_camera, 'SHARE_IN_DEPTH', in_depth)
    first, second, other = (photo_clip(photo(), ramp(), 5, SIZE, np.random.default_rng(seed))
                            for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert (np.array(first) != np.array(other)).any()


@pytest.mark.parametrize('in_depth', [0, 1])
def test_the_frame_stays_on_the_photo(in_depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_camera, 'SHARE_IN_DEPTH', in_depth)
    monkeypatch.setattr(virtual_camera, 'SHARE_WITH_OBJECT', 0)
    monkeypatch.setattr(cv2, 'BORDER_REFLECT_101', cv2.BORDER_CONSTANT)
    white = np.full((120, 160, 3), 255, np.uint8)
    for seed in range(8):
        clip = photo_clip(white, np.full((120, 160), 2, np.float32), 6, SIZE,
                          np.random.default_rng(seed))
        assert max(float((frame < 128).mean()) for frame in clip) < 0.08


def test_an_object_of_its_own_passes_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_camera, 'SHARE_WITH_OBJECT', 1)
    monkeypatch.setattr(virtual_camera, 'PERIOD_FRAMES', (14, 15))
    black, white = np.zeros((120, 160, 3), np.uint8), np.full((120, 160, 3), 255, np.uint8)
    moved = []
    for seed in range(6):
        clip = photo_clip(black, ramp(), 8, SIZE, np.random.default_rng(seed), white)
        places = [np.argwhere(frame[..., 0] > 100).mean(0) for frame in clip
                  if (frame[..., 0] > 100).any()]
        moved.append(np.ptp(places, axis=0).max())
    assert max(moved) > 8


@given(rows=SIDES, cols=SIDES, height=st.integers(20, 150), width=st.integers(20, 150),
       seed=st.integers(0, 2 ** 32 - 1))
@settings(deadline=None, max_examples=25)
def test_photo_frames_have_the_size_asked_for(rows: int, cols: int, height: int, width: int,
                                              seed: int) -> None:
    clip = photo_clip(photo(shape=(height, width)), ramp((70, 98)), 3, (rows, cols),
                      np.random.default_rng(seed))
    assert [frame.shape for frame in clip] == 3 * [(rows, cols, 3)]
    assert all(frame.dtype == np.uint8 for frame in clip)


@given(frames=st.integers(1, 30), period=st.floats(2, 500), seed=st.integers(0, 1000))
def test_a_path_is_smooth_and_bounded(frames: int, period: float, seed: int) -> None:
    path = wander(frames, 3, period, np.random.default_rng(seed))
    assert path.shape == (frames, 3) and np.abs(path).max() <= 1
    assert np.abs(np.diff(path, axis=0)).max(initial=0) <= 2 * np.pi * 1.4 / period


# Rendered worlds


def scene_of(*solids: Solid, size: tuple[int, int] = SIZE) -> Scene:
    atlas = texture_atlas(rendered.TEXTURES, np.random.default_rng(0))
    light = Light(np.array([0, -50.0, -20.0]), 1.0, 1e6, 0.3, np.ones(3), True)
    return Scene(size, 100.0, np.zeros((1, 3)), np.eye(3)[None], solids, atlas, light, np.inf)


def solid(shape: Shape, half: tuple[float, ...], place: tuple[float, ...],
          turn: np.ndarray = UNTURNED) -> Solid:
    return Solid(shape, np.array(half), np.array([place]), turn[None], 1, 1.0)


def pixel_rays(size: tuple[int, int], focal: float) -> np.ndarray:
    y, x = np.mgrid[:size[0], :size[1]] + 0.5
    return np.stack([(x - size[1] / 2) / focal, (y - size[0] / 2) / focal, np.ones(size)])


@given(pitch=st.floats(-0.3, 0.3), yaw=st.floats(-0.3, 0.3), distance=st.floats(1, 30))
@settings(deadline=None, max_examples=15)
def test_a_planes_depth_is_the_closed_form(pitch: float, yaw: float, distance: float) -> None:
    turn = rotation((pitch, yaw, 0))
    normal = turn[:, 2]
    wall = solid(Shape.BOX, (1000, 1000, 1), tuple(normal * (distance + 1)), turn)
    _, depth = render(scene_of(wall), 0)
    expected = distance / np.einsum('i,irc->rc', normal, pixel_rays(SIZE, 100))
    np.testing.assert_allclose(depth, expected, rtol=2e-3)


def test_a_balls_depth_is_the_closed_form() -> None:
    _, depth = render(scene_of(solid(Shape.BALL, (1, 1, 1), (0, 0, 5))), 0)
    squared = (pixel_rays(SIZE, 100) ** 2).sum(0)
    root = 25 - 24 * squared
    hit = root > 1e-3
    np.testing.assert_allclose(depth[hit], ((5 - np.sqrt(root[hit])) / squared[hit]), rtol=1e-4)
    assert np.isinf(depth[root < -1e-3]).all()


def test_a_tube_is_as_tall_and_wide_as_it_says() -> None:
    _, depth = render(scene_of(solid(Shape.TUBE, (0.5, 1, 0.5), (0, 0, 5))), 0)
    seen = np.argwhere(np.isfinite(depth))
    assert depth.min() == pytest.approx(4.5, rel=1e-3)
    assert np.ptp(seen, axis=0) == pytest.approx([2 * 100 / 4.5, 100 / 5], abs=2)


def test_the_nearer_solid_hides_the_farther() -> None:
    near, far = (solid(Shape.BOX, (side, side, 0.1), (0, 0, z)) for side, z in ((0.5, 3), (9, 8)))
    for order in ((near, far), (far, near)):
        _, depth = render(scene_of(*order), 0)
        assert depth[SIZE[0] // 2, SIZE[1] // 2] == pytest.approx(2.9)
        assert depth[2, 2] == pytest.approx(7.9)


def test_a_solid_throws_a_shadow() -> None:
    floor = solid(Shape.BOX, (100, 1, 100), (0, 2, 0))
    ball = solid(Shape.BALL, (0.3, 0.3, 0.3), (0, 0, 4))
    scene = scene_of(floor, ball)
    with_shadow, depth = render(scene, 0)
    without, _ = render(scene._replace(light=scene.light._replace(shadows=False)), 0)
    darker = (with_shadow < 0.7 * without).all(-1)
    points = pixel_rays(SIZE, 100) * depth
    assert darker.any()
    # The light stands 50 above and 20 behind: the shadow on the floor is beyond the ball.
    below = darker & (depth > 4.2)
    assert np.abs(points[0][below]).max() < 0.5
    assert points[2][below].mean() == pytest.approx(4.5, abs=0.3)


@pytest.mark.parametrize('seed', range(3))
def test_a_static_world_matches_itself_through_its_depth(seed: int) -> None:
    frames, size = 2, (126, 168)
    scene = random_scene(frames, size, np.random.default_rng(seed))
    still = tuple(solid._replace(places_m=solid.places_m[[0, 0]], turns=solid.turns[[0, 0]])
                  for solid in scene.solids)
    # A step to the side, of a size that shows.
    places = scene.places_m[[0, 0]] + np.outer([0, 1], 0.06 * scene.turns[0][:, 0])
    scene = scene._replace(solids=still, places_m=places, turns=scene.turns[[0, 0]])
    (before, before_depth), (after, depth) = (render(scene, index) for index in range(frames))
    depth = np.minimum(depth, 1e6)
    points = pixel_rays(size, scene.focal_px) * depth
    points[0] += 0.06
    x = (points[0] / points[2] * scene.focal_px + size[1] / 2 - 0.5).astype(np.float32)
    y = (points[1] / points[2] * scene.focal_px + size[0] / 2 - 0.5).astype(np.float32)
    exposure = 0.7 / float(before.mean())
    first, second = (develop(image, exposure).astype(np.float32) for image in (before, after))
    carried = cv2.remap(first, x, y, cv2.INTER_LINEAR)
    # What the first frame did not show, or had within a pixel of an edge, is left out.
    met = cv2.remap(np.minimum(before_depth, 1e6), x, y, cv2.INTER_LINEAR)
    same = (np.abs(met / depth - 1) < 0.01) & (x > 0) & (x < size[1] - 1)
    assert same.mean() > 0.5
    error = np.abs(carried - second)[same].mean()
    assert error < 0.6 * np.abs(first - second)[same].mean()


@pytest.mark.parametrize('moving', [0, 1])
def test_solids_move_on_their_own(moving: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, 'SHARE_MOVING', moving)
    seen = [np.ptp(solid.places_m, axis=0).max() > 0.02 for seed in range(6)
            for solid in random_scene(12, SIZE, np.random.default_rng(seed)).solids]
    assert any(seen) == bool(moving) and not all(seen)


def test_no_solid_comes_too_near() -> None:
    for seed in range(6):
        scene = random_scene(10, SIZE, np.random.default_rng(seed))
        for frame in range(0, 10, 3):
            assert render(scene, frame)[1].min() > 0.02


def test_the_same_seed_gives_the_same_rendered_clip() -> None:
    first, second, other = (rendered_clip(2, SIZE, np.random.default_rng(seed))
                            for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.depth_m, second.depth_m)
    assert (np.array(first.images) != np.array(other.images)).any()


@given(rows=SIDES, cols=SIDES, seed=st.integers(0, 2 ** 32 - 1))
@settings(deadline=None, max_examples=12)
def test_rendered_frames_have_the_size_asked_for(rows: int, cols: int, seed: int) -> None:
    clip = rendered_clip(2, (rows, cols), np.random.default_rng(seed))
    assert [image.shape for image in clip.images] == 2 * [(rows, cols, 3)]
    assert [depth.shape for depth in clip.depth_m] == 2 * [(rows, cols)]
    assert clip.images[0].dtype == np.uint8 and clip.depth_m[0].dtype == np.float32
    assert all((depth > 0).all() for depth in clip.depth_m)


def test_textures_continue_across_their_sides() -> None:
    for seed in range(8):
        tile = texture_atlas(1, np.random.default_rng(seed))[1:257, 1:257].astype(np.int64)
        inner = np.abs(np.diff(tile, axis=1)).mean()
        assert np.abs(tile[:, 0] - tile[:, -1]).mean() < 3 * inner + 2
