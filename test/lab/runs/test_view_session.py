"""``asyncmde view`` on topics: a real depth node, and a node of another kind under a namespace."""

import pytest

pytest.importorskip('rclpy', reason='left out: needs rclpy')

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2, TimeReference
from std_msgs.msg import Header
from support.ros_rig import NodeProcess, Peer, image_message, node_environment, picture
from support.rrd import Entity, pa, read

from asyncmde_ros.lab.view.layout import SERIES
from asyncmde_ros.pipeline.results import DepthSource
from asyncmde_ros.ros.messages import from_nanoseconds, set_data
from asyncmde_ros.ros.point_cloud import cloud_message
from asyncmde_ros.scale.cloud import Cloud

pytestmark = [pytest.mark.ros, pytest.mark.slow]

TIMEOUT_S = 60
SECONDS = 1000
"""More than any test takes: they pass by the clock that is given."""

CAMERA_PERIOD_S = 0.1
DEPTHS = 12

NOTING = f'''
import sys, time
from pathlib import Path
from types import SimpleNamespace
from asyncmde_ros.cli.main import main
from asyncmde_ros.lab.runs import view
from asyncmde_ros.lab.view.recording import Recording
def note(name):
    log = getattr(Recording, name)
    def noted(recording, stamp_ns, value):
        log(recording, stamp_ns, value)
        print(name, stamp_ns, value if name == 'log_timing' else '', flush=True)
    setattr(Recording, name, noted)
for name in ('log_image', 'log_depth', 'log_trust', 'log_points', 'log_timing'):
    note(name)
over = Path(sys.argv.pop(1))
view.time = SimpleNamespace(
    monotonic=lambda: time.monotonic() + over.exists() * {SECONDS})
sys.exit(main(sys.argv[1:]))
'''
"""The command, which also tells what it has shown, and whose time is over with a file."""


def start_view(*words: str) -> 'subprocess.Popen[str]':
    return subprocess.Popen([sys.executable, '-m', 'asyncmde_ros.cli', 'view', *words],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=node_environment())


class NotedView:
    """A view that tells what it has shown."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._over, self._out, self._errors = (folder / name for name in ('over', 'out', 'errors'))
        with self._out.open('wb') as out, self._errors.open('wb') as errors:
            self.process = subprocess.Popen(
                [sys.executable, '-c', NOTING, str(self._over), 'view', *words],
                stdout=out, stderr=errors, env=node_environment())

    def shown(self, name: str) -> dict[int, str]:
        """Return the figures of all that a method of Recording was called with, by stamp."""
        lines = [line.split(' ', 2) for line in self.text().splitlines()]
        return {int(line[1]): line[2] for line in lines if line[0] == name}

    def text(self) -> str:
        return self._out.read_text().rpartition('\n')[0]

    def errors(self) -> str:
        return self._errors.read_text()

    def let_time_pass(self) -> None:
        self._over.touch()

    def end(self) -> None:
        """Return once it has ended well."""
        status = self.process.wait(TIMEOUT_S)
        assert status == 0 and 'Traceback' not in self.errors(), self.errors()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def float_message(header: Header, values: np.ndarray) -> Image:
    message = Image(header=header, height=values.shape[0], width=values.shape[1],
                    encoding='32FC1', step=4 * values.shape[1])
    set_data(message, values)
    return message


def scalars(entities: dict[str, Entity], name: str) -> list[float]:
    return entities[f'/{SERIES[name].entity}'].values['Scalars:scalars']


def test_a_depth_node(peer: Peer, tmp_path: Path, foundation_path: Path) -> None:
    node = NodeProcess(tmp_path / 'node.log')
    file = tmp_path / 'out.rrd'
    shown: list[int] = []
    message = image_message(picture((240, 320)))
    view = NotedView(tmp_path, '--save', str(file))
    try:
        node.wait_for('loaded at')

        def refreshing() -> bool:
            figures = ' '.join(view.shown('log_timing').values())
            return any(float(rate) > 0 for rate in re.findall(r'refresh_hz=([0-9.]+)', figures))
        peer.until(lambda: len(view.shown('log_depth')) >= DEPTHS and refreshing(),
                   lambda: shown.append(peer.show(message)), CAMERA_PERIOD_S)
        view.process.send_signal(signal.SIGINT)
        view.end()
    finally:
        node.close()
        view.close()
    entities = read(file)
    image, depth = entities['/image'], entities['/depth']
    assert set(image.stamps_ns) <= set(shown) and set(depth.stamps_ns) <= set(shown)
    assert set(view.shown('log_depth')) == set(depth.stamps_ns)
    assert pa.types.is_timestamp(image.kind)
    lags = scalars(entities, 'lag_frames')
    assert min(lags) >= 1 and max(lags) < len(shown)
    assert 0 < min(scalars(entities, 'receipt_ms')) < 1e3 * TIMEOUT_S
    assert max(scalars(entities, 'memory_age_ms')) < 1e3 * TIMEOUT_S
    assert max(scalars(entities, 'refresh_hz')) > 0
    assert any(DepthSource.MEMORY.value in state
               for state in entities['/state'].values['TextLog:text'])
    assert f'{len(image.stamps_ns)} images, {len(depth.stamps_ns)} depth maps' in view.text()


def test_a_namespace_trust_and_a_best_effort_camera(peer: Peer, tmp_path: Path) -> None:
    """Five frames a second whose depth rests on every fifth; the stamps are a recording's."""
    file = tmp_path / 'out.rrd'
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera = peer.node.create_publisher(Image, '/front/picture', best_effort)
    depth = peer.node.create_publisher(Image, '/robot/depth/relative', 1)
    trust = peer.node.create_publisher(Image, '/robot/depth/trust', 1)
    memory = peer.node.create_publisher(TimeReference, '/robot/depth/memory', 10)
    points = peer.node.create_publisher(PointCloud2, '/robot/depth/points', 1)
    view = NotedView(tmp_path, '--namespace', '/robot', '--topic-image', '/front/picture',
                     '--save', str(file), '--seconds', str(SECONDS))
    first_ns, period_ns = 1_500_000_000 * 10**9, 200_000_000
    count = 0
    try:
        peer.until(lambda: all(publisher.get_subscription_count()
                               for publisher in (camera, depth, trust, memory, points)))

        def taken() -> bool:
            """Tell whether all of the last frame is shown: only the newest picture waits."""
            last_ns = first_ns + (count - 1) * period_ns
            return all(last_ns in view.shown(name) for name in (
                'log_image', 'log_depth', 'log_trust', 'log_points', 'log_timing'))

        def show() -> None:
            nonlocal count
            header = Header(stamp=from_nanoseconds(first_ns + count * period_ns))
            keyframe = from_nanoseconds(first_ns + count // 5 * 5 * period_ns)
            memory.publish(TimeReference(header=header, time_ref=keyframe,
                                         source=DepthSource.NETWORK.value))
            rgb = image_message(picture((80, 80)))
            rgb.header = header
            camera.publish(rgb)
            depth.publish(float_message(header, np.full((8, 12), count, np.float32)))
            trust.publish(float_message(header, np.full((4, 6), 0.5, np.float32)))
            points.publish(cloud_message(header, Cloud(
                np.array([[0.5, 0.25, 1 + count]], np.float32), None)))
            count += 1

        for _ in range(15):
            show()
            peer.until(taken)
            if count == 12:  # a damaged one costs only itself
                broken = float_message(Header(), np.zeros((2, 2), np.float32))
                broken.height = 3
                depth.publish(broken)
                peer.until(lambda: 'not shown' in view.errors())
        assert view.process.poll() is None
        view.let_time_pass()
        view.end()
    finally:
        view.close()
    entities = read(file)
    assert entities['/points'].values['Points3D:positions'][3] == [0.5, 0.25, 4]
    for name in ('/image', '/depth', '/trust', '/points'):
        assert entities[name].stamps_ns == [first_ns + index * period_ns for index in range(15)]
    assert entities['/trust'].values['DepthImage:buffer'][0] == [0, 56] * 24  # 0.5 as float16
    assert scalars(entities, 'lag_frames') == [index % 5 for index in range(15)]
    assert scalars(entities, 'memory_age_ms') == [200 * (index % 5) for index in range(15)]
    assert f'/{SERIES["receipt_ms"].entity}' not in entities, 'another clock'


def test_nobody_there_is_said(tmp_path: Path) -> None:
    view = start_view('--save', str(tmp_path / 'out.rrd'))
    assert view.stderr is not None
    line = view.stderr.readline()
    assert 'waiting for a depth_node' in line and '--topic-image' in line
    view.send_signal(signal.SIGINT)
    out, errors = view.communicate(timeout=TIMEOUT_S)
    assert view.returncode == 0 and '0 images, 0 depth maps' in out and not errors


def test_without_ros_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / 'rclpy.py').write_text('raise ImportError("no rclpy")')
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run([sys.executable, '-m', 'asyncmde_ros.cli', 'view'],
                          capture_output=True, text=True, timeout=TIMEOUT_S,
                          env=node_environment(PYTHONPATH=path))
    assert done.returncode == 1 and '.[ros]' in done.stderr


@pytest.mark.proves('odd-ros-name')
@pytest.mark.parametrize('words', [('--namespace', 'a b'), ('--namespace', '1x'),
                                   ('--topic-image', 'a b'), ('--topic-image', '')])
def test_a_name_that_is_none_is_a_line(words: tuple[str, str], tmp_path: Path) -> None:
    """Nothing is opened or written for it."""
    file = tmp_path / 'kept.rrd'
    file.write_bytes(b'of before')
    _, errors = (view := start_view(*words, '--save', str(file))).communicate(timeout=TIMEOUT_S)
    assert view.returncode == 1 and 'Traceback' not in errors
    (line,) = errors.splitlines()
    assert repr(words[1]) in line and file.read_bytes() == b'of before'
