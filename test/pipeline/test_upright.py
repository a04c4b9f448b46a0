"""Pictures and motions turned upright, and depth turned back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.pipeline.motion import Warp, resample, still
from asyncmde_ros.pipeline.rotation import rotation_homography, rotation_matrix
from asyncmde_ros.pipeline.upright import Rotation

rotations = pytest.mark.parametrize('rotation', Rotation)


@rotations
@pytest.mark.parametrize('shape', [(5, 7), (5, 7, 3), (1, 4)])
def test_a_picture_turns_clockwise_and_back(rotation: Rotation, shape: tuple[int, ...],
                                            rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, shape, np.uint8)
    turned = rotation.turn(picture)
    np.testing.assert_array_equal(turned, np.rot90(picture, -rotation // 90))
    assert turned.shape[:2] == rotation.size(picture.shape[:2])
    assert rotation.inverse.size(turned.shape[:2]) == picture.shape[:2]
    np.testing.assert_array_equal(rotation.inverse.turn(turned), picture)


@pytest.mark.parametrize('rotation', list(Rotation))
def test_pixels_are_found_again_in_the_turned_picture(rotation: Rotation) -> None:
    picture = np.arange(35).reshape(5, 7).astype(np.float32)
    rows, cols = np.indices(picture.shape)
    np.testing.assert_array_equal(
        rotation.turn(picture)[rotation.turned_pixels(rows, cols, picture.shape)], picture)


@rotations
@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-0.1, 0.1), min_size=8, max_size=8))
def test_a_turned_motion_moves_a_turned_picture_as_the_motion_moves_the_picture(
        rotation: Rotation, change: list[float]) -> None:
    picture = np.random.default_rng(2).random((24, 36)).astype(np.float32)
    homography = (np.eye(3) + np.array([*change, 0]).reshape(3, 3)).astype(np.float32)
    turned = rotation.turn_homography(homography)
    assert turned.dtype == np.float32
    expected = resample(picture, still((84, 126))._replace(homography=homography))
    seen = resample(rotation.turn(picture), Warp(turned, still(rotation.size((84, 126))).flow))
    # OpenCV places samples to a 32nd of a pixel.
    np.testing.assert_allclose(rotation.inverse.turn(seen), expected, atol=0.1)
    assert np.abs(rotation.inverse.turn(seen) - expected).mean() < 5e-3


@rotations
def test_a_gyroscopes_step_is_that_of_a_camera_mounted_upright(rotation: Rotation) -> None:
    """The same turn of the robot, seen by a camera rolled about its axis and by one that is not.

    Clockwise in the picture is a positive turn about the optical axis: x right, y down.
    """
    angle = np.deg2rad(rotation.value)
    to_upright = rotation_matrix(np.array([0, 0, angle]))
    turn = rotation_matrix(np.array([0.03, -0.05, 0.1]))
    rows, cols = size = (480, 640)
    intrinsics = np.array([[300.0, 0, cols / 2 - 0.5], [0, 310.0, rows / 2 - 0.5], [0, 0, 1]])
    upright = intrinsics.copy()
    if rotation % 180:
        upright[0], upright[1] = (310.0, 0, rows / 2 - 0.5), (0, 300.0, cols / 2 - 0.5)
    step = rotation_homography(intrinsics, turn, size)
    expected = rotation_homography(upright, to_upright @ turn @ to_upright.T, rotation.size(size))
    np.testing.assert_allclose(rotation.turn_homography(step), expected, atol=1e-12)
