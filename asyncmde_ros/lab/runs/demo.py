"""The demo over real ROS 2: a camera process, the depth node's process, and a recorder here."""

import collections
import contextlib
import itertools
import logging
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2, TimeReference

from asyncmde_ros import processes
from asyncmde_ros.engine.choice import AUTO_BACKEND, choose
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import make_directory, sole_writer
from asyncmde_ros.images.codec import RGB, decode_image
from asyncmde_ros.images.picture import colorize, dotted, write_png
from asyncmde_ros.images.tone import RangeTracker
from asyncmde_ros.lab.media.film import FILM_FILE, SHEET_FILE, Film
from asyncmde_ros.lab.runs import children
from asyncmde_ros.lab.runs.hosting import hosted
from asyncmde_ros.lab.runs.video_publisher import SEEN_TOPIC
from asyncmde_ros.model.geometry import Size, check_aspect, network_size
from asyncmde_ros.ros.messages import NANOSECONDS, to_nanoseconds
from asyncmde_ros.ros.query_messages import read_answer
from asyncmde_ros.ros.query_settings import Grid
from asyncmde_ros.ros.startup import absolute_namespace

LOG = logging.getLogger(__name__)

WINDOW_S = 2.0
"""The live line's figures are over this time."""

REPORT_PERIOD_S = 0.5
SPIN_S = 0.05
QUIET_S = 2.0
"""The video is over when nothing came for so long after its publisher ended."""

Depth: TypeAlias = Image | PointCloud2
"""A whole map, or the answer of a grid."""

IMAGES_KEPT = 64
"""Images that wait for their depth; at 60 Hz, one second's."""


@dataclass(frozen=True)
class ReceivedDepth:
    """One depth map as the recorder received it."""

    received_ns: int
    stamp_ns: int
    keyframe_ns: int | None

    @property
    def latency_ms(self) -> float:
        """From the camera's stamp to the recorder, transport included."""
        return (self.received_ns - self.stamp_ns) / 1e6

    @property
    def age_ms(self) -> float | None:
        """How old the keyframe was when the image was taken."""
        return None if self.keyframe_ns is None else (self.stamp_ns - self.keyframe_ns) / 1e6

    @property
    def caption(self) -> str:
        """What stands below its picture."""
        age = '' if self.age_ms is None else f', memory {self.age_ms:.0f} ms old'
        return f'latency {self.latency_ms:.0f} ms{age}'


@dataclass(frozen=True)
class DemoFigures:
    """The live line's numbers, over one span of time."""

    input_hz: float
    depth_hz: float
    latency_ms: float
    latency_p99_ms: float
    lag_frames: float
    refresh_hz: float

    def __str__(self) -> str:
        return (f'input {self.input_hz:5.1f} Hz | depth {self.depth_hz:5.1f} Hz | '
                f'latency {self.latency_ms:4.0f} ms (p99 {self.latency_p99_ms:4.0f}) | '
                f'lag {self.lag_frames:4.1f} frames | refresh {self.refresh_hz:4.1f} Hz')


def figures(samples: Sequence[ReceivedDepth], images_ns: Sequence[int]) -> DemoFigures | None:
    """Summarise received depth maps and image stamps; None while there is no depth.

    A rate takes two of a kind and is 0 before.
    """
    if not samples or not images_ns:
        return None
    input_hz = (len(images_ns) - 1) * NANOSECONDS / max(1, images_ns[-1] - images_ns[0])
    span_s = max(1, samples[-1].received_ns - samples[0].received_ns) / NANOSECONDS
    latencies = [sample.latency_ms for sample in samples]
    ages = [sample.age_ms for sample in samples if sample.age_ms is not None]
    keyframes = {sample.keyframe_ns for sample in samples if sample.keyframe_ns is not None}
    return DemoFigures(input_hz, (len(samples) - 1) / span_s, statistics.median(latencies),
                       float(np.percentile(latencies, 99)),
                       statistics.fmean(ages) / 1e3 * input_hz if ages else float('nan'),
                       max(0, len(keyframes) - 1) / span_s)


class Recorder(Node):
    """Pairs each depth map, or answer of a grid, with its image by stamp; hands the pairs on."""

    def __init__(self, namespace: str, on_pair: Callable[[RGB, Depth, ReceivedDepth], None],
                 grid: bool = False) -> None:
        super().__init__('demo_recorder', namespace=namespace)
        self.samples: list[ReceivedDepth] = []
        self.images_ns: list[int] = []
        self._on_pair = on_pair
        self._images: collections.OrderedDict[int, Image] = collections.OrderedDict()
        self._keyframes: dict[int, int] = {}
        self._depths: dict[int, tuple[int, Depth]] = {}
        newest = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(Image, 'image', self._on_image, newest)
        if grid:
            self.create_subscription(PointCloud2, 'query/depth', self._on_depth, newest)
        else:
            self.create_subscription(Image, 'depth/relative', self._on_depth, newest)
        self.create_subscription(TimeReference, 'depth/memory', self._on_memory, newest)
        self._seen = self.create_publisher(TimeReference, SEEN_TOPIC, 10)

    def recent(self) -> DemoFigures | None:
        """Figures over the last seconds."""
        since = self.get_clock().now().nanoseconds - round(WINDOW_S * NANOSECONDS)
        samples = itertools.takewhile(lambda s: s.received_ns >= since, reversed(self.samples))
        images = itertools.takewhile(lambda stamp: stamp >= since, reversed(self.images_ns))
        return figures(list(samples)[::-1], list(images)[::-1])

    def _on_image(self, message: Image) -> None:
        stamp_ns = to_nanoseconds(message.header.stamp)
        self.images_ns.append(stamp_ns)
        self._images[stamp_ns] = message
        while len(self._images) > IMAGES_KEPT:
            self._images.popitem(last=False)

    def _on_depth(self, message: Depth) -> None:
        stamp_ns = to_nanoseconds(message.header.stamp)
        self._depths[stamp_ns] = self.get_clock().now().nanoseconds, message
        self._pair(stamp_ns)

    def _on_memory(self, message: TimeReference) -> None:
        stamp_ns = to_nanoseconds(message.header.stamp)
        self._keyframes[stamp_ns] = to_nanoseconds(message.time_ref)
        self._pair(stamp_ns)

    def _pair(self, stamp_ns: int) -> None:
        """Complete a depth map once its age is known too."""
        if stamp_ns not in self._depths or stamp_ns not in self._keyframes:
            return
        received_ns, message = self._depths.pop(stamp_ns)
        sample = ReceivedDepth(received_ns, stamp_ns, self._keyframes.pop(stamp_ns))
        self.samples.append(sample)
        self._seen.publish(TimeReference(header=message.header))
        image = self._images.get(stamp_ns)
        if image is not None:
            self._on_pair(decode_image(image), message, sample)
        for waiting in (self._depths, self._keyframes):  # halves whose other half was lost
            for old in [stamp for stamp in waiting if stamp < stamp_ns]:
                del waiting[old]


class Painter:
    """Draws depth in colours that follow its range slowly."""

    def __init__(self) -> None:
        self._range = RangeTracker()

    def paint(self, rgb: RGB, message: Depth) -> RGB:
        """Return a picture of a depth map, or of an image with an answer's points on it."""
        if isinstance(message, Image):
            depth = np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
            return colorize(depth, *self._range.update(depth))
        points = read_answer(message)
        depth = points['inverse_depth']
        return dotted(rgb, np.stack([points['u'], points['v']], axis=1), depth,
                      *self._range.update(depth[None]))


@dataclass(frozen=True)
class Outcome:
    """What a demo left behind."""

    figures: DemoFigures
    depth_maps: int
    video: Path
    sheet: Path


def run_demo(source: Sequence[str], image: Size, rate_hz: float, out: Path,
             seconds: float | None, namespace: str | None, report: Callable[[str], None],
             grid: Grid | None = None) -> Outcome:
    """Run camera, node and recorder until the source ends or Ctrl-C; write video and sheet.

    ``source`` is the video publisher's command line, ``image`` its pictures' (rows, cols), for
    which the node is prepared before the first one comes.  With a ``grid`` its points are all the
    depth that is asked for.  All topics are in ``namespace``, None
    for one that nothing else uses.  Raises AsyncMDEError if the node or the publisher fails, if no
    depth arrived, or while another demo writes to ``out``.
    """
    check_aspect(image)
    namespace = (children.private_namespace('demo') if namespace is None
                 else absolute_namespace(namespace))
    make_directory(out)
    video, sheet = out / FILM_FILE, out / SHEET_FILE
    limit = [] if seconds is None else ['--seconds', str(seconds)]
    size = network_size(image, choose(AUTO_BACKEND).short_side)
    film, painter = Film(video, rate_hz), Painter()
    inside = ('--ros-args', '-r', f'__ns:={namespace}')

    def show(rgb: RGB, message: Depth, sample: ReceivedDepth) -> None:
        film.add(rgb, painter.paint(rgb, message), sample.stamp_ns, sample.caption)

    with sole_writer(out), contextlib.closing(film), hosted(
            lambda: Recorder(namespace, show, grid is not None)) as (recorder, executor, stop), \
            contextlib.ExitStack() as started:
        LOG.info('other ROS 2 tools on this machine see %s and %s',
                 *(recorder.resolve_topic_name(name)
                   for name in ('image', 'query/depth' if grid else 'depth/relative')))
        # The camera waits for both the recorder and the node, so that no frame is wasted on
        # loading.
        camera, node = (started.enter_context(_running(*command)) for command in (
            ('asyncmde_ros.lab.runs.video_publisher', *source, *limit, '--subscribers', '2',
             '--hold-first', *inside),
            ('asyncmde_ros.ros.main', *inside, '-p', f'input.size:={size[0]}x{size[1]}',
             *(('-p', f'query.grid:={grid.cols}x{grid.rows}') if grid else ()))))
        _record(recorder, executor, camera, node, stop, report)
    total = figures(recorder.samples, recorder.images_ns)
    if total is None and stop.is_set():
        raise KeyboardInterrupt
    if total is None:
        raise AsyncMDEError(f'no depth arrived for {len(recorder.images_ns)} images; the messages '
                            'above may say why')
    write_png(sheet, film.sheet())
    return Outcome(total, len(recorder.samples), video, sheet)


def _record(recorder: Recorder, executor: SingleThreadedExecutor, camera: subprocess.Popen[bytes],
            node: subprocess.Popen[bytes], stop: threading.Event,
            report: Callable[[str], None]) -> None:
    due, last_news, seen = 0.0, time.monotonic(), 0
    while not stop.is_set():
        executor.spin_once(timeout_sec=SPIN_S)
        if node.poll() is not None:
            raise AsyncMDEError(f'the depth node ended with status {node.returncode}')
        if camera.poll() not in (None, 0):
            raise AsyncMDEError(f'the video publisher ended with status {camera.returncode}')
        now = time.monotonic()
        if len(recorder.samples) != seen or camera.poll() is None:
            seen, last_news = len(recorder.samples), now
        if now - last_news > QUIET_S:
            return
        if now >= due:
            due = now + REPORT_PERIOD_S
            recent = recorder.recent()
            if recent is not None:
                report(str(recent))


@contextlib.contextmanager
def _running(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module, whose output is the user's, as a process that ends with the block."""
    process = processes.start(module, *arguments)
    try:
        yield process
    finally:
        children.end(process)
