"""One scale over refreshes, and what the camera approaches grows: on scenes made by hand."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from asyncmde_ros.scale.steady import FOCAL, LOST_RETURN, RETURN, Matches, Steady

SHAPE = (96, 128)
EVERY = 8
"""Frames from one keyframe to the next; it arrives LAG frames late."""

LAG = 5
X, Y = (2 * np.arange(128) + 1) / 128 - 1, (2 * np.arange(96) + 1) / 96 - 1
NOW = np.stack(np.meshgrid(X[2::5], Y[2::5]), axis=-1).reshape(-1, 2)
STILL = Matches(NOW, NOW)


def room(x: np.ndarray, y: np.ndarray, ahead_m: float) -> np.ndarray:
    """Return inverse depths in 1/m of boxes before a wall 6 m away, from ``ahead_m`` nearer.

    ``x`` and ``y`` are rays.  Each box is a wall of its own height and width on the axis.
    """
    depth = np.full(np.broadcast(x, y).shape, 6.0) - ahead_m
    for distance, left, right, top in ((4.5, -1.5, -0.3, 0.2), (3.5, 0.2, 1.2, 0.0),
                                       (3.0, -2.0, -1.0, 0.4), (2.8, -0.2, 0.2, 0.8)):
        here = distance - ahead_m
        inside = (x * here > left) & (x * here < right) & (y * here > top)
        depth = np.where(inside & (depth > here), here, depth)
    floor = np.where(y > 0, 1.2 / np.maximum(y, 1e-6), np.inf)
    return 1 / np.minimum(depth, floor)


class Drive:
    """A camera that goes straight on; maps as the fast path has them."""

    def __init__(self, step_m: float, focal: float = FOCAL) -> None:
        self.step_m = step_m
        self.half = np.array([1, 96 / 128]) / (2 * focal)

    def truth(self, frame: int, points: np.ndarray | None = None) -> np.ndarray:
        if points is None:
            return room(X[None] * self.half[0], Y[:, None] * self.half[1], frame * self.step_m)
        return room(*(points * self.half).T, frame * self.step_m)

    def as_it_was(self, frame: int, keyframe: int) -> np.ndarray:
        """Return true inverse depths of the keyframe's moment at this frame's pixels."""
        return 1 / (1 / self.truth(frame) + (frame - keyframe) * self.step_m)

    def matches(self, frame: int) -> Matches:
        # One step back all is farther, and nearer to the middle.
        inverse = self.truth(frame, NOW)
        return Matches(NOW / (1 + self.step_m * inverse)[:, None], NOW)

    def frames(self, count: int, scale: Callable[[int], float]
               ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield frame, keyframe and the relative map."""
        for frame in range(LAG, count):
            keyframe = (frame - LAG) // EVERY * EVERY
            yield frame, keyframe, np.asarray(
                scale(keyframe) * self.as_it_was(frame, keyframe), np.float32)


def jitter(keyframe: int) -> float:
    return float(3 * np.exp(np.random.default_rng(keyframe).normal(0, 0.2)))


def scales(drive: Drive, count: int, found: Callable[[int, int, np.ndarray], np.ndarray]
           ) -> np.ndarray:
    """Return, for each frame, the map found by the truth, in the median over the pixels."""
    return np.array([np.median(found(*now) / drive.truth(now[0]))
                     for now in drive.frames(count, jitter)])


def spread(values: np.ndarray) -> float:
    return float(np.log(values).max() - np.log(values).min())


def test_of_a_still_camera_refreshes_no_longer_change_the_scale() -> None:
    drive, steady = Drive(0.0), Steady()
    raw = scales(drive, 60, lambda frame, keyframe, relative: relative)
    found = scales(drive, 60, lambda *now: steady.update(*now, STILL))
    assert spread(raw) > 0.5
    # The network's own scale comes back by its share at each refresh, no more.
    assert spread(found) < RETURN * 8 * spread(raw)
    assert np.abs(np.diff(np.log(found))).max() < 1.1 * RETURN * spread(raw)
    assert np.abs(np.diff(np.log(found)))[1:EVERY - 1].max() < 1e-5


@pytest.mark.parametrize('focal', [0.65, FOCAL, 1.1])
def test_what_is_approached_grows_and_the_scale_stays(focal: float) -> None:
    """The wall comes from 6 to 4 m, the nearest box from 2.8 to 0.8 m, whatever the lens."""
    drive, steady = Drive(0.033, focal), Steady()
    found = scales(drive, 60, lambda frame, keyframe, relative: steady.update(
        frame, keyframe, relative, drive.matches(frame)))
    assert spread(found) < 0.15


def test_each_pixel_grows_by_its_own_distance() -> None:
    """A near box's share of the wall's inverse depth is what it is now, not at the keyframe."""
    drive, steady = Drive(0.033), Steady()
    for frame, keyframe, relative in drive.frames(40, lambda _: 3.0):
        found = steady.update(frame, keyframe, relative, drive.matches(frame))
    truth = drive.truth(frame)
    ratio, stale = found / truth, relative / truth
    assert np.log(ratio).std() < 0.3 * np.log(stale).std()


def test_a_minority_that_moves_by_itself_does_not_matter() -> None:
    drive, steady = Drive(0.033), Steady()
    rng = np.random.default_rng(0)
    moves = np.abs(NOW - (0.4, -0.3)).max(axis=1) < 0.4

    def found(frame: int, keyframe: int, relative: np.ndarray) -> np.ndarray:
        seen = drive.matches(frame)
        before = seen.before + rng.normal(0, 0.001, seen.before.shape)
        before[moves] += (0.05, 0.0)
        return steady.update(frame, keyframe, relative, Matches(before, NOW))
    assert spread(scales(drive, 60, found)) < 0.2


def unlike(frame: int) -> Matches:
    """Return matches that no motion explains."""
    return Matches(np.random.default_rng(frame).uniform(-0.9, 0.9, NOW.shape), NOW)


def test_where_the_motion_is_not_known_the_networks_own_scale_comes_back() -> None:
    drive, steady = Drive(0.0), Steady()
    maps = [np.asarray(scale * drive.truth(0), np.float32) for scale in (1.0, 2.0)]
    steady.update(0, 0, maps[0], STILL)
    kept = steady.update(1, 1, maps[1], STILL)
    np.testing.assert_allclose(kept, maps[0] * 2 ** RETURN, rtol=1e-3)
    gain = 2 ** (RETURN - 1)
    for frame in range(2, 6):
        gain **= 1 - LOST_RETURN
        found = steady.update(frame, frame, maps[1], unlike(frame))
        np.testing.assert_allclose(found, gain * maps[1], rtol=1e-3)
    between = steady.update(6, 5, maps[1], unlike(6))
    np.testing.assert_allclose(between, found, rtol=1e-6)  # only a refresh changes it


def test_a_map_of_something_else_is_not_related() -> None:
    drive, steady = Drive(0.0), Steady()
    good = np.asarray(drive.truth(0), np.float32)
    steady.update(0, 0, good, STILL)
    other = np.asarray(np.exp(np.random.default_rng(0).normal(2, 1, SHAPE)), np.float32)
    np.testing.assert_array_equal(steady.update(1, 1, other, STILL), other)


def test_a_wall_ahead_keeps_its_scale_too() -> None:
    steady = Steady()
    wall = np.full(SHAPE, 2.0, np.float32)
    steady.update(0, 0, wall, STILL)
    np.testing.assert_allclose(steady.update(1, 1, 3 * wall, STILL), 3 ** RETURN * wall,
                               rtol=1e-3)


@pytest.mark.parametrize('cut', ['forget', 'gap'])
def test_another_scene_begins_with_its_own_scale(cut: str) -> None:
    drive, steady = Drive(0.033), Steady()
    for frame, keyframe, relative in drive.frames(30, jitter):
        steady.update(frame, keyframe, relative, drive.matches(frame))
    if cut == 'forget':
        steady.forget()
    now = frame + 1 if cut == 'forget' else frame + 7
    other = np.asarray(5 * drive.truth(3), np.float32)
    np.testing.assert_array_equal(steady.update(now, now, other, unlike(now)), other)


@pytest.mark.parametrize('value', [np.nan, 0.0, 1.0, -1.0])
def test_maps_that_say_nothing_do_no_lasting_harm(value: float) -> None:
    drive, steady = Drive(0.0), Steady()
    good = np.asarray(drive.truth(0), np.float32)
    steady.update(0, 0, good, STILL)
    poor = np.full(SHAPE, value, np.float32)
    found = steady.update(1, 1, poor, STILL)
    assert found.shape == SHAPE and np.isnan(found).all() == np.isnan(value)
    assert (found[np.isfinite(found)] >= 0).all()
    for frame in range(2, 5):
        np.testing.assert_allclose(steady.update(frame, frame, good, STILL), good, rtol=0.15)


def test_holes_stay_and_the_rest_keeps_its_scale() -> None:
    drive, steady = Drive(0.0), Steady()
    good = np.asarray(drive.truth(0), np.float32)
    holes = np.random.default_rng(0).random(SHAPE) < 0.1
    steady.update(0, 0, np.where(holes, np.nan, good), STILL)
    found = steady.update(1, 1, np.where(holes, np.nan, 2 * good), STILL)
    assert (np.isnan(found) == holes).all()
    np.testing.assert_allclose(found[~holes], 2 ** RETURN * good[~holes], rtol=1e-3)


def test_a_refresh_may_have_another_size() -> None:
    """A pixel of the smaller map is no average of the larger one's: some per cent by the edges."""
    drive, steady = Drive(0.0), Steady()
    good = np.asarray(drive.truth(0), np.float32)
    steady.update(0, 0, good, STILL)
    found = steady.update(1, 1, 2 * good[::2, ::2], STILL)
    assert found.shape == (48, 64)
    np.testing.assert_allclose(found, 2 ** RETURN * good[::2, ::2], rtol=0.02)


def test_a_keyframe_from_before_the_first_frame_counts_from_there() -> None:
    """As after memory was found again, or the parameter was set."""
    drive, steady = Drive(0.033), Steady()
    relative = np.asarray(drive.as_it_was(20, 3), np.float32)
    np.testing.assert_array_equal(steady.update(20, 3, relative, unlike(0)), relative)


def test_the_callers_map_is_left_alone_and_the_result_is_the_callers() -> None:
    drive, steady = Drive(0.033), Steady()
    relative = np.asarray(drive.truth(0), np.float32)
    given = relative.copy()
    first = steady.update(0, 0, relative, STILL)
    np.testing.assert_array_equal(relative, given)
    first[:] = 0
    np.testing.assert_allclose(steady.update(1, 1, 2 * relative, STILL),
                               relative * 2 ** RETURN, rtol=1e-3)


@pytest.mark.parametrize('focal', [0.0, -1.0, float('nan')])
def test_a_focal_length_has_to_be_positive(focal: float) -> None:
    with pytest.raises(ValueError, match='positive'):
        Steady(focal)
