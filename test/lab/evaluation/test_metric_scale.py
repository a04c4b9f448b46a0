"""Metres by what a sensor would measure of the truth."""

import numpy as np
import numpy.typing as npt
import pytest

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation.alignment import valid_truth
from asyncmde_ros.lab.evaluation.metric_scale import Points, Scan, Source, parse, scales
from asyncmde_ros.lab.evaluation.record import FrameSeries, Record
from asyncmde_ros.lab.evaluation.table import format_table

SHAPE, MAX_M, RATE_HZ = (48, 64), 20.0, 30.0
A, B = 0.1, 0.02


def corridor() -> npt.NDArray[np.float32]:
    """Relative inverse depth of a corridor with one wall nearer than the other."""
    rows, cols = np.mgrid[0:SHAPE[0], 0:SHAPE[1]]
    return (0.5 + np.abs(rows - 24) / 8 + np.abs(cols - 30) / 5).astype(np.float32)


def measured(source: Source, frames: int = 20, **changes: float) -> list[tuple[float, float]]:
    """Return (a, b) of every frame; from frame 10 on the map is ``gain`` times as large."""
    gain = changes.get('gain', 1.0)
    relative = corridor()
    truth = 1 / (A * relative + B)
    maps = {index: relative * (gain if index >= 10 else 1) for index in range(frames)}
    valid = [valid_truth(truth, MAX_M)] * frames
    found = scales(source, maps, [truth] * frames, valid, [index // 10 for index in range(frames)],
                   MAX_M, RATE_HZ)
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
    found = scales(source, {0: corridor()}, [nothing], [nothing > 0], [0], MAX_M, RATE_HZ)
    assert found == {0: None}


def test_sources_are_parsed() -> None:
    assert parse('points:50,scan,none') == [Points(50), Scan(), None]


@pytest.mark.parametrize('text', ['points', 'points:0', 'points:x', 'scan:3', 'sonar', '',
                                  'scan,scan', 'none:1'])
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
