"""``ros2 launch`` for real, where a ROS 2 installation has this package."""

import shutil
import signal
import subprocess

import pytest

if shutil.which('ros2') is None:
    pytest.skip('left out: needs the ros2 command line, which PyPI does not have',
                allow_module_level=True)

from pathlib import Path

from ros_rig import DEADLINE_S, Peer, image_message, node_environment, picture

LAUNCH = ['ros2', 'launch', 'asyncmde_ros', 'depth.launch.py']


def installed() -> bool:
    found = subprocess.run(['ros2', 'pkg', 'prefix', 'asyncmde_ros'], capture_output=True)
    return found.returncode == 0


pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.skipif(
    not installed(), reason='left out: ros2 does not know asyncmde_ros (colcon build it)')]


def test_arguments_are_described() -> None:
    shown = subprocess.run([*LAUNCH, '--show-args'], capture_output=True, text=True, check=True)
    for name in ('image_topic', 'camera_info_topic', 'backend', 'params_file'):
        assert f"'{name}'" in shown.stdout


def test_launched_the_node_gives_depth_and_ends_cleanly(tmp_path: Path,
                                                        foundation_path: Path) -> None:
    with (tmp_path / 'launch.log').open('w+') as log:
        launch = subprocess.Popen([*LAUNCH, 'image_topic:=/camera/image_raw'], stdout=log,
                                  stderr=subprocess.STDOUT, env=node_environment())
        peer = Peer()
        try:
            message = image_message(picture())
            peer.until(lambda: len(peer.depths) >= 2, lambda: peer.show(message))
        finally:
            peer.close()
            launch.send_signal(signal.SIGINT)
            status = launch.wait(DEADLINE_S)
        log.seek(0)
        text = log.read()
    assert status == 0 and 'finished cleanly' in text, text
