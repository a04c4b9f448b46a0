"""Poses between those that are known."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.scale.poses import KEPT, LONGEST_GAP_S, Poses, between


def pose(turn: tuple[float, float, float], move: tuple[float, float, float]) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3] = cv2.Rodrigues(np.array(turn, float))[0]
    made[:3, 3] = move
    return made


def test_half_way_is_half_the_turn_and_half_the_way() -> None:
    found = between(pose((0, 0, 0.2), (1, 0, 0)), pose((0, 0, 1.0), (3, 2, 0)), 0.5)
    assert found == pytest.approx(pose((0, 0, 0.6), (2, 1, 0)))


@given(st.tuples(*[st.floats(-1.5, 1.5)] * 3), st.tuples(*[st.floats(-1.5, 1.5)] * 3),
       st.floats(0, 1))
def test_any_two_poses_have_a_rigid_one_between(one: tuple, other: tuple, part: float) -> None:
    first, second = pose(one, one), pose(other, other)
    found = between(first, second, part)
    assert found[:3, :3] @ found[:3, :3].T == pytest.approx(np.eye(3), abs=1e-9)
    whole, left = (np.linalg.norm(cv2.Rodrigues(second[:3, :3] @ some[:3, :3].T)[0])
                   for some in (first, found))
    if whole < math.pi - 1e-3:
        assert left == pytest.approx((1 - part) * whole, abs=1e-6)


def test_outside_of_what_is_known_and_in_long_gaps_there_is_none() -> None:
    poses = Poses()
    assert poses.at(0.0) is None
    for stamp_s in (1.0, 1.1, 1.1 + LONGEST_GAP_S + 0.01):
        for _ in range(2):
            poses.add(stamp_s, pose((0, 0, 0), (stamp_s, 0, 0)))
    known = {stamp_s: poses.at(stamp_s) for stamp_s in (0.99, 1.0, 1.05, 1.1, 1.3, 1.7)}
    assert [found is not None for found in known.values()] == [False, True, True, True, False,
                                                               False]
    middle = known[1.05]
    assert middle is not None and middle[0, 3] == pytest.approx(1.05)


def test_time_that_goes_back_starts_anew_and_memory_is_bounded() -> None:
    poses = Poses()
    for index in range(3 * KEPT):
        poses.add(index * 0.01, np.eye(4))
    assert poses.at(0.0) is None and poses.at(0.01 * (3 * KEPT - 1)) is not None
    poses.add(0.5, np.eye(4))
    assert poses.at(0.5) is not None and poses.at(1.0) is None
