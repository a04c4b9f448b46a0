"""The records of one sequence."""

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from asyncmde_ros.lab.evaluation.metric_scale import Points, Scan
from asyncmde_ros.lab.evaluation.record import Record
from asyncmde_ros.lab.evaluation.scorer import Scorer
from asyncmde_ros.lab.evaluation.sequence import open_sequence
from asyncmde_ros.lab.evaluation.stage import Prediction

FRAMES, SIZE = 12, (48, 64)


def relative() -> npt.NDArray[np.float32]:
    """A room, 2 m to 20 m deep by 1/m = 0.05 + 0.1 relative."""
    rows, cols = np.mgrid[0:SIZE[0], 0:SIZE[1]]
    return (np.abs(rows - 24) / 8 + np.abs(cols - 30) / 20).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    for name in ('rgb', 'depth'):
        (tmp_path / 'room' / name).mkdir(parents=True)
    truth = np.rint(1000 / (0.05 + 0.1 * relative())).astype(np.uint16)
    for index in range(FRAMES):
        cv2.imwrite(str(tmp_path / 'room' / 'rgb' / f'{index:06d}.jpg'),
                    np.full((*SIZE, 3), 20 * index, np.uint8))
        cv2.imwrite(str(tmp_path / 'room' / 'depth' / f'{index:06d}.png'), truth)
    (tmp_path / 'room' / 'meta.json').write_text(json.dumps(
        {'name': 'room', 'frames': FRAMES, 'fps': 30, 'max_depth_m': 30}))
    return tmp_path / 'room'


def records(folder: Path, row: str, scale: tuple[Points | Scan | None, ...]) -> list[Record]:
    footage = open_sequence(folder)
    maps = np.stack([relative() * (1 + 0.02 * index) for index in range(FRAMES)])
    maps[0] = np.nan  # nothing is remembered yet
    scorer = Scorer(folder, footage, [footage.rgb(index) for index in range(FRAMES)], maps + 1,
                    scale)
    return scorer.records(Prediction(row, 'fixed:12', [None] + [1] * (FRAMES - 1), maps,
                                     delay_ms=0.0))


def test_metres_are_scored_beside_the_aligned_depth(folder: Path) -> None:
    found = records(folder, 'async', (Points(50), Scan(), None))
    assert [(record.alignment, record.scale) for record in found] == [
        ('frame', None), ('sequence', 'none'), ('metric', 'points:50'), ('metric', 'scan')]
    aligned, whole, *metric = found
    assert aligned.absrel == pytest.approx(0, abs=1e-3) and whole.absrel is not None
    assert 0.02 < whole.absrel
    for record in metric:
        assert record.frames == FRAMES - 1 and record.coverage == 1
        assert record.absrel is not None and aligned.absrel is not None
        assert record.absrel < 0.02, 'the map grows by 20 %, and the sensor follows'
        assert record.absrel_over_aligned == record.absrel / aligned.absrel


def test_other_rows_have_no_metres(folder: Path) -> None:
    found = records(folder, 'hold', (Points(50), None))
    assert [(record.alignment, record.scale) for record in found] == [
        ('frame', None), ('sequence', None)]


def test_what_was_kept_without_metres_does_not_stand_for_that_with_them(folder: Path) -> None:
    assert len(records(folder, 'async', ())) == 2
    kept = records(folder, 'async', (Scan(),))
    assert [record.scale for record in kept] == [None, None, 'scan']
    assert records(folder, 'async', (Scan(),)) == kept
