"""The benchmark: sane figures from a short run.  No figure's size is asserted: machines differ."""

import pytest

pytest.importorskip('av', reason='left out: needs av')

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import FakeModel

from asyncmde_ros.cli import bench as bench_command
from asyncmde_ros.cli.main import build_parser
from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.lab.bench import (
    engines,
    parts,
    pipeline,
    processor,
    query,
    saturation,
    summary,
)
from asyncmde_ros.lab.bench.background import Moment, background, within
from asyncmde_ros.lab.bench.deliveries import Delivery, evaluate
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.pictures import Pan, Still, VideoPictures, bounce
from asyncmde_ros.lab.bench.schedule import SimulatedCamera
from asyncmde_ros.lab.bench.statistics import Summary, summarise
from asyncmde_ros.lab.machine import commit
from asyncmde_ros.lab.media.video import VideoWriter
from asyncmde_ros.pipeline import evidence
from asyncmde_ros.pipeline.motion import MotionEstimator
from asyncmde_ros.pipeline.settings import FastPathModel, MotionCompensation

TIMEOUT_S = 1200
"""A quick run takes one minute, on a machine with much else to do many."""

SIZE = '126x168'
"""A quarter of the default network size, which keeps tests quick."""

IMAGE = (120, 160)
LONGER_S = (0.4, 4.0, 40.0)
"""Measured for as long as a busy machine takes to refresh the memory."""

MS = 10**6
SECTIONS = {'meta', 'startup', 'engines', 'saturation', 'roofline', 'motion', 'parts', 'query',
            'pipeline', 'ros', 'ros_still', 'left_out'}
WITHOUT_ROS = """
import sys
sys.modules['rclpy'] = None
from asyncmde_ros.cli.bench import find_ros
print(find_ros(False).reason)
"""


def options(**changes: Any) -> BenchOptions:
    fields = {'size': (42, 56), 'image': IMAGE, 'rate_hz': 50.0, 'seconds': 0.4, 'startups': 1,
              'model': 'vits', 'backend': 'auto', 'video': None,
              'fast_path': FastPathModel.GLANCE}
    return BenchOptions(**fields | changes)


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
        (threads, precision) for threads in (1, cores) for precision in ('auto', 'half', 'fp32')}
    for row in rows:
        assert row['foundation_ms']['count'] == row['fast_ms']['count']
        assert row['ratio_p50'] == row['foundation_ms']['p50'] / row['fast_ms']['p50']
        assert set(row['refresh_ms']) == {'126x168', '168x224'} and row['glance_size']
        for summary_ms in (*row['refresh_ms'].values(), row['glance_ms']):
            assert summary_ms['count'] == row['fast_ms']['count']


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
    behind = bench['pipeline']['slow_path_on']['background']
    assert behind['glances'] >= 0
    assert set(behind['refreshes_by_size']) <= {'126x168', '168x224'}
    assert bench['pipeline']['slow_path_off']['refreshes'] == 0
    assert bench['pipeline']['slow_path_off']['lag_mean_frames'] is None


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.skipif(not find_spec('rclpy'), reason='left out: needs ROS 2')
def test_images_over_ros_add_up(bench: dict[str, Any]) -> None:
    answers = bench['ros']['answers']
    assert 'ros' not in bench['left_out']
    assert answers['published'] == answers['answered'] + answers['dropped'] == 30
    assert answers['answered'] > 0 and bench['ros']['node_rss_end_mib'] > 0
    assert answers['stamp_to_publish_ms']['min'] <= answers['stamp_to_receipt_ms']['min']
    assert bench['parts']['depth_message']['count'] > 0
    for run in (bench['ros'], bench['ros_still']):
        assert 0 < run['node_cpu_percent'] < 100 * (os.cpu_count() or 1)
    assert bench['ros_still']['answers']['published'] == 30


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
    (['--rate', '0'], 'above zero'), (['--seconds', 'nan'], 'above zero'),
    (['--fast-path', 'memory'], 'spatial_memory'), (['--only', 'ros,speed'], "'speed' is no part"),
    (['--only', ''], 'there are startup, engines')])
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


def test_parts_that_are_not_asked_for_are_null_and_the_tables_say_so(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
        ) -> None:
    monkeypatch.setattr(bench_command.weights, 'fetch', lambda _: None)
    monkeypatch.setattr(pipeline, 'Model', lambda *_: pytest.fail('not asked for'))
    args = build_parser().parse_args(
        ['bench', '--quick', '--out', str(tmp_path), '--only', 'parts, motion', '--no-ros',
         '--image', '120x160', '--size', '42x56', '--fast-path', 'spatial_memory', '--backend',
         'openvino'])
    assert args.run(args) == 0
    found = json.loads((tmp_path / 'bench.json').read_text(encoding='utf-8'))
    assert set(found) == SECTIONS
    assert {part for part in SECTIONS if found[part] is not None} == {
        'meta', 'motion', 'parts', 'left_out'}
    assert set(found['left_out']) == {'startup', 'engines', 'saturation', 'roofline', 'query',
                                      'pipeline', 'ros'}
    assert found['meta']['options']['fast_path'] == 'spatial_memory'
    text = capsys.readouterr().out
    assert summary.markdown(found) in text
    assert 'Model vits on openvino at 42x56, fast path spatial_memory, camera' in text
    assert 'motion, 42x56' in text and '| shrink' in text
    for title in ('As fast as it can', "Pipeline at the camera's rate", 'Start'):
        assert f'### {title}\n\nLeft out: not asked for (--only).' in text
    assert '### Over ROS 2\n\nLeft out: not wanted (--no-ros).' in text


def test_a_part_that_is_asked_for_and_cannot_be_measured_is_an_error(tmp_path: Path) -> None:
    done = command('--quick', '--out', str(tmp_path), '--only', 'ros', '--no-ros')
    assert (done.returncode, 'Traceback' in done.stderr) == (1, False)
    assert '--only ros: not wanted (--no-ros)' in done.stderr
    assert not (tmp_path / 'bench.json').exists()


def test_the_fast_path_is_that_of_the_machine_unless_one_is_asked_for() -> None:
    words = ['bench', '--out', 'somewhere']
    assert build_parser().parse_args(words).fast_path == 'auto'
    assert build_parser().parse_args(words).only == bench_command.PARTS
    assert build_parser().parse_args([*words, '--only', 'ros,engines']).only == ('engines', 'ros')


# Queries

def test_the_line_is_fitted_to_what_is_below_the_crossover() -> None:
    exact = {count: [0.2 + 0.001 * count] * 3 for count in (1, 64, 256)} | {1024: [9.0] * 3}
    found = query.figures([4.0] * 3, [3.0] * 3, exact)
    assert found.precompute_ms == 3 and found.beta_us == pytest.approx(1)
    assert found.offset_ms == pytest.approx(0.2) and found.r_squared == pytest.approx(1)
    assert found.crossover_k == pytest.approx(800) and set(found.points_ms) == {
        '1', '64', '256', '1024'}


def test_where_a_map_costs_nothing_no_points_are_cheaper() -> None:
    found = query.figures([3.0] * 3, [3.0] * 3, {1: [0.2], 16: [0.3], 64: [0.9]})
    assert found.crossover_k == 0 and found.beta_us == pytest.approx(100 / 15)


@pytest.mark.slow
def test_points_cost_more_the_more_there_are_and_a_node_answers_both(
        bench: dict[str, Any]) -> None:
    asked = bench['query']
    assert asked['beta_us'] > 0 and asked['precompute_ms'] == asked['without_map_ms']['p50']
    assert asked['points_ms']['1']['min'] < asked['points_ms']['4096']['min']
    load = asked['load']
    for key in ('at_rest', 'at_work'):
        assert load[key]['map_hz'] > 0 and load[key]['points_hz'] > 0
        assert load[f'ratio_{key}'] == load[key]['points_percent'] / load[key]['map_percent']


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


def test_before_a_still_camera_nothing_moves() -> None:
    film = Pan(IMAGE)
    still = Still(film)
    np.testing.assert_array_equal(still.at(7), film.at(0))


def test_a_video_is_resized_and_played_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / 'video.mp4'
    with VideoWriter(path, 10.0) as writer:
        for level in (0, 80, 160, 240):
            writer.write(np.full((64, 96, 3), level, np.uint8))
    film = VideoPictures(path, IMAGE)
    means = [film.at(index).mean() for index in range(7)]
    assert film.at(0).shape == (*IMAGE, 3)
    assert means[:4] == sorted(means[:4]) and means[4:] == means[2::-1]


def test_a_slow_consumer_gets_the_newest_frame_and_the_others_are_counted(
        monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr('time.monotonic', lambda: now)
    camera = SimulatedCamera(options(rate_hz=10.0))
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
    behind = figures['slow_path_on'].background
    assert behind is not None and behind.glances is not None and behind.glances > 0
    assert sum(behind.refreshes_by_size.values()) > 0
    assert set(behind.refreshes_by_size) <= {'42x56', '56x70'}
    assert behind.glance_ms is not None and behind.glance_lag_mean_frames is not None
    assert figures['slow_path_off'].background is None
    for mode in figures.values():
        assert mode.process_ms is not None
        assert mode.captured == mode.dropped + mode.withheld + mode.process_ms.count
    assert figures['slow_path_on'].refreshes > 0
    assert figures['slow_path_on'].lag_max_frames is not None
    assert figures['slow_path_off'].refresh_hz is None


def test_the_paper_s_fast_path_has_no_glances(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    monkeypatch.setattr(pipeline, 'Model', lambda *_: model)
    chosen = options(fast_path=FastPathModel.SPATIAL_MEMORY)
    behind = pipeline.measure(chosen, Pan(IMAGE))['slow_path_on'].background
    assert behind is not None and behind.glances is None and behind.glance_lag_max_frames is None
    assert model.compiled == [(42, 56)] and model.glance is None


@pytest.mark.parametrize('fast_path', [FastPathModel.GLANCE, FastPathModel.SPATIAL_MEMORY])
def test_the_graphs_of_the_fast_path_run_equally_often(
        fast_path: FastPathModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Model(FakeModel):
        backend, precision = 'fake', Precision.FP32

    monkeypatch.setattr(engines, 'configurations', lambda _: [(Model(), 1)])
    (row,) = engines.compare(options(fast_path=fast_path, seconds=0.01), Pan(IMAGE))
    assert row.foundation_ms.count == row.fast_ms.count >= 3
    assert row.ratio_p50 == row.foundation_ms.p50 / row.fast_ms.p50
    if fast_path is FastPathModel.SPATIAL_MEMORY:
        assert (row.refresh_ms, row.glance_size, row.glance_ms) == ({}, None, None)
    else:
        assert set(row.refresh_ms) == {'42x56', '56x70'} and row.glance_size == (42, 56)
        for found in (*row.refresh_ms.values(), row.glance_ms):
            assert found is not None and found.count == row.fast_ms.count


def test_a_memory_of_depth_is_among_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = []
    weigh = evidence.glance_share  # once in each mixing
    monkeypatch.setattr(evidence, 'glance_share',
                        lambda *words: mixed.append(1) or weigh(*words))
    found = parts.measure(options(seconds=0.01), Pan(IMAGE), {'extra': lambda: None})
    assert {'move_memory', 'mix_glance', 'photometric_evidence', 'shrink', 'extra'} <= set(found)
    assert len(mixed) == found['mix_glance'].count + 1  # each with a glance that is new


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


# What the background did

def test_refreshes_and_glances_are_counted_over_all_blocks() -> None:
    first = [Moment(10.0, {'252x336': 4}, 7, 30.0), Moment(11.0, {'252x336': 6}, 7, 30.0),
             Moment(12.0, {'252x336': 6, '336x448': 1}, 11, 34.0)]
    second = [Moment(20.0, {'336x448': 1}, 11, 34.0),
              Moment(22.0, {'336x448': 4, '1x1': 0}, 13, 36.0)]
    found = background([first, second], [2, 4])
    assert found is not None and found.seconds == 4
    assert found.refreshes_by_size == {'252x336': 2, '336x448': 4} and found.refresh_hz == 1.5
    assert (found.glances, found.glances_hz) == (6, 1.5)
    assert found.glance_ms == summarise([34.0, 36.0])
    assert (found.glance_lag_mean_frames, found.glance_lag_max_frames) == (3, 4)


def test_a_memory_without_glances_has_no_figures_of_them() -> None:
    found = background([[Moment(1.0, {}, None, 0.0), Moment(2.0, {}, None, 0.0)]])
    assert found is not None and (found.refreshes_by_size, found.refresh_hz) == ({}, 0)
    assert (found.glances, found.glances_hz, found.glance_ms) == (None, None, None)
    assert background([]) is None and background([[Moment(1.0, {}, 0, 0.0)]]) is None


def test_counts_begin_with_the_last_ones_before_the_time() -> None:
    moments = [Moment(float(second), {}, 0, 0.0) for second in range(6)]
    assert [moment.time_s for moment in within(moments, 1.5, 4.2)] == [1, 2, 3, 4]
    assert within([], 0, 9) == []


def test_the_processor_time_of_a_process_is_counted() -> None:
    before = processor.used(os.getpid())
    assert before is not None
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after = processor.used(os.getpid())
    # The kernel counts in ticks, of which the first and the last may be missed.
    assert after is not None and after.cpu_s - before.cpu_s >= 0.1 - 2 / os.sysconf('SC_CLK_TCK')
    assert processor.used(2**30) is None


def test_use_of_the_processor_is_in_percent_of_a_core() -> None:
    second = 10**9
    samples = [processor.Used(at * second, cpu_s) for at, cpu_s in (
        (0, 50.0), (1, 53.0), (2, 53.5), (3, 54.5), (4, 60.0))]
    assert processor.percent(samples, second // 2, 3 * second) == pytest.approx(75)
    assert processor.percent(samples, 0, second // 2) is None


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


@pytest.mark.ros
@pytest.mark.skipif(not find_spec('rclpy'), reason='left out: needs ROS 2')
def test_what_the_node_says_is_understood() -> None:
    from builtin_interfaces.msg import Time
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import TimeReference
    from std_msgs.msg import Header

    from asyncmde_ros.lab.runs.bench import Listener
    from asyncmde_ros.lab.runs.hosting import hosted
    from asyncmde_ros.pipeline.results import DepthSource, PipelineState, PipelineStatus
    from asyncmde_ros.pipeline.slow_path import SlowPathStatus
    from asyncmde_ros.ros.diagnostics import Circumstances, diagnose
    from asyncmde_ros.ros.statistics import Statistics
    from asyncmde_ros.ros.tokens import MemorySource
    slow = SlowPathStatus(refreshes=5, refreshes_of={(252, 336): 3, (336, 448): 2})
    glance = SlowPathStatus(refreshes=9, latency_ms=31.5)
    with hosted(lambda: Listener('/mine')) as (listener, _, _):
        for name in ('/mine/depth_node', '/other/depth_node'):
            said = diagnose(name, Statistics().snapshot(), PipelineStatus(
                PipelineState.READY, 'fake', (252, 336), slow, glance, 0, 0, 0, 0),
                Circumstances(True), Time(sec=7))
            listener.on_diagnostics(said)
        listener.on_diagnostics(DiagnosticArray())
        for second, source in enumerate((
                MemorySource(DepthSource.MEMORY, False), MemorySource(DepthSource.MEMORY, True),
                MemorySource(DepthSource.WARPED, False), MemorySource(DepthSource.WARPED, True))):
            listener.on_memory(TimeReference(header=Header(stamp=Time(sec=second)),
                                              source=str(source)))
    assert listener.moments == [Moment(7.0, {'252x336': 3, '336x448': 2}, 9, 31.5)]
    assert listener.warped_ns == {2 * 10**9, 3 * 10**9}


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
                             'seconds': 10.0, 'model': 'vits', 'backend': 'auto',
                             'video': None}},
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
    lines = rows(text)
    assert '| 1 | auto | foundation model | 50.0 | 100.0 | 200.0 | 300.0 | 400.0 | |' in lines
    assert '| 1 | auto | fast step | 12.5 | 25.0 | 50.0 | 75.0 | 100.0 | **4.0x** |' in lines
    assert '| on | 0.40 | 0.80 | 1.60 | 2.40 | 3.20 | 1234.5 | 50.0 | 24.7 |' in lines
    assert '| shrink | 0.025 | 0.05 | 0.10 | 0.15 | 0.20 |' in lines
    assert '| depth message | - | - | - | - | - |' in lines
    assert '| off | 9 | 1 | 0 | 2 | - | 3.0 | 4.5 | - |' in lines
    assert 'Left out: not wanted (--no-ros).' in lines
    assert '| RSS end [MiB] | 200.0 | 400.0 | 1600.0 |' in lines


def rows(text: str) -> list[str]:
    return [' '.join(line.split()) for line in text.splitlines()]


def newer() -> dict[str, Any]:
    """What is measured now: two fast paths, the background, a still camera."""
    bench = sample()
    del bench['ros_left_out']
    behind = {'seconds': 10.0, 'refreshes_by_size': {'252x336': 40, '336x448': 3},
              'refresh_hz': 4.3, 'glances': 90, 'glances_hz': 9.0, 'glance_ms': times(40),
              'glance_lag_mean_frames': 3.25, 'glance_lag_max_frames': 7}
    answers = {'published': 600, 'answered': 590, 'dropped': 10, 'warped': 4, 'duplicates': 0,
               'longest_gap': 2, 'camera_hz': 60.0, 'depth_hz': 59.0,
               'refresh_every_frames': 14.0, 'lag_mean_frames': 12.5, 'lag_max_frames': 20,
               'stamp_to_publish_ms': times(11), 'stamp_to_receipt_ms': times(12)}
    run = {'note': 'Fair.', 'answers': answers, 'node_rss_end_mib': 700.0,
           'node_cpu_percent': 123.4, 'background': behind}
    bench['meta']['options']['fast_path'] = 'glance'
    bench['engines']['rows'][0] |= {
        'refresh_ms': {'252x336': times(101), '336x448': times(180)},
        'glance_size': [168, 224], 'glance_ms': times(45)}
    bench['pipeline']['slow_path_on']['background'] = behind
    bench['pipeline']['slow_path_off']['background'] = None
    bench['query'] = {
        'note': 'In turn.', 'with_map_ms': times(5), 'without_map_ms': times(3),
        'points_ms': {'1': times(0.25), '256': times(0.5)}, 'precompute_ms': 3.0,
        'beta_us': 0.98, 'offset_ms': 0.249, 'r_squared': 0.9951, 'crossover_k': 1787.4,
        'load': {'note': 'One node.', 'ratio_at_rest': 0.5, 'ratio_at_work': 0.875,
                 'at_rest': {'map_percent': 30.0, 'points_percent': 15.0, 'map_hz': 30.0,
                             'points_hz': 29.9},
                 'at_work': {'map_percent': 160.0, 'points_percent': 140.0, 'map_hz': 30.0,
                             'points_hz': 30.0}}}
    still = behind | {'refreshes_by_size': {'336x448': 10}, 'refresh_hz': 1.0, 'glances': 40,
                      'glances_hz': 4.0, 'glance_ms': None, 'glance_lag_mean_frames': None,
                      'glance_lag_max_frames': None}
    return bench | {'ros': run, 'left_out': {'roofline': 'it needs PyTorch to count'},
                    'ros_still': run | {'node_cpu_percent': 31.0, 'background': still}}


def test_the_tables_hold_the_figures_of_a_memory_of_depth() -> None:
    lines = rows(summary.markdown(newer()))
    assert '| 1 | auto | refresh, 336x448 | 90.0 | 180.0 | 360.0 | 540.0 | 720.0 | |' in lines
    assert '| 1 | auto | glance, 168x224 | 22.5 | 45.0 | 90.0 | 135.0 | 180.0 | |' in lines
    assert '| on | 252x336: 40, 336x448: 3 | 90 | 9.0 | 40.0 | 120.0 | 3.2 | 7 |' in lines
    assert '| off | - | - | - | - | - | - | - |' in lines
    assert '| moves | 123.4 | 4.3 | 252x336: 40, 336x448: 3 | 90 | 9.0 | 40.0 | 120.0 |' in lines
    assert '| 256 points | 0.25 | 0.50 | 1.00 | 1.50 | 2.00 |' in lines
    assert '| 3.00 | 0.98 | 0.25 | 1.00 | 1787 |' in lines
    assert '| at rest | 30.0 | 30.0 | 15.0 | 29.9 | 0.50 |' in lines
    assert '| is still | 31.0 | 1.0 | 336x448: 10 | 40 | 4.0 | - | - |' in lines
    assert '| 600 | 590 | 10 | 4 | 0 | 2 | 60.0 | 59.0 | 14.0 | 12.5 | 20 | 700.0 |' in lines
    assert 'fast path glance, camera 640x480' in summary.markdown(newer())


def test_a_file_from_before_has_dashes_for_what_was_not_measured() -> None:
    older, run = sample(), newer()['ros']
    del run['node_cpu_percent'], run['background']
    lines = rows(summary.markdown(older | {'ros': run, 'ros_left_out': None}))
    assert '| on | - | - | - | - | - | - | - |' in lines
    for camera in ('moves', 'is still'):
        assert f'| {camera} | - | - | - | - | - | - | - |' in lines
    assert 'Left out: it needs PyTorch to count.' in lines
    assert 'Model vits on openvino at 252x336, camera' in summary.markdown(older)


@pytest.mark.parametrize('part', sorted(bench_command.PARTS))
def test_any_part_may_be_left_out(part: str) -> None:
    left_out = {part: 'not asked for (--only)', 'roofline': 'it needs PyTorch to count'}
    text = summary.markdown(newer() | {part: None, 'left_out': left_out})
    assert part in ('motion', 'roofline') or 'Left out: not asked for (--only).' in text
    assert part != 'motion' or 'motion' not in text


def test_tables_are_as_wide_as_their_heads() -> None:
    for block in '\n\n'.join(map(summary.markdown, (sample(), newer()))).split('\n\n'):
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
