"""The benchmark: sane figures from a short run.  No figure's size is asserted: machines differ."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeModel
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.bench import pipeline, saturation, summary
from asyncmde_ros.bench.deliveries import Delivery, evaluate
from asyncmde_ros.bench.options import Options
from asyncmde_ros.bench.pictures import Film, Pan, bounce
from asyncmde_ros.bench.schedule import Camera
from asyncmde_ros.bench.statistics import Summary, summarise
from asyncmde_ros.cli.main import build_parser
from asyncmde_ros.machine import commit
from asyncmde_ros.media.video import VideoWriter
from asyncmde_ros.pipeline.motion import MotionEstimator
from asyncmde_ros.pipeline.settings import MotionCompensation

TIMEOUT_S = 1200
"""A quick run takes one minute, on a machine with much else to do many."""

SIZE = '126x168'
"""A quarter of the default network size, which keeps tests quick."""

IMAGE = (120, 160)
LONGER_S = (0.4, 4.0, 40.0)
"""Measured for as long as a busy machine takes to refresh the memory."""

MS = 10**6
SECTIONS = {'meta', 'startup', 'engines', 'saturation', 'roofline', 'motion', 'parts', 'pipeline',
            'ros', 'ros_left_out'}
WITHOUT_ROS = """
import sys
sys.modules['rclpy'] = None
from asyncmde_ros.cli.bench import _find_ros
print(_find_ros(False).reason)
"""


def options(**changes: Any) -> Options:
    fields = {'size': (42, 56), 'image': IMAGE, 'rate_hz': 50.0, 'seconds': 0.4, 'startups': 1,
              'model': 'vits', 'backend': 'auto', 'video': None}
    return Options(**fields | changes)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, '-m', 'asyncmde_ros.cli', 'bench', *arguments],
                          capture_output=True, text=True, timeout=TIMEOUT_S)


def summaries(value: Any) -> list[dict[str, float]]:
    """Return every summary in a JSON value."""
    if isinstance(value, dict) and 'p50' in value:
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in items for found in summaries(item)]


# The whole

@pytest.fixture(scope='module')
def bench(tmp_path_factory: pytest.TempPathFactory, foundation_path: Path) -> dict[str, Any]:
    """What a quick run wrote."""
    out = tmp_path_factory.mktemp('bench')
    done = command('--quick', '--out', str(out), '--size', SIZE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Networks, one frame' in done.stdout and 'pipeline' in done.stderr
    assert 'Traceback' not in done.stderr
    return json.loads((out / 'bench.json').read_text(encoding='utf-8'))


@pytest.mark.slow
def test_every_section_is_there_and_every_summary_in_order(bench: dict[str, Any]) -> None:
    assert set(bench) == SECTIONS
    found = summaries(bench)
    assert len(found) > 20
    for item in found:
        assert item['count'] > 0
        assert 0 < item['min'] <= item['p50'] <= item['p95'] <= item['p99'] <= item['max']
        assert item['min'] <= item['mean'] <= item['max']


@pytest.mark.slow
def test_the_run_says_what_it_was(bench: dict[str, Any]) -> None:
    meta = bench['meta']
    assert meta['options']['size'] == [126, 168] and '--quick' in meta['arguments']
    assert meta['cores'] >= 1 and meta['memory_gib'] > 0 and meta['cpu']
    assert {'python', 'numpy', 'opencv', 'openvino'} <= set(meta['versions'])


@pytest.mark.slow
def test_both_graphs_ran_equally_often_in_every_configuration(bench: dict[str, Any]) -> None:
    rows = bench['engines']['rows']
    cores = len(os.sched_getaffinity(0))
    assert {(row['threads'], row['precision']) for row in rows} == {
        (threads, precision) for threads in (1, cores) for precision in ('auto', 'fp32')}
    for row in rows:
        assert row['foundation_ms']['count'] == row['fast_ms']['count']
        assert row['ratio_p50'] == row['foundation_ms']['p50'] / row['fast_ms']['p50']


@pytest.mark.slow
def test_the_rooflines_counts_are_the_networks(
        bench: dict[str, Any]) -> None:
    foundation, fast = bench['roofline']['rows']
    assert (foundation['graph'], fast['graph']) == ('foundation', 'fast')
    for row in (foundation, fast):
        assert row['must_move_mb'] < row['operators_move_mb']
        assert row['times_the_bound'] == row['measured_ms'] / row['bound_ms'] > 0
    # 12 blocks of 4 products of width 384 over 9 x 12 patches are a lower bound that one can
    # count by hand: 12 * 12 * 384**2 * 2 FLOP a token.
    assert foundation['gflop'] > 12 * 12 * 384**2 * 2 * (9 * 12 + 1) / 1e9
    assert foundation['gflop'] > 6 * fast['gflop']


@pytest.mark.slow
def test_as_fast_as_it_can_is_faster_alone(bench: dict[str, Any]) -> None:
    on, off = (bench['saturation'][f'slow_path_{mode}'] for mode in ('on', 'off'))
    assert on['refresh_hz'] is None or on['refresh_hz'] > 0  # none in a second: a busy machine
    assert off['refresh_hz'] is None
    for figures in (on, off):
        assert figures['steps_hz'] == pytest.approx(1e3 / figures['step_ms']['mean'], rel=0.05)


@pytest.mark.slow
def test_frames_add_up(bench: dict[str, Any]) -> None:
    for figures in bench['pipeline'].values():
        assert figures['captured'] == (figures['dropped'] + figures['withheld']
                                       + figures['process_ms']['count'])
        assert figures['late'] <= figures['process_ms']['count']
        assert (figures['refreshes'] > 0) is (figures['refresh_hz'] is not None)
    assert bench['pipeline']['slow_path_on']['lag_mean_frames'] is not None
    assert bench['pipeline']['slow_path_off']['refreshes'] == 0
    assert bench['pipeline']['slow_path_off']['lag_mean_frames'] is None


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.skipif(not find_spec('rclpy'), reason='left out: needs ROS 2')
def test_images_over_ros_add_up(bench: dict[str, Any]) -> None:
    answers = bench['ros']['answers']
    assert bench['ros_left_out'] is None
    assert answers['published'] == answers['answered'] + answers['dropped'] == 30
    assert answers['answered'] > 0 and bench['ros']['node_rss_end_mib'] > 0
    assert answers['stamp_to_publish_ms']['min'] <= answers['stamp_to_receipt_ms']['min']
    assert bench['parts']['depth_message']['count'] > 0


@pytest.mark.slow
def test_a_run_becomes_tables(bench: dict[str, Any]) -> None:
    text = summary.markdown(bench)
    for title in ('Networks, one frame', 'Parts', "Pipeline at the camera's rate", 'Over ROS 2',
                  'Start, 1 fresh'):
        assert f'### {title}' in text


def test_without_rclpy_the_reason_is_told() -> None:
    done = subprocess.run([sys.executable, '-c', WITHOUT_ROS], capture_output=True, text=True,
                          check=True, timeout=TIMEOUT_S)
    assert 'this part needs ROS 2' in done.stdout and '.[ros]' in done.stdout


# The command line

@pytest.mark.parametrize(('words', 'complaint'), [
    (['--size', '100x100'], 'multiples of 14'), (['--image', '640'], 'HxW'),
    (['--rate', '0'], 'above zero'), (['--seconds', 'nan'], 'above zero')])
def test_a_wrong_option_is_named(words: list[str], complaint: str,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(['bench', '--out', 'somewhere', *words])
    assert complaint in capsys.readouterr().err


def test_markdown_of_a_file_measures_nothing(tmp_path: Path) -> None:
    path = tmp_path / 'bench.json'
    path.write_text(json.dumps(sample()), encoding='utf-8')
    done = command('--markdown', str(path))
    assert done.returncode == 0 and done.stdout == summary.markdown(sample())


@pytest.mark.parametrize(('text', 'complaint'), [
    ('{', 'cannot be read as JSON'), ('{}', 'not written by asyncmde bench'),
    ('[]', 'not written by asyncmde bench')])
def test_another_file_is_one_clear_line(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / 'bench.json'
    path.write_text(text, encoding='utf-8')
    done = command('--markdown', str(path))
    assert done.returncode == 1 and complaint in done.stderr
    assert 'Traceback' not in done.stderr


# Statistics

@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_a_summary_is_numpys(values: list[float]) -> None:
    found = summarise(values)
    assert found is not None and found.count == len(values)
    np.testing.assert_allclose(
        (found.min, found.p50, found.p95, found.p99, found.max),
        np.percentile(values, (0, 50, 95, 99, 100)))
    np.testing.assert_allclose(found.mean, np.mean(values))


def test_a_summary_by_hand() -> None:
    assert summarise([4, 1, 3, 2]) == Summary(4, 2.5, 1.0, 2.5, pytest.approx(3.85),
                                              pytest.approx(3.97), 4.0)
    assert summarise([]) is None


# What the camera shows

def test_the_film_turns_back_without_a_jump() -> None:
    assert [bounce(index, 4) for index in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert bounce(7, 1) == 0


def test_the_pan_is_the_same_every_time_and_can_be_tracked() -> None:
    first, again = Pan(IMAGE), Pan(IMAGE)
    estimator = MotionEstimator()
    for index in range(5):
        picture = first.at(index)
        assert picture.shape == (*IMAGE, 3) and picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, again.at(index))
        step = estimator.update(index, picture, MotionCompensation.IMAGE).step
    assert estimator.failures == 0 and abs(step.homography[0, 2]) > 0


def test_a_video_is_resized_and_played_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / 'video.mp4'
    with VideoWriter(path, 10.0) as writer:
        for level in (0, 80, 160, 240):
            writer.write(np.full((64, 96, 3), level, np.uint8))
    film = Film(path, IMAGE)
    means = [film.at(index).mean() for index in range(7)]
    assert film.at(0).shape == (*IMAGE, 3)
    assert means[:4] == sorted(means[:4]) and means[4:] == means[2::-1]


def test_a_slow_consumer_gets_the_newest_frame_and_the_others_are_counted(
        monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr('time.monotonic', lambda: now)
    camera = Camera(options(rate_hz=10.0))
    frames = iter(camera)
    assert next(frames) == (0, 0.0)
    now += 0.35
    index, age_s = next(frames)
    assert index == 3 and age_s == pytest.approx(0.05)
    assert (camera.captured, camera.dropped) == (4, 2)
    assert camera.stamp_ns(3) == pytest.approx(100.3e9)


def test_the_pipeline_is_measured_with_the_slow_path_on_and_off(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, 'Model', lambda *_: FakeModel())
    for seconds in LONGER_S:
        figures = pipeline.measure(options(seconds=seconds), Pan(IMAGE))
        if figures['slow_path_on'].refreshes:
            break
    for mode in figures.values():
        assert mode.process_ms is not None
        assert mode.captured == mode.dropped + mode.withheld + mode.process_ms.count
    assert figures['slow_path_on'].refreshes > 0
    assert figures['slow_path_on'].lag_max_frames is not None
    assert figures['slow_path_off'].refresh_hz is None


def test_steps_are_counted_with_the_slow_path_on_and_off(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation, 'Model', lambda *_: FakeModel())
    for seconds in LONGER_S:
        figures = saturation.measure(options(seconds=seconds), Pan(IMAGE))
        if figures['slow_path_on'].refresh_hz is not None:
            break
    on, off = figures['slow_path_on'], figures['slow_path_off']
    assert on.refresh_hz is not None and on.refresh_every_steps is not None
    assert on.steps_hz == pytest.approx(on.refresh_hz * on.refresh_every_steps)
    assert off.refresh_hz is None and off.refresh_every_steps is None


# Answers over ROS

def test_answers_drops_and_duplicates_are_told_apart() -> None:
    period_ms = 100
    stamps = [index * period_ms * MS for index in range(1, 7)]

    def answer(index: int, after_ms: int, published: bool = True) -> Delivery:
        sent = stamps[index] + after_ms * MS
        return Delivery(stamps[index], sent if published else None, sent + 2 * MS)

    deliveries = [Delivery(7, 8, 9), answer(0, 10), answer(1, 20), answer(1, 90), answer(4, 30)]
    found = evaluate(stamps, deliveries, {7: 1, stamps[0]: 0, stamps[1]: 0,
                                          stamps[4]: stamps[1]}, {7, stamps[4]}, period_ms / 1000)
    assert (found.published, found.answered, found.dropped, found.duplicates) == (6, 3, 3, 1)
    assert found.warped == 1
    assert found.longest_gap == 2
    assert found.camera_hz == pytest.approx(10)
    assert found.depth_hz == pytest.approx(2 / 0.42)
    assert found.stamp_to_publish_ms == summarise([10, 20, 30])
    assert found.stamp_to_receipt_ms == summarise([12, 22, 32])
    assert (found.refreshes, found.refresh_every_frames) == (1, 6)
    assert found.lag_mean_frames == pytest.approx(2) and found.lag_max_frames == 3

    unstamped = evaluate(stamps, [answer(0, 10, published=False), answer(2, 10, published=False)],
                         {}, (), period_ms / 1000)
    assert unstamped.stamp_to_publish_ms is None
    assert unstamped.depth_hz == pytest.approx(5) and unstamped.lag_max_frames is None


def test_nothing_answered_is_no_error() -> None:
    found = evaluate([1, 2], [], {}, (), 0.1)
    assert (found.answered, found.dropped, found.longest_gap) == (0, 2, 2)
    assert found.stamp_to_receipt_ms is None and found.depth_hz is None


# Tables

def times(middle: float) -> dict[str, float]:
    return {'count': 9, 'mean': middle, 'min': middle / 2, 'p50': middle, 'p95': 2 * middle,
            'p99': 3 * middle, 'max': 4 * middle}


def sample() -> dict[str, Any]:
    """A small bench.json."""
    mode = {'captured': 9, 'dropped': 1, 'withheld': 0, 'late': 2, 'process_ms': times(20),
            'latency_ms': times(21), 'refreshes': 3, 'refresh_hz': 5.0,
            'refresh_every_frames': 3.0, 'lag_mean_frames': 4.5, 'lag_max_frames': 6}
    return {
        'meta': {'date': '2026-01-01T00:00:00+00:00', 'package': '0.1.0', 'commit': 'f' * 40,
                 'arguments': ['bench'], 'cpu': 'A CPU', 'gpu': None, 'cores': 2,
                 'memory_gib': 8.0,
                 'load_average': 0.1, 'os': 'An OS', 'ros_distro': None,
                 'versions': {'python': '3.12'},
                 'options': {'size': [252, 336], 'image': [480, 640], 'rate_hz': 30.0,
                             'seconds': 10.0, 'model': 'vits', 'video': None}},
        'startup': {'starts': 3, 'figures': {'import_s': times(0.5), 'rss_end_mib': times(400)}},
        'engines': {'note': 'Fair.', 'rows': [
            {'backend': 'openvino', 'threads': 1, 'precision': 'auto',
             'foundation_ms': times(100), 'fast_ms': times(25), 'ratio_p50': 4.0,
             'ratio_min': 4.0}]},
        'saturation': {'note': 'Quick.', 'slow_path_on': {
            'steps_hz': 1234.5, 'step_ms': times(0.8), 'refresh_hz': 50.0,
            'refresh_every_steps': 24.7}},
        'roofline': None,
        'motion': {'size': [252, 336], 'frame_ms': times(2), 'failures': 0},
        'parts': {'shrink': times(0.05), 'depth_message': None},
        'pipeline': {'slow_path_on': mode,
                     'slow_path_off': mode | {'refresh_hz': None, 'lag_max_frames': None}},
        'ros': None, 'ros_left_out': 'not wanted (--no-ros)'}


def test_the_tables_hold_the_figures() -> None:
    text = summary.markdown(sample())
    assert 'A CPU, 2 cores, 8 GiB' in text and 'commit ffffffffffff.' in text
    lines = [' '.join(line.split()) for line in text.splitlines()]
    assert '| 1 | auto | foundation model | 50.0 | 100.0 | 200.0 | 300.0 | 400.0 | |' in lines
    assert '| 1 | auto | fast step | 12.5 | 25.0 | 50.0 | 75.0 | 100.0 | **4.0x** |' in lines
    assert '| on | 0.40 | 0.80 | 1.60 | 2.40 | 3.20 | 1234.5 | 50.0 | 24.7 |' in lines
    assert '| shrink | 0.025 | 0.05 | 0.10 | 0.15 | 0.20 |' in lines
    assert '| depth message | - | - | - | - | - |' in lines
    assert '| off | 9 | 1 | 0 | 2 | - | 3.0 | 4.5 | - |' in lines
    assert 'Left out: not wanted (--no-ros).' in lines
    assert '| RSS end [MiB] | 200.0 | 400.0 | 1600.0 |' in lines


def test_tables_are_as_wide_as_their_heads() -> None:
    for block in summary.markdown(sample()).split('\n\n'):
        widths = {line.count('|') for line in block.splitlines() if line.startswith('|')}
        assert len(widths) <= 1


# The machine

def test_a_source_tree_has_a_commit_and_an_installed_copy_none(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(['git', '-C', str(tmp_path), '-c', 'user.name=n', '-c', 'user.email=e',
                        *words], check=True, capture_output=True)

    assert commit(tmp_path) is None
    (tmp_path / 'file').write_text('a')
    git('init')
    git('add', 'file')
    git('commit', '-m', 'words')
    found = commit(tmp_path)
    assert found is not None and len(found) == 40
    (tmp_path / 'file').write_text('b')
    assert commit(tmp_path) == f'{found}-dirty'
    (tmp_path / 'installed').mkdir()
    assert commit(tmp_path / 'installed') is None
