"""Bad messages of all sorts to the running node, over DDS: each is counted, none does harm."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, Image, Imu
from support.ros_rig import NodeProcess, Peer, image_message, picture

from asyncmde_ros.errors import ImageError
from asyncmde_ros.images.codec import decode_image
from asyncmde_ros.ros.messages import image_stamp_ns, to_nanoseconds
from asyncmde_ros.ros.tokens import dropped_key

pytestmark = [pytest.mark.ros, pytest.mark.slow]

EXAMPLES = 24
"""Each takes up to a second or two, until the next diagnostics; test_fuzz_images.py has more."""

over_dds = settings(
    max_examples=EXAMPLES, deadline=None, database=None,
    # No shrinking: what a node remembers makes it mislead, and each step costs seconds.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

PERIOD_S = 0.1
"""Slow enough for every image to be taken, so that a bad one is not replaced by the next."""

SMALL_PICTURE = (240, 320)


@pytest.fixture(scope='module')
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope='module')
def node(tmp_path_factory: pytest.TempPathFactory, foundation_path: Path, peer: Peer
         ) -> Iterator[NodeProcess]:
    """One for all examples, set so that it reads as much of what it is given as it can."""
    node = NodeProcess(tmp_path_factory.mktemp('fuzz') / 'node.log',
                       '-p', 'memory.motion_compensation:=imu',
                       '-p', 'imu.rotation:=[0.0, 0.0, 0.0, 1.0]',
                       '-p', 'output.resolution:=network')
    good = image_message(picture(SMALL_PICTURE))
    peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(good), PERIOD_S)
    yield node
    assert node.interrupt()[0] == 0, node.text()
    assert 'Traceback' not in node.text()
    node.close()


UINT32 = st.integers(0, 2**32 - 1)
SIDE = st.one_of(st.integers(0, 48), st.sampled_from([2**31, 2**32 - 1]), UINT32)
NUMBER = st.one_of(st.sampled_from([0.0, -1.0, 1.0, 1e-300, 1e308, 320.0, 500.0]),
                   st.floats(allow_nan=True, allow_infinity=True))


@st.composite
def images(draw: st.DrawFn) -> Image:
    encoding = draw(st.sampled_from(['rgb8', 'bgr8', 'mono8', 'yuv422_yuy2', 'nv12', 'mono16',
                                     'bayer_gbrg8', 'bgr16', '32FC1', '', 'fancy', 'ß€']))
    height, width = draw(SIDE), draw(SIDE)
    step = draw(st.one_of(st.just(3 * width), st.just(width), st.integers(0, 9), UINT32)) % 2**32
    length = draw(st.one_of(st.just(min(step * height, 4000)), st.integers(0, 4000)))
    return Image(height=height, width=width, encoding=encoding, step=step,
                 is_bigendian=draw(st.integers(0, 1)), data=bytes(length))


def reason_of(message: Image) -> str | None:
    """Return why the node must drop an image, None for one that is fine by chance."""
    try:
        rgb = decode_image(message)
        image_stamp_ns(message.header)
    except ImageError as error:
        return error.reason
    return 'size' if max(rgb.shape[:2]) > 4 * min(rgb.shape[:2]) else None


def dropped(peer: Peer, reason: str) -> int:
    return int(peer.diagnosed(dropped_key(reason)) or 0)


def depth_comes_again(node: NodeProcess, peer: Peer) -> None:
    """Show good images until there is depth with the stamp of one of them, and no other's."""
    good, stamps = image_message(picture(SMALL_PICTURE)), []
    peer.depths.clear()
    peer.until(lambda: any(to_nanoseconds(depth.header.stamp) in stamps for depth in peer.depths),
               lambda: stamps.append(peer.show(good)), PERIOD_S)
    assert node.process.poll() is None, node.text()
    assert dropped(peer, 'internal') == 0, node.text()


@pytest.mark.proves('random-input')
def test_an_image_that_cannot_be_is_counted_by_its_reason(node: NodeProcess, peer: Peer) -> None:
    wrong: set[str | None] = set()

    @over_dds
    @given(images())
    @example(Image(height=4, width=6, encoding='fancy', step=18, data=bytes(72)))
    @example(Image(height=0, width=6, encoding='rgb8', step=18))
    @example(Image(height=4, width=6, encoding='rgb8', step=17, data=bytes(72)))
    @example(Image(height=4, width=6, encoding='rgb8', step=18, data=bytes(71)))
    def one(message: Image) -> None:
        message.header.frame_id = 'camera_optical_frame'
        reason = reason_of(message)
        wrong.add(reason)
        shown: list[int] = []
        if reason is not None:
            before = dropped(peer, reason)
            peer.until(lambda: dropped(peer, reason) > before,
                       lambda: shown.append(peer.show(message)), PERIOD_S)
        depth_comes_again(node, peer)
        assert not {to_nanoseconds(depth.header.stamp) for depth in peer.depths} & set(shown)
    one()
    assert {'encoding', 'size', 'step', 'data'} <= wrong


@pytest.mark.proves('random-input')
def test_any_stamp_is_the_depths_or_counted(node: NodeProcess, peer: Peer) -> None:
    @over_dds
    @given(st.one_of(st.sampled_from([0, -2**31, 2**31 - 1]), st.integers(-2**31, 2**31 - 1)),
           st.one_of(st.integers(0, 10**9 - 1), UINT32))
    def one(seconds: int, nanoseconds: int) -> None:
        message = image_message(picture(SMALL_PICTURE))
        message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
        stamp = message.header.stamp
        before = dropped(peer, 'stamp')
        peer.depths.clear()
        peer.until(lambda: dropped(peer, 'stamp') > before if nanoseconds >= 10**9 else
                   any(depth.header.stamp == stamp for depth in peer.depths),
                   lambda: peer.camera.publish(message), PERIOD_S)
        depth_comes_again(node, peer)
    one()


@pytest.mark.proves('random-input')
def test_any_calibration_and_any_turn_cost_no_depth(node: NodeProcess, peer: Peer) -> None:
    imu = peer.node.create_publisher(Imu, '/imu', 50)

    @over_dds
    @given(st.lists(NUMBER, min_size=9, max_size=9), st.lists(NUMBER, min_size=12, max_size=12),
           UINT32, UINT32, st.lists(NUMBER, min_size=3, max_size=3), st.booleans())
    def one(k: list[float], p: list[float], height: int, width: int, rate: list[float],
            pinhole: bool) -> None:
        if pinhole:  # so that the numbers are used
            k = [abs(k[0]) or 1.0, 0.0, k[2], 0.0, abs(k[4]) or 1.0, k[5], 0.0, 0.0, 1.0]
        info = CameraInfo(height=height, width=width, k=k, p=p)
        info.roi.width, info.roi.height = height, width
        message, stamps = image_message(picture(SMALL_PICTURE)), []

        def show() -> None:
            now = message.header.stamp = info.header.stamp = peer.node.get_clock().now().to_msg()
            measured = Imu()
            measured.header.stamp = now
            velocity = measured.angular_velocity
            velocity.x, velocity.y, velocity.z = rate
            imu.publish(measured)
            peer.info.publish(info)
            peer.camera.publish(message)
            stamps.append(to_nanoseconds(now))
        peer.depths.clear()
        peer.until(lambda: sum(to_nanoseconds(depth.header.stamp) in stamps
                               for depth in peer.depths) >= 3, show, 0.04)
        assert node.process.poll() is None and dropped(peer, 'internal') == 0, node.text()
        assert dropped(peer, 'engine') == 0, node.text()
    one()
    peer.node.destroy_publisher(imu)
    depth_comes_again(node, peer)


def test_the_oracle_knows_what_is_wrong() -> None:
    assert reason_of(image_message(picture(SMALL_PICTURE))) is None
    ribbon = image_message(picture((40, 400)))
    assert reason_of(ribbon) == 'size'
    assert reason_of(SimpleNamespace(encoding='?', header=ribbon.header)) == 'encoding'
