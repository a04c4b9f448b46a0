"""The lens of an image, from its CameraInfo."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import numpy as np
from sensor_msgs.msg import CameraInfo

from asyncmde_ros.ros.lens import LensKeeper, is_rectified, lens_of
from asyncmde_ros.ros.metric_settings import Rectified


def info(**changes: object) -> CameraInfo:
    made = CameraInfo(height=480, width=640, distortion_model='plumb_bob',
                      d=[0.1, -0.2, 0.0, 0.0, 0.0],
                      k=[500.0, 0, 320.0, 0, 510.0, 240.0, 0, 0, 1],
                      p=[450.0, 0, 310.0, 0, 0, 460.0, 230.0, 0, 0, 0, 1, 0])
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(('topic', 'said'), [
    ('/camera/image_raw', False), ('/camera/image_rect', True), ('/camera/image_rect_color', True),
    ('/camera/image_rect/compressed', True), ('/rect/image_raw', False), ('/direct/image', False)])
def test_image_procs_names_tell(topic: str, said: bool) -> None:
    assert is_rectified(topic) is said


def test_a_raw_image_has_k_and_d_and_a_rectified_one_p() -> None:
    raw, rectified = (lens_of(info(), (480, 640), kind) for kind in (False, True))
    assert raw.matrix[0, 0] == 500 and list(raw.distortion) == [0.1, -0.2, 0, 0, 0]
    assert rectified.matrix[0].tolist() == [450, 0, 310] and not list(rectified.distortion)
    unrectified = info(p=[0.0] * 12)
    assert lens_of(unrectified, (480, 640), True).matrix[0, 0] == 500


def test_a_scaled_or_cut_image_sees_the_same_points() -> None:
    whole, half = (lens_of(info(d=[]), size, False) for size in ((480, 640), (240, 320)))
    point = [[0.3, 0.2, 2.0]]
    assert half.project(point) * 2 == pytest.approx(whole.project(point))
    cut = info(d=[])
    cut.roi.x_offset, cut.roi.y_offset, cut.roi.width, cut.roi.height = 100, 80, 400, 300
    for kind in (False, True):
        shifted = lens_of(cut, (300, 400), kind)
        assert shifted.project(point) + (100, 80) == pytest.approx(
            lens_of(info(d=[]), (480, 640), kind).project(point))


@pytest.mark.parametrize(('changes', 'words'), [
    ({'k': [0.0] * 9}, 'calibrate'), ({'k': [float('nan')] * 9}, 'calibrate'),
    ({'distortion_model': 'curved'}, 'curved'), ({'d': [0.1]}, 'coefficients'),
    ({'height': 300, 'width': 640}, 'no scaled view')])
def test_what_is_no_calibration_is_said_and_depth_has_no_lens(changes: dict, words: str) -> None:
    keeper = LensKeeper()
    assert keeper.of(info(**changes), (480, 640), Rectified.AUTO) is None
    assert words in keeper.trouble
    assert keeper.of(None, (480, 640), Rectified.AUTO) is None
    assert 'no calibration' in keeper.trouble
    assert keeper.of(info(), (480, 640), Rectified.AUTO) is not None and not keeper.trouble


def test_one_calibration_is_one_lens() -> None:
    keeper = LensKeeper(rectified=True)
    first = keeper.of(info(), (480, 640), Rectified.AUTO)
    assert first is not None and first.matrix[0, 0] == 450
    assert keeper.of(info(), (480, 640), Rectified.AUTO) is first
    raw = keeper.of(info(), (480, 640), Rectified.RAW)
    assert raw is not None and raw.matrix[0, 0] == 500
    zoomed = info(k=[900.0, 0, 320.0, 0, 900.0, 240.0, 0, 0, 1])
    found = keeper.of(zoomed, (480, 640), Rectified.RAW)
    assert found is not None and np.asarray(found.matrix)[0, 0] == 900
