"""Image points and rays, against OpenCV and by geometry."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array

SIZE = (480, 640)
K = np.array([[400.0, 0, 320], [0, 410, 240], [0, 0, 1]])
LENSES = {
    'rectified': Lens(K, SIZE),
    'plumb_bob': Lens(K, SIZE, 'plumb_bob', (-0.3, 0.1, 0.001, -0.002, 0)),
    'rational_polynomial': Lens(K, SIZE, 'rational_polynomial',
                                (1.2, 0.3, 0.001, 0.001, 0.01, 1.5, 0.6, 0.05)),
    'thin prism': Lens(K, SIZE, 'rational_polynomial',
                       (-0.2, 0.05, 0.001, -0.002, 0.01, 0.1, 0.02, 0.003, 0.002, -0.001, 0.003,
                        0.001)),
    'tilted': Lens(K, SIZE, 'rational_polynomial',
                   (-0.2, 0.05, 0.001, 0, 0.01, 0, 0, 0, 0, 0, 0, 0, 0.02, -0.01)),
    'equidistant': Lens(K, SIZE, 'equidistant', (-0.02, 0.01, -0.003, 0.0005))}


@pytest.fixture(params=LENSES)
def lens(request: pytest.FixtureRequest) -> Lens:
    return LENSES[request.param]


def grid() -> Array:
    x, y = np.meshgrid(np.linspace(0, SIZE[1] - 1, 9), np.linspace(0, SIZE[0] - 1, 7))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def test_a_ray_meets_its_pixel_at_every_depth(lens: Lens) -> None:
    rays = lens.rays(grid())
    assert np.all(rays[:, 2] == 1)
    for depth in (0.1, 1.0, 50.0):
        assert lens.project(depth * rays) == pytest.approx(grid(), abs=1e-3)


def test_points_are_where_opencv_has_them(lens: Lens) -> None:
    points = np.random.default_rng(0).uniform((-1, -0.7, 1.5), (1, 0.7, 5), (100, 3))
    nothing = np.zeros(3)
    project = cv2.fisheye.projectPoints if lens.model == 'equidistant' else cv2.projectPoints
    wanted, _ = project(points[:, None], nothing, nothing, K,
                        np.array(lens.distortion or np.zeros(5)))
    assert lens.project(points) == pytest.approx(wanted.reshape(-1, 2), abs=1e-9)


def test_a_pinhole_by_hand() -> None:
    assert LENSES['rectified'].project([[1, -0.5, 2]]).tolist() == [[520, 137.5]]
    assert LENSES['rectified'].rays([[520, 137.5]]).tolist() == [[0.5, -0.25, 1]]


def test_what_the_camera_does_not_see_is_nan(lens: Lens) -> None:
    points = [[0, 0, -1], [0, 0, 0], [np.nan, 0, 1], [0, np.inf, 1], [100, 0, 1], [0, 0, 1]]
    found = lens.project(points)
    assert np.isnan(found[:5]).all() and found[5] == pytest.approx([320, 240], abs=1e-6)
    assert lens.project(np.zeros((0, 3))).shape == (0, 2)
    assert np.isnan(lens.rays([[np.nan, 3]])).all()


def test_what_lies_beside_the_image_is_not_bent_into_it() -> None:
    """A lens's polynomial turns back beyond its field of view."""
    beside = np.array([[2.2, 0.0, 1.0]])
    strong = Lens(K, SIZE, 'plumb_bob', (-0.3, 0.02, 0, 0))
    x = cv2.projectPoints(beside[:, None], np.zeros(3), np.zeros(3), K,
                          np.array(strong.distortion))[0].ravel()[0]
    assert 0 <= x < SIZE[1], 'OpenCV alone would have it in the image'
    assert np.isnan(strong.project(beside)).all()


def test_a_fisheye_without_coefficients_still_bends() -> None:
    found = Lens(K, SIZE, 'equidistant', (0, 0, 0, 0)).project([[0.5, 0, 1]])
    assert found[0, 0] == pytest.approx(320 + 400 * np.arctan(0.5))


def test_a_lens_scales_with_its_image(lens: Lens) -> None:
    points = np.random.default_rng(1).uniform((-0.5, -0.3, 1), (0.5, 0.3, 5), (20, 3))
    assert lens.scaled((240, 320)).project(points) == pytest.approx(lens.project(points) / 2,
                                                                    abs=1e-6)


def test_a_ray_map_has_every_nth_pixel(lens: Lens) -> None:
    rays = lens.ray_map(7)
    assert rays.shape == (69, 92, 3)
    assert rays[10, 20] == pytest.approx(lens.rays([[140, 70]])[0], abs=1e-6)


@pytest.mark.parametrize(('make', 'words'), [
    (lambda: Lens(np.zeros((3, 3)), SIZE), 'calibrate'),
    (lambda: Lens(K, SIZE, 'thin_prism', (1, 2)), 'rectify the image'),
    (lambda: Lens(K, SIZE, 'plumb_bob', (1, 2, 3)), 'has 4 or 5'),
    (lambda: Lens(K, SIZE, 'equidistant', (1, 2, 3, 4, 5)), 'has 4')])
def test_a_calibration_that_makes_no_sense_says_so(make: Callable[[], Lens], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
