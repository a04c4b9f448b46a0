"""What /diagnostics makes of the node's figures."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import re
import time

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from asyncmde_ros.pipeline.clock import REAL
from asyncmde_ros.pipeline.results import PipelineState, PipelineStatus
from asyncmde_ros.pipeline.slow_path import SlowPathState, SlowPathStatus
from asyncmde_ros.ros.diagnostics import Circumstances, diagnose
from asyncmde_ros.ros.sentences import GLANCES_FAIL, STATES
from asyncmde_ros.ros.statistics import Snapshot


def figures(**changes: object) -> Snapshot:
    usual: dict[str, object] = {
        'input_hz': 30.0, 'output_hz': 29.5, 'latency_p50_ms': 25.0, 'latency_p99_ms': 38.25,
        'work_p50_ms': 20.0, 'work_p99_ms': 30.0, 'refresh_hz': 6.5, 'lag_frames': 5,
        'age_ms': 166.0, 'stale': False, 'answered': {'network': 295},
        'dropped': {'encoding': 3, 'step': 2}}
    return Snapshot(**usual | changes)  # type: ignore[arg-type]


def status(state: PipelineState = PipelineState.READY, slow: SlowPathStatus | None = None,
           glance: SlowPathStatus | None = None) -> PipelineStatus:
    return PipelineStatus(state, 'vits, openvino, auto', (252, 336),
                          slow or SlowPathStatus(SlowPathState.RUNNING, refreshes=60), glance,
                          4, 1, 2, 0)


def test_glances_are_told_of_where_there_are_any() -> None:
    def said(glance: SlowPathStatus | None) -> dict[str, str]:
        (found,) = diagnose('n', figures(), status(glance=glance), ACTIVE, Time()).status
        return {value.key: value.value for value in found.values} | {'said': found.message}
    assert not any('glance' in key for key in said(None))
    well = said(SlowPathStatus(refreshes=7, latency_ms=31.25))
    assert (well['glances'], well['glance_ms']) == ('7', '31.2')
    ill = said(SlowPathStatus(failures=1, failing=True, last_error='no memory'))
    assert ill['said'] == f'{GLANCES_FAIL}: no memory' and ill['glance_failures'] == '1'


def test_refreshes_are_counted_by_the_size_of_the_image() -> None:
    slow = SlowPathStatus(refreshes=5, refreshes_of={(252, 336): 3, (336, 448): 2})
    (said,) = diagnose('n', figures(), status(slow=slow), ACTIVE, Time()).status
    values = {value.key: value.value for value in said.values}
    assert values['slow_path_refreshes'] == '5'
    assert values['slow_path_refreshes_252x336'] == '3'
    assert values['slow_path_refreshes_336x448'] == '2'


ACTIVE = Circumstances(True)
TOKEN = re.compile(r'[a-z0-9]+(_[a-z0-9]+)*')


def test_the_values_are_there_under_their_names() -> None:
    array = diagnose('/front/depth_node', figures(), status(), ACTIVE, Time(sec=7))
    assert array.header.stamp.sec == 7
    (said,) = array.status
    assert (said.level, said.name, said.message, said.hardware_id) == (
        DiagnosticStatus.OK, '/front/depth_node: depth', '29.5 Hz', 'vits, openvino, auto')
    values = {value.key: value.value for value in said.values}
    for key, value in {'input_hz': '30.0', 'latency_p99_ms': '38.2', 'lag_frames': '5',
                       'dropped': '5', 'dropped_encoding': '3', 'depth_network': '295',
                       'refresh_hz': '6.5', 'rotation_degrees': '0', 'state': 'ready',
                       'slow_path': 'running', 'slow_path_refreshes': '60', 'scene_cuts': '2',
                       'resets': '1', 'motion_failures': '4',
                       'network_size': '252x336'}.items():
        assert values[key] == value, key
    assert all(TOKEN.fullmatch(key) for key in values), values


STALLED = SlowPathStatus(SlowPathState.RUNNING, running_since=-1000.0)


@pytest.mark.proves('foundation-fails', 'refresh-hangs')
@pytest.mark.parametrize(('seen', 'of', 'level', 'words'), [
    (figures(), None, DiagnosticStatus.STALE, 'not configured'),
    (figures(), status(slow=SlowPathStatus(SlowPathState.RUNNING, last_error='no memory',
                                           failing=True)),
     DiagnosticStatus.ERROR, 'no memory'),
    (figures(), status(slow=SlowPathStatus(SlowPathState.RUNNING, last_error='no memory')),
     DiagnosticStatus.OK, 'Hz'),
    (figures(), status(slow=STALLED), DiagnosticStatus.ERROR, 'stalled'),
    (figures(input_hz=0.0), status(), DiagnosticStatus.WARN, 'no images'),
    (figures(), status(PipelineState.BUILDING), DiagnosticStatus.WARN, 'building'),
    (figures(), status(PipelineState.MEMORY_STALE), DiagnosticStatus.WARN, 'too old'),
    (figures(stale=True), status(), DiagnosticStatus.WARN, 'too old'),
    (figures(output_hz=0.0), status(), DiagnosticStatus.WARN, 'no depth'),
    (figures(latency_p50_ms=None, lag_frames=None), status(), DiagnosticStatus.OK, 'Hz')])
def test_the_worst_that_is_true_is_said(seen: Snapshot, of: PipelineStatus | None, level: bytes,
                                        words: str) -> None:
    (said,) = diagnose('node', seen, of, ACTIVE, Time()).status
    assert said.level == level and words in said.message


@pytest.mark.proves('bad-image')
@pytest.mark.parametrize(('output_hz', 'words'), [
    (0.0, "dropped: encoding 'x'"), (9.0, 'waiting')])
def test_why_no_image_can_be_used_is_said(output_hz: float, words: str) -> None:
    (said,) = diagnose('node', figures(output_hz=output_hz),
                       status(PipelineState.WAITING_FOR_MEMORY),
                       Circumstances(True, refused="encoding 'x'"), Time()).status
    assert said.level == DiagnosticStatus.WARN and words in said.message


@pytest.mark.proves('refresh-hangs')
def test_a_refresh_under_way_is_no_stall() -> None:
    slow = SlowPathStatus(SlowPathState.RUNNING, running_since=time.monotonic() - REAL.stall_s / 2)
    assert diagnose('node', figures(), status(slow=slow), ACTIVE, Time()).status[0].level == (
        DiagnosticStatus.OK)


def test_an_inactive_node_is_well_whatever_it_saw_before() -> None:
    (said,) = diagnose('node', figures(input_hz=0.0), status(), Circumstances(False),
                       Time()).status
    assert (said.level, said.message) == (DiagnosticStatus.OK, 'inactive')


def test_how_far_a_build_is_stands_in_the_message() -> None:
    def said(of: PipelineStatus | None, active: bool, loading: bool, progress: str) -> tuple:
        (said,) = diagnose('node', figures(), of, Circumstances(
            active, loading, progress, progress and 'tensorrt engine'), Time()).status
        values = {value.key: value.value for value in said.values}
        return said.level, said.message, values.get('building')
    assert said(None, False, True, '') == (DiagnosticStatus.WARN, 'loading the networks', None)
    assert said(None, False, True, 'building 40 %') == (
        DiagnosticStatus.WARN, 'building 40 %', 'tensorrt engine')
    level, message, _ = said(status(PipelineState.BUILDING), True, False, 'building 7 %')
    assert level == DiagnosticStatus.WARN and message == (
        f'{STATES[PipelineState.BUILDING]}: building 7 %')
