"""A soak over real ROS 2: the depth node in a process of its own, camera and faults here."""

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.bench.progress import bar
from asyncmde_ros.lab.runs import children
from asyncmde_ros.lab.runs.hosting import hosted
from asyncmde_ros.lab.runs.soak_camera import IMAGE, RATE_HZ, SPOILERS, SoakCamera, Visitor
from asyncmde_ros.lab.soak import samples
from asyncmde_ros.lab.soak.bounds import Incident, SoakEvidence
from asyncmde_ros.lab.soak.samples import Sample
from asyncmde_ros.lab.soak.schedule import (
    BURST_HZ,
    CHANGES,
    JUMPS_S,
    PAUSES_S,
    SIZES,
    SPOILT,
    WATCHED,
    FaultPlan,
    Kind,
    plans,
)
from asyncmde_ros.ros.configuration import PARAMETERS
from asyncmde_ros.ros.tokens import SLOW_PATH_FAILURES, dropped_key

START_S = 180.0
"""Longest wait for the node to load and to answer its first image, as in the benchmark."""

RECOVERY_S = 15.0
"""Longest wait for depth after a fault.  A reset memory needs one refresh, a tenth of a second on
two quiet cores and a second on the slowest machine seen; the rest is for one that stalls."""

REBUILD_S = 120.0
"""The same where engines are built for another aspect: some seconds, a minute on small boards."""

ENOUGH_DEPTH = 3
"""Depth maps of new images that make a recovery."""

COUNT_S = 10.0
"""Longest wait for what comes at its own pace: diagnostics (once a second), a service's answer,
discovery."""

SPIN_S = 0.02

DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}


@dataclass(frozen=True)
class SoakOptions:
    """How long, which faults, and the node's ``input.size``."""

    minutes: float
    seed: int
    size: str


@dataclass(frozen=True)
class Run:
    """What was seen, and the end of the node's log."""

    evidence: SoakEvidence
    log_tail: str


class _NodeDied(Exception):
    pass


def soak(options: SoakOptions) -> Run:
    """Run the node under faults for ``options.minutes``, and until each kind was tried once.

    Ctrl-C ends it early.  Raises AsyncMDEError if the node never gives depth, KeyboardInterrupt
    on Ctrl-C before that.
    """
    namespace = children.private_namespace('soak')
    with hosted(lambda: SoakCamera(namespace)) as (camera, executor, stop), \
            tempfile.TemporaryDirectory() as folder, children.module(
                Path(folder) / 'node.log', 'asyncmde_ros.ros.main', '--ros-args',
                '-r', f'__ns:={namespace}', '-p', f'input.size:={options.size}') as node:
        session = _Session(camera, executor, node, stop, namespace)
        session.start()
        return session.run(options)


class _Session:
    """Camera, listener and faults, in one thread that never rests for longer than SPIN_S."""

    def __init__(self, camera: SoakCamera, executor: SingleThreadedExecutor, node: children.Child,
                 stop: threading.Event, namespace: str) -> None:
        self._camera = camera
        self._executor = executor
        self._node = node
        self._stop = stop
        self._namespace = namespace
        self._visitor: Visitor | None = None
        self._paused = True
        self._due_s = 0.0
        self._began_s: float | None = None
        self._sample_due_s = 0.0
        self._sample_period_s = samples.PERIOD_S
        self._samples: list[Sample] = []
        self._incidents: list[Incident] = []
        self._fault = ''
        self._actions: Mapping[Kind, Callable[[FaultPlan], str]] = {
            Kind.BAD_IMAGES: self._show_bad_images, Kind.PARAMETERS: self._change_a_parameter,
            Kind.SUBSCRIBERS: self._visit, Kind.RESOLUTION: self._change_the_size,
            Kind.CLOCK: self._jump, Kind.PAUSE: self._pause, Kind.BURST: self._burst}

    def start(self) -> None:
        """Return once the node answers; AsyncMDEError if it does not."""
        try:
            listened = self._live(START_S, lambda: self._camera.watched)
            self._paused = False
            if listened is None or not self._recovers(START_S):
                raise AsyncMDEError(f'no depth within {START_S:g} s:\n{self._node.tail()}')
        except _NodeDied as death:
            raise AsyncMDEError(f'{death}:\n{self._node.tail()}') from death

    def run(self, options: SoakOptions) -> Run:
        """Put the node under faults; then end it."""
        death, interrupted = '', False
        planned = plans(options.seed)
        seconds = 60 * options.minutes
        self._sample_period_s = samples.period_s(seconds)
        with bar('soak', seconds) as shown:
            self._began_s = time.monotonic()
            try:
                # The sizes are part of warming up: the time counts from after them.
                for plan in (next(planned) for _ in SIZES):
                    self._inject(plan)
                self._samples.clear()
                counted_from_s = time.monotonic()
                tried = set()
                for plan in planned:
                    self._inject(plan)
                    tried.add(plan.kind)
                    elapsed_s = time.monotonic() - counted_from_s
                    shown.update(min(seconds, elapsed_s) - shown.n)
                    if elapsed_s >= seconds and len(tried) == len(Kind):
                        break
            except _NodeDied as error:
                death = str(error)
            except KeyboardInterrupt:  # what there is so far is worth a report
                interrupted = True
            finally:
                if self._visitor is not None:
                    self._visitor.close()
        status, took_s = (None, None) if death else self._node.end()
        diagnosed, ledger = self._camera.diagnosed, self._camera.ledger
        return Run(SoakEvidence(
            self._samples, self._incidents, ledger.foreign, ledger.of_bad,
            sum(samples.count(diagnosed, key) or 0 for key in samples.OUR_FAULT),
            samples.count(diagnosed, SLOW_PATH_FAILURES) or 0,
            self._node.text().count('Traceback'), death, status, took_s, interrupted),
            self._node.tail())

    # Time

    def _live(self, seconds: float, done: Callable[[], bool] = lambda: False) -> float | None:
        """Show, listen and sample until ``done``; return after how long, None if never."""
        started = time.monotonic()
        while (now := time.monotonic()) - started < seconds:
            if done():
                return now - started
            if self._stop.is_set():
                raise KeyboardInterrupt
            if self._node.status is not None:
                raise _NodeDied(f'ended with status {self._node.status}')
            if not self._paused and now >= self._due_s:
                self._camera.show()
                period_s = 1 / self._camera.rate_hz
                # A camera that is late goes on from there and does not make up for it.
                self._due_s = max(self._due_s + period_s, now)
            wait_s = SPIN_S if self._paused else self._due_s - time.monotonic()
            self._executor.spin_once(timeout_sec=min(SPIN_S, max(0.0, wait_s)))
            if self._visitor is not None:
                self._visitor.spin()
            if self._began_s is not None and now >= self._sample_due_s:
                self._sample(now - self._began_s)
                self._sample_due_s = now + self._sample_period_s
        return None

    def _sample(self, seconds: float) -> None:
        sample = samples.take(self._node.pid, seconds, self._fault, self._camera.ledger,
                              self._camera.diagnosed)
        if sample is not None:
            self._samples.append(sample)

    def _recovers(self, limit_s: float) -> float | None:
        """Return how long good images go without depth of their own, None if for too long."""
        self._camera.ledger.mark()
        return self._live(limit_s, lambda: self._camera.ledger.fresh >= ENOUGH_DEPTH)

    # Faults

    def _inject(self, plan: FaultPlan) -> None:
        """Leave the node in peace, do it harm, and see that it recovers."""
        self._fault = ''
        self._live(plan.calm_s)
        self._fault = f'{plan.kind.value}: {plan.variant}'
        began_s = time.monotonic()
        complaint = self._actions[plan.kind](plan)
        recovery_s = self._recovers(
            REBUILD_S if plan.kind is Kind.RESOLUTION else RECOVERY_S)
        assert self._began_s is not None
        self._incidents.append(Incident(plan.kind, plan.variant, began_s - self._began_s,
                                        recovery_s, complaint))

    def _show_bad_images(self, plan: FaultPlan) -> str:
        key = dropped_key(SPOILT[plan.variant])
        before = samples.count(self._camera.diagnosed, key) or 0
        self._camera.spoil = SPOILERS[plan.variant]
        self._live(plan.fault_s)
        self._camera.spoil = None
        counted = self._live(
            COUNT_S, lambda: (samples.count(self._camera.diagnosed, key) or 0) > before)
        return '' if counted is not None else f'not counted as {key!r}'

    def _change_a_parameter(self, plan: FaultPlan) -> str:
        change = CHANGES[plan.variant]
        accepted = self._set(change.name, change.value)
        self._live(plan.fault_s)
        if accepted and self._set(change.name, DEFAULTS[change.name]) is not True:
            return 'the default is refused'
        if accepted is None:
            return 'no answer'
        return '' if accepted is change.accepted else 'accepted' if accepted else 'refused'

    def _set(self, name: str, value: Any) -> bool | None:
        """Set a parameter over the service; None without an answer."""
        client = self._camera.parameters
        if self._live(COUNT_S, client.service_is_ready) is None:
            return None
        future = client.call_async(SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]))
        if self._live(COUNT_S, future.done) is None:
            return None
        response = future.result()
        return response is not None and response.results[0].successful

    def _visit(self, plan: FaultPlan) -> str:
        topics = WATCHED[plan.variant]
        self._visitor = visitor = Visitor(self._namespace, topics)
        heard = self._live(COUNT_S, lambda: len(visitor.received) == len(topics))
        self._live(plan.fault_s)
        visitor.close()
        self._visitor = None
        return '' if heard is not None else 'nothing came for the subscriber'

    def _change_the_size(self, plan: FaultPlan) -> str:
        self._camera.size = SIZES[plan.variant]
        recovery_s = self._recovers(REBUILD_S)
        self._live(plan.fault_s)
        self._camera.size = IMAGE
        return '' if recovery_s is not None else 'no depth at that size'

    def _jump(self, plan: FaultPlan) -> str:
        self._camera.jump_s = JUMPS_S[plan.variant]
        self._live(plan.fault_s)
        self._camera.jump_s = 0.0
        return ''

    def _pause(self, plan: FaultPlan) -> str:
        self._paused = True
        self._live(PAUSES_S[plan.variant])
        self._paused = False
        return ''

    def _burst(self, plan: FaultPlan) -> str:
        self._camera.rate_hz = BURST_HZ
        self._live(plan.fault_s)
        self._camera.rate_hz = RATE_HZ
        return ''
