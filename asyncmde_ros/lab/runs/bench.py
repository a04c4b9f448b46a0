"""The benchmark over real ROS 2: a camera's process, the depth node's process, a listener here.

Run as a program (``python -m asyncmde_ros.lab.runs.bench``) this module is the camera.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, TimeReference
from std_msgs.msg import Header

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.bench import processor
from asyncmde_ros.lab.bench.background import Background, Moment, background, within
from asyncmde_ros.lab.bench.deliveries import Answers, Delivery, evaluate
from asyncmde_ros.lab.bench.memory import resident_mib
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.pictures import Pictures, Still, open_pictures
from asyncmde_ros.lab.bench.progress import bar
from asyncmde_ros.lab.runs import children
from asyncmde_ros.lab.runs.children import Child
from asyncmde_ros.lab.runs.hosting import hosted
from asyncmde_ros.lab.runs.video_publisher import image_message
from asyncmde_ros.model.geometry import size_text
from asyncmde_ros.pipeline.results import DepthSource
from asyncmde_ros.ros.messages import float_image, to_nanoseconds
from asyncmde_ros.ros.qos import newest_only
from asyncmde_ros.ros.releases import with_message_info
from asyncmde_ros.ros.signals import stop_on_signal
from asyncmde_ros.ros.startup import start_ros
from asyncmde_ros.ros.tokens import GLANCE_MS, GLANCES, MemorySource, refreshed_size

NOTE = ('Camera, depth node and listener are three processes on the same cores, so the work of '
        'the camera and of the listener is part of the load. Images are rgb8, reliable, depth 1, '
        'stamped when they are handed to the middleware. Stamp-to-publish ends at the source '
        'timestamp that the middleware gives the depth map, stamp-to-receipt where the callback '
        'of the listener begins. Frames before the first depth map and for two seconds after it '
        'are left out. Warped are those answers that the network had no time for: the last '
        'depth, moved with the camera (fast_path.overload). CPU use is that of the node alone, '
        'all its threads, in percent of one core. Refreshes and glances are those that '
        '/diagnostics counts, once a second. The still camera is a run of its own that shows one '
        'picture again and again: where nothing moves, refreshes slow down by themselves.')

START_TIMEOUT_S = 180.0
"""Longest wait for the node to load and to answer its first image."""

SETTLE_S = 2.0
"""Frames of so long are shown after the first answer and not counted: the node may subscribe again
once it has seen what reliability the camera offers."""

QUIET_S = 1.0
"""After its last image the camera stays so long, so that answers under way arrive."""

STILL_S = 10.0
"""The still camera shows its picture for no longer: refreshes come once a second then."""

CPU_PERIOD_S = 0.1
"""Time between two looks at the node's use of the processor, which the kernel counts in
hundredths of a second."""

SPIN_S = 0.05
STAMPS = 'stamps.json'
QUEUE = 10
"""Messages that wait for the listener; its own slowness must not look like the node's drops."""


@dataclass(frozen=True)
class RosMeasurement:
    """What a run over ROS 2 gave.

    The node's resident memory is in MiB, its CPU use, while images were counted, in percent of one
    core.  ``background`` is what its diagnostics told.
    """

    note: str
    middleware: str
    answers: Answers
    node_rss_start_mib: float | None
    node_rss_end_mib: float | None
    node_cpu_percent: float | None
    background: Background | None


def depth_message_work(options: BenchOptions) -> Callable[[], object]:
    """Return the work of turning a depth map into a message."""
    depth = np.zeros(options.image, np.float32)
    header = Header(frame_id='camera_optical_frame')
    return lambda: float_image(header, depth)


# The listener


class Listener(Node):
    """Notes each depth map's stamp and times, its keyframe's stamp, and whether it was moved.

    And what the node's diagnostics count, once a second.
    """

    def __init__(self, namespace: str) -> None:
        super().__init__('bench_listener', namespace=namespace)
        self.deliveries: list[Delivery] = []
        self.keyframes_ns: dict[int, int] = {}
        self.warped_ns: set[int] = set()
        self.moments: list[Moment] = []
        self._inside = f'{namespace}/'
        profile = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(Image, 'depth/relative', with_message_info(self._on_depth),
                                 profile)
        self.create_subscription(TimeReference, 'depth/memory', self.on_memory, profile)
        self.create_subscription(DiagnosticArray, '/diagnostics', self.on_diagnostics, profile)

    def _on_depth(self, message: Image, info: Mapping[str, Any]) -> None:
        received_ns = self.get_clock().now().nanoseconds
        # Zero or absent where a middleware, or Humble, does not tell when it was sent.
        self.deliveries.append(Delivery(to_nanoseconds(message.header.stamp),
                                        info.get('source_timestamp') or None, received_ns))

    def on_memory(self, message: TimeReference) -> None:
        """Note a depth map's memory."""
        stamp_ns = to_nanoseconds(message.header.stamp)
        self.keyframes_ns[stamp_ns] = to_nanoseconds(message.time_ref)
        if MemorySource.parse(message.source).depth is DepthSource.WARPED:
            self.warped_ns.add(stamp_ns)

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Note what the node in this namespace counts."""
        for status in message.status:
            if status.name.startswith(self._inside):  # the topic is everybody's
                values = {value.key: value.value for value in status.values}
                self.moments.append(moment(to_nanoseconds(message.header.stamp), values))


def moment(stamp_ns: int, values: Mapping[str, str]) -> Moment:
    """Return what the node's diagnostics of that time count."""
    refreshes = {size: int(value) for key, value in values.items()
                 if (size := refreshed_size(key)) is not None}
    glances = values.get(GLANCES)
    return Moment(stamp_ns * 1e-9, refreshes, None if glances is None else int(glances),
                  float(values.get(GLANCE_MS, 0)))


def measure(options: BenchOptions, still: bool = False) -> RosMeasurement:
    """Run camera, node and listener for ``options.seconds``; ``still``: nothing moves.

    Raises AsyncMDEError with the end of its output if the node or the camera fails, and
    KeyboardInterrupt on Ctrl-C once everything has ended.
    """
    if still:
        options = replace(options, seconds=min(options.seconds, STILL_S))
    namespace = children.private_namespace('bench')
    with hosted(lambda: Listener(namespace)) as (listener, executor, stop), \
            tempfile.TemporaryDirectory() as text:
        return _measure(options, still, namespace, listener, executor, Path(text), stop)


def _measure(options: BenchOptions, still: bool, namespace: str, listener: Listener,
             executor: SingleThreadedExecutor, folder: Path, stop: threading.Event
             ) -> RosMeasurement:
    used: list[processor.Used] = []
    with node_and_camera(options, namespace, folder, still) as (node, camera), \
            bar('ros, still' if still else 'ros', options.seconds) as shown:
        deadline = time.monotonic() + START_TIMEOUT_S
        started, rss_start = None, None
        while camera.running():
            executor.spin_once(timeout_sec=SPIN_S)
            if stop.is_set():
                raise KeyboardInterrupt
            node.check()
            _look(node.pid, used)
            if started is None and listener.deliveries:
                started, rss_start = time.monotonic(), resident_mib(node.pid)
                shown.reset()  # the time left is told without the time that loading took
            if started is None and time.monotonic() > deadline:
                raise AsyncMDEError(f'no depth within {START_TIMEOUT_S:g} s:\n{node.tail()}')
            if started is not None:
                shown.update(min(options.seconds, time.monotonic() - started) - shown.n)
        rss_end = resident_mib(node.pid)
    stamps_ns = json.loads((folder / STAMPS).read_text(encoding='ascii'))
    start_ns, end_ns = stamps_ns[0], stamps_ns[-1]
    answers = evaluate(stamps_ns, listener.deliveries, listener.keyframes_ns, listener.warped_ns,
                       options.period_s)
    counted = within(listener.moments, start_ns * 1e-9, end_ns * 1e-9)
    return RosMeasurement(NOTE, rclpy.get_rmw_implementation_identifier(), answers, rss_start,
                          rss_end, processor.percent(used, start_ns, end_ns),
                          background([counted]))


@contextlib.contextmanager
def node_and_camera(options: BenchOptions, namespace: str, folder: Path, still: bool = False,
                    parameters: Sequence[str] = ()) -> Iterator[tuple[Child, Child]]:
    """Run a depth node, with further ``parameters`` (name:=value), and a camera for it.

    The camera shows frames for ``options.seconds`` once they are answered, then ends, and writes
    their stamps to ``stamps.json`` in ``folder``.
    """
    words = ['--namespace', namespace, '--rate', str(options.rate_hz), '--image',
             *map(str, options.image), '--seconds', str(options.seconds),
             '--stamps', str(folder / STAMPS)]
    if options.video is not None:
        words += ['--video', str(options.video)]
    if still:
        words.append('--still')
    asked = (f'input.size:={size_text(options.size)}',
             f'fast_path.model:={options.fast_path.value}', f'backend:={options.backend}',
             f'model.name:={options.model}', *parameters)
    with children.module(folder / 'node.log', 'asyncmde_ros.ros.main', '--ros-args',
                         '-r', f'__ns:={namespace}',
                         *(word for one in asked for word in ('-p', one))) as node, \
            children.module(folder / 'camera.log', 'asyncmde_ros.lab.runs.bench',
                            *words) as camera:
        yield node, camera


def _look(pid: int, used: list[processor.Used]) -> None:
    """Note the node's use of the processor, but not more often than that is told."""
    if not used or time.time_ns() - used[-1].time_ns >= CPU_PERIOD_S * 1e9:
        now = processor.used(pid)
        if now is not None:
            used.append(now)


# The camera


class BenchCamera(Node):
    """Shows pictures at an even rate; a late frame is shown at once, and none is left out."""

    def __init__(self, namespace: str, pictures: Pictures, rate_hz: float) -> None:
        super().__init__('bench_camera', namespace=namespace)
        self.answered = False
        self._pictures = pictures
        self._period_s = 1 / rate_hz
        self._shown = 0
        self._publisher = self.create_publisher(Image, 'image',
                                                newest_only(ReliabilityPolicy.RELIABLE))
        self._memory = self.create_subscription(TimeReference, 'depth/memory', self.on_memory, 1)
        self._started = time.monotonic()

    def stop_listening(self) -> None:
        """Have no more part in the answers, which cost this process time."""
        self.destroy_subscription(self._memory)

    def wait_for_listener(self, stop: threading.Event) -> None:
        """Return once somebody listens to the images: the node has loaded."""
        while self._publisher.get_subscription_count() == 0 and not stop.is_set():
            stop.wait(SPIN_S)
        self._started = time.monotonic()

    def show(self) -> int:
        """Wait for the next frame's time and publish it; return its stamp [ns]."""
        message = image_message(self._pictures.at(self._shown), 'camera_optical_frame', Time())
        early = self._started + self._shown * self._period_s - time.monotonic()
        if early > 0:
            time.sleep(early)
        message.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(message)
        self._shown += 1
        return to_nanoseconds(message.header.stamp)

    def on_memory(self, _: TimeReference) -> None:
        self.answered = True


def main() -> int:
    """Show frames until they are answered, then for the time asked; write the latter's stamps."""
    stop = stop_on_signal()
    parser = argparse.ArgumentParser(prog='python -m asyncmde_ros.lab.runs.bench',
                                     description=__doc__)
    parser.add_argument('--namespace', required=True)
    parser.add_argument('--rate', type=float, required=True, metavar='HZ')
    parser.add_argument('--image', type=int, nargs=2, required=True, metavar=('ROWS', 'COLS'))
    parser.add_argument('--seconds', type=float, required=True)
    parser.add_argument('--video', type=Path)
    parser.add_argument('--still', action='store_true', help='show the first picture only')
    parser.add_argument('--stamps', type=Path, required=True, help='file to write')
    args = parser.parse_args()
    start_ros([])
    pictures = open_pictures(args.video, tuple(args.image))
    camera = BenchCamera(args.namespace, Still(pictures) if args.still else pictures, args.rate)
    try:
        camera.wait_for_listener(stop)
        while not camera.answered and not stop.is_set():
            camera.show()
            rclpy.spin_once(camera, timeout_sec=0)
        camera.stop_listening()
        settling = round(SETTLE_S * args.rate)
        stamps = []
        for _ in range(settling + max(1, round(args.seconds * args.rate))):
            if stop.is_set():
                return 1
            stamps.append(camera.show())
        stop.wait(QUIET_S)
        args.stamps.write_text(json.dumps(stamps[settling:]), encoding='ascii')
        return 0
    finally:
        camera.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
