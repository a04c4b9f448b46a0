"""One scale over time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncmde_ros.scale.estimator import Scale, ScaleEstimator
from asyncmde_ros.scale.metric import metric
from asyncmde_ros.scale.observations import Observations

IMAGE = (48, 64)
DT_S = 1 / 30
A, B = 0.04, 0.05


class World:
    """A box seen from within: relative depth in a map, truth by a scale and shift of it."""

    def __init__(self, noise: float = 0.01) -> None:
        self._rng = np.random.default_rng(0)
        self._noise = noise
        rows, cols = np.mgrid[0:IMAGE[0], 0:IMAGE[1]]
        self.relative = (2 + np.abs(rows - 24) / 3 + np.abs(cols - 32) / 4).astype(np.float32)

    def points(self, stamp_s: float, a: float = A, b: float = B, count: int = 50,
               at: tuple[int, int] | None = None, outliers: float = 0.0) -> Observations:
        """Measure random pixels, or those around one."""
        x = self._rng.integers(0, IMAGE[1], count) if at is None else np.full(count, at[0])
        y = self._rng.integers(0, IMAGE[0], count) if at is None else np.full(count, at[1])
        depth = 1 / (a * self.relative[y, x] + b)
        depth *= 1 + self._noise * self._rng.standard_normal(count)
        wrong = self._rng.random(count) < outliers
        depth[wrong] = self._rng.uniform(0.3, 10, wrong.sum())
        return Observations.of_depth(np.stack([x, y], 1), depth, 0.01 * depth, IMAGE, stamp_s,
                                     'points')


def run(estimator: ScaleEstimator, world: World, start: int, count: int, a: float = A,
        b: float = B) -> list[Scale]:
    found = [estimator.update(index * DT_S, world.relative,
                              [world.points(index * DT_S, a, b, outliers=0.1)])
             for index in range(start, start + count)]
    assert all(scale is not None for scale in found)
    return [scale for scale in found if scale is not None]


def test_nothing_measured_is_no_scale() -> None:
    world, estimator = World(), ScaleEstimator()
    assert estimator.update(0.0, world.relative, []) is None
    nowhere = Observations.of_depth([[5, 5], [np.nan, 1], [900, 2]], [-1, 2, 2], 0.1, IMAGE, 0.0,
                                    'points')
    assert estimator.update(DT_S, world.relative, [nowhere]) is None
    assert estimator.update(2 * DT_S, np.full(IMAGE, np.nan, np.float32),
                            [world.points(2 * DT_S)]) is None


def test_a_steady_scale_is_found_and_does_not_jitter() -> None:
    found = run(ScaleEstimator(), World(0.05), 0, 60)
    world = World(0.05)
    alone = [run(ScaleEstimator(), world, index, 1)[0] for index in range(60)]
    depth, unsteady = (np.array([1 / (scale.a * 4 + scale.b) for scale in some[10:]])
                       for some in (found, alone))
    assert depth == pytest.approx(1 / (A * 4 + B), rel=0.05)
    assert np.abs(np.diff(depth)).mean() < 0.9 * np.abs(np.diff(unsteady)).mean()
    assert found[-1].sources == ('points',) and found[-1].age_s == 0
    assert found[-1].inliers >= 40 and found[-1].observations == 50
    assert found[-1].residual == pytest.approx(0.05, rel=0.5) and not found[-1].degenerate


@pytest.mark.proves('scale-wrong-points')
def test_a_step_without_evidence_is_refused_and_with_it_followed() -> None:
    estimator, world = ScaleEstimator(), World()
    before = run(estimator, world, 0, 20)[-1]
    after = run(estimator, world, 20, 4, 2 * A, 2 * B)
    assert [scale.inliers > 0 for scale in after] == [False, False, True, True]
    for scale in after[:2]:
        assert (scale.a, scale.b) == (before.a, before.b) and scale.age_s > 0
    assert after[2].a == pytest.approx(2 * A, rel=0.02)
    assert after[2].b == pytest.approx(2 * B, rel=0.1)


def test_one_wild_frame_changes_nothing() -> None:
    estimator, world = ScaleEstimator(), World()
    before = run(estimator, world, 0, 20)[-1]
    run(estimator, world, 20, 1, 3 * A, B)
    after = run(estimator, world, 21, 1)[-1]
    assert after.a == pytest.approx(before.a, rel=0.03)


def test_a_refresh_may_change_the_scale_at_once() -> None:
    """The same step of 30 %: with a new scene's keyframe it is followed, else it is doubted."""
    found = {}
    for refreshed in (False, True):
        estimator, world = ScaleEstimator(), World()
        run(estimator, world, 0, 30)
        world.relative = world.relative[:, ::-1].copy()
        scale = estimator.update(1.0, world.relative, [world.points(1.0, 1.3 * A, 1.3 * B)],
                                 refreshed)
        assert scale is not None
        found[refreshed] = scale
    assert found[False].inliers == 0
    assert found[True].a == pytest.approx(1.3 * A, rel=0.05)


def test_a_refresh_with_another_scale_of_the_same_scene_keeps_the_metres() -> None:
    """Nothing is measured after it: how both maps relate is seen in the maps."""
    estimator, world = ScaleEstimator(), World()
    before = run(estimator, world, 0, 30)[-1]
    metres = 1 / (before.a * world.relative + before.b)
    changed = ((world.relative - 0.7) / 1.8).astype(np.float32)
    changed[10:16, 5:20] *= 3  # something that moved
    scale = estimator.update(1.0, changed, [], refreshed=True)
    assert scale is not None
    unmoved = np.ones(IMAGE, bool)
    unmoved[10:16, 5:20] = False
    assert 1 / (scale.a * changed + scale.b)[unmoved] == pytest.approx(metres[unmoved], rel=0.01)
    assert scale.covariance[0, 0] > before.covariance[0, 0] * 1.8 ** 2


@pytest.mark.proves('scale-late')
@pytest.mark.parametrize('refreshed_since', [False, True])
def test_what_comes_late_is_looked_at_in_the_map_of_its_moment(refreshed_since: bool) -> None:
    """A wall of which the camera turned away since: the present map has other values there."""
    estimator, world = ScaleEstimator(), World()
    late = world.points(0.1, count=300)
    earlier = world.relative
    estimator.update(0.1, earlier, [])
    turned = np.roll(earlier, 20, axis=1)
    estimator.update(0.2, turned, [])
    if refreshed_since:
        turned = (turned - 0.5) / 2
        estimator.update(0.25, turned, [], refreshed=True)
    scale = estimator.update(0.3, turned, [late])
    assert scale is not None and scale.age_s == pytest.approx(0.2)
    assert scale.inliers > 270 and scale.residual is not None and scale.residual < 0.03
    expected = (2 * A, B + 0.5 * A) if refreshed_since else (A, B)
    assert scale.a == pytest.approx(expected[0], rel=0.03)
    assert scale.b == pytest.approx(expected[1], rel=0.1)


@pytest.mark.proves('scale-late')
def test_what_is_newer_than_the_map_waits_for_its_own() -> None:
    estimator, world = ScaleEstimator(), World()
    future = world.points(0.13)
    assert estimator.update(0.1, np.full(IMAGE, 7, np.float32), [future]) is None
    scale = estimator.update(0.1333, world.relative, [])
    assert scale is not None and scale.inliers > 40


@pytest.mark.proves('scale-late')
def test_what_is_of_no_map_is_left_out() -> None:
    estimator, world = ScaleEstimator(), World()
    for stamp_s in (0.0, 0.5, 1.0):
        assert estimator.update(stamp_s, world.relative, [
            world.points(stamp_s - 0.06), world.points(stamp_s + 0.06)]) is None


def test_without_observations_the_scale_is_held_and_grows_uncertain() -> None:
    estimator, world = ScaleEstimator(), World()
    known = run(estimator, world, 0, 10)[-1]
    held = estimator.update(0.3 + 5, world.relative, [])
    assert held is not None
    assert (held.a, held.b, held.observations, held.residual) == (known.a, known.b, 0, None)
    assert held.age_s == pytest.approx(5, abs=0.1)
    assert held.covariance[0, 0] > 10 * known.covariance[0, 0]
    assert np.isfinite(metric(world.relative, known.a, known.b, known.covariance)).all()
    for _ in range(3):
        held = estimator.update(600.0, world.relative, [])
    assert held is not None
    assert np.isnan(metric(world.relative, held.a, held.b, held.covariance)).all()


@pytest.mark.proves('scale-degenerate')
def test_a_wall_holds_the_shift_and_follows_the_scale() -> None:
    estimator, world = ScaleEstimator(), World()
    before = run(estimator, world, 0, 20)[-1]
    scale = None
    for index in range(20, 40):
        stamp_s = index * DT_S
        factor = 1 + 0.01 * (index - 19)
        scale = estimator.update(stamp_s, world.relative, [world.points(
            stamp_s, factor * A, B, at=(50, 40))])
        assert scale is not None and scale.degenerate and scale.inliers > 0
    assert scale is not None and scale.b == before.b
    measured = world.relative[40, 50]
    assert scale.a * measured + scale.b == pytest.approx(1.2 * A * measured + B, rel=0.03)


def test_a_single_range_gives_metres_from_the_first_on() -> None:
    world, estimator = World(), ScaleEstimator()
    scale = estimator.update(0.0, world.relative, [world.points(0.0, b=0.0, count=1, at=(3, 3))])
    assert scale is not None and scale.degenerate and scale.inliers == 1
    assert (scale.a, scale.b) == (pytest.approx(A, rel=0.05), 0.0)
    near = world.relative[3, 3]
    direction = np.array([near, 1.0])
    away = np.array([near / 4, 1.0])
    here, there = (float(np.sqrt(v @ scale.covariance @ v)) / float(v @ (scale.a, scale.b))
                   for v in (direction, away))
    assert here < 0.2 < there, 'elsewhere the unknown shift counts'


def test_a_range_and_later_points_tell_the_shift() -> None:
    world, estimator = World(), ScaleEstimator()
    estimator.update(0.0, world.relative, [world.points(0.0, count=1, at=(3, 3))])
    assert run(estimator, world, 1, 5)[-1].b == pytest.approx(B, rel=0.15)


@pytest.mark.parametrize('sky', [0.0, -1.0])
def test_a_shift_is_found_below_a_sky(sky: float) -> None:
    """A network gives a sky the value 0, and it may be most of the image."""
    world = World()
    world.relative[:40] = sky
    y = np.random.default_rng(0).integers(40, 48, 200)
    x = np.random.default_rng(1).integers(0, 64, 200)
    depth = 1 / (A * world.relative[y, x] + B)
    scale = ScaleEstimator().update(0.0, world.relative, [Observations.of_depth(
        np.stack([x, y], 1), depth, 0.01 * depth, IMAGE, 0.0, 'points')])
    assert scale is not None and not scale.degenerate
    for measured in (8, 12, 18):
        assert scale.a * measured + scale.b == pytest.approx(A * measured + B, rel=0.03)
    # Points in a sixth of the image do not outweigh all that is expected of a shift.
    assert abs(scale.b - B) < min(2 * np.sqrt(scale.covariance[1, 1]), B)


def test_observations_of_another_time_are_left_out() -> None:
    world, estimator = World(), ScaleEstimator()
    assert estimator.update(10.0, world.relative, [world.points(9.0)]) is None
    scale = estimator.update(10.0, world.relative, [world.points(9.0, 9 * A), world.points(9.99)])
    assert scale is not None and scale.a == pytest.approx(A, rel=0.03)


def test_time_that_goes_back_starts_anew() -> None:
    world, estimator = World(), ScaleEstimator()
    run(estimator, world, 100, 20)
    assert estimator.update(0.0, world.relative, []) is None


def test_depth_is_never_negative() -> None:
    world, estimator = World(), ScaleEstimator()
    for index in range(30):
        stamp_s = index * DT_S
        scale = estimator.update(stamp_s, world.relative, [world.points(stamp_s, 0.1, -0.41)])
        assert scale is not None and scale.a > 0
        depth = metric(world.relative, scale.a, scale.b)
        assert not (depth <= 0).any()
    assert np.isnan(depth).any() and np.isfinite(depth).any()


def test_a_map_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r'\(3, 4, 1\)'):
        ScaleEstimator().update(0.0, np.zeros((3, 4, 1), np.float32), [])


NUMBERS = st.one_of(st.floats(allow_nan=True, allow_infinity=True),
                    st.floats(0.1, 50), st.sampled_from([0.0, 1e-30, 1e30]))


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(st.tuples(
    st.lists(st.tuples(st.floats(-5, 70), st.floats(-5, 50), NUMBERS, NUMBERS), max_size=12),
    st.sampled_from(['room', 'zero', 'constant', 'unknown', 'infinite', 'negative']),
    st.booleans()), min_size=1, max_size=6))
def test_whatever_is_measured_the_scale_stays_sound(
        frames: list[tuple[list[tuple[float, float, float, float]], str, bool]]) -> None:
    estimator = ScaleEstimator()
    room = World().relative
    maps = {'room': room, 'zero': 0 * room, 'constant': 0 * room + 3, 'unknown': room * np.nan,
            'infinite': np.where(room > 5, np.inf, room).astype(np.float32), 'negative': -room}
    for index, (rows, kind, refreshed) in enumerate(frames):
        x, y, depth, sigma = np.array(rows, float).reshape(-1, 4).T
        scale = estimator.update(index * DT_S, maps[kind], [
            Observations.of_depth(np.stack([x, y], 1), depth, sigma, IMAGE, index * DT_S, 'any')],
            refreshed)
        if scale is None:
            continue
        assert np.isfinite([scale.a, scale.b]).all() and scale.a > 0
        assert np.isfinite(scale.covariance).all()
        assert scale.covariance == pytest.approx(scale.covariance.T)
        assert np.diag(scale.covariance).min() >= 0
        assert not (metric(maps[kind], scale.a, scale.b, scale.covariance) <= 0).any()


SHARES = st.floats(-0.2, 0.2)


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(st.tuples(st.lists(st.sampled_from(['lidar', 'ground', 'odometry']),
                                          unique=True), st.floats(0.5, 2), st.booleans()),
                       min_size=1, max_size=12),
       shares=st.tuples(SHARES, SHARES, SHARES), seed=st.integers(0, 99))
def test_whatever_sources_have_wrong_in_common_the_scale_stays_sound(
        frames: list[tuple[list[str], float, bool]], shares: tuple[float, float, float],
        seed: int) -> None:
    """Sources come and go; what each has wrong is a shift, a scale, or both."""
    estimator, world = ScaleEstimator(), World()
    rng = np.random.default_rng(seed)
    for index, (sources, factor, refreshed) in enumerate(frames):
        observed = []
        for source in sources:
            x, y = rng.integers(0, 64, 30), rng.integers(0, 48, 30)
            q = factor * (A * world.relative[y, x] + B)
            common = {'lidar': None, 'ground': np.stack([shares[0] * q, 0 * q + shares[1]], 1),
                      'odometry': shares[2] * q[:, None]}[source]
            observed.append(Observations(np.stack([x, y], 1), q, 0.2 * q, IMAGE, index * DT_S,
                                         source, common))
        scale = estimator.update(index * DT_S, world.relative, observed, refreshed)
        if scale is None:
            continue
        assert np.isfinite([scale.a, scale.b]).all() and scale.a > 0
        assert np.linalg.eigvalsh(scale.covariance).min() >= -1e-12


def test_what_one_source_has_wrong_another_corrects_and_alone_it_stays() -> None:
    """A source that is off by 10 %, and says so, is overruled by one that is not."""
    world, estimator = World(), ScaleEstimator()
    for index in range(60):
        stamp_s = index * DT_S
        q = 1.1 * world.points(stamp_s, count=50).inverse_depth
        off = world.points(stamp_s, 1.1 * A, 1.1 * B)
        off = Observations(off.pixels, off.inverse_depth, 0.1 * q, IMAGE, stamp_s, 'odometry',
                           0.1 * off.inverse_depth[:, None])
        scale = estimator.update(stamp_s, world.relative,
                                 [off] if index < 30 else [world.points(stamp_s)])
        if index in (29, 59):
            assert scale is not None
            row = np.array([4.0, 1])
            error = row @ (scale.a, scale.b) / (row @ (A, B)) - 1
            sigma = np.sqrt(row @ scale.covariance @ row) / (row @ (A, B))
            assert error == pytest.approx(0.1 if index == 29 else 0, abs=0.02)
            assert (0.07 < sigma < 0.15) if index == 29 else sigma < 0.02
