"""What /diagnostics says of the node."""

import time
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from asyncmde_ros.model.geometry import size_text
from asyncmde_ros.pipeline.clock import REAL
from asyncmde_ros.pipeline.results import PipelineState, PipelineStatus
from asyncmde_ros.pipeline.statistics import Snapshot

REFRESHES_OF = 'slow path, refreshes of '
"""The key of a size's count begins so."""

GLANCES, GLANCE_MS = 'glances', 'glances, last [ms]'


@dataclass(frozen=True)
class Circumstances:
    """What the node knows beside the pipeline.

    ``active``: it listens to images; ``loading``: the networks are being loaded; ``progress``:
    how far a build of engines is, empty without one, and ``building`` what is built;
    ``publishers``: how many publish images; ``trouble``: why nobody does, empty for no reason;
    ``refused``: why the newest image cannot be used, empty where it can.
    """

    active: bool
    loading: bool = False
    progress: str = ''
    building: str = ''
    publishers: int = 1
    trouble: str = ''
    refused: str = ''


def diagnose(name: str, figures: Snapshot, status: PipelineStatus | None,
             around: Circumstances, stamp: Time) -> DiagnosticArray:
    """Return the state of a node called ``name``; ``status`` is None while nothing is loaded."""
    level, message = _verdict(figures, status, around)
    values = _figures(figures)
    if around.building:
        values |= {'building': around.building}
    if around.publishers > 1:
        values |= {'overrun': f'unknown with {around.publishers} publishers'}
    if status is not None:
        values |= _status(status)
    return DiagnosticArray(header=Header(stamp=stamp), status=[DiagnosticStatus(
        level=level, name=f'{name}: depth', message=message,
        hardware_id=status.engine if status is not None else '',
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()])])


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
        return DiagnosticStatus.ERROR, f'the slow path fails: {slow.last_error}'
    if status.glance is not None and status.glance.failing:
        return DiagnosticStatus.ERROR, f'the glances fail: {status.glance.last_error}'
    if stalled_s > REAL.stall_s:
        return DiagnosticStatus.ERROR, f'the slow path has stalled for {stalled_s:.0f} s'
    if figures.input_hz == 0:
        return DiagnosticStatus.WARN, ': '.join(filter(None, ('no images', around.trouble)))
    if around.refused and figures.output_hz == 0:
        return DiagnosticStatus.WARN, f'images are dropped: {around.refused}'
    if status.state is not PipelineState.READY:
        return DiagnosticStatus.WARN, ': '.join(filter(None, (
            status.state.value, around.progress)))
    if figures.too_old:
        return DiagnosticStatus.WARN, 'depth rests on a memory that is too old'
    if figures.output_hz == 0:
        return DiagnosticStatus.WARN, 'images, but no depth'
    return DiagnosticStatus.OK, f'{figures.output_hz:.1f} Hz'


def _figures(figures: Snapshot) -> dict[str, object]:
    return {
        'input rate [Hz]': figures.input_hz,
        'output rate [Hz]': figures.output_hz,
        'latency, stamp to publish, p50 [ms]': figures.latency_p50_ms,
        'latency, stamp to publish, p99 [ms]': figures.latency_p99_ms,
        'work, arrival to publish, p50 [ms]': figures.work_p50_ms,
        'work, arrival to publish, p99 [ms]': figures.work_p99_ms,
        'lag [frames]': figures.lag_frames,
        'memory age [ms]': figures.age_ms,
        'refresh rate [Hz]': figures.refresh_hz,
        **{f'depth from {source}': count for source, count in sorted(figures.answered.items())},
        **{f'dropped: {reason}': count for reason, count in sorted(figures.dropped.items())},
        'dropped': sum(figures.dropped.values())}


def _status(status: PipelineStatus) -> dict[str, object]:
    slow = status.slow_path
    return {
        'state': status.state.value,
        'slow path': slow.state.value,
        'slow path, running for [s]': _running_s(status),
        'slow path, refreshes': slow.refreshes,
        # A copy: the slow path may count another size meanwhile.
        **{REFRESHES_OF + size_text(size): count
           for size, count in dict(slow.refreshes_of).items()},
        'slow path, last refresh [ms]': slow.latency_ms,
        'slow path, refresh size': '' if slow.size is None else size_text(slow.size),
        'slow path, failures': slow.failures,
        'slow path, last error': slow.last_error,
        'slow path, restarts': status.restarts,
        'scene cuts': status.cuts,
        'resets': status.resets,
        'motion failures': status.motion_failures,
        'engine': status.engine,
        'network size': size_text(status.size),
        'rotation [degrees]': status.rotation.value,
        **({} if status.glance is None else {
            GLANCES: status.glance.refreshes,
            GLANCE_MS: status.glance.latency_ms,
            'glances, failures': status.glance.failures,
            'glances, last error': status.glance.last_error})}


def _running_s(status: PipelineStatus) -> float:
    since = status.slow_path.running_since
    return 0.0 if since is None else time.monotonic() - since


def _text(value: object) -> str:
    if value is None:
        return ''
    return f'{value:.1f}' if isinstance(value, float) else str(value)
