"""Metres by what a sensor would measure of the truth."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation.alignment import valid_truth
from asyncmde_ros.lab.evaluation.metric_scale import (
    KnownMotion,
    Points,
    Scan,
    ScoredScene,
    Source,
    drifted,
    parse,
    scales,
)
from asyncmde_ros.lab.evaluation.record import FrameSeries, Record
from asyncmde_ros.lab.evaluation.sequence import PinholeIntrinsics, Pose, Sequence
from asyncmde_ros.lab.evaluation.table import format_table
from asyncmde_ros.scale.lens import Lens
from test.support.planes import Plane, picture

SHAPE, MAX_M, RATE_HZ = (48, 64), 20.0, 30.0
A, B = 0.1, 0.02


def corridor() -> npt.NDArray[np.float32]:
    """Relative inverse depth of a corridor with one wall nearer than the other."""
    rows, cols = np.mgrid[0:SHAPE[0], 0:SHAPE[1]]
    return (0.5 + np.abs(rows - 24) / 8 + np.abs(cols - 30) / 5).astype(np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Made(Sequence):
    """A sequence in memory."""

    truths: list[npt.NDArray[np.float32]]
    pictures: list[npt.NDArray[np.uint8]]
    poses: list[Pose | None]

    def rgb(self, index: int) -> npt.NDArray[np.uint8]:
        return self.pictures[index]

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        return self.truths[index]

    def pose(self, index: int) -> Pose | None:
        return self.poses[index]


def made(truths: list[npt.NDArray[np.float32]], **changes: Any) -> Made:
    return Made(**{'name': 'made', 'length': len(truths), 'rate_hz': RATE_HZ, 'truths': truths,
                   'max_depth_m': MAX_M, 'calibration': None, 'has_depth': True,
                   'has_poses': False, 'pictures': [], 'poses': []} | changes)


def scene(truths: list[npt.NDArray[np.float32]], **changes: Any) -> ScoredScene:
    return ScoredScene(made(truths, **changes), truths,
                 [valid_truth(truth, MAX_M) for truth in truths], MAX_M)


def measured(source: Source, frames: int = 20, **changes: float) -> list[tuple[float, float]]:
    """Return (a, b) of every frame; from frame 10 on the map is ``gain`` times as large."""
    gain = changes.get('gain', 1.0)
    relative = corridor()
    truth = 1 / (A * relative + B)
    maps = {index: relative * (gain if index >= 10 else 1) for index in range(frames)}
    found = scales(source, maps, [index // 10 for index in range(frames)],
                   scene([truth] * frames))
    return [(one.scale, one.shift) for one in found.values() if one is not None]


@pytest.mark.parametrize('source', [Points(50), Scan()], ids=lambda source: source.name)
def test_a_sensor_gives_metres_over_a_refresh(source: Source) -> None:
    found = measured(source, gain=1.4)
    assert len(found) == 20
    for index, (a, b) in enumerate(found):
        r = 2.0 if index < 10 else 2.8
        assert a * r + b == pytest.approx(A * 2 + B, rel=0.03), index


def test_every_run_measures_the_same() -> None:
    assert measured(Points(50)) == measured(Points(50))


def test_points_are_noisy_and_a_tenth_of_them_gross() -> None:
    truth = np.full(SHAPE, 4.0, np.float32)
    found = Points(1000).observe(truth, truth > 0, MAX_M, 0.5, np.random.default_rng(0))
    depth = 1 / found.inverse_depth
    good = np.abs(depth / 4 - 1) < 0.05
    assert 0.87 < good.mean() < 0.93
    assert np.std(depth[good]) == pytest.approx(0.04, rel=0.15)
    assert (found.source, found.stamp_s) == ('points:1000', 0.5)


@pytest.mark.parametrize(('known', 'row'), [
    (slice(None), 23), (slice(30, None), 30), (slice(0, 20), 19), (slice(46, 47), 46)])
def test_a_scan_is_the_nearest_row_with_truth(known: slice, row: int) -> None:
    valid = np.zeros(SHAPE, bool)
    valid[known, 4:60] = True
    found = Scan().pixels(valid, np.random.default_rng(0))
    assert set(found[:, 0]) == {row} and found[:, 1].tolist() == list(range(4, 60))


@pytest.mark.parametrize('source', [Points(50), Scan()], ids=lambda source: source.name)
def test_without_truth_nothing_is_measured(source: Source) -> None:
    nothing = np.zeros(SHAPE, np.float32)
    found = scales(source, {0: corridor()}, [0], scene([nothing]))
    assert found == {0: None}


ROOM = (Plane((0, 0, 4), (5, 0, 0), (0, 5, 0), 1), Plane((-0.5, 0.1, 2), (0.5, 0, 0),
                                                         (0, 0.5, 0), 3))
CALIBRATION = PinholeIntrinsics(240.0, 240, 159.5, 119.5)


def walk(frames: int = 16) -> ScoredScene:
    """Return what a camera sees that goes sideways, with its poses in a world of their own."""
    lens = Lens(np.array([[240.0, 0, 159.5], [0, 240, 119.5], [0, 0, 1]]), (240, 320))
    pictures, truths, poses = [], [], []
    start = np.eye(4)
    start[:3, :3], start[:3, 3] = cv2.Rodrigues(np.array([0.3, -1.0, 0.2]))[0], (5, -3, 2)
    for index in range(frames):
        pose = np.eye(4)
        pose[0, 3] = 0.04 * index
        grey, depth = picture(ROOM, lens, pose)
        pictures.append(np.dstack([grey] * 3))
        truths.append(depth.astype(np.float32))
        poses.append(start @ pose)
    return scene(truths, pictures=pictures, poses=poses, has_poses=True, calibration=CALIBRATION)


def test_poses_and_pictures_alone_give_metres() -> None:
    """The truth is not asked: with another one the metres are the same."""
    known = walk()
    relative = {index: ((1 / truth - B) / A).astype(np.float32)
                for index, truth in enumerate(known.truths)}
    keyframes = [0] * len(relative)
    found = scales(KnownMotion(), relative, keyframes, known)
    assert found[0] is None, 'nothing is known before the camera has moved'
    last = found[len(relative) - 1]
    assert last is not None
    for depth_m in (2, 4):
        r = (1 / depth_m - B) / A
        assert 1 / (last.scale * r + last.shift) == pytest.approx(depth_m, rel=0.03)
    blind = ScoredScene(known.footage, [np.ones_like(truth) for truth in known.truths],
                        known.valid, MAX_M)
    assert scales(KnownMotion(), relative, keyframes, blind) == found


def test_an_odometer_drifts_by_a_hundredth_of_its_way() -> None:
    turn = cv2.Rodrigues(np.array([0.0, 0.02, 0.0]))[0]
    step = np.eye(4)
    step[:3, :3], step[2, 3] = turn, 0.1
    poses: list[Pose | None] = [np.eye(4)]
    for _ in range(200):
        before = poses[-1]
        assert before is not None
        poses.append(before @ step)
    poses[50] = None
    found = drifted(poses)
    assert found[50] is None
    steps = []
    for one, other in pairwise(found):
        if one is not None and other is not None:
            steps.append(np.linalg.inv(one) @ other)
            assert other[:3, :3] @ other[:3, :3].T == pytest.approx(np.eye(3), abs=1e-9)
    moved = np.array([each[:3, 3] for each in steps])
    assert moved.mean(axis=0) == pytest.approx([0, 0, 0.101], abs=3e-4)
    assert moved.std(axis=0) == pytest.approx(np.full(3, 0.001), rel=0.2)
    turns = np.array([cv2.Rodrigues(each[:3, :3])[0].ravel() for each in steps])
    assert turns.mean(axis=0) == pytest.approx([0, 0.02, 0], abs=6e-5)
    assert turns.std(axis=0) == pytest.approx(np.full(3, 2e-4), rel=0.2)
    across = np.linalg.inv(found[49]) @ found[51]
    assert across[2, 3] == pytest.approx(0.202, abs=0.008)
    assert all(np.array_equal(one, other) for one, other in zip(drifted(poses), found, strict=True)
               if one is not None)


@pytest.mark.parametrize(('source', 'changes', 'message'), [
    (KnownMotion(), {'calibration': CALIBRATION}, 'made has no poses'),
    (KnownMotion(), {'has_poses': True}, 'made has no calibration'),
    (KnownMotion(), {'has_depth': False}, 'made has no true depth'),
    (Scan(), {'has_depth': False}, 'made has no true depth')])
def test_a_sequence_without_what_a_source_needs_is_named(
        source: Source, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AsyncMDEError, match=message):
        source.require(made([], **changes))
    KnownMotion().require(made([], has_poses=True, calibration=CALIBRATION))
    Points(5).require(made([]))


def test_sources_are_parsed() -> None:
    assert parse('points:50,scan,odometry,none') == [Points(50), Scan(), KnownMotion(), None]


@pytest.mark.parametrize('text', ['points', 'points:0', 'points:x', 'scan:3', 'sonar', '',
                                  'scan,scan', 'none:1', 'odometry:2'])
def test_what_is_no_source_is_named(text: str) -> None:
    with pytest.raises(AsyncMDEError, match='--scale'):
        parse(text)


def test_metric_records_stand_in_a_table_of_their_own_by_source() -> None:
    def record(alignment: str, scale: str | None, absrel: float) -> Record:
        return Record(sequence='kitchen', row='async', schedule='async:30', alignment=alignment,
                      frames=2, reference='truth', absrel=absrel, scale=scale,
                      absrel_over_aligned=None if scale is None else absrel / 0.1, per_lag=[],
                      per_frame=FrameSeries([absrel], [0]))
    text = format_table([record('frame', None, 0.1), record('sequence', 'none', 0.13),
                         record('metric', 'points:50', 0.102), record('metric', 'scan', 0.125)])
    metric = text.partition('\nmetric:')[2]
    assert [line.split()[2:] for line in metric.splitlines()[3:]] == [
        ['async', '(points:50)', '2', '0.1020*', '1.020*'],
        ['async', '(scan)', '2', '0.1250', '1.250']]
    assert 'scale' not in record('frame', None, 0.1).to_json()
    assert record('metric', 'scan', 0.1).to_json()['scale'] == 'scan'
