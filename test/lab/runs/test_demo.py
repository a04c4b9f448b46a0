"""``asyncmde demo`` as a newcomer runs it: separate processes, real DDS, a film and a picture."""

import pytest

pytest.importorskip('av', reason='left out: needs av')
pytest.importorskip('rclpy', reason='left out: needs rclpy')

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from support.ros_rig import node_environment, picture

from asyncmde_ros import processes
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.media.video import VideoWriter
from asyncmde_ros.lab.runs import demo as demo_session
from asyncmde_ros.lab.runs.demo import ReceivedDepth, figures
from asyncmde_ros.lab.runs.video_publisher import VideoPublisher
from asyncmde_ros.ros.messages import to_nanoseconds
from asyncmde_ros.ros.query_settings import Grid

pytestmark = [pytest.mark.ros]

RATE_HZ = 10.0
TIMEOUT_S = 180
END_S = 30
"""The node ends within a second, and by force after ten."""


def moving(path: Path, frames: int, tint: tuple[float, float, float] = (1, 1, 1)) -> Path:
    scene = (picture() * tint).astype(np.uint8)
    with VideoWriter(path, RATE_HZ) as writer:
        for index in range(frames):
            writer.write(np.roll(scene, -2 * index, axis=1))
    return path


def run_demo(*arguments: str, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'asyncmde_ros.cli', 'demo', *arguments, '--out', str(out)],
        capture_output=True, text=True, timeout=TIMEOUT_S, env=node_environment())


def check(done: subprocess.CompletedProcess[str], out: Path, frames: int) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'depth_node]: ready' in done.stdout + done.stderr
    line = next(text for text in done.stdout.splitlines() if text.startswith('whole run'))
    for word in ('input', 'depth', 'latency', 'lag', 'refresh'):
        assert word in line
    sheet = cv2.imread(str(out / 'depth.png'))
    assert sheet is not None and sheet.std() > 10
    film = cv2.VideoCapture(str(out / 'depth.mp4'))
    assert film.isOpened() and film.read()[0]
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) >= frames
    assert 'Traceback' not in done.stderr


@pytest.mark.proves('odd-name')
@pytest.mark.slow
def test_a_video_becomes_a_film_and_a_picture(tmp_path: Path, foundation_path: Path) -> None:
    video = moving(tmp_path / os.fsdecode(b'caf\xe9.mp4'), 60)  # no UTF-8, as on old disks
    check(run_demo('--video', str(video), out=tmp_path / 'out'), tmp_path / 'out', frames=20)


@pytest.mark.slow
def test_of_a_grid_its_points_are_shown(tmp_path: Path, foundation_path: Path) -> None:
    video = moving(tmp_path / 'video.mp4', 40)
    check(run_demo('--video', str(video), '--grid', '12x9', out=tmp_path / 'out'),
          tmp_path / 'out', frames=10)
    film = cv2.VideoCapture(str(tmp_path / 'out' / 'depth.mp4'))
    shown = np.split(film.read()[1], 2, axis=1)[1].max(axis=2)
    x, y = Grid(12, 9).points(shown.shape).round().astype(int)[:-12].T  # above the caption
    beside = x[x + 26 < shown.shape[1]] + 26
    assert shown[y, x].mean() > 60 + shown[y[:len(beside)], beside].mean(), 'dots on the dark'


@contextlib.contextmanager
def started(video: Path, out: Path, cwd: Path | None = None) -> Iterator['subprocess.Popen[str]']:
    """Run a demo beside the block; whatever it started is looked for by the output, its own."""
    demo = subprocess.Popen(
        processes.command('asyncmde_ros.cli', 'demo', '--video', str(video), '--out', str(out)),
        cwd=cwd, env=node_environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield demo
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)
        demo.wait()


def heard(demo: 'subprocess.Popen[str]', words: str) -> str:
    """Read a demo's output up to and with the line that has ``words``."""
    assert demo.stdout is not None
    said = ''
    while words not in said:
        line = demo.stdout.readline()
        assert line, f'no {words!r} in:\n{said}'
        said += line
    return said


@pytest.mark.proves('several-demos')
@pytest.mark.slow
def test_two_at_once_each_show_their_own_video_and_one_folder_takes_one(
        tmp_path: Path, foundation_path: Path) -> None:
    red, blue = (moving(tmp_path / f'{name}.mp4', 120, tint)
                 for name, tint in (('red', (1, 0.2, 0.2)), ('blue', (0.2, 0.2, 1))))
    here = tmp_path / 'here'
    here.mkdir()
    for name in ('queue.py', 'types.py', 'numpy.py', 'asyncmde_ros.py'):
        (here / name).write_text('raise ImportError("of the working directory")')
    with started(red, tmp_path / 'red', here) as first, \
            started(blue, tmp_path / 'blue', here) as second:
        heard(first, '/image')
        third = run_demo('--video', str(blue), out=tmp_path / 'red')
        assert third.returncode == 1
        assert third.stderr.splitlines()[-1].endswith('name another --out')
        said = [demo.communicate(timeout=TIMEOUT_S)[0] for demo in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    for name, other in (('red', 0), ('blue', 2)):
        film = cv2.VideoCapture(str(tmp_path / name / 'depth.mp4'))
        frames = 0
        while (frame := film.read()[1]) is not None:
            means = frame[:, :frame.shape[1] // 2].mean(axis=(0, 1))
            assert means[2 - other] > means[other], f'frame {frames} of {name}'
            frames += 1
        assert frames >= 20


@pytest.mark.proves('parent-killed')
@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGHUP])
def test_a_demo_that_is_killed_takes_its_node_and_its_camera_with_it(
        number: signal.Signals, tmp_path: Path, foundation_path: Path) -> None:
    with started(moving(tmp_path / 'video.mp4', 200), tmp_path / 'out') as demo:
        heard(demo, 'depth_node]: ')
        demo.send_signal(number)
        # Its output comes to an end once all who could write to it have ended.
        demo.communicate(timeout=END_S)


def test_what_cannot_be_a_namespace_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(AsyncMDEError, match='namespace'):
        demo_session.run_demo([], (480, 640), 30.0, tmp_path / 'out', None, 'a b', print)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('clock_ns', [[5, 5, 5, 6], [9, 3, 20, 1]])
def test_each_image_has_a_stamp_of_its_own_and_later_than_the_last(clock_ns: list[int]) -> None:
    times, published = iter(clock_ns), []
    now = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=next(times)))
    node = SimpleNamespace(get_clock=lambda: now, create_publisher=lambda *_: SimpleNamespace(
        publish=published.append))
    publisher = VideoPublisher(node, 'camera', threading.Event())  # type: ignore[arg-type]
    for _ in clock_ns:
        publisher.show(picture())
    stamps = [to_nanoseconds(message.header.stamp) for message in published]
    assert stamps == sorted(set(stamps)) and stamps[0] == clock_ns[0]


@pytest.mark.proves('film-odd')
@pytest.mark.slow
def test_a_recording_whose_pictures_change_their_size(tmp_path: Path,
                                                      foundation_path: Path) -> None:
    rosbag2, typesys = (pytest.importorskip(f'rosbags.{name}') for name in ('rosbag2', 'typesys'))
    types = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    kinds, bag, period_ns = types.types, tmp_path / 'bag', 11_110_800  # 90.0025 Hz
    scene = picture()
    with rosbag2.Writer(bag, version=9) as writer:
        kind = 'sensor_msgs/msg/Image'
        connection = writer.add_connection('/image_raw', kind, typestore=types)
        for index in range(60):
            shown = np.roll(scene, -2 * index, axis=1)
            shown = np.ascontiguousarray(shown if index < 30 else shown[::2, ::2])
            stamp_ns = 10**18 + index * period_ns
            stamp = kinds['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 10**9))
            header = kinds['std_msgs/msg/Header'](stamp=stamp, frame_id='camera')
            message = kinds[kind](header, *shown.shape[:2], 'rgb8', 0, 3 * shown.shape[1],
                                  shown.reshape(-1))
            writer.write(connection, stamp_ns, types.serialize_cdr(message, kind))
    check(run_demo('--bag', str(bag), out=tmp_path / 'out'), tmp_path / 'out', frames=2)


@pytest.mark.proves('no-budget')
@pytest.mark.parametrize('seconds', ['0', '-3', 'nan'])
def test_a_span_that_is_none_is_refused_by_the_publisher(seconds: str) -> None:
    done = subprocess.run([sys.executable, '-m', 'asyncmde_ros.lab.runs.video_publisher',
                           f'--seconds={seconds}'], capture_output=True, text=True,
                          timeout=TIMEOUT_S, env=node_environment())
    assert done.returncode == 2 and 'argument --seconds' in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('bag', [
    ('real_amber_soccer_goal_12/soccer_goal_12.mcap',),
    ('real_rosbag2js_sample/sample.db3', '--topic', '/image/compressed')])
def test_a_recorded_bag(bag: tuple[str, ...], shared: Path, tmp_path: Path,
                        foundation_path: Path) -> None:
    path, *topic = bag
    done = run_demo('--bag', str(shared / 'data' / 'bags' / path), *topic, out=tmp_path / 'out')
    check(done, tmp_path / 'out', frames=1)  # these bags hold a picture or two


def test_a_bag_with_several_image_topics_lists_them(shared: Path, tmp_path: Path,
                                                    foundation_path: Path) -> None:
    done = run_demo('--bag', str(shared / 'data/bags/real_rosbag2js_sample/sample.db3'),
                    out=tmp_path / 'out')
    assert done.returncode == 1 and '/image/compressed' in done.stderr


def test_a_missing_video_is_one_clear_line(tmp_path: Path, foundation_path: Path) -> None:
    done = run_demo('--video', str(tmp_path / 'nowhere.mp4'), out=tmp_path / 'out')
    assert done.returncode == 1
    assert 'nowhere.mp4' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'out').exists()


def test_figures_are_rates_medians_and_lag_in_frames() -> None:
    second = 10**9
    stamps = [index * second // 10 for index in range(21)]
    samples = [ReceivedDepth(received_ns=stamp + 50_000_000, stamp_ns=stamp,
                             keyframe_ns=stamp - stamp % (second // 2) - second // 10)
               for stamp in stamps[10:]]
    result = figures(samples, stamps)
    assert result is not None
    assert result.input_hz == pytest.approx(10)
    assert result.depth_hz == pytest.approx(10)
    assert result.latency_ms == pytest.approx(50)
    assert result.refresh_hz == pytest.approx(2)
    assert result.lag_frames == pytest.approx(np.mean([1 + index % 5 for index in range(11)]))
    assert figures([], stamps) is None
    single = figures(samples[:1], stamps[:1])
    assert single is not None and (single.depth_hz, single.input_hz) == (0, 0)
    assert single.latency_ms == pytest.approx(50)


def test_without_ros_the_demo_names_the_extra(tmp_path: Path, foundation_path: Path) -> None:
    (tmp_path / 'rclpy.py').write_text('raise ImportError("no rclpy")')
    video = tmp_path / 'video.mp4'
    with VideoWriter(video, RATE_HZ) as writer:
        writer.write(picture())
    environment = node_environment()
    environment['PYTHONPATH'] = os.pathsep.join(
        [str(tmp_path), environment.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-m', 'asyncmde_ros.cli', 'demo', '--video', str(video)],
        capture_output=True, text=True, timeout=TIMEOUT_S, env=environment)
    assert done.returncode == 1 and '.[ros]' in done.stderr
