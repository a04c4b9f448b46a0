"""What a node uses of the processor whose answers are points alone, against one that makes maps.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image, PointCloud2, TimeReference

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.bench import processor
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.progress import bar
from asyncmde_ros.lab.runs import children
from asyncmde_ros.lab.runs.bench import QUEUE, SPIN_S, START_TIMEOUT_S, node_and_camera
from asyncmde_ros.lab.runs.children import Child
from asyncmde_ros.lab.runs.hosting import hosted

NOTE = ('One node, one camera, one listener, which hears depth/relative and query/depth in turn; '
        'the grid has 256 points (query.grid 16x16). User and system time of the node, in '
        'percent of one core. At rest: with refreshes and glances switched off, which leaves '
        'what the frames cost; without that the background takes what is left of the cores, '
        'whoever listens.')

GRID = '16x16'
TURNS = 2
"""Every case comes so often, so that drift of the machine falls on all."""

SETTLE_S = 1.0
"""After a change, before the use is counted."""


@dataclass(frozen=True)
class Load:
    """Use of the processor, in percent of one core, and answers a second."""

    map_percent: float
    points_percent: float
    map_hz: float
    points_hz: float

    @property
    def ratio(self) -> float:
        return self.points_percent / self.map_percent


@dataclass(frozen=True)
class QueryLoad:
    """With the background at rest, and at work."""

    note: str
    at_rest: Load
    at_work: Load
    ratio_at_rest: float
    ratio_at_work: float


class Asker(Node):
    """Listens to maps or to points, and counts what comes."""

    def __init__(self, namespace: str) -> None:
        super().__init__('bench_listener', namespace=namespace)
        self.heard = 0
        self.ready = False
        self._listening: Subscription | None = None
        self._setting = self.create_client(SetParameters, 'depth_node/set_parameters')
        self.create_subscription(TimeReference, 'depth/memory', self._on_memory, 1)

    def listen(self, points: bool) -> None:
        """Listen to answers on query/depth, or to depth/relative, and to nothing else."""
        if self._listening is not None:
            self.destroy_subscription(self._listening)
        kind, topic = (PointCloud2, 'query/depth') if points else (Image, 'depth/relative')
        self._listening = self.create_subscription(kind, topic, self._on_answer, QUEUE)
        self.heard = 0

    def set_background(self, on: bool) -> Callable[[], bool]:
        """Switch refreshes and glances; return what tells whether the node has done it."""
        value = Parameter('slow_path.enabled', value=on).to_parameter_msg()
        future = self._setting.call_async(SetParameters.Request(parameters=[value]))
        return lambda: bool(future.done())

    def _on_answer(self, _: Image | PointCloud2) -> None:
        self.heard += 1

    def _on_memory(self, _: TimeReference) -> None:
        self.ready = True


def measure(options: BenchOptions) -> QueryLoad:
    """Run camera, node and listener; ``options.seconds`` in all for each of the four cases.

    Raises AsyncMDEError with the end of its output if the node or the camera fails, and
    KeyboardInterrupt on Ctrl-C once everything has ended.
    """
    namespace = children.private_namespace('bench')
    cases = [(at_work, points) for _ in range(TURNS) for at_work in (True, False)
             for points in (False, True)]
    seconds = options.seconds / TURNS
    long_enough = replace(options, seconds=3 * len(cases) * (seconds + SETTLE_S))
    used: dict[tuple[bool, bool], list[tuple[float, float]]] = {}
    with hosted(lambda: Asker(namespace)) as (asker, executor, stop), \
            tempfile.TemporaryDirectory() as folder, \
            node_and_camera(long_enough, namespace, Path(folder), parameters=(
                f'query.grid:={GRID}', 'memory.cut_trust:=0.0', 'memory.cut_similarity:=-1.0'
            )) as (node, camera), bar('queries', len(cases)) as shown:
        def spin(condition: Callable[[], bool], limit_s: float) -> bool:
            for _ in _spinning(executor, limit_s):
                if stop.is_set():
                    raise KeyboardInterrupt
                node.check()
                camera.check()
                if condition():
                    return True
            return False
        if not spin(lambda: asker.ready, START_TIMEOUT_S):
            raise AsyncMDEError(f'no depth within {START_TIMEOUT_S:g} s:\n{node.tail()}')
        for case in cases:
            at_work, points = case
            asker.listen(points)
            spin(asker.set_background(at_work), START_TIMEOUT_S)
            spin(lambda: False, SETTLE_S)
            used.setdefault(case, []).append(_use(node, asker, lambda: spin(lambda: False,
                                                                            seconds)))
            shown.update(1)
    resting, working = (_load(used, on) for on in (False, True))
    return QueryLoad(NOTE, resting, working, resting.ratio, working.ratio)


def _spinning(executor: SingleThreadedExecutor, limit_s: float) -> Iterator[None]:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        executor.spin_once(timeout_sec=SPIN_S)
        yield


def _use(node: Child, asker: Asker, wait: Callable[[], object]) -> tuple[float, float]:
    """Return the node's use in percent and the answers a second while ``wait`` runs."""
    before, heard, started = processor.used(node.pid), asker.heard, time.monotonic()
    wait()
    after, seconds = processor.used(node.pid), time.monotonic() - started
    if before is None or after is None:
        raise AsyncMDEError('the use of the processor cannot be read: /proc is not there')
    return 100 * (after.cpu_s - before.cpu_s) / seconds, (asker.heard - heard) / seconds


def _load(used: dict[tuple[bool, bool], list[tuple[float, float]]], at_work: bool) -> Load:
    means = [[sum(part) / TURNS for part in zip(*used[at_work, points], strict=True)]
             for points in (False, True)]
    (map_percent, map_hz), (points_percent, points_hz) = means
    return Load(map_percent, points_percent, map_hz, points_hz)
