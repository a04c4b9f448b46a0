"""The training log: what it keeps over a kill and a resumption, and its picture."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from asyncmde_ros.lab.training import curves
from asyncmde_ros.lab.training.curves import Log, plot, smoothed


def rows(path: Path) -> list[list[str]]:
    with path.open(newline='') as stream:
        return list(csv.reader(stream))


def steps(path: Path) -> list[int]:
    return [int(row[0]) for row in rows(path)[1:]]


def filled(directory: Path) -> Log:
    log = Log(directory)
    for step in range(0, 100, 10):
        log.train(step, step / 60, loss=1 / (step + 1), loss_gate=0.5, lr=1e-4)
        if step % 20 == 0:
            log.validation(step, step / 60, ratio=3 / (step + 1), absrel=0.1)
    return log


def test_rows_are_on_the_disk_at_once(tmp_path: Path) -> None:
    log = Log(tmp_path / 'run')
    log.train(1, 0.5, loss=np.float32(0.25))
    assert rows(tmp_path / 'run/train.csv') == [['step', 'minutes', 'loss'], ['1', '0.5', '0.25']]
    assert not (tmp_path / 'run/validation.csv').exists()


def test_a_new_column_is_refused_by_name_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.train(1, 0, loss=1, rate=2)
    with pytest.raises(ValueError, match='gate'):
        log.train(2, 0, loss=1, gate=2)
    log.train(3, 0, loss=1)
    log.validation(3, 0, gate=1)
    assert rows(tmp_path / 'train.csv')[1:] == [['1', '0', '1', '2'], ['3', '0', '1', '']]


def test_resumed_after_a_kill_nothing_is_listed_twice(tmp_path: Path) -> None:
    filled(tmp_path)
    log = Log(tmp_path, resume_step=40)
    assert steps(tmp_path / 'train.csv') == [0, 10, 20, 30]
    assert steps(tmp_path / 'validation.csv') == [0, 20]
    log.train(40, 1, loss=2)
    log.validation(40, 1, ratio=2)
    assert steps(tmp_path / 'train.csv') == [0, 10, 20, 30, 40]
    assert steps(tmp_path / 'validation.csv') == [0, 20, 40]
    with pytest.raises(ValueError, match='other'):
        log.train(50, 1, other=2)


@pytest.mark.parametrize('half', ('100,1.6', '100,1.6,0.1,0.5,1e', '1', '"'))
def test_a_half_written_line_is_cut(tmp_path: Path, half: str) -> None:
    filled(tmp_path)
    path = tmp_path / 'train.csv'
    whole = path.read_text()
    path.write_text(whole + half)
    plot(tmp_path)
    Log(tmp_path, resume_step=1000)
    assert path.read_text() == whole


def test_a_half_written_header_is_cut(tmp_path: Path) -> None:
    (tmp_path / 'train.csv').write_text('step,min')
    log = Log(tmp_path, resume_step=1000)
    log.train(1000, 1, gate=1)
    assert rows(tmp_path / 'train.csv') == [['step', 'minutes', 'gate'], ['1000', '1', '1']]


def test_resumed_from_the_start_columns_may_be_others(tmp_path: Path) -> None:
    filled(tmp_path)
    log = Log(tmp_path, resume_step=0)
    log.train(0, 0, other=1)
    assert rows(tmp_path / 'train.csv') == [['step', 'minutes', 'other'], ['0', '0', '1']]


def test_a_fresh_log_replaces_an_earlier_one(tmp_path: Path) -> None:
    filled(tmp_path)
    Log(tmp_path)
    assert not (tmp_path / 'train.csv').exists()


def test_the_picture_is_drawn_and_nothing_else_is_left(tmp_path: Path) -> None:
    filled(tmp_path)
    plot(tmp_path)
    picture = cv2.imread(str(tmp_path / 'curves.png'))
    assert picture is not None and picture.std() > 10
    assert {path.name for path in tmp_path.iterdir()} == {
        'train.csv', 'validation.csv', 'curves.png'}


def test_a_log_of_nothing_or_of_nan_can_be_drawn(tmp_path: Path) -> None:
    log = Log(tmp_path)
    plot(tmp_path)
    log.train(0, 0, loss=float('nan'))
    log.validation(0, 0, ratio=float('inf'))
    plot(tmp_path)
    log.train(1, 1, loss=-1)
    log.validation(1, 1)
    plot(tmp_path)
    assert (tmp_path / 'curves.png').exists()


@pytest.mark.parametrize(('names', 'lined'), [(['error', 'ratio_warped'], True),
                                              (['error', 'error_photo'], False)])
def test_errors_that_are_no_ratios_are_not_compared_with_one(names: list[str],
                                                             lined: bool) -> None:
    panel = Figure().subplots()
    minutes = np.arange(3.0)
    curves.draw_ratios(panel, {'step': minutes, 'minutes': minutes}
                        | dict.fromkeys(names, 0.2 + 0.01 * minutes))
    labels = panel.get_legend_handles_labels()[1]
    assert any('hold-last' in label for label in labels) == lined
    assert sum('best' in label for label in labels) == (1 if lined else 2)
    top = panel.get_ylim()[1]
    assert (top > 1) == lined


def test_errors_without_a_number_can_be_drawn(tmp_path: Path) -> None:
    Log(tmp_path).validation(0, 0, error=float('nan'))
    plot(tmp_path)
    assert (tmp_path / 'curves.png').exists()


def test_smoothing_keeps_length_level_and_slope() -> None:
    assert smoothed(np.array([])).shape == (0,)
    assert smoothed(np.array([2.0])) == pytest.approx([2])
    ramp = np.arange(200.0)
    assert smoothed(ramp)[20:-20] == pytest.approx(ramp[20:-20])
    noisy = ramp + np.random.default_rng(0).normal(size=200)
    assert np.diff(smoothed(noisy)).std() < 0.3 * np.diff(noisy).std()
