"""``asyncmde eval`` as others script against it."""

import pytest

pytest.importorskip('av', reason='left out: needs av')

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from asyncmde_ros.cli.main import build_parser, main
from asyncmde_ros.engine.choice import CPU_SHORT_SIDE
from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation import plots, predict
from asyncmde_ros.lab.evaluation.alignment import fit, inverse_truth, to_depth, valid_truth
from asyncmde_ros.lab.evaluation.glossary import ROWS
from asyncmde_ros.lab.evaluation.metrics import resize_to, score
from asyncmde_ros.lab.evaluation.rows import (
    EVERY_FRAME_ROWS,
    REMEMBERING,
    SCHEDULED_ROWS,
    VARIANTS,
    PeerRow,
)
from asyncmde_ros.lab.evaluation.sequence import Sequence, open_sequence
from asyncmde_ros.lab.media.video import VideoWriter
from asyncmde_ros.model.geometry import network_size
from asyncmde_ros.model.preprocess import shrink
from asyncmde_ros.pipeline.settings import MotionCompensation
from asyncmde_ros.resources import share_directory

TIMEOUT_S = 400
SHIPPED = share_directory() / 'config' / 'latencies' / 'two_cores.json'
README_TOLERANCE, WARPED_TOLERANCE = 0.002, 0.006
FRAMES, REFRESHED_EVERY = 100, 10
BASELINE = {  # AbsRel of the first 100 frames, scale and shift per frame
    'kitchen': {'teacher': 0.0754, 'hold': 0.0874, 'hold_mc': 0.0753},
    'tartanair': {'teacher': 0.2201, 'hold': 0.3486, 'hold_mc': 0.2965},
    'mujoco_dynamic': {'teacher': 0.1535, 'hold': 0.1664, 'hold_mc': 0.1496}}


def run_eval(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    matplotlib = pytest.importorskip('matplotlib', reason='left out: needs matplotlib')
    # Its list of the system's fonts takes seconds to make, and is none of what is cached here.
    return subprocess.run([sys.executable, '-m', 'asyncmde_ros.cli', 'eval', *arguments],
                          capture_output=True, text=True, timeout=TIMEOUT_S,
                          env=os.environ | {'XDG_CACHE_HOME': str(cache),
                                            'MPLCONFIGDIR': matplotlib.get_cachedir()})


@pytest.fixture
def cache(tmp_path: Path, foundation_path: Path) -> Path:
    """An empty cache that still has the weights."""
    folder = tmp_path / 'cache' / 'asyncmde'
    folder.mkdir(parents=True)
    for path in (foundation_path, foundation_path.with_name(foundation_path.name + '.json')):
        if path.is_file():
            shutil.copy(path, folder)
    return folder.parent


@pytest.fixture
def scored(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """The command in this process, which returns what it scored.

    Without the report's pictures: to draw them takes longer than all that is scored here.
    """
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache))
    for curves in ('lag_curves', 'frame_errors'):
        monkeypatch.setattr(plots, curves, lambda records, schedule, alignment: None)
    for picture in ('depth_strips', 'contact_sheet'):
        monkeypatch.setattr(plots, picture, lambda shown: b'')

    def run(*arguments: str, out: Path) -> bytes:
        args = build_parser().parse_args(['eval', *arguments, '--out', str(out)])
        assert args.run(args) == 0
        return (out / 'results.json').read_bytes()
    return run


def check_baseline(name: str, found: dict[str, float]) -> None:
    for row, absrel in found.items():
        published = BASELINE[name][row]
        if row == 'hold_mc':  # another tracker: it may be better, not worse
            assert absrel < min(published + WARPED_TOLERANCE, found['hold'])
        else:
            assert absrel == pytest.approx(published, abs=README_TOLERANCE), row


@pytest.mark.slow
def test_teacher_hold_and_warped_hold_reproduce_the_published_baseline(
        shared: Path, scored: Callable[..., bytes], tmp_path: Path) -> None:
    records = json.loads(scored(
        str(shared / 'data' / 'eval' / 'kitchen'), '--frames', str(FRAMES), '--schedule',
        f'fixed:{REFRESHED_EVERY}', '--rows', 'teacher,hold,hold_mc', '--precision', 'fp32',
        '--latencies', str(SHIPPED), out=tmp_path / 'out'))
    found = {r['row']: r['absrel'] for r in records if r['alignment'] == 'frame'}
    assert set(found) == set(BASELINE['kitchen'])
    check_baseline('kitchen', found)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['tartanair', 'mujoco_dynamic'])
def test_what_is_held_reproduces_the_published_baseline_of_other_sequences(
        name: str, shared: Path, foundation_path: Path) -> None:
    """The same, by what the command consists of; what is held needs no depth in between."""
    footage = open_sequence(shared / 'data' / 'eval' / name, FRAMES)
    size = network_size(footage.rgb(0).shape[:2], CPU_SHORT_SIDE)
    pictures = [shrink(footage.rgb(index), size) for index in range(FRAMES)]
    keyframes = [index - index % REFRESHED_EVERY for index in range(FRAMES)]
    model = predict.Foundation(Model(precision=Precision.FP32, foundation=foundation_path), size)
    depth = np.full((FRAMES, *size), np.nan, np.float32)
    for index in set(keyframes):
        depth[index] = model.depth(pictures[index])
    track = predict.footage(pictures, MotionCompensation.HOMOGRAPHY)
    check_baseline(name, {
        'hold': absrel(footage, predict.hold(depth, keyframes)),
        'hold_mc': absrel(footage, predict.hold_moved(depth, keyframes, track))})


def absrel(footage: Sequence, maps: Iterable[predict.Depth]) -> float:
    """Return the mean over the frames, each with a scale and shift of its own."""
    errors = []
    for index, relative in enumerate(maps):
        truth, max_depth_m = footage.depth(index), footage.max_depth_m
        assert truth is not None
        valid = valid_truth(truth, max_depth_m)
        resized = resize_to(relative, truth.shape)
        fitted = fit(resized, inverse_truth(truth, valid), valid)
        assert fitted is not None
        errors.append(score(to_depth(resized, fitted, max_depth_m), truth, max_depth_m).absrel)
    return float(np.mean(errors))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 255, (12, 24, 3), np.uint8), (320, 160),
                       interpolation=cv2.INTER_CUBIC)
    path = tmp_path / 'walk.mp4'
    with VideoWriter(path, 30) as writer:
        for index in range(24):
            writer.write(np.ascontiguousarray(np.roll(scene, -2 * index, axis=1)[:120, :160]))
    return path


@pytest.mark.proves('sequence-replaced')
def test_a_video_that_was_replaced_is_scored_anew(video: Path, scored: Callable[..., bytes],
                                                  tmp_path: Path) -> None:
    def holds() -> list[float]:
        records = json.loads(scored(
            str(video), '--frames', '4', '--schedule', 'fixed:2', '--rows', 'teacher,hold',
            '--short-side', '28', out=tmp_path / 'out'))
        return [record['absrel'] for record in records if record['row'] == 'hold']
    before = holds()
    assert holds() == before
    rng = np.random.default_rng(7)
    with VideoWriter(video, 30) as writer:
        for _ in range(6):
            writer.write(rng.integers(0, 255, (120, 160, 3), np.uint8))
    assert holds() != before


@pytest.mark.slow
def test_a_plain_video_is_scored_against_the_teacher(
        video: Path, cache: Path, scored: Callable[..., bytes], tmp_path: Path) -> None:
    out, rows = tmp_path / 'out', 'teacher,hold,hold_mc,teacher_rate,fast,spatial_memory,async'
    arguments = (str(video), '--schedule', 'fixed:4,async:30:100', '--rows', rows,
                 '--short-side', '126')
    done = run_eval(*arguments, '--out', str(out), cache=cache)
    assert done.returncode == 0, done.stderr[-2000:]
    records = json.loads((out / 'results.json').read_text())
    for record in records:
        assert {'sequence', 'row', 'schedule', 'alignment', 'frames', 'absrel', 'rmse', 'delta1',
                'per_lag'} <= set(record)
        assert record['reference'] == 'teacher'
    by = {(r['row'], r['schedule'], r['alignment']): r for r in records}
    assert by['teacher', 'every', 'frame']['absrel'] == pytest.approx(0, abs=1e-3)
    memory = by['spatial_memory', 'fixed:4', 'frame']['absrel']
    assert memory < by['fast', 'every', 'frame']['absrel']
    for row in ('async', 'spatial_memory'):
        assert [lag['lag'] for lag in by[row, 'fixed:4', 'frame']['per_lag']] == [0, 1, 2, 3]
    assert [row['lag'] for row in by['hold', 'async:30', 'frame']['per_lag']] == [3, 4, 5]
    assert by['spatial_memory', 'async:30', 'frame']['frames'] == 21
    assert 0 < by['async', 'async:30', 'frame']['frames'] <= 21, 'a large refresh takes longer'
    for record in records:
        areas = record['trust_ause'], record['trust_ause_constant']
        assert (all(area > 0 for area in areas) if record['row'] in ('async', 'spatial_memory')
                else areas == (None, None))
    latencies = json.loads((out / 'meta.json').read_text())['latencies']['walk']
    assert set(latencies['refresh_ms']) == {'126x168', '168x224'}
    assert min(latencies['glance_ms'], latencies['fast_ms'], latencies['alone_ms'],
               *latencies['refresh_ms'].values(), *latencies['spatial_memory'].values()) > 0
    assert (out / 'report.html').stat().st_size > 10_000
    assert "AbsRel / the teacher's" not in done.stdout, 'the teacher is the reference: no ratio'

    first = (out / 'results.json').read_bytes()
    assert scored(*arguments, out=out) == first, 'a second run gives other numbers'

    others = json.loads(scored(*arguments, '--motion', 'homography', out=out))
    changed = {other['row'] for other, record in zip(others, records, strict=True)
               if other['absrel'] != record['absrel']}
    assert changed == {'async', 'spatial_memory'}, 'only a memory moves by flow, kept apart'


LATENCIES = {
    'from': 'a test', 'cores': None, 'refresh_ms': {'28': 50, '42': 90}, 'glance_ms': {'28': 20},
    'fast_ms': 5, 'alone_ms': {'28': 40},
    'spatial_memory': {'slow_ms': {'28': 50}, 'fast_ms': {'28': 10}}}


@pytest.mark.slow
def test_every_row_is_there_and_stated_latencies_make_the_schedule(
        video: Path, scored: Callable[..., bytes], tmp_path: Path) -> None:
    stated, out = tmp_path / 'ms.json', tmp_path / 'out'
    stated.write_text(json.dumps(LATENCIES))
    records = json.loads(scored(
        str(video), '--frames', '14', '--schedule', 'fixed:6,async:30', '--rows', ','.join(ROWS),
        '--short-side', '28', '--latencies', str(stated), out=out))
    by = {(r['row'], r['schedule']): r for r in records if r['alignment'] == 'frame'}
    alone = {'teacher', 'fast', 'glance'}
    assert set(by) == {(row, 'every') for row in alone} | {
        (row, schedule) for row in set(ROWS) - alone for schedule in ('fixed:6', 'async:30')
        if (row, schedule) != ('teacher_rate', 'fixed:6')}
    for record in by.values():
        assert (record['trust_ause'] is not None) == (record['row'] in REMEMBERING)
        assert set(record) == set(by['hold', 'fixed:6']), 'all have the same fields'
    assert [point['lag'] for point in by['hold', 'async:30']['per_lag']] == [2, 3]
    assert min(point['lag'] for point in by['small_refresh', 'async:30']['per_lag']) == 2
    assert min(point['lag'] for point in by['large_refresh', 'async:30']['per_lag']) == 3
    errors = {row.name: by[row.name, 'fixed:6']['absrel'] for row in VARIANTS}
    assert errors['large_refresh'] == errors['async'] != errors['small_refresh']
    assert json.loads((out / 'meta.json').read_text())['latencies']['walk']['fast_ms'] == 5
    page = (out / 'report.html').read_text()
    assert all(row in page for row in ROWS)


def test_a_video_shorter_than_a_refresh_has_rows_without_scores(
        video: Path, scored: Callable[..., bytes], tmp_path: Path) -> None:
    records = json.loads(scored(
        str(video), '--frames', '3', '--schedule', 'async:30:200', '--rows', 'teacher,hold,async',
        '--short-side', '28', out=tmp_path / 'out'))
    assert {r['absrel'] for r in records if r['row'] in ('hold', 'async')} == {None}


@pytest.mark.parametrize(('arguments', 'words'), [
    (('nowhere',), 'nowhere does not exist'),
    (('VIDEO', '--rows', 'teacher,crystal_ball'), 'crystal_ball'),
    (('VIDEO', '--schedule', 'weekly'), 'fixed:N'),
    (('VIDEO', '--onnx', 'missing.onnx'), 'missing.onnx'),
    (('VIDEO', '--latencies', 'missing.json'), 'missing.json'),
    (('VIDEO', '--latencies', str(SHIPPED), '--short-side', '98'), 'a short side of 98'),
    (('VIDEO', '--latencies', str(SHIPPED), '--schedule', 'async:2000'), 'lower rate'),
    (('VIDEO', '--scale', 'sonar'), 'points:N'),
    (('VIDEO', '--scale', 'scan', '--rows', 'teacher,hold'), 'add it to --rows'),
    (('VIDEO', '--scale', 'scan,none'), 'walk has no true depth'),
    (('VIDEO', '--glance-weights', 'missing.safetensors'), 'missing.safetensors'),
    (('VIDEO', 'VIDEO'), 'same name')])
def test_wrong_requests_are_one_clear_line(arguments: tuple[str, ...], words: str, video: Path,
                                           foundation_path: Path, tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(video) if word == 'VIDEO' else word for word in arguments]
    assert main(['eval', *given, '--out', str(tmp_path / 'out')]) == 1
    assert words in capsys.readouterr().err


def test_peers_are_parsed(tmp_path: Path) -> None:
    model = tmp_path / 'peer.onnx'
    model.touch()
    assert PeerRow.parse(f'{model},depth,unit') == PeerRow(model, 'depth', 'unit')
    assert PeerRow.parse(str(model)) == PeerRow(model, 'disparity', 'imagenet')
    with pytest.raises(AsyncMDEError, match='only'):
        PeerRow.parse(f'{model},upside_down')


def test_every_row_has_a_meaning_and_a_name_of_its_own() -> None:
    names = [row.name for row in (*EVERY_FRAME_ROWS, *SCHEDULED_ROWS)]
    assert len(set(names)) == len(names) and set(names) == set(ROWS)
