"""``ros2 launch`` for real, where a ROS 2 installation has this package."""

import pytest

pytest.importorskip('av', reason='left out: needs av')
pytest.importorskip('rclpy', reason='left out: needs rclpy')

import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

if shutil.which('ros2') is None:
    pytest.skip('left out: needs the ros2 command line, which PyPI does not have',
                allow_module_level=True)

from sensor_msgs.msg import Image
from support.ros_rig import DEADLINE_S, Peer, image_message, node_environment, picture

from asyncmde_ros.lab.media.video import VideoWriter

FRAMES = 60
RATE_HZ = 30.0


def known(package: str) -> bool:
    found = subprocess.run(['ros2', 'pkg', 'prefix', package], capture_output=True)
    return found.returncode == 0


pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.skipif(
    not known('asyncmde_ros'),
    reason='left out: ros2 does not know asyncmde_ros (colcon build it)')]


class Launch:
    """``ros2 launch`` of one file, in a process of its own; its output is kept in a file."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._log = (folder / 'launch.log').open('w+')
        self.process = subprocess.Popen(['ros2', 'launch', 'asyncmde_ros', *words],
                                        stdout=self._log, stderr=subprocess.STDOUT,
                                        env=node_environment())

    def text(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def interrupt(self) -> None:
        """End it as Ctrl-C does; every process has to end well."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(DEADLINE_S)
        assert status == 0 and 'finished cleanly' in self.text(), self.text()


def refused(words: Sequence[str], **environment: str) -> str:
    done = subprocess.run(['ros2', 'launch', 'asyncmde_ros', *words], capture_output=True,
                          text=True, timeout=DEADLINE_S, env=node_environment(**environment))
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize(('file', 'names'), [
    ('depth.launch.py', ('image_topic', 'camera_info_topic', 'image_transport', 'rotation',
                         'backend', 'model', 'precision', 'params_file', 'namespace', 'log_level',
                         'viewer')),
    ('cameras.launch.py', ('cameras', 'image_topics', 'backend', 'log_level')),
    ('events.launch.py', ('events_topic', 'window', 'sensor', 'grid', 'params_file', 'namespace',
                          'log_level')),
    ('demo.launch.py', ('video', 'loop', 'image_topic', 'viewer'))])
def test_arguments_are_described(file: str, names: Sequence[str]) -> None:
    shown = subprocess.run(['ros2', 'launch', 'asyncmde_ros', file, '--show-args'],
                           capture_output=True, text=True, check=True)
    for name in names:
        assert f"'{name}'" in shown.stdout
    assert 'no description given' not in shown.stdout


def test_launched_the_node_gives_depth_and_ends_cleanly(tmp_path: Path,
                                                        foundation_path: Path) -> None:
    launch, peer = Launch(tmp_path, 'depth.launch.py', 'image_topic:=/camera/image_raw'), Peer()
    try:
        message = image_message(picture())
        peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message))
    finally:
        peer.close()
        launch.interrupt()


def test_each_camera_has_its_own_depth(tmp_path: Path, foundation_path: Path) -> None:
    """The two topics of images show that the pattern is filled in and stays apart."""
    launch, peer = Launch(tmp_path, 'cameras.launch.py', 'cameras:=front, rear',
                          'image_topics:=/{camera}/picture', 'log_level:=warn'), Peer()
    try:
        seen: Counter[str] = Counter()
        cameras = {}
        for name in ('front', 'rear'):
            cameras[name] = peer.node.create_publisher(Image, f'/{name}/picture', 5)
            peer.node.create_subscription(
                Image, f'/{name}/depth/relative',
                lambda depth, name=name: seen.update([f'{name} {depth.header.frame_id}']), 5)

        def show() -> None:
            for name, camera in cameras.items():
                message = image_message(picture())
                message.header.frame_id = name
                message.header.stamp = peer.node.get_clock().now().to_msg()
                camera.publish(message)

        peer.until(lambda: len(seen) >= 2, show)
        assert set(seen) == {'front front', 'rear rear'}
    finally:
        peer.close()
        launch.interrupt()
    assert '[INFO] [front.depth_node]' not in launch.text()


def street(folder: Path) -> Path:
    video = folder / 'video.mp4'
    writer = VideoWriter(video, RATE_HZ)
    for shift in range(FRAMES):
        writer.write(picture((480, 680))[:, shift % 40:][:, :640])
    writer.close()
    return video


def test_the_demo_plays_a_video_and_ends_with_it(tmp_path: Path, foundation_path: Path) -> None:
    launch, peer = Launch(tmp_path, 'demo.launch.py', f'video:={street(tmp_path)}',
                          'loop:=false'), Peer()
    try:
        peer.until(lambda: launch.process.poll() is not None)
        assert launch.process.returncode == 0, launch.text()
        assert len(peer.depths) >= FRAMES // 4, launch.text()
    finally:
        peer.close()
        launch.process.kill()


@pytest.mark.proves('demo-node-ends')
def test_the_demo_ends_with_its_node(tmp_path: Path) -> None:
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text('/**: {ros__parameters: {model: {foundation_weights: /none}}}')
    launch = Launch(tmp_path, 'demo.launch.py', f'video:={street(tmp_path)}',
                    f'params_file:={parameters}')
    try:
        launch.process.wait(DEADLINE_S)
        assert 'cannot configure' in launch.text()
    finally:
        launch.process.kill()


@pytest.mark.proves('impossible-launch')
@pytest.mark.parametrize(('words', 'environment', 'reason'), [
    (('demo.launch.py',), {'XDG_CACHE_HOME': '/proc/none'}, 'video:=FILE'),
    (('demo.launch.py', 'video:=none.mp4'), {}, 'none.mp4 is not a file'),
    pytest.param(('depth.launch.py', 'viewer:=rviz'), {}, 'rviz2', marks=pytest.mark.skipif(
        known('rviz2'), reason='left out: RViz is installed'))])
def test_a_launch_that_cannot_be_starts_nothing(
        words: Sequence[str], environment: dict[str, str], reason: str) -> None:
    """What launch is starting when an error ends it goes on without it."""
    text = refused(words, **environment)
    assert reason in text and 'process started' not in text, text


@pytest.mark.proves('wrong-parameter')
@pytest.mark.parametrize(('words', 'reason'), [
    (('cameras.launch.py', 'cameras:=front,front'), 'named twice'),
    (('cameras.launch.py', 'cameras:=front,/front'), 'named twice'),
    (('cameras.launch.py', 'cameras:=,'), 'at least one camera'),
    (('cameras.launch.py', 'cameras:=front,2nd'), "'2nd' cannot be a namespace"),
    (('cameras.launch.py', 'cameras:=left front'), "'left front' cannot be a namespace"),
    (('depth.launch.py', 'backend:=magic'), 'magic')])
def test_nonsense_is_refused_with_a_reason(words: Sequence[str], reason: str) -> None:
    assert reason in refused(words)
