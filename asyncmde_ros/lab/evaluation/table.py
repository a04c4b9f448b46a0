"""The tables of an evaluation: what is compared stands together, and the best is marked.

pandas is only imported when a table is made.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncmde_ros.lab import text
from asyncmde_ros.lab.evaluation.glossary import ALIGNMENTS, COLUMN_OF, TEACHER, Better, Column
from asyncmde_ros.lab.evaluation.record import Record

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ('sequence', 'row', 'schedule', 'alignment')
MISSING = '-'
RATIO_DECIMALS = 3
DEFAULT_COLUMNS = ('frames', 'absrel', 'rmse', 'delta1', 'edge_absrel', 'teacher_absrel',
                   'absrel_at_publication', 'tae', 'opw', 'gap_recovery',
                   'absrel_over_aligned')
"""What fits a terminal; those without a single value are left out."""

_BADNESS: dict[Better, Callable[['pd.Series'], 'pd.Series']] = {
    Better.LOWER: lambda values: values,
    Better.HIGHER: lambda values: -values,
    Better.ONE: lambda values: (values - 1).abs(),
}


@dataclass(frozen=True)
class Table:
    """The records of one alignment, a line each, sorted by sequence, schedule and row.

    ``scores`` holds IDENTITY, reference and every column as float64, NaN where there is none.
    """

    alignment: str
    scores: 'pd.DataFrame'

    def filled(self, keys: Sequence[str]) -> list[Column]:
        """Return the columns in ``keys`` that have a value."""
        return [COLUMN_OF[key] for key in keys if self.scores[key].notna().any()]

    def texts(self, column: Column) -> 'pd.Series':
        """Return a column as it is printed."""
        return self.scores[column.key].map(lambda value: format_number(value, column.decimals))

    def best(self, column: Column) -> 'pd.Series':
        """Return which lines are the best of their sequence and schedule.

        Values that print alike are equally good.  What has nothing to compare with is not best.
        """
        values = self.scores[column.key]
        groups = [self.scores['sequence'], self.scores['schedule']]
        if column.better is Better.NEITHER:
            return values.map(lambda _: False)
        winner = _BADNESS[column.better](values).fillna(math.inf).groupby(
            groups, observed=True).transform('idxmin')
        texts = self.texts(column)
        return ((texts == texts[winner].to_numpy()) & values.notna()
                & (values.groupby(groups, observed=True).transform('count') > 1))

    def ratios(self) -> 'pd.DataFrame':
        """Return AbsRel over the teacher's: a line a schedule and row, a column a sequence.

        The last column is the mean of the ratios.  A mean over fewer sequences than the other
        rows have would not compare with theirs: it is NaN unless the row has every sequence that
        the teacher has.  A sequence whose teacher is missing, or is itself the reference and so
        has no error, has no ratio.  Empty where no sequence has one.
        """
        scores = self.scores
        teacher = scores[(scores['row'] == TEACHER) & (scores['reference'] != TEACHER)
                         & (scores['absrel'] > 0)].set_index('sequence')['absrel']
        others = scores[(scores['row'] != TEACHER) & scores['sequence'].isin(teacher.index)]
        errors = others.groupby(['schedule', 'row', 'sequence'], observed=True)['absrel'].first()
        ratios = errors.unstack().reindex(columns=list(teacher.index)) / teacher
        ratios.insert(len(ratios.columns), 'mean', ratios.mean(axis=1, skipna=False),
                      allow_duplicates=True)
        return ratios


def tables(records: Sequence[Record]) -> Iterator[Table]:
    """Yield a table an alignment.

    Sequences, schedules and rows, and the alignments, have the order of their first appearance.
    """
    import pandas as pd
    keys = [*IDENTITY, 'reference', *COLUMN_OF]
    scores = pd.DataFrame([{key: getattr(record, key) for key in keys} for record in records],
                          columns=keys)
    scores['row'] = [record.label for record in records]
    scores = scores.astype(dict.fromkeys(COLUMN_OF, float)).replace([math.inf, -math.inf],
                                                                   math.nan)
    for key in IDENTITY:
        scores[key] = pd.Categorical(scores[key], scores[key].unique())
    scores = scores.sort_values(['sequence', 'schedule', 'row'], kind='stable', ignore_index=True)
    for alignment, part in scores.groupby('alignment', observed=True):
        yield Table(str(alignment), part)


def format_number(value: float, decimals: int) -> str:
    """Print with fixed decimals, or ``-`` for NaN."""
    return MISSING if math.isnan(value) else f'{value:.{decimals}f}'


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
    for table in tables(records):
        chosen = ([COLUMN_OF[key] for key in columns] if columns is not None
                  else table.filled(DEFAULT_COLUMNS))
        what = ALIGNMENTS.get(table.alignment, table.alignment)
        blocks.append(f'{table.alignment}: {what}  (* best of its sequence and schedule)\n'
                      + _format_scores(table, chosen))
        if len(ratios := table.ratios()):
            blocks.append(f"{table.alignment}: AbsRel / the teacher's\n" + _format_ratios(ratios))
    return '\n\n'.join(blocks)


def _format_scores(table: Table, columns: Sequence[Column]) -> str:
    names = ['sequence', 'schedule', 'row']
    # The blank keeps a heading flush with the digits, left of the marks.
    marked = [table.texts(column) + table.best(column).map({True: '*', False: ' '})
              for column in columns]
    return text.table([*names, *(f'{column.heading} ' for column in columns)],
                      list(zip(*(table.scores[name] for name in names), *marked, strict=True)),
                      left=3, rule=True)


def _format_ratios(ratios: 'pd.DataFrame') -> str:
    return text.table(['schedule', 'row', *ratios.columns], [
        [*names, *(format_number(value, RATIO_DECIMALS) for value in values)]
        for names, values in zip(ratios.index, ratios.to_numpy(), strict=True)], left=2, rule=True)
