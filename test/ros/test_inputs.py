"""Calibration by stamp, turning by an IMU, and encodings that cv_bridge is asked for."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Vector3
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, RegionOfInterest
from std_msgs.msg import Header

from asyncmde_ros.errors import ImageError
from asyncmde_ros.images.codec import Stream
from asyncmde_ros.pipeline.rotation import RotationSensor, rotation_homography, rotation_matrix
from asyncmde_ros.ros import images, inputs
from asyncmde_ros.ros.following import Gaps
from asyncmde_ros.ros.images import to_rgb
from asyncmde_ros.ros.inputs import RECENT_INFOS, Calibration, ImuRotation
from asyncmde_ros.ros.transforms import tf_transforms

MS = 10**6
K = [300.0, 0, 320.0, 0, 310.0, 240.0, 0, 0, 1]


class Logger:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str, **_: object) -> None:
        self.warnings.append(text)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node whose warnings are kept in ``node.log``.

    Messages are handed over by hand, to the callbacks in ``node.subscribed`` by topic.
    """
    monkeypatch.setenv('AMENT_PREFIX_PATH', sys.prefix)
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node('inputs', context=context)
    node.log = Logger()  # type: ignore[attr-defined]
    monkeypatch.setattr(node, 'get_logger', lambda: node.log)  # type: ignore[attr-defined]
    create, node.subscribed = node.create_subscription, {}  # type: ignore[attr-defined]

    def subscribe(kind: type, topic: str, callback: Callable[..., None], *arguments: object,
                  **options: object) -> Subscription:
        node.subscribed[topic] = callback  # type: ignore[attr-defined]
        return create(kind, topic, callback, *arguments, **options)
    monkeypatch.setattr(node, 'create_subscription', subscribe)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def stamped(stamp_ns: int, frame: str = 'camera') -> Header:
    return Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame)


def test_the_calibration_of_the_stamp_else_one_from_before(node: Node) -> None:
    calibration = Calibration(node)
    assert calibration.of(stamped(5)) is None
    infos = [CameraInfo(header=stamped(index), width=index) for index in range(RECENT_INFOS + 4)]
    for info in infos:
        node.subscribed['camera_info'](info)  # type: ignore[attr-defined]
    for index in (RECENT_INFOS + 3, RECENT_INFOS, 4):
        assert calibration.of(stamped(index)) is infos[index]
    assert calibration.of(stamped(1)) is infos[-1], 'too long ago to be kept'
    odd = Calibration(node)
    for info in infos[:8:2]:
        node.subscribed['camera_info'](info)  # type: ignore[attr-defined]
    assert odd.of(stamped(3)) is infos[2], 'its own was lost, and it has not seen 4'
    assert calibration.of(stamped(99)) is infos[-1], 'not there yet'
    calibration.close()


class Turning:
    """An IMU on a camera, the sensor that it fills, and the pipeline that asks that."""

    def __init__(self, node: Node, rotation: list[float]) -> None:
        self.sensor = RotationSensor()
        self.imu = ImuRotation(node, self.sensor, rotation)
        self.close = self.imu.close

    def step(self, info: CameraInfo | None, image: tuple[int, int], camera_frame: str,
             before_ns: int, now_ns: int) -> np.ndarray | None:
        self.imu.update(info, image, camera_frame)
        step = self.sensor.step(before_ns, now_ns)
        self.imu.tell()
        return step


def turning(rate: tuple[float, float, float], node: Node, rotation: list[float]) -> Turning:
    """An IMU that has turned at ``rate`` for a while."""
    turning = Turning(node, rotation)
    for stamp_ns in range(0, 200 * MS, 5 * MS):
        node.subscribed['imu'](  # type: ignore[attr-defined]
            Imu(header=stamped(stamp_ns, 'imu'),
                angular_velocity=Vector3(x=rate[0], y=rate[1], z=rate[2])))
    return turning


IMAGE = (480, 640)
INFO = CameraInfo(height=480, width=640, k=K)


@pytest.mark.parametrize(('quaternion', 'camera_rate'), [
    ([0.0, 0.0, 0.0, 1.0], (0.5, -0.2, 0.1)),
    # A quarter turn about z takes the IMU's x to the camera's y, and its y to minus x.
    ([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)], (0.2, 0.5, 0.1)),
    # REP-103: an IMU with x ahead, y left, z up, on a camera that looks ahead.
    ([0.5, -0.5, 0.5, 0.5], (0.2, -0.1, 0.5))])
def test_a_turn_in_the_imus_frame_becomes_one_of_the_cameras(
        quaternion: list[float], camera_rate: tuple[float, float, float], node: Node) -> None:
    turned = turning((0.5, -0.2, 0.1), node, quaternion)
    step = turned.step(INFO, IMAGE, 'camera', 100 * MS, 133 * MS)
    expected = rotation_homography(np.array(K).reshape(3, 3),
                                   rotation_matrix(np.array(camera_rate) * 0.033), (480, 640))
    assert step is not None
    np.testing.assert_allclose(step, expected, atol=1e-5)
    assert not node.log.warnings  # type: ignore[attr-defined]
    turned.close()


@pytest.mark.proves('calibration-size')
@pytest.mark.parametrize(('calibration', 'image'), [
    (CameraInfo(height=960, width=1280, k=[600.0, 0, 640.0, 0, 620.0, 480.0, 0, 0, 1]), IMAGE),
    (CameraInfo(height=960, width=1280, binning_x=2, binning_y=2,
                k=[600.0, 0, 640.0, 0, 620.0, 480.0, 0, 0, 1]), IMAGE),
    (CameraInfo(height=800, width=1000, k=[300.0, 0, 420.0, 0, 310.0, 270.0, 0, 0, 1],
                roi=RegionOfInterest(x_offset=100, y_offset=30, width=640, height=480)), IMAGE)],
    ids=['scaled', 'binned', 'region'])
def test_the_turn_is_of_the_image_whatever_mode_was_calibrated(
        calibration: CameraInfo, image: tuple[int, int], node: Node) -> None:
    turned = turning((0.5, -0.2, 0.1), node, [0.0, 0.0, 0.0, 1.0])
    expected = turned.step(INFO, IMAGE, 'camera', 100 * MS, 133 * MS)
    step = turned.step(calibration, image, 'camera', 100 * MS, 133 * MS)
    assert step is not None and expected is not None
    np.testing.assert_allclose(step, expected, atol=1e-3 if calibration.k[0] == 600 else 1e-6)
    turned.close()


def test_tf_is_asked_once_it_knows(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def lookup(camera: str, imu: str) -> np.ndarray | None:
        asked.append((camera, imu))
        return np.eye(3) if len(asked) > 1 else None
    monkeypatch.setattr(inputs, 'tf_rotations', lambda node: lookup)
    turned = turning((0.5, 0.0, 0.0), node, [0.0] * 4)
    assert turned.step(INFO, IMAGE, 'camera', 100 * MS, 133 * MS) is None
    for _ in range(3):
        assert turned.step(INFO, IMAGE, 'camera', 100 * MS, 133 * MS) is not None
    assert asked == [('camera', 'imu')] * 2


@pytest.mark.proves('fast-imu')
def test_what_came_while_the_executor_was_busy_counts(node: Node) -> None:
    turned = Turning(node, [0.0, 0.0, 0.0, 1.0])
    publisher = node.create_publisher(Imu, 'imu', 100)
    for stamp_ns in range(0, 140 * MS, 5 * MS):
        publisher.publish(Imu(header=stamped(stamp_ns, 'imu'), angular_velocity=Vector3(x=0.5)))
    deadline = time.monotonic() + 10
    while turned.step(INFO, IMAGE, 'camera', 100 * MS, 133 * MS) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    turned.close()


@pytest.mark.proves('imu-toggled')
def test_a_listener_to_tf_is_let_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    listening: list[object] = []

    class TransformListener:
        def __init__(self, buffer: object, node: object) -> None:
            listening.append(self)

        def unregister(self) -> None:
            listening.remove(self)
    quarter = SimpleNamespace(transform=SimpleNamespace(
        rotation=SimpleNamespace(x=0.0, y=0.0, z=np.sqrt(0.5), w=np.sqrt(0.5)),
        translation=SimpleNamespace(x=1.0, y=2.0, z=3.0)))
    monkeypatch.setitem(sys.modules, 'tf2_ros', SimpleNamespace(
        Buffer=lambda: SimpleNamespace(lookup_transform=lambda *_: quarter),
        TransformException=ValueError, TransformListener=TransformListener))
    for _ in range(3):
        turned = turning((0.5, 0.0, 0.0), node, [0.0] * 4)
        assert len(listening) == 1
        assert turned.step(INFO, IMAGE, 'camera', 100 * MS, 133 * MS) is not None
        other = tf_transforms(node)
        assert other is not None and len(listening) == 1, 'one listener, however many ask'
        pose = other.pose('camera', 'imu', Time(sec=1))
        assert pose is not None and pose[:3, 3].tolist() == [1, 2, 3]
        turned.close()
        assert len(listening) == 1
        other.close()
        assert not listening


@pytest.mark.proves('no-imu')
@pytest.mark.parametrize(('info', 'rotation', 'until_ms', 'lacking'), [
    (None, [0.0, 0.0, 0.0, 1.0], 133, 'calibration'),
    (CameraInfo(height=480, width=640), [0.0, 0.0, 0.0, 1.0], 133, 'calibration'),
    (CameraInfo(height=480, width=640, k=[float('nan')] * 9), [0.0, 0.0, 0.0, 1.0], 133,
     'calibration'),
    # A K without an inverse.
    (CameraInfo(height=480, width=640, k=[*K[:8], 0.0]), [0.0, 0.0, 0.0, 1.0], 133,
     'calibration'),
    (CameraInfo(height=480, width=848, k=K), [0.0, 0.0, 0.0, 1.0], 133, "the images' size"),
    (INFO, [0.0] * 4, 133, 'imu.rotation'),
    (INFO, [0.0, 0.0, 0.0, 1.0], 900, 'angular velocity')])
def test_what_is_missing_is_named_once_and_the_image_is_followed(
        info: CameraInfo | None, rotation: list[float], until_ms: int, lacking: str, node: Node,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, 'tf_rotations', lambda node: None)
    turned = turning((0.5, 0.0, 0.0), node, rotation)
    for _ in range(3):
        assert turned.step(info, IMAGE, 'camera', 100 * MS, until_ms * MS) is None
    (warning,) = node.log.warnings  # type: ignore[attr-defined]
    assert lacking in warning and 'from the image' in warning


@pytest.mark.proves('fast-imu')
@pytest.mark.parametrize(('intrinsics', 'rate'), [
    ([1e308, 0, 1e308, 0, 1e-300, 240.0, 0, 0, 1], 0.5), (K, 1e300),
    ([5e-324, 0, 320.0, 0, 310.0, 240.0, 0, 0, 1], 0.5)])
def test_a_turn_that_is_not_finite_is_none(intrinsics: list[float], rate: float, node: Node
                                           ) -> None:
    turned = turning((rate, 0.0, 0.0), node, [0.0, 0.0, 0.0, 1.0])
    info = CameraInfo(height=480, width=640, k=intrinsics)
    step = turned.step(info, IMAGE, 'camera', 100 * MS, 133 * MS)
    assert step is None or np.isfinite(step).all()
    turned.close()


# Images that never came

def test_gaps_in_the_numbers_are_images_that_never_came() -> None:
    gaps = Gaps()
    assert [gaps.missed(number) for number in (7, 8, 11, 12)] == [0, 0, 2, 0]
    assert [gaps.missed(number) for number in (1, 2, 4)] == [0, 0, 1], 'a publisher anew'
    gaps.reset()
    assert gaps.missed(9) == 0


@pytest.mark.proves('two-publishers')
def test_two_that_number_their_messages_apart_are_no_gap() -> None:
    """A second one is known half a second after its first message, at times."""
    gaps = Gaps()
    assert [gaps.missed(number) for number in (2500, 1, 2501, 2, 3, 2502, 4, 2503)] == [0] * 8
    assert gaps.missed(2505) == 1, 'the second one is gone'


@pytest.mark.parametrize('number', [None, 0, 2**64 - 1])
def test_a_middleware_that_does_not_number_misses_nothing(number: int | None) -> None:
    gaps = Gaps()
    assert [gaps.missed(5), gaps.missed(number), gaps.missed(7)] == [0, 0, 1]


# Encodings

@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A cv_bridge that knows 8SC1; the encodings that it was asked for."""
    asked: list[str] = []

    def imgmsg_to_cv2(message: Image, wanted: str) -> np.ndarray:
        asked.append(message.encoding)
        if message.encoding != '8SC1':
            raise RuntimeError('Unrecognized image encoding')
        assert wanted == 'rgb8'
        return np.zeros((message.height, message.width, 3), np.uint8)
    monkeypatch.setattr(images, '_bridge', lambda: SimpleNamespace(imgmsg_to_cv2=imgmsg_to_cv2))
    yield asked


def decoded(message: Image | CompressedImage) -> np.ndarray:
    return to_rgb(message, Stream())


def message(encoding: str, channels: int = 1) -> Image:
    return Image(height=4, width=6, encoding=encoding, step=6 * channels,
                 data=bytes(24 * channels))


def test_cv_bridge_is_asked_for_what_we_do_not_know_only(bridge: list[str]) -> None:
    assert decoded(message('rgb8', 3)).shape == (4, 6, 3) and not bridge
    assert decoded(message('8SC1')).shape == (4, 6, 3) and bridge == ['8SC1']
    with pytest.raises(ImageError, match='Unrecognized') as caught:
        decoded(message('fancy'))
    assert caught.value.reason == 'encoding'
    broken = message('rgb8', 3)
    broken.step = 1
    with pytest.raises(ImageError) as caught:
        decoded(broken)
    assert caught.value.reason == 'step' and bridge == ['8SC1', 'fancy']


@pytest.mark.proves('depth-image')
def test_cv_bridge_is_not_asked_for_a_depth_image(bridge: list[str]) -> None:
    for image, topic in ((message('32FC1'), '/camera/image_raw'),
                         (message('16UC1'), '/camera/depth/image_rect_raw')):
        with pytest.raises(ImageError, match='looks like a depth image') as caught:
            to_rgb(image, Stream(topic))
        assert caught.value.reason == 'encoding' and 'cv_bridge' not in str(caught.value)
    assert not bridge


def test_nothing_from_cv_bridge_is_an_image_without_a_size(bridge: list[str]) -> None:
    empty = Image(encoding='8SC1')
    with pytest.raises(ImageError) as caught:
        decoded(empty)
    assert caught.value.reason == 'size'


def test_without_cv_bridge_an_unknown_encoding_is_an_error_that_names_it(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, '_bridge', lambda: None)
    with pytest.raises(ImageError, match='fancy'):
        decoded(message('fancy'))
    with pytest.raises(ImageError):
        decoded(CompressedImage(format='jpeg', data=b'no jpeg'))
