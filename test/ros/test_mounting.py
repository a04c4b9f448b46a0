"""Which way is up, by tf."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.pipeline.rotation import rotation_matrix
from asyncmde_ros.pipeline.upright import Rotation
from asyncmde_ros.ros import mounting
from asyncmde_ros.ros.mounting import PATIENCE_LOOKS, Mounting, needed_rotation

AHEAD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
"""From base_link (x ahead, y left, z up) to an upright camera's optical frame."""


def mounted(roll_deg: float, pitch_deg: float = 0.0, yaw_deg: float = 0.0) -> np.ndarray:
    """Return base_link to the optical frame of a camera that is turned, pitched, then rolled.

    A positive roll turns the camera clockwise as it looks out, a positive pitch turns it up.
    """
    roll, pitch, yaw = (math.radians(angle) for angle in (roll_deg, pitch_deg, yaw_deg))
    return (rotation_matrix(np.array([0, 0, -roll])) @ rotation_matrix(np.array([-pitch, 0, 0]))
            @ AHEAD @ rotation_matrix(np.array([0, 0, -yaw])))


@pytest.mark.parametrize('before', [None, *Rotation])
@pytest.mark.parametrize('rotation', Rotation)
@settings(max_examples=20, deadline=None)
@given(pitch=st.floats(-65, 65), yaw=st.floats(0, 360), off=st.floats(-29, 29))
def test_a_camera_rolled_by_quarter_turns_is_turned_by_as_many(
        rotation: Rotation, before: Rotation | None, pitch: float, yaw: float, off: float) -> None:
    """A camera turned clockwise gives a picture turned the other way: clockwise is back."""
    assert needed_rotation(mounted(rotation + off, pitch, yaw), before) is rotation


def test_where_up_is_in_the_picture() -> None:
    for up, rotation in (((0, -1, 0), Rotation.NONE), ((-1, 0, 0), Rotation.QUARTER),
                         ((0, 1, 0), Rotation.HALF), ((1, 0, 0), Rotation.THREE_QUARTERS)):
        camera = np.zeros((3, 3))
        camera[:, 2] = up
        picture = np.zeros((5, 5), np.uint8)
        picture[2 + 2 * up[1], 2 + 2 * up[0]] = 1  # what is up in the world
        assert needed_rotation(camera, None) is rotation
        assert rotation.turn(picture)[0, 2] == 1


@pytest.mark.proves('camera-not-upright')
def test_between_two_rotations_it_stays() -> None:
    before = needed_rotation(mounted(44), None)
    assert before is Rotation.NONE
    for roll, expected in ((46, 0), (59, 0), (61, 90), (46, 90), (31, 90), (29, 0), (-59, 0),
                           (-61, 270), (170, 180)):
        before = needed_rotation(mounted(roll), before)
        assert before == expected, roll
    assert needed_rotation(mounted(46), None) is Rotation.QUARTER


@pytest.mark.parametrize('before', [None, Rotation.HALF])
@pytest.mark.parametrize('pitch', [-90, -75, 75, 90])
def test_straight_up_or_down_there_is_no_upright(pitch: float, before: Rotation | None) -> None:
    assert needed_rotation(mounted(0, pitch), before) is before


class Node:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def get_logger(self) -> 'Node':
        return self

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class Tf:
    """Knows a camera's mounting once it is told."""

    def __init__(self) -> None:
        self.camera: np.ndarray | None = None
        self.asked: list[tuple[str, str]] = []
        self.closed = False

    def __call__(self, target: str, source: str) -> np.ndarray | None:
        self.asked.append((target, source))
        return self.camera

    def close(self) -> None:
        self.closed = True


@pytest.mark.proves('camera-not-upright')
def test_images_are_turned_once_tf_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    tf, node = Tf(), Node()
    monkeypatch.setattr(mounting, 'tf_rotations', lambda _: tf)
    monkeypatch.setattr(mounting, 'LOOK_PERIOD_S', 0.0)
    camera = Mounting(node)  # type: ignore[arg-type]
    for _ in range(2 * PATIENCE_LOOKS):
        assert camera.rotation('front') is Rotation.NONE
    (said,) = node.warnings
    assert 'front' in said and 'base_link' in said and set(tf.asked) == {('front', 'base_link')}
    for roll in (180, 90):
        tf.camera = mounted(roll)
        assert camera.rotation('front') == roll
    tf.camera = None  # as after a restart of what publishes it
    assert camera.rotation('front') == 90
    camera.close()
    assert tf.closed


def test_tf_is_not_asked_for_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    tf = Tf()
    monkeypatch.setattr(mounting, 'tf_rotations', lambda _: tf)
    monkeypatch.setattr(mounting, 'LOOK_PERIOD_S', 3600.0)
    tf.camera = mounted(180)
    camera = Mounting(Node())  # type: ignore[arg-type]
    assert {camera.rotation('front') for _ in range(9)} == {Rotation.HALF} and len(tf.asked) == 1


@pytest.mark.proves('camera-not-upright')
def test_without_tf2_ros_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    monkeypatch.setattr(mounting, 'tf_rotations', lambda _: None)
    camera = Mounting(node)  # type: ignore[arg-type]
    assert camera.rotation('front') is Rotation.NONE
    (said,) = node.warnings
    assert 'tf2_ros' in said and 'degrees' in said
    camera.close()
