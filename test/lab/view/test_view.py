"""``asyncmde view`` of a video: what the file holds, and the errors that a user may read."""

import pytest

pytest.importorskip('av', reason='left out: needs av')

import contextlib
import os
import resource
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import cv2
import numpy as np
from support.repository import ROOT
from support.rrd import pa, read

from asyncmde_ros.cli.main import main
from asyncmde_ros.errors import AsyncMDEError, MediaError
from asyncmde_ros.lab.media.sources import open_video
from asyncmde_ros.lab.media.video import VideoWriter
from asyncmde_ros.lab.view.layout import SERIES
from asyncmde_ros.lab.view.library import REQUIREMENT
from asyncmde_ros.lab.view.recording import EPOCH_NS, MOST_POINTS, Recording
from asyncmde_ros.lab.view.timing import WINDOW_NS, RefreshRate, Timing
from asyncmde_ros.pipeline.results import PipelineState
from asyncmde_ros.ros.sentences import STATES

RATE_HZ = 10.0
FRAMES = 40
WITHHELD = 5
"""Frames without depth: the next one is shown once there is a refresh, however long that takes."""

SIZE = (240, 320)
SECOND = 10**9
TIMEOUT_S = 120
"""Loading takes seconds, on a busy machine many."""

COMMAND = [sys.executable, '-m', 'asyncmde_ros.cli', 'view']

WAITING = [sys.executable, '-c', f'''
import itertools, sys, time
from asyncmde_ros.cli.main import main
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
process, numbers = DepthPipeline.process, itertools.count(1)
from asyncmde_ros.pipeline.feature_cache import FeatureCache
from asyncmde_ros.pipeline.slow_path import SlowPathState
front = FeatureCache.front
def waiting(pipeline, *arguments):
    number, refreshed = next(numbers), pipeline.status.slow_path
    if number <= {WITHHELD}:
        FeatureCache.front = lambda cache: None
    elif number == {WITHHELD} + 1:
        FeatureCache.front = front
        while refreshed.refreshes == 0 or refreshed.state is not SlowPathState.WAITING:
            time.sleep(0.01)
    return process(pipeline, *arguments)
DepthPipeline.process = waiting
sys.exit(main(sys.argv[1:]))
''', 'view']
"""The same, with a first refresh at a given frame."""


def still_scene(path: Path, rate_hz: float) -> Path:
    """Write a video in which without a cut the memory lasts."""
    scene = np.kron(np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8),
                    np.ones((20, 20, 1), np.uint8))
    assert scene.shape[:2] == SIZE
    with VideoWriter(path, rate_hz) as writer:
        for _ in range(FRAMES):
            writer.write(scene)
    return path


@pytest.fixture(scope='module')
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return still_scene(tmp_path_factory.mktemp('view') / 'video.mp4', RATE_HZ)


@pytest.mark.slow
def test_a_file_holds_every_frame_at_its_stamp(video: Path, tmp_path: Path,
                                               foundation_path: Path) -> None:
    file = tmp_path / 'out.rrd'
    done = subprocess.run([*WAITING, '--video', str(video), '--save', str(file)],
                          capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr
    entities = read(file)
    with open_video(video) as source:
        stamps = [frame.stamp_ns for frame in source]
    image, depth = entities['/image'], entities['/depth']
    assert image.stamps_ns == stamps
    # Depth is withheld until the first refresh, and is there for every frame from then on.
    assert len(stamps) == FRAMES and depth.stamps_ns == stamps[WITHHELD:]
    for name in ('/trust', f'/{SERIES["lag_frames"].entity}', f'/{SERIES["memory_age_ms"].entity}',
                 f'/{SERIES["process_ms"].entity}'):
        assert entities[name].stamps_ns == depth.stamps_ns
    assert f'/{SERIES["receipt_ms"].entity}' not in entities
    lags = entities[f'/{SERIES["lag_frames"].entity}'].values['Scalars:scalars']
    ages = entities[f'/{SERIES["memory_age_ms"].entity}'].values['Scalars:scalars']
    assert min(lags) >= 1
    assert ages == pytest.approx([lag * 1e3 / RATE_HZ for lag in lags])
    states = entities['/state'].values['TextLog:text']
    assert states == [STATES[PipelineState.WAITING_FOR_MEMORY], STATES[PipelineState.READY]]
    assert pa.types.is_duration(depth.kind)
    for words in (f'{FRAMES} images, {len(depth.stamps_ns)} depth maps',
                  f'{file.stat().st_size / 1e6:.1f} MB'):
        assert words in done.stdout


@pytest.mark.slow
def test_ctrl_c_ends_it_with_a_complete_file(tmp_path: Path, foundation_path: Path) -> None:
    video = still_scene(tmp_path / 'video.mp4', FRAMES / TIMEOUT_S)  # which is not awaited
    file = tmp_path / 'out.rrd'
    process = subprocess.Popen([*COMMAND, '--video', str(video), '--save', str(file)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + TIMEOUT_S
    assert process.stderr is not None
    while process.stderr.readline() != f'{STATES[PipelineState.WAITING_FOR_MEMORY]}\n':
        assert process.poll() is None and time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0 and 'Traceback' not in errors, errors
    images = read(file)['/image'].stamps_ns
    assert 0 < len(images) < FRAMES and f'{len(images)} images' in out


def test_pictures_come_back_as_they_were(tmp_path: Path, rng: np.random.Generator) -> None:
    file = tmp_path / 'out.rrd'
    rgb = np.full((48, 64, 3), (250, 20, 20), np.uint8)
    depth = rng.random((14, 28)).astype(np.float32)
    depth[0, 0] = np.nan
    trust = rng.random((4, 8)).astype(np.float32)
    with Recording(file) as recording:
        recording.log_image(SECOND, rgb)
        recording.log_depth(2 * SECOND, depth)
        recording.log_trust(3 * SECOND, trust)
        recording.log_timing(4 * SECOND, Timing(lag_frames=7))
    entities = read(file)
    assert [entities[f'/{name}'].stamps_ns for name in ('image', 'depth', 'trust', 'lag/frames')
            ] == [[SECOND], [2 * SECOND], [3 * SECOND], [4 * SECOND]]
    jpeg = np.array(entities['/image'].values['EncodedImage:blob'][0], np.uint8)
    assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1] == pytest.approx(rgb, abs=5)
    for name, sent in (('depth', depth), ('trust', trust)):
        stored = np.array(entities[f'/{name}'].values['DepthImage:buffer'][0], np.uint8)
        np.testing.assert_array_equal(stored.view(np.float16).reshape(sent.shape),
                                      sent.astype(np.float16))
    assert entities['/trust'].values['DepthImage:depth_range'][0] == [0, 1]
    assert f'/{SERIES["memory_age_ms"].entity}' not in entities, 'it is not known'


def test_a_cloud_is_thinned_and_an_empty_one_taken_away(tmp_path: Path, rng: np.random.Generator
                                                        ) -> None:
    file = tmp_path / 'out.rrd'
    points = rng.uniform(0.5, 5, (3 * MOST_POINTS + 1, 3)).astype(np.float32)
    points[0, 2], points[1], points[2, 2] = 5, np.nan, 0.5  # blue, nothing, and red
    few = points[2:5]
    with Recording(file) as recording:
        recording.log_points(1 * SECOND, points)
        recording.log_points(2 * SECOND, few)
        recording.log_points(3 * SECOND, np.full((2, 3), np.nan, np.float32))
    cloud = read(file)['/points']
    assert cloud.stamps_ns == [SECOND, 2 * SECOND] and cloud.cleared_ns == [3 * SECOND]
    shown, all_of_few = cloud.counts['Points3D:positions']
    assert MOST_POINTS / 2 < shown <= MOST_POINTS and all_of_few == 3
    assert cloud.values['Points3D:positions'] == [points[0].tolist(), few[0].tolist()]
    assert cloud.counts['Points3D:colors'] == [shown, 3]
    farthest, nearest = cloud.values['Points3D:colors']
    assert farthest >> 8 & 255 > nearest >> 8 & 255 and farthest >> 24 < nearest >> 24


def test_withheld_depth_is_taken_away_once(tmp_path: Path) -> None:
    file = tmp_path / 'out.rrd'
    depth = np.ones((14, 28), np.float32)
    with Recording(file) as recording:
        recording.log_no_depth(1 * SECOND)
        recording.log_depth(2 * SECOND, depth)
        recording.log_no_depth(3 * SECOND)
        recording.log_no_depth(4 * SECOND)
        recording.log_depth(5 * SECOND, depth)
    entities = read(file)
    assert entities['/depth'].stamps_ns == [2 * SECOND, 5 * SECOND]
    for name in ('/depth', '/trust', '/lag'):
        assert entities[name].cleared_ns == [3 * SECOND]


def test_stamps_since_1970_are_dates(tmp_path: Path) -> None:
    file = tmp_path / 'out.rrd'
    stamp_ns = EPOCH_NS * 50 + 123_456_789
    with Recording(file) as recording:
        recording.log_state(stamp_ns, 'ready')
        recording.log_state(stamp_ns + SECOND, 'ready')
    state = read(file)['/state']
    assert pa.types.is_timestamp(state.kind)
    assert state.stamps_ns == [stamp_ns], 'a state is noted when it changes'


def test_the_refresh_rate_counts_keyframes_in_a_window() -> None:
    rate = RefreshRate()
    period = SECOND // 20
    rates = [rate.update(index * period, index // 5 * 5 * period) for index in range(200)]
    window = WINDOW_NS // period
    assert rates[:window] == [None] * window
    assert rates[window:] == pytest.approx([4.0] * (200 - window))
    assert rate.update(0, 0) is None, 'stamps went back'


def test_a_missing_rerun_names_the_command(video: Path, tmp_path: Path) -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert f"'{REQUIREMENT}'" in setup
    (tmp_path / 'rerun.py').write_text('raise ImportError("no rerun")')
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    for source in (['--video', str(video)], []):
        done = subprocess.run([*COMMAND, *source, '--save', str(tmp_path / 'out.rrd')],
                              capture_output=True, text=True, timeout=TIMEOUT_S,
                              env=os.environ | {'PYTHONPATH': path})
        assert done.returncode == 1
        assert f'pip install "{REQUIREMENT}"' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize(('words', 'answer'), [
    (['--video', 'nowhere.mp4'], 'nowhere.mp4 is not a file'),
    (['--bag', 'nowhere'], 'nowhere'),
    (['--topic', '/image'], '--topic goes with --bag'),
    (['--fast-weights', 'mine.safetensors'], '--fast-weights goes with'),
    (['--video', 'a.mp4', '--namespace', '/robot'], '--namespace is for'),
    (['--video', 'a.mp4', '--topic-image', '/image'], '--topic-image is for')])
def test_a_wrong_call_is_one_clear_line(words: list[str], answer: str, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(['view', *words]) == 1
    errors = capsys.readouterr().err
    assert answer in errors and len(errors.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    full = Path('/dev/full')  # Linux: a disk without room
    for path in [tmp_path / 'no' / 'out.rrd', *([full] if full.exists() else [])]:
        with pytest.raises(MediaError, match=f'{path} cannot be written'):
            Recording(path)


@pytest.mark.proves('output-is-source')
def test_a_pipe_is_written_to_if_somebody_reads_it(tmp_path: Path) -> None:
    pipe, read = tmp_path / 'run.rrd', tmp_path / 'read.rrd'
    os.mkfifo(pipe)
    with pytest.raises(MediaError, match='nobody reads'):
        Recording(pipe)
    with read.open('wb') as file, subprocess.Popen(['cat', str(pipe)], stdout=file) as reader:
        for _ in range(1000):  # until the reader is there
            with contextlib.suppress(MediaError):
                recording = Recording(pipe)
                break
            time.sleep(0.01)
        with recording:
            recording.log_event(1, 'seen')
        assert reader.wait(20) == 0
    assert b'seen' in read.read_bytes()


@pytest.mark.proves('output-is-source')
def test_a_file_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    file = tmp_path / 'out.rrd'
    file.write_bytes(b'before')
    with Recording(file) as recording:
        recording.log_image(0, np.zeros((8, 8, 3), np.uint8))
        assert file.read_bytes() == b'before'
    after = file.read_bytes()
    assert '/image' in read(file)
    with pytest.raises(KeyError), Recording(file):
        raise KeyError  # before there was anything to show
    assert file.read_bytes() == after
    with pytest.raises(KeyError), Recording(file) as recording:
        recording.log_image(0, np.zeros((8, 8, 3), np.uint8))
        recording.log_image(10**9, np.zeros((8, 8, 3), np.uint8))
        raise KeyError  # a source that breaks off
    assert read(file)['/image'].stamps_ns == [0, 10**9]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.proves('output-is-source')
def test_a_disk_that_fills_up_costs_no_earlier_file(
        tmp_path: Path, rng: np.random.Generator) -> None:
    file = tmp_path / 'out.rrd'
    file.write_bytes(b'before')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(MediaError, match=r'out\.rrd is not complete'), \
                Recording(file) as recording:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
            for index in range(40):
                recording.log_depth(index, rng.random((240, 320), np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == b'before'
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize('name', ['folder', os.fsdecode(b'caf\xe9.rrd')])
def test_a_name_that_cannot_be_is_said_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / 'folder').mkdir()
    with pytest.raises(MediaError, match='cannot be written'):
        Recording(tmp_path / name)
    assert [path.name for path in tmp_path.rglob('*')] == ['folder']


def test_without_a_display_the_file_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, 'platform', 'linux')
    with pytest.raises(AsyncMDEError, match='--save'):
        Recording(None)


def test_a_viewer_is_looked_for_beside_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment that is used without activation is not on the PATH."""
    seen = []

    def spawn(*_: object, **__: object) -> None:
        seen.append(os.environ['PATH'].split(os.pathsep)[0])
        raise RuntimeError('no viewer\n\nand a page about it')

    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr('rerun.RecordingStream.spawn', spawn)
    before = os.environ['PATH']
    with pytest.raises(AsyncMDEError, match='does not start: no viewer; --save'):
        Recording(None)
    assert seen == [sysconfig.get_path('scripts')] and os.environ['PATH'] == before
