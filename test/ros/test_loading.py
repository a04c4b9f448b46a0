"""The node while its networks load: it answers, says how far it is, and can be ended."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import os
import threading
import time
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import ListParameters
from support import shared_memory
from support.fakes import FakeModel
from support.repository import ROOT
from support.ros_rig import DEADLINE_S, NodeProcess, Peer, image_message, node_environment, picture

from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.ros.loading import Loading

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ANSWER_S = 3.0
"""An answer takes milliseconds; the rest is for a machine that others use as well."""

END_S = 1.0
MACHINE_S = 2.0

INNER = 'transition_success', 'transition_failure', 'transition_error'
"""Transitions of the lifecycle's machine that are the node's own, and it takes from anybody."""


class Building(NodeProcess):
    """A node that builds until it is told to have built."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.built = folder / 'built'
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
        super().__init__(folder / 'node.log', *arguments,
                         program=[str(ROOT / 'test' / 'support' / 'slow_node.py')],
                         environment=node_environment(ASYNCMDE_BUILT=str(self.built),
                                                      PYTHONPATH=path))

    def end_build(self, how: str = 'well') -> None:
        part = self.built.with_suffix('.part')
        part.write_text(how)
        part.rename(self.built)


@pytest.mark.proves('slow-build')
def test_while_engines_are_built_the_node_answers_and_says_how_far_it_is(
        tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    node = Building(tmp_path)
    try:
        node.wait_for('tensorrt engine, glance network: 40 %')
        peer.until(lambda: bool(peer.diagnostics)
                   and peer.diagnostics[-1].message == 'building 40 %')
        assert peer.diagnostics[-1].level == DiagnosticStatus.WARN
        assert peer.diagnosed('building') == 'tensorrt engine, glance network'
        assert peer.state() == 'configuring'
        started = time.monotonic()
        listed = peer.call(ListParameters, 'list_parameters', ListParameters.Request())
        assert 'backend' in listed.result.names
        assert peer.set_parameter('output.resolution', 'network').successful
        refused = peer.set_parameter('backend', 'openvino')
        assert not refused.successful and 'the node is configuring' in refused.reason
        for label in ('configure', 'activate', 'cleanup', 'shutdown', 'no such', *INNER):
            assert not peer.transition(label), label
        assert peer.state() == 'configuring' and 'change_state refused' in node.text()
        assert time.monotonic() - started < ANSWER_S
        node.end_build()
        message = image_message(picture())
        peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message))
        assert peer.depths[-1].height == 126, 'what was set meanwhile is forgotten'
        peer.until(lambda: 'building' not in peer.diagnostics[-1].message,
                   lambda: peer.show(message))
    finally:
        node.close()


@pytest.mark.proves('slow-build')
@pytest.mark.parametrize('how', ['well', 'fail'])
def test_a_managers_request_is_answered_once_the_networks_are_there(
        how: str, tmp_path: Path, foundation_path: Path, peer: Peer) -> None:
    node = Building(tmp_path, '-p', 'autostart:=false')
    try:
        peer.until(lambda: bool(peer.diagnostics))  # so that it is known before it is asked
        assert peer.diagnostics[-1].message == 'not configured'
        client = peer.node.create_client(ChangeState, '/depth_node/change_state')
        request = ChangeState.Request()
        request.transition.label = 'configure'
        future = client.call_async(request)
        node.wait_for('40 %')
        assert peer.state() == 'configuring' and not future.done()
        node.end_build(how)
        peer.until(future.done)
        assert future.result().success is (how == 'well')
        assert peer.state() == ('inactive' if how == 'well' else 'unconfigured')
        assert ('cannot configure: the engine cannot be built' in node.text()) is (how == 'fail')
        if how == 'fail':
            node.built.write_text('well')
            assert peer.transition('configure'), 'a second try is not allowed'
    finally:
        node.close()


@pytest.mark.proves('slow-build')
def test_engines_that_cannot_be_built_end_the_node_with_a_line(tmp_path: Path,
                                                               foundation_path: Path) -> None:
    node = Building(tmp_path)
    try:
        node.wait_for('40 %')
        node.end_build('fail')
        assert node.process.wait(DEADLINE_S) == 1
        assert 'cannot configure: the engine cannot be built' in node.text()
        assert 'Traceback' not in node.text()
    finally:
        node.close()


@pytest.mark.proves('slow-build')
def test_ctrl_c_ends_a_build_and_answers_who_asked_for_it(tmp_path: Path, foundation_path: Path,
                                                          peer: Peer) -> None:
    node = Building(tmp_path, '-p', 'autostart:=false')
    try:
        client = peer.node.create_client(ChangeState, '/depth_node/change_state')
        peer.until(lambda: bool(peer.diagnostics))
        assert client.wait_for_service(DEADLINE_S)
        request = ChangeState.Request()
        request.transition.label = 'configure'
        future = client.call_async(request)
        node.wait_for('40 %')
        segments = shared_memory.segments(node.process.pid)
        status, took = node.interrupt()
        assert status == 0 and took < END_S + MACHINE_S, node.text()
        assert 'Traceback' not in node.text() and 'ERROR' not in node.text()
        peer.until(future.done)
        assert not future.result().success
        assert not [segment for segment in segments if segment.exists()
                    and segment.name not in Path('/proc/self/maps').read_text()]
    finally:
        node.close()


def test_networks_that_come_in_the_moment_of_the_end_are_let_go() -> None:
    before = threading.active_count()
    pipeline = DepthPipeline(FakeModel())  # type: ignore[arg-type]
    loading = Loading(lambda cancel: pipeline, None)
    for thread in threading.enumerate():
        if thread.name == 'loader':
            thread.join()
    loading.cancel()
    with pytest.raises(StopIteration) as ended:
        loading.result().send(None)
    assert ended.value.value is None and threading.active_count() == before
