"""The log of a training run, as CSV, and its picture, ``curves.png``."""

import csv
import io
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from asyncmde_ros.files import write_atomically
from asyncmde_ros.lab.charts import COLORS, chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN = 'train.csv'
VALIDATION = 'validation.csv'
PICTURE = 'curves.png'
STEP = 'step'
MINUTES = 'minutes'

SMOOTHED_SHARE = 0.05
"""Of the rows so far, averaged to one point of a loss's line."""

HEADROOM = 2.0
"""Ratios above so many times their median, those of a first validation, are cut off."""

_SIZE_IN = (10.0, 4.2)

Row = list[str]
Columns = dict[str, npt.NDArray[np.float64]]


class Log:
    """Appends rows to ``train.csv`` and ``validation.csv``, each on the disk when it returns.

    A file's first row decides its columns; later ones may leave out some but bring no new ones.
    """

    def __init__(self, directory: Path, resume_step: int | None = None) -> None:
        """Start afresh, or go on before step ``resume_step``: rows from there on are cut.

        A row that a killed run wrote only half of is cut too.  Starting afresh removes the log
        of an earlier run in the same directory.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._paths = {name: directory / name for name in (TRAIN, VALIDATION)}
        self._headers: dict[str, Row] = {}
        for name, path in self._paths.items():
            header, *rows = _lines(path) or [[]]
            kept = [row for row in rows if resume_step is not None and int(row[0]) < resume_step]
            if kept:
                write_atomically(path, _csv([header, *kept]))
                self._headers[name] = header
            else:
                path.unlink(missing_ok=True)

    def train(self, step: int, minutes: float, **values: float) -> None:
        """Append a row of losses; ``minutes`` of training so far.  ValueError: a new column."""
        self._append(TRAIN, step, minutes, values)

    def validation(self, step: int, minutes: float, **values: float) -> None:
        """Append a row of errors or ratios, as :meth:`train` does."""
        self._append(VALIDATION, step, minutes, values)

    def _append(self, name: str, step: int, minutes: float, values: dict[str, float]) -> None:
        rows = []
        if name not in self._headers:
            self._headers[name] = [STEP, MINUTES, *values]
            rows.append(self._headers[name])
        columns = self._headers[name][2:]
        unknown = values.keys() - set(columns)
        if unknown:
            raise ValueError(f'{name} has no column {", ".join(sorted(unknown))}; it has '
                             f'{", ".join(columns)}')
        rows.append([str(int(step)), f'{minutes:.7g}', *(
            f'{float(values[column]):.7g}' if column in values else '' for column in columns)])
        # One write of whole rows, closed at once: a killed run keeps them.
        with self._paths[name].open('ab') as stream:
            stream.write(_csv(rows))


def plot(directory: Path) -> None:
    """Draw the log of ``directory`` into its ``curves.png``, which is never half written.

    On the left the training columns with "loss" in their names, smoothed over the raw values; on
    the right the validation columns with "ratio" in theirs: below the dashed line at 1, the
    network beats the last keyframe's depth, warped.  Where no name has the word, all columns,
    and no such line.
    """
    with chart(*_SIZE_IN) as (figure, png):
        left, right = figure.subplots(1, 2)
        _draw_losses(left, _read(directory / TRAIN))
        draw_ratios(right, _read(directory / VALIDATION))
        for panel in (left, right):
            panel.set_xlabel('minutes')
            if panel.get_legend_handles_labels()[0]:
                panel.legend(loc='best')
    write_atomically(directory / PICTURE, png.getvalue())


def smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (N,) averaged over a centred window, shorter at the ends."""
    half = int(SMOOTHED_SHARE * len(values) / 2)
    sums = np.concatenate([[0.0], values.cumsum()])
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def _lines(path: Path) -> list[Row]:
    """Return the complete rows of a CSV file, the header first; none where there is no file."""
    if not path.exists():
        return []
    whole, newline, _ = path.read_text('utf-8').rpartition('\n')
    return list(csv.reader(whole.splitlines())) if newline else []


def _csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue().encode()


def _read(path: Path) -> Columns:
    """Return the columns of a log by name, (rows,) each, NaN where a row has no value."""
    header, *rows = _lines(path) or [[]]
    table = np.array([[float(cell or 'nan') for cell in row] for row in rows])
    return dict(zip(header, table.T, strict=True)) if rows else {}


def _series(columns: Columns, word: str) -> Columns:
    values = {name: column for name, column in columns.items() if name not in (STEP, MINUTES)}
    return {name: column for name, column in values.items() if word in name} or values


def _draw_losses(panel: 'Axes', columns: Columns) -> None:
    from matplotlib.ticker import LogLocator, NullLocator
    panel.set_title('training loss')
    for (name, values), color in zip(_series(columns, 'loss').items(), cycle(COLORS)):
        known = np.isfinite(values)
        minutes = columns[MINUTES][known]
        panel.plot(minutes, values[known], color=color, alpha=0.2, linewidth=0.8)
        panel.plot(minutes, smoothed(values[known]), color=color, linewidth=1.8, label=name)
        if (values[known] > 0).all():
            panel.set_yscale('log')
    if panel.get_yscale() == 'log':
        # Plain numbers, not powers of ten: losses stay within a few decades.
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter('{x:g}')
        panel.yaxis.set_minor_locator(NullLocator())


def draw_ratios(panel: 'Axes', columns: Columns) -> None:
    """Draw a validation's ratios by minutes, of a log's ``columns``."""
    panel.set_title('validation')
    series = _series(columns, 'ratio')
    shown = []
    if any('ratio' in name for name in series) or not series:
        panel.axhline(1.0, color='#444444', linestyle='--', linewidth=1.2,
                      label='1: no better than hold-last, warped')
        shown.append(1.0)
    for (name, values), color in zip(series.items(), cycle(COLORS)):
        known = np.isfinite(values)
        if not known.any():
            continue
        ratios = values[known]
        panel.plot(columns[MINUTES][known], ratios, color=color, marker='o', markersize=3,
                   linewidth=1.6, label=f'{name}: {ratios[-1]:.3f}, best {ratios.min():.3f}')
        shown += [ratios.min(), min(ratios.max(), HEADROOM * float(np.median(ratios)))]
    if not shown:
        return
    low, high = min(shown), max(shown)
    margin = 0.05 * (high - low) or 0.05
    panel.set_ylim(low - margin, high + margin)
