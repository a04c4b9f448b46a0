"""Messages from arrays, without a running node."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from asyncmde_ros.errors import ImageError
from asyncmde_ros.ros.messages import (
    UINT32_MAX,
    float_image,
    from_nanoseconds,
    image_stamp_ns,
    scaled_camera_info,
)


def info() -> CameraInfo:
    calibration = CameraInfo(height=480, width=640, distortion_model='plumb_bob',
                             d=[0.1, 0.2, 0.0, 0.0, 0.3], binning_x=2, binning_y=2,
                             k=[500.0, 0, 320.0, 0, 510.0, 240.0, 0, 0, 1],
                             p=[500.0, 0, 320.0, -50.0, 0, 510.0, 240.0, 0, 0, 0, 1, 0])
    calibration.roi.x_offset, calibration.roi.width = 64, 320
    calibration.roi.y_offset, calibration.roi.height = 48, 240
    return calibration


def test_depth_at_the_images_size_has_the_images_calibration_untouched() -> None:
    header = Header(frame_id='camera')
    result = scaled_camera_info(info(), header, (240, 320), (240, 320))
    expected = info()
    expected.header = header
    assert result == expected


def test_smaller_depth_has_a_scaled_calibration() -> None:
    result = scaled_camera_info(info(), Header(), (480, 640), (240, 160))
    assert (result.height, result.width) == (240, 160)
    assert list(result.k) == pytest.approx([125, 0, 80, 0, 255, 120, 0, 0, 1])
    assert list(result.p) == pytest.approx([125, 0, 80, -12.5, 0, 255, 120, 0, 0, 0, 1, 0])
    assert (result.roi.x_offset, result.roi.width) == (16, 80)
    assert (result.roi.y_offset, result.roi.height) == (24, 120)
    assert (result.d, result.binning_x, result.r.tolist()) == (info().d, 2, info().r.tolist())


def test_a_calibration_of_nonsense_is_scaled_all_the_same() -> None:
    nonsense = CameraInfo(height=UINT32_MAX, width=0, k=[float('nan')] * 9, p=[1e308] * 12)
    nonsense.roi.width = UINT32_MAX
    result = scaled_camera_info(nonsense, Header(), (100, 100), (126, 168))
    assert (result.height, result.width, result.roi.width) == (UINT32_MAX, 0, UINT32_MAX)


@pytest.mark.parametrize('seconds', [-2**31, -1, 0, 2**31 - 1])
def test_any_second_is_a_stamp(seconds: int) -> None:
    header = Header(stamp=Time(sec=seconds, nanosec=999_999_999))
    assert from_nanoseconds(image_stamp_ns(header)) == header.stamp


@pytest.mark.parametrize('nanoseconds', [10**9, UINT32_MAX])
def test_a_second_of_more_than_a_billion_nanoseconds_is_none(nanoseconds: int) -> None:
    with pytest.raises(ImageError, match='nanoseconds') as caught:
        image_stamp_ns(Header(stamp=Time(sec=2**31 - 1, nanosec=nanoseconds)))
    assert caught.value.reason == 'stamp'


def test_float_image_carries_the_bytes() -> None:
    depth = np.arange(12, dtype=np.float32).reshape(3, 4)
    message = float_image(Header(frame_id='f'), depth[:, ::-1])
    assert (message.height, message.width, message.step) == (3, 4, 16)
    assert (message.encoding, message.is_bigendian) == ('32FC1', 0)
    np.testing.assert_array_equal(np.frombuffer(message.data, np.float32).reshape(3, 4),
                                  depth[:, ::-1])
