"""The real depth node in a process of its own, and a test's side of the conversation."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, TimeReference
from support import shared_memory

from asyncmde_ros.ros.messages import set_data, to_nanoseconds

DISCOVERY_S = 15.0
"""Fast DDS takes up to some seconds to find a peer; loading comes on top."""

DEADLINE_S = 180.0
"""For what happens within seconds, unless everything else runs on the same cores as well: with
many busy processes, the background of a node gets a tenth of what they get."""

END_S = 30.0
"""What a node that is told to end is given before it is killed; one second is its own promise, and
after eight it ends by force."""

MOMENT_S = 0.005


SMALL = '126x168'
"""A quarter of the default network size, which keeps tests quick."""

AUTO = 'auto'

PRECISION = (['-p', 'precision:=fp32']
             if os.environ.get('ASYNCMDE_TEST_PRECISION') == 'fp32' else [])

PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def node_environment(**extra: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in PROFILES}
    return environment | {'PYTHONUNBUFFERED': '1', **extra}


class NodeProcess:
    """``depth_node`` with remaps as the README shows; its output is kept in ``log``.

    Refreshes are of the network's ``size`` alone, unless that is AUTO: a second size is a third of
    what a start costs.
    """

    def __init__(self, log: Path, *arguments: str, size: str = SMALL,
                 environment: dict[str, str] | None = None, camera: str = '/camera',
                 program: Sequence[str] = ('-m', 'asyncmde_ros.ros.main')) -> None:
        self.log = log
        self._file = log.open('wb')
        self.process = subprocess.Popen(
            [sys.executable, *program, '--ros-args',
             '-r', f'image:={camera}/image_raw', '-r', f'camera_info:={camera}/camera_info',
             '-p', f'input.size:={size}', '-p', f'refresh.size:={size}', *PRECISION, *arguments],
            stdout=self._file, stderr=subprocess.STDOUT, env=environment or node_environment())

    def text(self) -> str:
        return self.log.read_text(errors='replace')

    def wait_for(self, words: str) -> None:
        self._await(lambda: words in self.text())

    def wait_until_it_hears(self) -> None:
        """Return once the node has its own handlers: those for SIGTERM it sets last."""
        self._await(lambda: int(re.findall(r'SigCgt:\s*(\w+)', self._read('status'))[0], 16)
                    >> signal.SIGTERM - 1 & 1 == 1)

    def wait_until_it_imports(self, library: str) -> None:
        """Return once a file of this name is mapped."""
        self._await(lambda: library in self._read('maps'))

    def interrupt(self) -> tuple[int, float]:
        """Send SIGINT; return the exit status and how long the end took.

        Time in which the main thread had work but no core to do it is the machine's, and not
        counted.
        """
        started, waited = time.monotonic(), self._waited_s()
        self.process.send_signal(signal.SIGINT)
        deadline = started + DEADLINE_S
        while os.waitid(os.P_PID, self.process.pid,
                        os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            assert time.monotonic() < deadline, f'does not end:\n{self.text()}'
            time.sleep(MOMENT_S)
        took = time.monotonic() - started - (self._waited_s() - waited)
        return self.process.wait(), took

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.process.poll() is None, f'the node ended:\n{self.text()}'
            assert time.monotonic() < deadline, f'did not happen:\n{self.text()}'
            time.sleep(MOMENT_S)

    def _read(self, name: str) -> str:
        return Path(f'/proc/{self.process.pid}/{name}').read_text()

    def _waited_s(self) -> float:
        """Return how long the main thread has stood in line for a core."""
        return int(self._read('schedstat').split()[1]) / 1e9

    def close(self) -> None:
        """End the process, kindly if it lets itself be."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                left = shared_memory.segments(self.process.pid)
                self.process.kill()
                self.process.wait()
                shared_memory.remove(left)
        self._file.close()


class Peer:
    """A camera and a listener in this process, which never has our Fast DDS profile."""

    def __init__(self, reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
                 dense: bool = True, of: str = 'depth_node') -> None:
        """Without ``dense`` it does not listen to depth maps, so that none are made for it.

        ``of`` is the node that it talks to.
        """
        self._of = of
        assert not any(os.environ.get(name) for name in PROFILES)
        os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node('peer', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.depths: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.memories: list[TimeReference] = []
        self.diagnostics: list[DiagnosticStatus] = []
        self.stamps: list[Time] = []
        """Of the diagnostics, by the node's clock."""
        profile = QoSProfile(depth=5, reliability=reliability)
        self.camera = self.node.create_publisher(Image, '/camera/image_raw', profile)
        self.compressed = self.node.create_publisher(
            CompressedImage, '/camera/image_raw/compressed', profile)
        self.info = self.node.create_publisher(CameraInfo, '/camera/camera_info', 5)
        maps = ((Image, '/depth/relative', self.depths),
                (CameraInfo, '/depth/camera_info', self.infos))
        for kind, topic, store in (*(maps if dense else ()),
                                   (TimeReference, '/depth/memory', self.memories)):
            self.node.create_subscription(kind, topic, store.append, 20)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 5)

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        self.diagnostics.extend(array.status)
        self.stamps.append(array.header.stamp)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def until(self, condition: Callable[[], bool], each: Callable[[], None] = lambda: None,
              period_s: float = 0.03) -> None:
        """Spin, calling ``each`` every period, until ``condition`` holds."""
        deadline, due = time.monotonic() + DEADLINE_S, 0.0
        while not condition():
            assert time.monotonic() < deadline, 'did not happen in time'
            if time.monotonic() >= due:
                each()
                due = time.monotonic() + period_s
            self.executor.spin_once(timeout_sec=0.01)

    def call(self, kind: type, name: str, request: object) -> object:
        client = self.node.create_client(kind, f'/{self._of}/{name}')
        assert client.wait_for_service(DISCOVERY_S), f'no service {name}'
        future = client.call_async(request)
        self.until(future.done)
        self.node.destroy_client(client)
        return future.result()

    def set_parameter(self, name: str, value: object) -> SetParametersResult:
        parameter = Parameter(name, value=value).to_parameter_msg()
        return self.call(SetParameters, 'set_parameters',
                         SetParameters.Request(parameters=[parameter])).results[0]

    def describe(self, names: Sequence[str]) -> list:
        return self.call(DescribeParameters, 'describe_parameters',
                         DescribeParameters.Request(names=list(names))).descriptors

    def transition(self, label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        return self.call(ChangeState, 'change_state', request).success

    def state(self) -> str:
        return self.call(GetState, 'get_state', GetState.Request()).current_state.label

    def listen(self, topic: str, kind: type = Image, depth: int = 5) -> list:
        """Subscribe to one more topic, of images; return the list that they go to."""
        store: list = []
        self.node.create_subscription(kind, topic, store.append, depth)
        return store

    def diagnosed(self, key: str) -> str:
        """Return a value of the newest diagnostics, empty where there is none."""
        return self.newest(': depth').get(key, '')

    def newest(self, ending: str) -> dict[str, str]:
        """Return the values of the newest diagnostics whose name ends so, and its message."""
        for status in reversed(self.diagnostics):
            if status.name.endswith(ending):
                return {'message': status.message} | {
                    value.key: value.value for value in status.values}
        return {}

    def ask(self, message: Image) -> int:
        """Show an image; return its stamp once its own depth has come."""
        stamp = self.show(message)
        self.until(lambda: to_nanoseconds(self.depths[-1].header.stamp) == stamp)
        return stamp

    def show(self, message: Image, focal_px: float = 500.0) -> int:
        """Publish an image stamped now, with its camera info; return the stamp."""
        message.header.stamp = self.node.get_clock().now().to_msg()
        self.info.publish(CameraInfo(
            header=message.header, height=message.height, width=message.width,
            distortion_model='plumb_bob',
            k=[focal_px, 0.0, 320.0, 0.0, focal_px, 240.0, 0.0, 0.0, 1.0]))
        self.camera.publish(message)
        return to_nanoseconds(message.header.stamp)


def picture(size: tuple[int, int] = (480, 640), seed: int = 0) -> np.ndarray:
    """A picture with corners to track."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 255, (size[0] // 40, size[1] // 40, 3), np.uint8),
                   np.ones((40, 40, 1), np.uint8))


def floor_picture() -> np.ndarray:
    """A tiled floor 1.2 m beneath a camera of 500 pixels' focal length; the horizon is row 200."""
    rows, cols = np.mgrid[0:480, 0:640].astype(float)
    down = (rows - 200) / 500
    z = 1.2 / np.maximum(down, 1e-3)
    tile = (np.floor((cols - 320) / 500 * z * 1.5) + np.floor(z * 1.5)) % 2
    tiles = np.stack([90 + 100 * tile, 80 + 90 * tile, 70 + 80 * tile], axis=-1)
    sky = np.stack([120 + rows / 4, 150 + rows / 5, np.full_like(rows, 200)], axis=-1)
    return np.where((down > 0.02)[..., None], tiles, sky).astype(np.uint8)


def image_message(rgb: np.ndarray, encoding: str = 'rgb8') -> Image:
    message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding=encoding,
                    step=rgb.shape[1] * 3)
    message.header.frame_id = 'camera_optical_frame'
    set_data(message, rgb)
    return message
