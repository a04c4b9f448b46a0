"""The pictures of an evaluation report, as PNG."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from asyncmde_ros.images.codec import RGB
from asyncmde_ros.images.picture import colorize
from asyncmde_ros.lab.charts import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION, chart
from asyncmde_ros.lab.evaluation.glossary import EVERY_FRAME, OURS, TEACHER
from asyncmde_ros.lab.evaluation.record import Record, distinct, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Map = npt.NDArray[np.float32]

_COLORS = {TEACHER: BLACK, OURS: BLUE, 'hold': ORANGE, 'hold_mc': GREEN,
           'teacher_rate': PURPLE, 'fast': SKY, 'spatial_memory': VERMILION}
_OTHER_COLORS = (GRAY, '#882255', '#44AA99', '#332288', '#999933', '#AA4466', '#661100',
                 '#117733')
_MARKERS = {OURS: 'o', 'hold': 's', 'hold_mc': 'D', 'teacher_rate': '^', 'fast': 'v',
            'spatial_memory': 'P'}
_OTHER_MARKER = 'X'

_WIDTH_IN = 10.0
_PANELS_ACROSS = 3
_HEADROOM = 1.6  # a level above this many times the highest curve would flatten the curves

_MIN_SPAN = 0.2  # of the lowest error; less of a difference must not look like a cliff

_RANGE_PERCENTILES = (2, 98)
_FAR_M = 1e4  # what a depth of "nothing near" is shown as: blue, not unknown
_BAR_STEPS = 256
_BAR_TICKS = 5
_TRUST_COLORS = 'cividis'


@dataclass(frozen=True, eq=False)
class SheetFrame:
    """One frame to look at; depths in metres, 0 or NaN where unknown, of any resolution.

    ``frame`` counts within the sequence; ``lag`` is the frames since the one that the memory
    shows (None: no memory).  ``rgb`` is (H, W, 3) uint8, ``truth`` (h, w) float32 or None,
    ``teacher`` and ``ours`` (h, w) float32, ``trust`` (r, c) float32 in [0, 1] or None.
    """

    frame: int
    lag: int | None
    rgb: RGB
    truth: Map | None
    teacher: Map
    ours: Map
    trust: Map | None


def lag_curves(records: Sequence[Record], schedule: str, alignment: str) -> bytes | None:
    """Draw AbsRel against lag, a panel for each sequence and a line for each row.

    Rows that see every frame have no lag: the teacher is a dashed line and the others dotted
    ones, at their mean.  None where no record of this schedule and alignment has two lags.
    """
    part = [record for record in records if record.alignment == alignment]
    curves = [record for record in part if record.schedule == schedule and _curve(record)]
    if all(len(_curve(record)) < 2 for record in curves):
        return None
    sequences = distinct(curves, 'sequence')
    levels = [record for record in part if record.schedule == EVERY_FRAME]
    colors = _row_colors(records)
    across = min(_PANELS_ACROSS, len(sequences))
    down = -(-len(sequences) // across)
    with chart(_WIDTH_IN, 0.6 + 2.9 * down) as (figure, png):
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for panel, sequence in zip(panels, sequences, strict=False):
            panel.set_title(sequence)
            shown = [record for record in curves if record.sequence == sequence]
            for record in shown:
                _draw_curve(panel, record, colors)
            highest = max(error for record in shown for _, error in _curve(record))
            _draw_levels(panel, [record for record in levels if record.sequence == sequence],
                         colors, _HEADROOM * highest)
            panel.set_xlabel('lag [frames]')
            panel.xaxis.get_major_locator().set_params(integer=True)
        for panel in panels[::across]:
            panel.set_ylabel('AbsRel')
        for panel in panels[len(sequences):]:
            panel.set_axis_off()
        _legend(figure, panels)
    return png.getvalue()


def frame_errors(records: Sequence[Record], schedule: str, alignment: str) -> bytes | None:
    """Draw AbsRel of every frame, a panel for each sequence; ticks below mark the refreshes.

    None where no record of this schedule and alignment has an error of any frame.
    """
    part = [record for record in records if record.alignment == alignment
            and np.isfinite(_errors(record)).any()]
    curves = [record for record in part if record.schedule == schedule]
    if not curves:
        return None
    sequences = distinct(curves, 'sequence')
    # The teacher sees every frame whatever the schedule: it is the line to compare with.
    teachers = [record for record in part if record.row == TEACHER and record not in curves]
    colors = _row_colors(records)
    with chart(_WIDTH_IN, 0.6 + 2.2 * len(sequences)) as (figure, png):
        panels = figure.subplots(len(sequences), 1, squeeze=False)[:, 0]
        for panel, sequence in zip(panels, sequences, strict=True):
            panel.set_title(sequence)
            panel.set_ylabel('AbsRel')
            # Ours comes last, so that it lies on top.
            for record in sorted((*teachers, *curves), key=lambda item: item.row == OURS):
                if record.sequence == sequence:
                    row = record.row
                    panel.plot(_errors(record), label=row, color=colors[row],
                               linestyle='--' if row == TEACHER else '-',
                               linewidth=1.8 if row == OURS else 1.1)
            _draw_refreshes(panel, [record for record in curves
                                    if record.sequence == sequence])
            panel.margins(x=0.01)
        panels[-1].set_xlabel('frame')
        _legend(figure, panels)
    return png.getvalue()


def depth_strips(strips: Mapping[str, Map]) -> bytes:
    """Draw one image column over time for each row: (T, H) float32 inverse depth in 1/m.

    Time runs to the right.  Steady depth is smooth from left to right; flicker and held frames
    are vertical bars, and a held or late memory is a staircase where the scene moves.
    """
    low, high = _range(list(strips.values()))
    with chart(_WIDTH_IN, 0.5 + 1.35 * len(strips)) as (figure, png):
        panels = figure.subplots(len(strips), 1, squeeze=False, sharex=True)[:, 0]
        for panel, (row, strip) in zip(panels, strips.items(), strict=True):
            _show(panel, colorize(strip.T, low, high), aspect='auto')
            panel.set_ylabel(row, rotation=0, horizontalalignment='right',
                             verticalalignment='center', fontweight='bold')
        panels[-1].set_xlabel('frame')
        panels[-1].tick_params(bottom=True, labelbottom=True)
        _depth_bar(figure, panels, low, high)
    return png.getvalue()


def contact_sheet(samples: Sequence[SheetFrame]) -> bytes:
    """Draw image, truth, teacher, ours and trust of each sample, a line for each.

    The depths of one sample share one colour range, the truth's where there is one, so that
    colours can be compared.  Columns that no sample has are left out.
    """
    with_truth = any(sample.truth is not None for sample in samples)
    with_trust = any(sample.trust is not None for sample in samples)
    titles = ['image', *(['truth'] if with_truth else []), 'teacher', 'ours',
              *(['trust'] if with_trust else [])]
    height, width = samples[0].rgb.shape[:2]
    # What the labels and bars leave of the width, shared by the tiles.
    tile_in = (_WIDTH_IN - 1.6) / len(titles)
    with chart(_WIDTH_IN, 0.3 + (tile_in * height / width + 0.12) * len(samples)) \
            as (figure, png):
        grid = figure.subplots(len(samples), len(titles), squeeze=False)
        for line, sample in zip(grid, samples, strict=True):
            panels = dict(zip(titles, line, strict=True))
            _draw_sample(figure, panels, sample)
        for panel, title in zip(grid[0], titles, strict=True):
            panel.set_title(title)
    return png.getvalue()


def _row_colors(records: Sequence[Record]) -> dict[str, str]:
    """Give each row its colour, the same one in every picture of a report."""
    others = [row for row in distinct(records, 'row') if row not in _COLORS]
    return _COLORS | {row: _OTHER_COLORS[index % len(_OTHER_COLORS)]
                      for index, row in enumerate(others)}


def _curve(record: Record) -> list[tuple[int, float]]:
    """Return (lag, AbsRel) for the lags that have an error, in order."""
    return sorted((point.lag, error) for point in record.per_lag
                  if (error := finite(point.absrel)) is not None)


def _errors(record: Record) -> npt.NDArray[np.float64]:
    """Return AbsRel of every frame, (frames,), NaN where there is none."""
    return np.array(record.per_frame.absrel, np.float64)


def _draw_curve(panel: 'Axes', record: Record, colors: Mapping[str, str]) -> None:
    lags, errors = zip(*_curve(record), strict=True)
    row = record.row
    ours = row == OURS
    panel.plot(lags, errors, label=row, color=colors[row], marker=_MARKERS.get(row, _OTHER_MARKER),
               markersize=4, linewidth=2.2 if ours else 1.4, zorder=3 if ours else 2)


def _draw_levels(panel: 'Axes', records: Sequence[Record], colors: Mapping[str, str],
                 limit: float) -> None:
    """Draw means as lines across; one above ``limit`` is named at the top instead."""
    bottom, top = panel.get_ylim()
    above = []
    for record in records:
        row, mean = record.row, finite(record.absrel)
        if mean is None:
            continue
        if row != TEACHER and mean > limit:
            above.append(f'{row} {mean:.3f} ↑')
        else:
            panel.axhline(mean, label=row, color=colors[row], zorder=1,
                          linestyle='--' if row == TEACHER else ':', linewidth=1.4)
            bottom, top = min(bottom, mean), max(top, mean)
    top = max(top, bottom * (1 + _MIN_SPAN))
    margin = 0.06 * (top - bottom)
    panel.set_ylim(bottom - margin, top + margin * (2 if above else 1))
    panel.text(0.98, 0.98, '\n'.join(above), transform=panel.transAxes, color='#555555',
               horizontalalignment='right', verticalalignment='top', fontsize=8)


def _draw_refreshes(panel: 'Axes', records: Sequence[Record]) -> None:
    """Tick the frames at which the memory became younger, as the first row that has lags says."""
    for record in records:
        lags = np.array(record.per_frame.lag, np.float64)
        if np.nanmax(lags, initial=0) > 0:
            refreshed = np.flatnonzero(np.diff(lags) < 0) + 1
            panel.plot(refreshed, np.full(len(refreshed), 0.02), '|', color='#777777',
                       markersize=6, transform=panel.get_xaxis_transform(), label='refresh')
            return


def _legend(figure: 'Figure', panels: Iterable['Axes']) -> None:
    """Name each line once, under the panels; the last meaning of a name stands for all."""
    named = {label: handle for panel in panels
             for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc='outside lower center', ncols=len(named))


def _inverse(depth_m: Map) -> Map:
    """Return 1 / depth, NaN where the depth is not known; infinitely far is known."""
    known = depth_m > 0
    return np.where(known, 1 / np.where(known, np.minimum(depth_m, _FAR_M), 1), np.nan)


def _range(maps: Sequence[Map]) -> tuple[float, float]:
    """Return the range of inverse depth to colour, from the pixels that are finite."""
    values = np.concatenate([item[np.isfinite(item)] for item in maps])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, _RANGE_PERCENTILES)
    return float(low), float(high)


def _draw_sample(figure: 'Figure', panels: Mapping[str, 'Axes'], sample: SheetFrame) -> None:
    depths = {'truth': sample.truth, 'teacher': sample.teacher, 'ours': sample.ours}
    inverse = {name: _inverse(depth) for name, depth in depths.items() if depth is not None}
    low, high = _range([inverse.get('truth', inverse['teacher'])])
    height, width = sample.rgb.shape[:2]
    extent = (0, width, height, 0)  # all tiles are of the image's shape, whatever they hold
    _show(panels['image'], sample.rgb, extent=extent)
    lag = '' if sample.lag is None else f'\nlag {sample.lag}'
    panels['image'].set_ylabel(f'frame {sample.frame}{lag}', rotation=0,
                               horizontalalignment='right', verticalalignment='center')
    for name in panels.keys() & depths.keys():
        if name in inverse:
            _show(panels[name], colorize(inverse[name], low, high), extent=extent)
        else:
            _blank(panels[name], 'no truth')
    _depth_bar(figure, panels['ours'], low, high)
    if 'trust' in panels:
        if sample.trust is None:
            _blank(panels['trust'], 'no memory')
        else:
            shown = _show(panels['trust'], sample.trust, extent=extent, cmap=_TRUST_COLORS,
                          vmin=0, vmax=1)
            bar = figure.colorbar(shown, ax=panels['trust'], ticks=(0, 0.5, 1), aspect=16)
            _quiet(bar.ax)


def _show(panel: 'Axes', picture: RGB | Map, **how: Any) -> 'AxesImage':
    """Show a picture without axes around it."""
    panel.grid(False)
    panel.spines[:].set_visible(False)
    panel.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
    return panel.imshow(picture, interpolation='nearest', **how)


def _blank(panel: 'Axes', text: str) -> None:
    panel.set_axis_off()
    panel.text(0.5, 0.5, text, transform=panel.transAxes, color='#888888',
               horizontalalignment='center', verticalalignment='center')


def _depth_bar(figure: 'Figure', panels: 'Axes | Iterable[Axes]', low: float, high: float) -> None:
    """Draw the colours that ``colorize`` uses from low to high, labelled in metres."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    ramp = np.linspace(0, 1, _BAR_STEPS, dtype=np.float32)[None]
    colors = ScalarMappable(Normalize(low, high), ListedColormap(colorize(ramp, 0, 1)[0] / 255))
    bar = figure.colorbar(colors, ax=panels, ticks=np.linspace(low, high, _BAR_TICKS), aspect=16)
    bar.ax.set_yticklabels([f'{1 / tick:.3g} m' if tick > 0 else 'far'
                            for tick in np.linspace(low, high, _BAR_TICKS)])
    _quiet(bar.ax)


def _quiet(panel: 'Axes') -> None:
    """Make a colour bar's labels small, so that they stay beside their picture."""
    panel.tick_params(labelsize=7, length=2, pad=2)
    panel.grid(False)
