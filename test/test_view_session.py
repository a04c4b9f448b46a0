"""``asyncmde view`` on topics: a real depth node, and a node of another kind under a namespace."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_rig import NodeProcess, Peer, image_message, node_environment, picture
from rrd import Entity, pa, read
from sensor_msgs.msg import Image, TimeReference
from std_msgs.msg import Header

from asyncmde_ros.pipeline.depth_pipeline import DepthSource
from asyncmde_ros.ros.messages import MEMORY_SOURCE, from_nanoseconds, set_data
from asyncmde_ros.view.layout import SERIES

pytestmark = [pytest.mark.ros, pytest.mark.slow]

TIMEOUT_S = 30
SECONDS = 3
"""Long enough for the refresh rate, which is over two seconds."""

CAMERA_PERIOD_S = 0.1

SETTLE_S = 3.0
"""For a viewer on a busy machine to take what is still waiting, before Ctrl-C."""


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def start_view(*words: str) -> 'subprocess.Popen[str]':
    return subprocess.Popen([sys.executable, '-m', 'asyncmde_ros.cli', 'view', *words],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=node_environment())


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
    view = start_view('--save', str(file), '--seconds', str(SECONDS))
    try:
        node.wait_for('loaded at')
        peer.until(lambda: view.poll() is not None, lambda: shown.append(peer.show(message)),
                   CAMERA_PERIOD_S)
    finally:
        node.close()
        view.kill()
    out, errors = view.communicate(timeout=TIMEOUT_S)
    assert view.returncode == 0 and 'Traceback' not in errors, errors
    entities = read(file)
    image, depth = entities['/image'], entities['/depth']
    assert set(image.stamps_ns) <= set(shown) and set(depth.stamps_ns) <= set(shown)
    assert len(depth.stamps_ns) > SECONDS / CAMERA_PERIOD_S / 3
    assert pa.types.is_timestamp(image.kind)
    lags = scalars(entities, 'lag_frames')
    assert min(lags) >= 1 and max(lags) < len(shown)
    assert 0 < min(scalars(entities, 'receipt_ms')) < 1e3 * TIMEOUT_S
    assert max(scalars(entities, 'memory_age_ms')) < 1e3 * TIMEOUT_S
    assert scalars(entities, 'refresh_hz')[-1] > 0
    assert any(MEMORY_SOURCE[DepthSource.NETWORK] in state
               for state in entities['/state'].values['TextLog:text'])
    assert f'{len(image.stamps_ns)} images, {len(depth.stamps_ns)} depth maps' in out


def test_a_namespace_trust_and_a_best_effort_camera(peer: Peer, tmp_path: Path) -> None:
    """Five frames a second whose depth rests on every fifth; the stamps are a recording's."""
    file = tmp_path / 'out.rrd'
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera = peer.node.create_publisher(Image, '/front/picture', best_effort)
    depth = peer.node.create_publisher(Image, '/robot/depth/relative', 1)
    trust = peer.node.create_publisher(Image, '/robot/depth/trust', 1)
    memory = peer.node.create_publisher(TimeReference, '/robot/depth/memory', 10)
    view = start_view('--namespace', '/robot', '--topic-image', '/front/picture',
                      '--save', str(file))
    first_ns, period_ns = 1_500_000_000 * 10**9, 200_000_000
    count = 0
    try:
        peer.until(lambda: all(publisher.get_subscription_count()
                               for publisher in (camera, depth, trust, memory)))

        def show() -> None:
            nonlocal count
            header = Header(stamp=from_nanoseconds(first_ns + count * period_ns))
            keyframe = from_nanoseconds(first_ns + count // 5 * 5 * period_ns)
            memory.publish(TimeReference(header=header, time_ref=keyframe,
                                         source=MEMORY_SOURCE[DepthSource.NETWORK]))
            rgb = image_message(picture((80, 80)))
            rgb.header = header
            camera.publish(rgb)
            depth.publish(float_message(header, np.full((8, 12), count, np.float32)))
            trust.publish(float_message(header, np.full((4, 6), 0.5, np.float32)))
            if count == 12:  # a damaged one costs only itself
                broken = float_message(header, np.zeros((2, 2), np.float32))
                broken.height = 3
                depth.publish(broken)
            count += 1

        peer.until(lambda: count == 15, show, period_ns / 1e9)
        time.sleep(SETTLE_S)
        peer.until(lambda: view.poll() is not None,
                   lambda: view.send_signal(signal.SIGINT), period_s=1.0)
    finally:
        view.kill()
    _, errors = view.communicate(timeout=TIMEOUT_S)
    assert view.returncode == 0 and 'Traceback' not in errors, errors
    entities = read(file)
    # Pictures are the newest only, so a busy machine may leave one out; the curves have all.
    for name in ('/image', '/depth', '/trust'):
        assert len(set(entities[name].stamps_ns)) >= 10
    assert entities['/trust'].values['DepthImage:buffer'][0] == [0, 56] * 24  # 0.5 as float16
    assert scalars(entities, 'lag_frames') == [index % 5 for index in range(15)]
    assert scalars(entities, 'memory_age_ms') == [200 * (index % 5) for index in range(15)]
    assert f'/{SERIES["receipt_ms"].entity}' not in entities, 'another clock'
    assert 'not shown' in errors


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
