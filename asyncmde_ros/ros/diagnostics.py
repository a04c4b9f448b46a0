"""What /diagnostics says of the node."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from asyncmde_ros.model.geometry import size_text
from asyncmde_ros.pipeline.clock import REAL
from asyncmde_ros.pipeline.results import PipelineState, PipelineStatus
from asyncmde_ros.ros.sentences import (
    DEPTH_STALE,
    GLANCES_FAIL,
    NO_DEPTH,
    REFRESHES_FAIL,
    STALLED,
    STATES,
)
from asyncmde_ros.ros.statistics import Snapshot
from asyncmde_ros.ros.tokens import (
    DROPPED,
    GLANCE_MS,
    GLANCES,
    OVERRUN,
    SLOW_PATH_FAILURES,
    SLOW_PATH_REFRESHES,
    depth_key,
    dropped_key,
    refreshes_key,
)


@dataclass(frozen=True)
class Circumstances:
    """What the node knows beside the pipeline.

    ``active``: it listens to a sensor; ``loading``: the networks are being loaded; ``progress``:
    how far a build of engines is, empty without one, and ``building`` what is built;
    ``publishers``: how many publish images; ``trouble``: why nobody does, empty for no reason;
    ``refused``: why the newest image cannot be used, empty where it can; ``inputs``: what comes,
    or does not; ``withheld``: why the sensor's newest picture tells nothing, empty where it does.
    """

    active: bool
    loading: bool = False
    progress: str = ''
    building: str = ''
    publishers: int = 1
    trouble: str = ''
    refused: str = ''
    inputs: str = 'images'
    withheld: str = ''


def diagnose(name: str, figures: Snapshot, status: PipelineStatus | None,
             around: Circumstances, stamp: Time) -> DiagnosticArray:
    """Return the state of a node called ``name``; ``status`` is None while nothing is loaded."""
    level, message = _verdict(figures, status, around)
    values = _figures(figures)
    if around.building:
        values |= {'building': around.building}
    if around.publishers > 1:
        values |= {OVERRUN: 'unknown', 'image_publishers': around.publishers}
    if status is not None:
        values |= _status(status)
    return DiagnosticArray(header=Header(stamp=stamp), status=[DiagnosticStatus(
        level=level, name=f'{name}: depth', message=message,
        hardware_id=status.engine if status is not None else '',
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()])])


def diagnose_scale(name: str, trouble: str, values: Mapping[str, str]) -> DiagnosticStatus:
    """Return the state of a node's metres; ``trouble`` is empty where there are some."""
    return DiagnosticStatus(
        level=DiagnosticStatus.WARN if trouble else DiagnosticStatus.OK, name=f'{name}: scale',
        message=trouble or 'metric depth is published',
        values=[KeyValue(key=key, value=value) for key, value in values.items()])


def _verdict(figures: Snapshot, status: PipelineStatus | None, around: Circumstances
             ) -> tuple[bytes, str]:
    """Return the worst that is true now."""
    if around.loading:
        return DiagnosticStatus.WARN, around.progress or 'loading the networks'
    if status is None:
        return DiagnosticStatus.STALE, 'not configured'
    if not around.active:
        return DiagnosticStatus.OK, 'inactive'
    slow = status.slow_path
    stalled_s = _running_s(status)
    if slow.failing:
        return DiagnosticStatus.ERROR, f'{REFRESHES_FAIL}: {slow.last_error}'
    if status.glance is not None and status.glance.failing:
        return DiagnosticStatus.ERROR, f'{GLANCES_FAIL}: {status.glance.last_error}'
    if stalled_s > REAL.stall_s:
        return DiagnosticStatus.ERROR, f'{STALLED}: for {stalled_s:.0f} s'
    if figures.input_hz == 0:
        return DiagnosticStatus.WARN, ': '.join(filter(None, (
            f'no {around.inputs}', around.trouble)))
    if around.refused and figures.output_hz == 0:
        return DiagnosticStatus.WARN, f'{around.inputs} are dropped: {around.refused}'
    if around.withheld:
        return DiagnosticStatus.WARN, around.withheld
    if status.state is not PipelineState.READY:
        return DiagnosticStatus.WARN, ': '.join(filter(None, (
            STATES[status.state], around.progress)))
    if figures.stale:
        return DiagnosticStatus.WARN, DEPTH_STALE
    if figures.output_hz == 0:
        return DiagnosticStatus.WARN, NO_DEPTH
    return DiagnosticStatus.OK, f'{figures.output_hz:.1f} Hz'


def _figures(figures: Snapshot) -> dict[str, object]:
    return {
        'input_hz': figures.input_hz,
        'output_hz': figures.output_hz,
        'latency_p50_ms': figures.latency_p50_ms,
        'latency_p99_ms': figures.latency_p99_ms,
        'work_p50_ms': figures.work_p50_ms,
        'work_p99_ms': figures.work_p99_ms,
        'lag_frames': figures.lag_frames,
        'memory_age_ms': figures.age_ms,
        'refresh_hz': figures.refresh_hz,
        **{depth_key(source): count for source, count in sorted(figures.answered.items())},
        **{dropped_key(reason): count for reason, count in sorted(figures.dropped.items())},
        DROPPED: sum(figures.dropped.values())}


def _status(status: PipelineStatus) -> dict[str, object]:
    slow = status.slow_path
    return {
        'state': status.state.value,
        'slow_path': slow.state.value,
        'slow_path_running_s': _running_s(status),
        SLOW_PATH_REFRESHES: slow.refreshes,
        # A copy: the slow path may count another size meanwhile.
        **{refreshes_key(size): count
           for size, count in dict(slow.refreshes_of).items()},
        'slow_path_refresh_ms': slow.latency_ms,
        'slow_path_refresh_size': '' if slow.size is None else size_text(slow.size),
        SLOW_PATH_FAILURES: slow.failures,
        'slow_path_last_error': slow.last_error,
        'slow_path_restarts': status.restarts,
        'scene_cuts': status.cuts,
        'resets': status.resets,
        'motion_failures': status.motion_failures,
        'engine': status.engine,
        'network_size': size_text(status.size),
        'rotation_degrees': status.rotation.value,
        **({} if status.glance is None else {
            GLANCES: status.glance.refreshes,
            GLANCE_MS: status.glance.latency_ms,
            'glance_failures': status.glance.failures,
            'glance_last_error': status.glance.last_error})}


def _running_s(status: PipelineStatus) -> float:
    since = status.slow_path.running_since
    return 0.0 if since is None else time.monotonic() - since


def _text(value: object) -> str:
    if value is None:
        return ''
    return f'{value:.1f}' if isinstance(value, float) else str(value)
