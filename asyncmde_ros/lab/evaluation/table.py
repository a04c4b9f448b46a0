"""What the columns of an evaluation mean, and the tables that a terminal shows."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from asyncmde_ros.lab.evaluation.record import LagScores, Record

IDENTITY = ('sequence', 'row', 'schedule', 'alignment')
TEACHER, OURS = 'teacher', 'async'
EVERY_FRAME = 'every'
"""The schedule of rows that need none."""

MISSING = '-'
RATIO_DECIMALS = 3


class Better(Enum):
    """Which values of a column are the good ones."""

    LOWER = 'lower'
    HIGHER = 'higher'
    ONE = 'nearest to one'
    NEITHER = 'neither'


_BADNESS: dict[Better, Callable[[float], float]] = {
    Better.LOWER: lambda value: value,
    Better.HIGHER: lambda value: -value,
    Better.ONE: lambda value: abs(value - 1),
}


@dataclass(frozen=True)
class Column:
    """One measured quantity: its key in a record, its heading, how it is printed and read."""

    key: str
    heading: str
    decimals: int
    better: Better
    meaning: str


COLUMNS = (
    Column('frames', 'frames', 0, Better.NEITHER, 'Frames that were scored.'),
    Column('absrel', 'AbsRel', 4, Better.LOWER,
           'Mean of |depth - truth| / truth over the valid pixels, after alignment.'),
    Column('rmse', 'RMSE', 3, Better.LOWER,
           'Root mean square of depth - truth, in metres.'),
    Column('delta1', 'd1', 3, Better.HIGHER,
           'Share of pixels with max(depth / truth, truth / depth) below 1.25.'),
    Column('delta2', 'd2', 3, Better.HIGHER, 'The same, below 1.25 squared.'),
    Column('delta3', 'd3', 3, Better.HIGHER, 'The same, below 1.25 cubed.'),
    Column('edge_absrel', 'at edges', 4, Better.LOWER,
           'AbsRel of the pixels near depth discontinuities of the truth only (neighbours that '
           'differ by more than 10 %).'),
    Column('edge_sharpness', 'sharpness', 3, Better.ONE,
           'Median, over the depth discontinuities, of the predicted step over the true one, in '
           'log depth: 1 is as steep as the truth, near 0 is blurred or beside the edge.'),
    Column('coverage', 'coverage', 3, Better.NEITHER,
           'Share of the valid pixels for which the row gave a depth.'),
    Column('teacher_absrel', 'to T', 4, Better.LOWER,
           "AbsRel with the teacher's own depth of the same frame in place of the truth, wherever "
           'that is not as far as the sky. A memory can beat the teacher on the truth by '
           'smoothing; it cannot here.'),
    Column('teacher_delta1', 'd1 to T', 3, Better.HIGHER,
           "d1 with the teacher's own depth of the same frame in place of the truth."),
    Column('absrel_at_publication', 'at pub.', 4, Better.LOWER,
           'AbsRel against the truth of the moment at which the depth was published, not of the '
           'moment at which the image was taken: latency counts as error.'),
    Column('trust_ause', 'AUSE', 3, Better.LOWER,
           'How well trust tells where depth is wrong: area between the error of the pixels that '
           'are left as the least trusted are removed, and the same with the worst removed first, '
           'in units of AbsRel. 0 is perfect.'),
    Column('trust_ause_constant', 'AUSE const.', 3, Better.NEITHER,
           'The same of a trust that is one value everywhere, which says nothing.'),
    Column('tae', 'TAE', 3, Better.LOWER,
           "Temporal alignment error: AbsRel between neighbouring frames' depths, each projected "
           'into the other by the true poses, times 100.'),
    Column('tcd', 'TCD', 4, Better.LOWER,
           "Temporal Chamfer distance between neighbouring frames' point clouds, brought together "
           'by the true poses, in square metres.'),
    Column('f1', 'F1', 3, Better.HIGHER,
           'Harmonic mean of precision (predicted points near a true one) and recall (true points '
           'near a predicted one), mean over the frames.'),
    Column('opw', 'OPW', 3, Better.LOWER,
           'Flicker: relative difference of neighbouring depths, one warped to the other by '
           'optical flow where that can be relied on, times 100. Needs no poses.'),
    Column('gap_recovery', 'gap rec.', 3, Better.HIGHER,
           '(AbsRel of hold - AbsRel of this row) / (AbsRel of hold - AbsRel of the teacher): '
           'how much of what holding loses is won back. 1 is as good as the teacher.'),
)
COLUMN_OF = {column.key: column for column in COLUMNS}

DEFAULT_COLUMNS = ('frames', 'absrel', 'rmse', 'delta1', 'edge_absrel', 'teacher_absrel',
                   'absrel_at_publication', 'tae', 'opw', 'gap_recovery')
"""What fits a terminal; those without a single value are left out."""

ROWS = {
    TEACHER: 'The foundation model on every frame, as if it took no time.',
    'hold': "The last refresh's depth, shown unchanged until the next one.",
    'hold_mc': "The last refresh's depth, warped by the tracked homographies since then.",
    'teacher_rate': 'The foundation model at the rate it reaches, its last depth held.',
    'fast': "The spatial memory's fast network alone, without a memory.",
    'spatial_memory': "AsyncMDE's own fast path: features of the keyframe, fused with every "
                      "frame's by a network.",
    'async': "What the node publishes by default: a keyframe's depth, moved by homography and "
             'flow, and mended by glances of a small network.',
    'moved': '`async` without glances.',
    'glance': 'The small network of the glances by itself, on every frame.',
    'small_refresh': '`async` with refreshes of the smaller size only, that of --short-side.',
    'large_refresh': '`async` with refreshes of the larger size only, 4/3 of the smaller.',
    'no_flow': '`async` moved by homographies alone.',
    'no_photometry': '`async` that takes all that the keyframe saw for sound, whether it looks '
                     'the same from here or not.',
    'no_displacement': '`async` that expects no more error of a memory that moved far.',
    'no_misfit': '`async` that expects the same error of every glance, however it fits the '
                 'keyframe.',
    'no_surprise': '`async` whose glances take over by expected errors alone, however far they '
                   'differ from the memory.',
}

ALIGNMENTS = {
    'frame': 'scale and shift fitted for every frame',
    'sequence': 'one scale and shift for the whole sequence',
}


@dataclass(frozen=True)
class Ratio:
    """AbsRel over the teacher's, for one row and schedule; ``mean`` is of the ratios.

    A mean over fewer sequences than the other rows have would not compare with theirs: it is
    None unless the row has every sequence that the teacher has.
    """

    row: str
    schedule: str
    by_sequence: dict[str, float | None]
    mean: float | None


def number(scores: Record | LagScores, key: str) -> float | None:
    """Return a score as a float, None where it is None, NaN or infinite."""
    value = getattr(scores, key)
    return float(value) if value is not None and math.isfinite(value) else None


def distinct(records: Iterable[Record], key: str) -> list[str]:
    """Return the values of ``key`` in order of first appearance."""
    return list(dict.fromkeys(getattr(record, key) for record in records))


def by_alignment(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Split by alignment, each part sorted so that what is compared stands together.

    The order is sequence, schedule, row, each in order of its first appearance.
    """
    rank = {key: {value: index for index, value in enumerate(distinct(records, key))}
            for key in IDENTITY}
    ordered = sorted(records, key=lambda record: tuple(
        rank[key][getattr(record, key)] for key in ('sequence', 'schedule', 'row')))
    return {alignment: [record for record in ordered if record.alignment == alignment]
            for alignment in rank['alignment']}


def filled_columns(records: Sequence[Record], keys: Iterable[str]) -> list[Column]:
    """Return the columns in ``keys`` for which at least one record has a value."""
    return [COLUMN_OF[key] for key in keys
            if any(number(record, key) is not None for record in records)]


def format_number(value: float | None, decimals: int) -> str:
    """Print with fixed decimals, or ``-`` for None."""
    return MISSING if value is None else f'{value:.{decimals}f}'


def best_texts(records: Sequence[Record], column: Column) -> dict[tuple[str, ...], str]:
    """Return the best value of each (sequence, alignment, schedule), as it is printed.

    Values that print alike are equally good.  A group with one value has no best.
    """
    if column.better is Better.NEITHER:
        return {}
    groups: dict[tuple[str, ...], list[float]] = {}
    for record in records:
        value = number(record, column.key)
        if value is not None:
            groups.setdefault(group_of(record), []).append(value)
    return {group: format_number(min(values, key=_BADNESS[column.better]), column.decimals)
            for group, values in groups.items() if len(values) > 1}


def group_of(record: Record) -> tuple[str, ...]:
    """Return what a record is compared within: its sequence, alignment and schedule."""
    return record.sequence, record.alignment, record.schedule


def ratios(records: Sequence[Record]) -> list[Ratio]:
    """Return AbsRel / the teacher's for every row and schedule but the teacher itself.

    ``records`` are of one alignment.  A sequence whose teacher is missing, or is itself the
    reference and so has no error, has no ratio.  Empty where no sequence has one.
    """
    of_teacher = {record.sequence: value for record in records if record.row == TEACHER
                  and record.reference != TEACHER
                  if (value := number(record, 'absrel'))}
    others: dict[tuple[str, str], dict[str, float | None]] = {}
    for record in records:
        if record.row != TEACHER and record.sequence in of_teacher:
            others.setdefault((record.schedule, record.row), {})[record.sequence] = \
                number(record, 'absrel')
    found = []
    for schedule in distinct(records, 'schedule'):
        for row in distinct(records, 'row'):
            if (schedule, row) in others:
                errors = others[schedule, row]
                values = {name: error / of_teacher[name] if (error := errors.get(name)) is not None
                          else None for name in of_teacher}
                known = [value for value in values.values() if value is not None]
                mean = sum(known) / len(known) if len(known) == len(of_teacher) else None
                found.append(Ratio(row, schedule, values, mean))
    return found


def format_table(records: Sequence[Record], columns: Sequence[str] | None = None) -> str:
    """Return the tables for a terminal: a block per alignment, and the ratios to the teacher's.

    ``columns`` are keys of COLUMNS; without them, those of DEFAULT_COLUMNS that have a value.
    ``*`` marks the best of a sequence, alignment and schedule, ``-`` what was not measured.
    Raises ValueError for a column that does not exist.
    """
    if not records:
        return 'no results'
    unknown = set(columns or ()) - set(COLUMN_OF)
    if unknown:
        raise ValueError(f'no column {", ".join(sorted(unknown))}; there are '
                         f'{", ".join(COLUMN_OF)}')
    blocks = []
    for alignment, part in by_alignment(records).items():
        chosen = ([COLUMN_OF[key] for key in columns] if columns is not None
                  else filled_columns(part, DEFAULT_COLUMNS))
        what = ALIGNMENTS.get(alignment, alignment)
        blocks.append(f'{alignment}: {what}  (* best of its sequence and schedule)\n'
                      + _format_records(part, chosen))
        if found := ratios(part):
            blocks.append(f"{alignment}: AbsRel / the teacher's\n" + _format_ratios(found))
    return '\n\n'.join(blocks)


def _format_records(records: Sequence[Record], columns: Sequence[Column]) -> str:
    best = {column.key: best_texts(records, column) for column in columns}
    lines: list[list[str]] = []
    for record in records:
        cells = [record.sequence, record.schedule, record.row]
        for column in columns:
            text = format_number(number(record, column.key), column.decimals)
            mark = '*' if best[column.key].get(group_of(record)) == text else ' '
            cells.append(text + mark)
        lines.append(cells)
    # The blank keeps a heading flush with the digits, left of the marks.
    heading = ['sequence', 'schedule', 'row', *(f'{column.heading} ' for column in columns)]
    return _align(heading, lines, left=3)


def _format_ratios(found: Sequence[Ratio]) -> str:
    heading = ['schedule', 'row', *found[0].by_sequence, 'mean']
    return _align(heading, [
        [ratio.schedule, ratio.row, *(format_number(value, RATIO_DECIMALS) for value in
                                      (*ratio.by_sequence.values(), ratio.mean))]
        for ratio in found], left=2)


def _align(heading: Sequence[str], lines: Sequence[Sequence[str]], left: int) -> str:
    """Lay out cells in columns, the first ``left`` of them flush left; a line ends no blank."""
    widths = [max(map(len, column)) for column in zip(heading, *lines, strict=True)]
    rule = ['-' * width for width in widths]
    return '\n'.join('  '.join(
        cell.ljust(width) if index < left else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in (heading, rule, *lines))
