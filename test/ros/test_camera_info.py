"""A calibration fits its image, is scaled to it, or is said not to fit."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from asyncmde_ros.ros.camera_info import View, view_of
from asyncmde_ros.ros.messages import scaled_camera_info

UINT32 = st.integers(0, 2**32 - 1)
FOCAL_PX, CENTRE_PX = 900.0, (480.0, 640.0)


def info(binning: int = 0, roi: tuple[int, int, int, int] = (0, 0, 0, 0),
         size: tuple[int, int] = (960, 1280)) -> CameraInfo:
    """Return a calibration; ``roi`` is (y, x, rows, cols)."""
    y, x, rows, cols = roi
    (cy, cx), f = CENTRE_PX, FOCAL_PX
    return CameraInfo(height=size[0], width=size[1], binning_x=binning, binning_y=binning,
                      roi=RegionOfInterest(y_offset=y, x_offset=x, height=rows, width=cols),
                      k=[f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0],
                      p=[f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0])


ROI = (100, 200, 480, 640)


@pytest.mark.proves('calibration-size')
@pytest.mark.parametrize(('calibration', 'image', 'offset', 'size'), [
    (info(), (960, 1280), (0, 0), (960, 1280)),
    (info(binning=1), (960, 1280), (0, 0), (960, 1280)),
    (info(binning=2), (480, 640), (0, 0), (960, 1280)),
    (info(binning=2, size=(961, 1281)), (480, 640), (0, 0), (961, 1281)),
    (info(roi=ROI), (480, 640), (100, 200), (480, 640)),
    (info(binning=2, roi=ROI), (240, 320), (100, 200), (480, 640)),
    # Filled in, and not applied.
    (info(binning=2), (960, 1280), (0, 0), (960, 1280)),
    (info(roi=ROI), (960, 1280), (0, 0), (960, 1280))])
def test_a_calibration_that_explains_the_image_is_left_as_it_is(
        calibration: CameraInfo, image: tuple[int, int], offset: tuple[int, int],
        size: tuple[int, int]) -> None:
    view = view_of(calibration, image)
    assert view == View(offset, size, image) and view.fits and not view.doubt
    assert scaled_camera_info(calibration, Header(), view.expected, image) == calibration


@pytest.mark.proves('calibration-size')
@pytest.mark.parametrize('binning', [0, 2])
@pytest.mark.parametrize('factor', [0.25, 0.75, 3.0])
@pytest.mark.parametrize('roi', [(0, 0, 0, 0), (100, 200, 480, 640)])
def test_an_image_of_the_same_aspect_has_the_calibration_scaled(
        binning: int, factor: float, roi: tuple[int, int, int, int]) -> None:
    calibration = info(binning, roi)
    shown = (480, 640) if roi[2] else (960, 1280)
    image = round(shown[0] / max(binning, 1) * factor), round(shown[1] / max(binning, 1) * factor)
    view = view_of(calibration, image)
    assert view.fits and '1280x960' in view.doubt and f'{image[1]}x{image[0]}' in view.doubt
    for depth in (image, (126, 168)):
        scaled = scaled_camera_info(calibration, Header(), view.expected, depth)
        told = view_of(scaled, depth)
        assert told.fits and not told.doubt, 'it describes the depth image'
        assert scaled.k[0] * told.expected[1] / told.size[1] == pytest.approx(
            FOCAL_PX * depth[1] / shown[1], rel=1e-6)


def test_the_case_of_usb_cameras() -> None:
    """A calibration file of 1280x960 beside images of 320x240."""
    scaled = scaled_camera_info(info(), Header(), view_of(info(), (240, 320)).expected, (240, 320))
    assert (scaled.height, scaled.width) == (240, 320)
    assert list(scaled.k) == [225.0, 0, 160.0, 0, 225.0, 120.0, 0, 0, 1]


@pytest.mark.proves('calibration-size')
@pytest.mark.parametrize('image', [(720, 1280), (480, 480), (640, 480)])
def test_another_aspect_fits_in_no_way(image: tuple[int, int]) -> None:
    view = view_of(info(), image)
    assert not view.fits and 'no scaled view' in view.doubt and 'calibrate' in view.doubt


@pytest.mark.parametrize('size', [(0, 0), (480, 0)])
def test_a_calibration_without_a_size_is_taken_for_the_images(size: tuple[int, int]) -> None:
    view = view_of(info(size=size), (480, 640))
    assert view.fits and view.expected == (480, 640) and 'width and height' in view.doubt


@settings(deadline=None)
@given(UINT32, UINT32, st.lists(UINT32, min_size=6, max_size=6), st.integers(1, 5000),
       st.integers(1, 5000))
def test_any_numbers_give_a_view(height: int, width: int, rest: list[int], rows: int, cols: int
                                 ) -> None:
    calibration = info(roi=(rest[0], rest[1], rest[2], rest[3]), size=(height, width))
    calibration.binning_y, calibration.binning_x = rest[4:]
    view = view_of(calibration, (rows, cols))
    assert all(view.expected) or not view.fits
    if view.fits:
        scaled = scaled_camera_info(calibration, Header(), view.expected, (126, 168))
        assert np.isfinite(scaled.k).all()
