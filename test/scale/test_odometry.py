"""Triangulated corners against the geometry of rooms made of textured rectangles."""

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array, Observations
from asyncmde_ros.scale.odometry import (
    FEWEST_CORNERS,
    OLDEST_S,
    SPACING_PX,
    Odometry,
    reduced,
    rigid,
)
from test.support.planes import Plane, picture

SIZE = (120, 160)
K = np.array([[130.0, 0, 79.5], [0, 130, 59.5], [0, 0, 1]])
LENS = Lens(K, SIZE)
DT_S = 1 / 30
WALL = Plane((0, 0, 4), (5, 0, 0), (0, 5, 0), 1)
FLOOR = Plane((0, 1, 4), (4, 0, 0), (0, 0, 4), 2)
BOX = Plane((-0.5, 0.1, 2), (0.5, 0, 0), (0, 0.5, 0), 3)
ROOM = (WALL, FLOOR, BOX)


def pose(place: npt.ArrayLike = (0, 0, 0), turn: npt.ArrayLike = (0, 0, 0)) -> Array:
    found = np.eye(4)
    found[:3, :3] = cv2.Rodrigues(np.asarray(turn, float))[0]
    found[:3, 3] = place
    return found


def path(frames: int, step: npt.ArrayLike, turn: npt.ArrayLike = (0, 0, 0)) -> list[Array]:
    return [pose(index * np.asarray(step, float), index * np.asarray(turn, float))
            for index in range(frames)]


class Walk:
    """A camera on its way through a room; what was observed, beside the true inverse depth."""

    def __init__(self, odometry: Odometry | None = None, lens: Lens = LENS,
                 calibration: Lens | None = None) -> None:
        """``calibration``: the lens that the odometry is told, where it is another one."""
        self.odometry = odometry or Odometry()
        self.lens, self.calibration = lens, calibration
        self.frames = 0
        self.found: list[Observations | None] = []
        self.truths: list[Array] = []

    def go(self, poses: Iterable[Array], told: Callable[[Array], Array | None] = lambda one: one,
           planes: Callable[[int], Sequence[Plane]] = lambda index: ROOM) -> 'Walk':
        """Let the camera take ``poses`` and the odometry be ``told`` something about them."""
        for index, one in enumerate(poses):
            grey, depth = picture(planes(index), self.lens, one)
            self.found.append(self.odometry.update(
                self.frames * DT_S, grey, self.calibration or self.lens, told(one)))
            self.truths.append(1 / depth)
            self.frames += 1
        return self

    def newest(self) -> int:
        """Return the number of the frame that something was told at last."""
        told = [index for index, some in enumerate(self.found) if some is not None]
        assert told
        return told[-1]

    def last(self) -> Observations:
        some = self.found[self.newest()]
        assert some is not None
        return some

    def true(self, index: int | None = None) -> Array:
        """True inverse depth; of the pixels around a corner on a border, the likelier one."""
        index = self.newest() if index is None else index
        some = self.found[index]
        assert some is not None
        x, y = np.rint(some.pixels).astype(int).T
        around = np.stack([self.truths[index][y + down, x + across]
                           for down in (-2, 0, 2) for across in (-2, 0, 2)])
        best = np.abs(around - some.inverse_depth).argmin(axis=0)
        return np.asarray(around[best, np.arange(best.size)], np.float64)

    def wrong(self, index: int | None = None) -> Array:
        """Errors as shares of the true inverse depth."""
        index = self.newest() if index is None else index
        some = self.found[index]
        assert some is not None
        return np.asarray(some.inverse_depth / self.true(index) - 1)


def require_right(walk: Walk, tolerance: float = 0.03) -> None:
    """Not all are right: a corner that is half box and half wall is neither."""
    some, wrong = walk.last(), walk.wrong()
    assert len(wrong) >= 20
    assert np.median(np.abs(wrong)) < tolerance
    assert np.mean(np.abs(wrong) * walk.true() <= 3 * some.sigma) > 0.9


@pytest.mark.parametrize(('step', 'turn'), [
    ((0.04, 0, 0), (0, 0, 0)), ((0, 0, 0.08), (0, 0, 0)), ((0.04, 0, 0.03), (0.002, 0.01, -0.004)),
    ((0, 0.03, -0.05), (0, -0.01, 0))], ids=['sideways', 'forward', 'turning', 'backward'])
def test_a_room_has_its_depth(step: tuple[float, ...], turn: tuple[float, ...]) -> None:
    walk = Walk().go(path(12, step, turn))
    require_right(walk)
    some = walk.last()
    assert (some.source, some.stamp_s, some.image) == (
        'odometry', walk.newest() * DT_S, SIZE)
    assert walk.newest() >= 10
    assert np.unique(np.round(1 / some.inverse_depth)).size > 1  # wall and box


@pytest.mark.parametrize(('model', 'distortion'), [
    ('plumb_bob', (-0.3, 0.1, 0.001, -0.002, 0)), ('equidistant', (-0.02, 0.01, -0.003, 0.0005))])
def test_a_lens_that_bends_makes_no_difference(model: str, distortion: tuple[float, ...]) -> None:
    require_right(Walk(lens=Lens(K, SIZE, model, distortion)).go(
        path(12, (0.04, 0, 0.02), (0, 0.005, 0))))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(heading=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.3),
       turn=st.tuples(*[st.floats(-0.008, 0.008)] * 3))
def test_whatever_is_told_is_as_sure_as_it_says(heading: tuple[float, ...],
                                                turn: tuple[float, ...]) -> None:
    step = 0.04 * np.array(heading) / np.linalg.norm(heading)
    walk = Walk().go(path(14, step, turn))
    for index, some in enumerate(walk.found):
        if some is not None and some.inverse_depth.size >= 10:
            assert np.median(np.abs(walk.wrong(index)) * walk.true(index) / some.sigma) < 1.5


def test_between_two_places_nothing_is_told_twice() -> None:
    """The same corners, of the same map, would have the same errors."""
    walk = Walk().go(path(40, (0.01, 0, 0)))
    told = [some for some in walk.found if some is not None]
    assert 3 <= len(told) < 15
    before = len(told)
    walk.go([pose((0.39, 0, 0))] * 5)
    assert len([some for some in walk.found if some is not None]) <= before + 1


def test_a_longer_baseline_is_surer() -> None:
    walk = Walk().go(path(24, (0.03, 0, 0)))
    shares = [float(np.median(some.sigma / some.inverse_depth)) for some in walk.found
              if some is not None]
    assert shares[-1] < 0.6 * shares[0]


def test_what_moves_is_left_out() -> None:
    def planes(index: int) -> Sequence[Plane]:
        return WALL, FLOOR, BOX.moved((0, -0.02 * index, 0))
    walk = Walk().go(path(14, (0.04, 0, 0)), planes=planes)
    assert np.mean(walk.true() > 0.4) < 0.1, 'the box is at 2 m'
    require_right(walk)


@pytest.mark.parametrize('turn', [(0, 0, 0), (0, 0.02, 0), (0.01, 0.01, 0.02)])
def test_a_camera_that_stands_or_only_turns_tells_nothing(turn: tuple[float, ...]) -> None:
    assert Walk().go(path(20, (0, 0, 0), turn)).found == [None] * 20


def test_a_turn_that_odometry_gets_slightly_wrong_is_no_depth() -> None:
    """An odometer that trembles by a millimetre, and has 1 % less of the turn than there was."""
    rng = np.random.default_rng(0)

    def told(one: Array) -> Array:
        turn = cv2.Rodrigues(one[:3, :3])[0].ravel()
        return pose(0.0005 * rng.standard_normal(3), 0.99 * turn)
    assert Walk().go(path(20, (0, 0, 0), (0, 0.015, 0)), told).found == [None] * 20


def test_poses_that_move_while_the_picture_stands_tell_nothing() -> None:
    places = iter(path(20, (0.05, 0, 0.02)))
    found = Walk().go([pose()] * 20, lambda _: next(places)).found
    assert found == [None] * 20


def test_poses_that_stand_while_the_picture_moves_tell_nothing() -> None:
    assert Walk().go(path(20, (0.04, 0, 0)), lambda _: pose()).found == [None] * 20


def test_a_wrong_scale_of_the_odometry_becomes_one_of_the_metres() -> None:
    def told(one: Array) -> Array:
        return pose(1.1 * one[:3, 3])
    walk = Walk().go(path(12, (0.04, 0, 0)), told)
    assert np.median(walk.wrong()) == pytest.approx(1 / 1.1 - 1, abs=0.02)


@pytest.mark.parametrize('error', [-0.08, 0.08])
def test_a_turning_camera_corrects_its_focal_length(error: float) -> None:
    wrong = Lens(K @ np.diag([1 + error, 1 + error, 1]), SIZE)
    turning = [pose((0.03 * index, 0, 0.01 * index),
                    (0.06 * np.sin(index / 4), 0.15 * np.sin(index / 7), 0))
               for index in range(40)]
    walk = Walk(calibration=wrong).go(turning)
    require_right(walk)
    straight = Walk(calibration=wrong).go(path(40, (0.03, 0, 0)))
    assert np.median(straight.wrong()) == pytest.approx(-error, abs=0.03), 'nothing tells'
    assert np.median(straight.last().sigma / straight.last().inverse_depth) > 0.04


def test_a_handful_of_corners_tells_nothing() -> None:
    """Something comes before the camera, and hides almost all that it knew."""
    walk = Walk().go(path(10, (-0.04, 0, 0)), planes=lambda index: (WALL,))
    require_right(walk)
    curtain = Plane((1.7, 0, 2), (3, 0, 0), (0, 3, 0), 5)
    walk.go([pose((-0.36 - 0.008 * index, 0, 0)) for index in range(10)],
            planes=lambda index: (WALL, curtain))
    counts = [0 if some is None else len(some.sigma) for some in walk.found[10:]]
    assert counts[:4] == [0] * 4 and counts[-1] > 2 * FEWEST_CORNERS


@pytest.mark.parametrize('jump', [(0, 0.5, 0), (1, 0, 0), (0, 0, -2)])
def test_after_a_jump_of_the_poses_nothing_wrong_is_told_for_long(jump: tuple[float, ...]) -> None:
    walk = Walk().go(path(10, (0.04, 0, 0)))
    require_right(walk)
    on = path(30, (0.04, 0, 0))[10:]
    walk.go(on, lambda one: pose(one[:3, 3] + jump))
    require_right(walk)
    wrong = [index for index in range(10, 30) if walk.found[index] is not None
             and np.median(np.abs(walk.wrong(index))) > 0.1]
    assert len(wrong) <= 1


def test_without_a_pose_nothing_is_told_and_the_corners_are_followed_on() -> None:
    unknown = [None, np.full((4, 4), np.nan), np.zeros((4, 4)), 2 * np.eye(4),
               np.diag([1.0, 1, -1, 1]), np.eye(3)]
    walk = Walk().go(path(10, (0.04, 0, 0)))
    gap = iter(unknown)
    walk.go(path(10 + len(unknown), (0.04, 0, 0))[10:], lambda _: next(gap))
    assert walk.found[10:] == [None] * len(unknown)
    walk.go(path(11 + len(unknown), (0.04, 0, 0))[-1:])
    require_right(walk)


def test_time_that_goes_back_and_other_sizes_start_anew() -> None:
    walk = Walk().go(path(10, (0.04, 0, 0)))
    require_right(walk)
    walk.frames = 0
    walk.go(path(10, (0.04, 0, 0)))
    assert walk.found[10] is None
    require_right(walk)
    walk.lens = LENS.scaled((96, 128))
    walk.go(path(20, (0.04, 0, 0))[10:])
    assert walk.found[20] is None
    require_right(walk)


def test_an_equal_lens_goes_on_and_another_one_starts_anew() -> None:
    walk = Walk().go(path(10, (0.04, 0, 0)))
    walk.calibration = Lens(K.copy(), SIZE, 'plumb_bob', ())
    walk.go(path(11, (0.04, 0, 0))[-1:])
    require_right(walk)
    walk.calibration = Lens(K @ np.diag([1.01, 1.01, 1]), SIZE)
    walk.go(path(12, (0.04, 0, 0))[-1:])
    assert walk.found[-1] is None


def test_the_same_picture_twice_tells_nothing_new() -> None:
    walk = Walk().go(path(10, (0.04, 0, 0)))
    walk.frames -= 1
    walk.go(path(10, (0.04, 0, 0))[-1:])
    assert walk.found[-1] is None
    walk.go(path(11, (0.04, 0, 0))[-1:])
    require_right(walk)


def test_what_was_seen_long_ago_is_forgotten() -> None:
    walk = Walk().go(path(10, (0.04, 0, 0)))
    walk.go([path(10, (0.04, 0, 0))[-1]])
    assert walk.last() is not None
    walk.frames += round((OLDEST_S + 1) / DT_S)
    walk.go([path(10, (0.04, 0, 0))[-1]] * 5)
    assert walk.found[-5:] == [None] * 5


def test_a_cut_and_a_blank_wall_tell_nothing() -> None:
    walk = Walk().go(path(10, (0.04, 0, 0)))
    walk.go(path(4, (0.04, 0, 0)), planes=lambda index: ())
    assert walk.found[-4:] == [None] * 4
    other = (Plane((0, 0, 3), (4, 0, 0), (0, 4, 0), 7),)
    walk.go(path(2, (0.04, 0, 0)), planes=lambda index: other)
    assert walk.found[-2:] == [None] * 2
    walk.go(path(12, (0.04, 0, 0))[2:], planes=lambda index: other)
    assert np.median(np.abs(walk.wrong())) < 0.02


def test_pictures_between_are_not_looked_at() -> None:
    walk = Walk(Odometry(every=3)).go(path(31, (0.015, 0, 0)))
    spoke = [index for index, some in enumerate(walk.found) if some is not None]
    assert spoke and all(index % 3 == 0 for index in spoke)
    require_right(walk)


def test_a_drift_that_is_stated_makes_less_sure() -> None:
    for drift in (0.0, 0.1):
        some = Walk(Odometry(drift=drift)).go(path(12, (0.04, 0, 0))).last()
        share = some.sigma / some.inverse_depth
        assert (share.min() >= 0.1) == (drift == 0.1)


def test_bad_arguments_are_named() -> None:
    grey = np.zeros(SIZE, np.uint8)
    for picture_, lens in ((grey[..., None], LENS), (grey.astype(np.float32), LENS),
                           (grey[:60], LENS), (grey[:20, :20], LENS.scaled((20, 20)))):
        with pytest.raises(ValueError, match='picture'):
            Odometry().update(0.0, picture_, lens, pose())
    for changes in ({'every': 0}, {'drift': -0.1}, {'drift': float('nan')}):
        with pytest.raises(ValueError, match='positive'):
            Odometry(**changes)  # type: ignore[arg-type]


def test_poses_with_few_digits_become_rotations() -> None:
    one = pose((1, 2, 3), (0.3, 0.2, 0.1))
    found = rigid(np.round(one, 3))
    assert found is not None
    assert found[:3, :3] @ found[:3, :3].T == pytest.approx(np.eye(3), abs=1e-12)
    assert found == pytest.approx(one, abs=1e-3)


def test_sizes_are_reduced_and_never_grow() -> None:
    assert reduced((480, 640)) == (240, 320)
    assert reduced((1920, 1080)) == (320, 180)
    assert reduced((100, 120)) == (100, 120)
    assert reduced((2000, 40)) == (320, 32)


def test_a_camera_that_creeps_keeps_no_places_on_the_way() -> None:
    """A place for each picture would shorten the baseline until nothing could be told."""
    walk = Walk().go(path(60, (0.004, 0, 0)), planes=lambda index: (WALL, FLOOR))
    parallax = 130 * 60 * 0.004 / 4
    assert parallax > 4 * SPACING_PX
    require_right(walk)
