"""Points of a made-up world, seen from places of which all is known."""

import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from asyncmde_ros.scale.observations import Array
from asyncmde_ros.scale.triangulation import Triangulation, Viewpoint, Zoom

PIXEL = 1 / 300
NOISE_PX = 0.2
CALIBRATED = Zoom(0.0, 0.0)
COUNT = 400


def pose(place: npt.ArrayLike, turn: npt.ArrayLike = (0, 0, 0)) -> Array:
    found = np.eye(4)
    found[:3, :3] = cv2.Rodrigues(np.asarray(turn, float))[0]
    found[:3, 3] = place
    return found


class World:
    """Points before a camera that ends at ``here``; what each place sees of them."""

    def __init__(self, places: list[Array], here: Array, noise_px: float = 0.0) -> None:
        rng = np.random.default_rng(0)
        self.depth = 1 / rng.uniform(0.1, 0.5, COUNT)
        rays = rng.uniform((-0.5, -0.4), (0.5, 0.4), (COUNT, 2))
        points = np.column_stack([rays, np.ones(COUNT)]) * self.depth[:, None]
        self.world = points @ here[:3, :3].T + here[:3, 3]
        self.here, self.pixel = here, np.full(COUNT, PIXEL)
        self._noise = lambda: noise_px * PIXEL * rng.standard_normal((COUNT, 2))
        self.rays = rays + self._noise()
        self.views = [Viewpoint(0.0, place, self.seen(place)) for place in places]

    def seen(self, place: Array) -> Array:
        local = (self.world - place[:3, 3]) @ place[:3, :3]
        return np.asarray(local[:, :2] / local[:, 2:] + self._noise())

    def triangulation(self, zoom: float = 0.0) -> Triangulation:
        """``zoom``: the rays are so much too short."""
        views = [Viewpoint(view.stamp_s, view.pose, view.rays / (1 + zoom)) for view in self.views]
        return Triangulation(views, self.here, self.rays / (1 + zoom), self.pixel)


PLACES = [pose((0.1 * k, 0.02 * k, -0.1 * k), (0.01 * k, -0.02 * k, 0.01)) for k in range(1, 6)]
HERE = pose((0, 0, 0), (0, 0.05, 0))


def test_exact_rays_give_exact_depth() -> None:
    world = World(PLACES, HERE)
    found = world.triangulation().solve(CALIBRATED, 0.0)
    assert 1 / found.inverse_depth == pytest.approx(world.depth, rel=1e-4)
    assert found.misfit.max() < 0.01 and np.all(found.views == len(PLACES))


def test_errors_are_as_large_as_stated() -> None:
    world = World(PLACES, HERE, NOISE_PX)
    found = world.triangulation().solve(CALIBRATED, 0.0)
    error = (found.inverse_depth - 1 / world.depth) / (NOISE_PX * found.sigma)
    # More is stated: the noise of the earlier places is counted as if it were the same in all.
    assert 0.5 < np.sqrt(np.mean(error ** 2)) < 1.0
    assert np.median(found.misfit) == pytest.approx(NOISE_PX, rel=0.3)


def test_two_places_alone_have_the_variance_of_theory() -> None:
    world = World([pose((0.3, 0, 0))], pose((0, 0, 0)))
    found = world.triangulation().solve(CALIBRATED, 0.0)
    assert found.sigma == pytest.approx(np.full(COUNT, math.sqrt(2) * PIXEL / 0.3), rel=1e-6)


def test_a_turn_that_is_wrong_errs_as_stated() -> None:
    world = World([pose((0.3, 0, 0), (0, 0.2, 0))], pose((0, 0, 0)))
    right = world.triangulation().solve(CALIBRATED, 0.01)
    world.views = [Viewpoint(0.0, pose((0.3, 0, 0), (0, 0.202, 0)), world.views[0].rays)]
    error = np.abs(world.triangulation().solve(CALIBRATED, 0.0).inverse_depth - 1 / world.depth)
    assert 0.8 < np.median(error / right.by_turn) < 1.3


def test_what_is_not_seen_is_not_used() -> None:
    world = World(PLACES, HERE)
    world.views[0].rays[:10] = np.nan
    for view in world.views:
        view.rays[10:20] = np.nan
    world.pixel[20:30] = np.nan
    world.rays[20:30] = np.nan
    found = world.triangulation().solve(CALIBRATED, 0.01)
    assert np.all(found.views[:10] == len(PLACES) - 1) and np.all(found.views[10:30] == 0)
    assert 1 / found.inverse_depth[:10] == pytest.approx(world.depth[:10], rel=1e-4)
    assert 1 / found.inverse_depth[30:] == pytest.approx(world.depth[30:], rel=1e-4)


def test_what_would_be_behind_an_earlier_place_is_an_error() -> None:
    world = World([pose((0, 0, 3))], pose((0, 0, 0)))
    found = world.triangulation().solve(CALIBRATED, 0.0)
    assert np.all(np.isinf(found.misfit[world.depth < 3]))
    assert np.all(found.misfit[world.depth > 4] < 0.01)


@pytest.mark.parametrize('zoom', [-0.08, 0.06])
def test_a_turn_shows_a_focal_length_that_is_wrong(zoom: float) -> None:
    world = World(PLACES, HERE, NOISE_PX)
    seen, found = world.triangulation(zoom), Zoom(0.0, 0.1)
    for _ in range(3):
        found = seen.zoom(seen.solve(found, 0.0), found, NOISE_PX, np.ones(COUNT, bool))
    assert abs(found.share - zoom) < 3 * found.sigma < 0.03


def test_one_place_without_a_turn_says_nothing_of_the_focal_length() -> None:
    world = World([pose((0.3, 0, 0))], pose((0, 0, 0)), NOISE_PX)
    seen = world.triangulation(0.05)
    found = seen.zoom(seen.solve(CALIBRATED, 0.0), CALIBRATED, NOISE_PX, np.ones(COUNT, bool))
    assert not found.sigma < 1
    nobody = seen.zoom(seen.solve(CALIBRATED, 0.0), CALIBRATED, NOISE_PX, np.zeros(COUNT, bool))
    assert nobody == Zoom(0.0, math.inf)


def test_parallax_is_what_a_turn_does_not_explain() -> None:
    world = World([pose((0, 0, 0), (0.1, 0.2, 0.3)), pose((0.2, 0, 0))], pose((0, 0, 0)))
    turned, moved = (view.parallax(world.here, world.rays) for view in world.views)
    assert turned == pytest.approx(np.zeros(COUNT), abs=1e-9)
    assert moved == pytest.approx(0.2 / world.depth, rel=1e-6)
