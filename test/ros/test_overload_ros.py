"""More than the node can do, over real DDS: the newest frame wins and nothing piles up."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import threading
import time
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from support.ros_rig import MOMENT_S, SMALL, NodeProcess, Peer, image_message, picture

from asyncmde_ros.pipeline.results import DepthSource
from asyncmde_ros.ros.messages import to_nanoseconds
from asyncmde_ros.ros.tokens import DROPPED, INTERNAL, depth_key, dropped_key

pytestmark = [pytest.mark.ros, pytest.mark.slow]

LOAD_S = 4.0
ANSWERS = 40
"""What every camera gets, however many there are and however much longer a busy machine takes."""

RATE_HZ = 30.0
OVERLOAD_HZ = 120.0
IMAGE = (240, 320)

BEHIND = 5
"""After so many more answers, nothing is answered that is older than the newest image now: two
wait, and one or two are on their way.  Behind a queue of everything that was not answered, every
answer would be for longer than that.  Counted in answers, it holds at any speed."""

MIN_SHARE = 0.9
"""Of the answers: the middleware's own threads wait for a core, too."""

CAMERAS = ('front', 'rear', 'left', 'right')
NAPS = 4
NAP_ANSWERS = 10
"""So many that others get is one nap long."""


class Feed:
    """A camera and the listener to its depth, on the peer's node."""

    def __init__(self, peer: Peer, name: str) -> None:
        self._peer = peer
        self._message = image_message(picture(IMAGE, seed=len(name)))
        self._message.header.frame_id = f'{name}_optical_frame'
        self.stamps: list[int] = []
        self.answers: list[tuple[int, int, str]] = []  # stamp, publication [ns]; frame
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        # Not the peer's own: images are counted where they have one publisher.
        self._camera = peer.node.create_publisher(Image, f'/{name}/image_raw', newest)
        peer.node.create_subscription(Image, f'/{name}/depth/relative',
                                      self._on_depth, 5)  # type: ignore[arg-type]

    def show(self) -> None:
        now = self._peer.node.get_clock().now()
        self._message.header.stamp = now.to_msg()
        self.stamps.append(now.nanoseconds)
        self._camera.publish(self._message)

    def _on_depth(self, depth: Image, info: Mapping[str, Any]) -> None:
        self.answers.append((to_nanoseconds(depth.header.stamp), info['source_timestamp'],
                             depth.header.frame_id))

    def settle(self) -> None:
        """Return once it is answered steadily."""
        self._peer.until(lambda: len(self.answers) >= 5, self.show, 1 / RATE_HZ)
        self.stamps.clear()
        self.answers.clear()

    def check(self) -> None:
        """The own images' stamps, in order, and of the newest that there were."""
        stamps = [stamp for stamp, _, _ in self.answers]
        own = [stamp for stamp in stamps if stamp >= self.stamps[0]]
        assert set(own) <= set(self.stamps), 'a stamp that none of its images had'
        assert stamps == sorted(set(stamps)), 'stamps repeat or go back'
        assert {frame for _, _, frame in self.answers} == {self._message.header.frame_id}
        published = [when for _, when, _ in self.answers]
        newest = [self.stamps[max(0, bisect_right(self.stamps, when) - 1)] for when in published]
        in_time = [stamp >= shown for shown, stamp in zip(newest, stamps[BEHIND:], strict=False)]
        assert np.mean(in_time) >= MIN_SHARE


def start(folder: Path, name: str, *arguments: str, size: str = SMALL) -> NodeProcess:
    return NodeProcess(folder / f'{name}.log', '-r', f'__ns:=/{name}', *arguments, size=size,
                       camera=f'/{name}')


def load(peer: Peer, feeds: list[Feed], rate_hz: float) -> None:
    """Show until each is answered often; then the newest image of each must be without another."""
    end = time.monotonic() + LOAD_S
    peer.until(lambda: time.monotonic() > end
               and all(len(feed.answers) >= ANSWERS for feed in feeds),
               lambda: [feed.show() for feed in feeds], 1 / rate_hz)
    peer.until(lambda: all(feed.answers[-1][0] == feed.stamps[-1] for feed in feeds))


def counted(peer: Peer) -> dict[str, int]:
    """Return what became of the images, as the node's diagnostics have it."""
    return {name: int(peer.diagnosed(key) or 0) for name, key in (
        *((source.value, depth_key(source.value)) for source in DepthSource),
        (DROPPED, DROPPED))}


@pytest.mark.proves('overload')
def test_of_a_camera_that_is_too_fast_the_newest_frame_wins(tmp_path: Path, foundation_path: Path,
                                                            peer: Peer) -> None:
    # Four times the work, and by the network.
    node = start(tmp_path, 'fast', '-p', 'fast_path.model:=spatial_memory', size='252x336')
    try:
        feed = Feed(peer, 'fast')
        feed.settle()
        peer.diagnostics.clear()
        peer.until(lambda: bool(peer.diagnostics))
        before = counted(peer)
        load(peer, [feed], OVERLOAD_HZ)
        feed.check()

        def became() -> int:
            return sum(counted(peer).values()) - sum(before.values())
        # Each is answered or counted, once the diagnostics are of after the last one.
        peer.until(lambda: became() >= len(feed.stamps))
        after = counted(peer)
        assert after['warped'] + after['dropped'] > before['warped'] + before['dropped']
        assert int(peer.diagnosed(dropped_key(INTERNAL)) or 0) == 0
        assert node.process.poll() is None
    finally:
        node.close()


@pytest.mark.proves('overload')
def test_four_cameras_each_get_their_own_depth_in_time(tmp_path: Path, foundation_path: Path,
                                                       peer: Peer) -> None:
    nodes = [start(tmp_path, name, '-p', 'fast_path.threads:=1', '-p', 'slow_path.threads:=1')
             for name in CAMERAS]
    try:
        feeds = [Feed(peer, name) for name in CAMERAS]
        for feed in feeds:
            feed.settle()
        load(peer, feeds, RATE_HZ)
        for feed in feeds:
            feed.check()
        assert all(node.process.poll() is None for node in nodes)
    finally:
        for node in nodes:
            node.close()


class Sleeper:
    """A subscriber of depth that sleeps on each, in a participant and a thread of its own.

    ``read`` has, of what it read after a nap, how many of what the others got it is older than.
    """

    def __init__(self, feed: Feed) -> None:
        self.read: list[int] = []
        self._feed = feed
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = Node('sleeper', context=self._context)
        self._node.create_subscription(
            Image, '/front/depth/relative', self._on_depth,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE))
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._awake = True
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def close(self) -> None:
        self._awake = False
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        while self._awake:
            self._executor.spin_once(timeout_sec=0.05)

    def _on_depth(self, depth: Image) -> None:
        answers, stamp = self._feed.answers, to_nanoseconds(depth.header.stamp)
        self.read.append(sum(answered > stamp for answered, _, _ in list(answers)))
        got = len(answers)
        while self._awake and len(answers) < got + NAP_ANSWERS:
            time.sleep(MOMENT_S)


@pytest.mark.proves('overload')
def test_a_slow_subscriber_holds_up_nobody(tmp_path: Path, foundation_path: Path, peer: Peer
                                           ) -> None:
    node = start(tmp_path, 'front')
    feed = Feed(peer, 'front')
    sleeper = Sleeper(feed)
    try:
        feed.settle()
        peer.until(lambda: len(sleeper.read) > NAPS, feed.show, 1 / RATE_HZ)
        load(peer, [feed], RATE_HZ)
        feed.check()
        # What it reads next is not the oldest of all that it slept through.
        assert np.median(sleeper.read[1:]) < NAP_ANSWERS / 2, sleeper.read
    finally:
        sleeper.close()
        node.close()
