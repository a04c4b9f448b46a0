"""Where ROS cannot start as it is told to, that is one line; and what it can do without."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from support import shared_memory
from support.repository import ROOT
from support.ros_rig import NodeProcess, Peer, node_environment

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.ros.startup import absolute_namespace, absolute_topic, start_ros

TIMEOUT_S = 60
NODE = ['asyncmde_ros.ros.main']
CAMERA = ['asyncmde_ros.lab.runs.video_publisher', '--video', 'none.mp4']


def run_module(*words: str, **environment: str) -> 'subprocess.CompletedProcess[str]':
    path = os.pathsep.join(filter(None, (str(ROOT),
                                         os.environ.get('PYTHONPATH'))))
    return subprocess.run([sys.executable, '-m', *words], capture_output=True, text=True,
                          timeout=TIMEOUT_S,
                          env=node_environment(**{'PYTHONPATH': path} | environment))


@pytest.mark.proves('no-log-folder')
@pytest.mark.ros
@pytest.mark.parametrize(('words', 'environment'), [
    (NODE, {'ROS_LOG_DIR': '/proc/none'}), (CAMERA, {'ROS_LOG_DIR': '/proc/none'}),
    (NODE, {'ROS_LOG_DIR': '/dev/null'}),
    (NODE, {'ROS_LOG_DIR': '', 'ROS_HOME': '', 'HOME': '/dev/null'})])
def test_a_log_folder_that_cannot_be_is_a_line_that_names_ros_log_dir(
        words: list[str], environment: dict[str, str]) -> None:
    done = run_module(*words, **environment)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert 'ROS_LOG_DIR' in line and 'Traceback' not in line


@pytest.mark.proves('no-log-folder')
@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize('home', [{}, {'HOME': ''}])
def test_a_service_without_a_home_runs(home: dict[str, str], tmp_path: Path) -> None:
    environment = {name: value for name, value in node_environment().items()
                   if name not in ('HOME', 'ROS_LOG_DIR', 'ROS_HOME')} | home
    node = NodeProcess(tmp_path / 'node.log', '-p', 'autostart:=false', environment=environment)
    peer = Peer()
    try:
        peer.until(lambda: bool(peer.diagnostics))
    finally:
        peer.close()
        node.close()
    assert node.process.returncode == 0 and not node.text(), node.text()


# Seen before rclpy starts, in whatever process: one of each kind from the command line, and the
# rest by the function that sees them.

@pytest.mark.proves('odd-ros-name')
@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize(('words', 'domain', 'said'), [
    ([*NODE, '--ros-args', '-r', '__ns:=/é'], '0', "'/é' is not a valid namespace"),
    ([*NODE, '--ros-args', '-r', '__node:=1x'], '0', "'1x' is not a valid node name"),
    (NODE, '233', 'ROS_DOMAIN_ID=233 is not a valid domain'),
    (CAMERA, '233', 'ROS_DOMAIN_ID=233 is not a valid domain')])
def test_a_name_or_domain_that_is_none_is_a_line_that_names_it(words: list[str], domain: str,
                                                               said: str) -> None:
    done = run_module(*words, ROS_DOMAIN_ID=domain)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.match(f'[a-z_]+: {said}', line)


@pytest.mark.proves('odd-ros-name')
@pytest.mark.parametrize('namespace', ['/1x', '1x', '/a b', '', '/a/', 'a', '/a//b', '/é', '~'])
def test_a_namespace_that_is_none_is_named(namespace: str) -> None:
    with pytest.raises(AsyncMDEError, match=f"^'{namespace}' is not a valid namespace"):
        start_ros(['--ros-args', '-r', f'__ns:={namespace}'])


@pytest.mark.proves('odd-ros-name')
@pytest.mark.parametrize('rule', ['__node:=1x', '__node:=cam-1', '__node:=a/b', '__node:=',
                                  '__node:=\u00e9', '__name:=1x', 'depth_node:__node:=1x'])
def test_a_node_name_that_is_none_is_named(rule: str) -> None:
    with pytest.raises(AsyncMDEError,
                       match=f"^'{rule.rpartition('=')[2]}' is not a valid node name"):
        start_ros(['--ros-args', '-r', rule])


@pytest.mark.proves('odd-ros-name')
@pytest.mark.parametrize('domain', ['abc', '233', '-1', '4.5', '9' * 20])
def test_a_domain_that_is_none_is_named(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', domain)
    with pytest.raises(AsyncMDEError, match=f'^ROS_DOMAIN_ID={domain} is not a valid domain'):
        start_ros([])


@pytest.mark.parametrize('words', [['--help'], ['--ros-args', '-h']])
def test_help_teaches_and_starts_nothing(words: list[str]) -> None:
    done = run_module(*NODE, *words)
    assert done.returncode == 0 and not done.stderr
    assert '-r image:=/camera/image_raw' in done.stdout and 'ros2 param' in done.stdout


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize(('words', 'said'), [
    (['--nonsense'], "ROS does not know these words after --ros-args: ['--nonsense']; "
                       'leave them out'),
    (['-r', 'image'], "failed to initialize rcl: Couldn't parse remap rule: '-r image'"),
    (['-r', 'image:=/1x'], "failed to initialize rcl: Couldn't parse remap rule: '-r image:=/1x'"),
    (['--log-config-file', '/none'], 'failed to initialize logging: spdlog logging backend '
                                     "doesn't currently support external configuration")])
def test_what_ros_cannot_parse_is_named_without_its_innards(words: list[str], said: str) -> None:
    done = run_module(*NODE, '--ros-args', *words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f'depth_node: {said}'


@pytest.mark.ros
def test_an_argument_that_is_no_text_is_a_line() -> None:
    path = b'/tmp/caf\xe9'
    done = subprocess.run([sys.executable, '-m', *NODE, '--ros-args', '-p',
                           b'model.fast_weights:=' + path], capture_output=True,
                          timeout=TIMEOUT_S, env=node_environment())
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(b'depth_node: ') and b'UTF-8' in line and b'\\udce9' in line


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize('closed', ['>&-', '<&- >&- 2>&-'])
def test_a_node_with_closed_streams_answers_and_ends_well(closed: str) -> None:
    words = [sys.executable, '-m', *NODE, '--ros-args', '-p', 'autostart:=false']
    process = subprocess.Popen(['sh', '-c', f'exec "$@" {closed}', 'sh', *words],
                               env=node_environment())
    peer = Peer()
    try:
        peer.until(lambda: bool(peer.diagnostics))
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
    finally:
        peer.close()
        process.kill()
        process.wait()


@pytest.mark.parametrize(('text', 'namespace'), [
    ('', '/'), ('/', '/'), ('robot1', '/robot1'), ('/robot1/', '/robot1'),
    ('robot1/front/', '/robot1/front')])
def test_a_namespace_is_written_with_one_slash_before_and_none_after(text: str, namespace: str
                                                                     ) -> None:
    assert absolute_namespace(text) == namespace


@pytest.mark.proves('odd-ros-name')
@pytest.mark.parametrize('text', ['a b', '1x', 'a//b', 'é', '~', '{x}', ' ', 'a\n', 'x' * 300])
def test_what_is_no_namespace_is_named(text: str) -> None:
    with pytest.raises(AsyncMDEError, match='not a valid namespace'):
        absolute_namespace(text)


@pytest.mark.parametrize(('text', 'topic'), [
    ('image', '/front/image'), ('/image', '/image'), ('cam/image/compressed',
                                                      '/front/cam/image/compressed')])
def test_a_topic_is_in_its_namespace(text: str, topic: str) -> None:
    assert absolute_topic(text, '/front') == topic


@pytest.mark.parametrize('text', ['', '/', 'a b', '1x', 'image/', 'a//b', 'é', '{x}'])
def test_what_is_no_topic_is_named(text: str) -> None:
    with pytest.raises(AsyncMDEError, match='not a valid topic'):
        absolute_topic(text, '/')


@pytest.mark.proves('hangup')
@pytest.mark.ros
@pytest.mark.slow
def test_a_terminal_that_is_gone_ends_the_node_and_its_shared_memory(tmp_path: Path,
                                                                     foundation_path: Path
                                                                     ) -> None:
    node = NodeProcess(tmp_path / 'node.log')
    try:
        node.wait_for('listening to')
        segments = shared_memory.segments(node.process.pid)
        assert segments
        node.process.send_signal(signal.SIGHUP)
        assert node.process.wait(TIMEOUT_S) == 0
        assert not [segment for segment in segments if segment.exists()]
    finally:
        node.close()


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize(('given', 'said'), [
    ('backend:=magic', "the parameter backend cannot be set: 'magic' is not one of auto, "),
    ('memory.max_age:=-3.0', 'the parameter memory.max_age cannot be set: -3.0 is outside the '
                             'range [0, 3600]'),
    ('fast_path.threads:=2.5', 'the parameter fast_path.threads cannot be set: 2.5 is not a '
                               'whole number'),
    ('input.size:=100x100', 'the parameter input.size cannot be set: ')])
def test_a_parameter_that_is_given_a_bad_value_is_a_line_that_says_why(given: str, said: str
                                                                       ) -> None:
    done = run_module(*NODE, '--ros-args', '-p', given)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'depth_node: {said}')
