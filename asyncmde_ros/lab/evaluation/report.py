"""The files of an evaluation: records as JSON and CSV, pictures, and one page that shows it all.

The page needs nothing else: its pictures are in it, and it forbids a browser to load more.
"""

import base64
import csv
import dataclasses
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import write_atomically
from asyncmde_ros.lab.evaluation import plots
from asyncmde_ros.lab.evaluation.plots import Map, Sample
from asyncmde_ros.lab.evaluation.record import Record
from asyncmde_ros.lab.evaluation.table import (
    ALIGNMENTS,
    COLUMN_OF,
    COLUMNS,
    IDENTITY,
    RATIO_DECIMALS,
    ROWS,
    Better,
    best_texts,
    by_alignment,
    distinct,
    filled_columns,
    format_number,
    group_of,
    number,
    ratios,
)

RESULTS, META, CSV = 'results.json', 'meta.json', 'results.csv'
PER_FRAME, PAGE = 'per_frame.csv', 'report.html'

_ARROWS = {Better.LOWER: ' ↓', Better.HIGHER: ' ↑', Better.ONE: ' →1', Better.NEITHER: ''}
_IN_HEADING = ('command', 'commit', 'hardware', 'date')  # of meta, in this order


@dataclass(frozen=True)
class _Picture:
    """A PNG, the file that it is written to, and the words that stand for it."""

    name: str
    caption: str
    png: bytes


def write(out: Path, records: Sequence[Record], meta: Mapping[str, Any],
          samples: Mapping[str, Sequence[Sample]],
          strips: Mapping[tuple[str, str], Map]) -> None:
    """Write ``out``: results.json, meta.json, results.csv, per_frame.csv, PNGs, report.html.

    ``samples`` are the frames to show of each sequence; ``strips`` hold, by (sequence, row), one
    image column of inverse depth [1/m] over time, (T, H) float32.  Each file is whole or not
    there, and the same input gives the same bytes.  The numbers are written before any picture
    is drawn.  Raises AsyncMDEError where a file cannot be written or matplotlib is missing.
    """
    _write(out / RESULTS, records_json(records))
    _write(out / META, json.dumps(strict(meta), indent=2, allow_nan=False) + '\n')
    _write(out / CSV, _results_csv(records))
    _write(out / PER_FRAME, _per_frame_csv(records))
    pictures = {
        'lag': _by_schedule(records, 'lag', plots.lag_curves),
        'frames': _by_schedule(records, 'frames', plots.frame_errors),
        'strips': _strips(strips),
        'samples': [_Picture(_file_name('samples', sequence), sequence,
                             plots.contact_sheet(shown))
                    for sequence, shown in samples.items() if shown],
    }
    names: set[str] = set()
    for picture in itertools.chain.from_iterable(pictures.values()):
        name = _unused(picture.name, names)
        names.add(name)
        _write(out / name, picture.png)
    _write(out / PAGE, page(records, meta, pictures))


def strict(value: Any) -> Any:
    """Return ``value`` as JSON has it: NaN and infinity are None, numpy's types Python's own."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return strict(value.tolist())
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _write(path: Path, content: str | bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.encode(errors='backslashreplace')
                          if isinstance(content, str) else content)
    except OSError as error:
        raise AsyncMDEError(f'{path} cannot be written: {error.strerror}') from error


def records_json(records: Sequence[Record]) -> str:
    """Return a JSON list with a line for each key: long lists of frames stay on theirs."""
    bodies = (',\n  '.join(f'{json.dumps(key)}: {json.dumps(value, allow_nan=False)}'
                           for key, value in strict(record.to_json()).items())
              for record in records)
    return '[\n' + ',\n'.join(f' {{\n  {body}\n }}' for body in bodies) + '\n]\n'


def _results_csv(records: Sequence[Record]) -> str:
    """Return a line for each record; what else a record holds in single values comes last."""
    extra = [field.name for field in dataclasses.fields(Record)
             if field.name not in (*IDENTITY, *COLUMN_OF, 'per_lag', 'per_frame')]
    return _csv([*IDENTITY, *COLUMN_OF, *extra], (strict(record.to_json()) for record in records))


def _per_frame_csv(records: Sequence[Record]) -> str:
    """Return a line for each frame of each record."""
    lines = ({key: getattr(record, key) for key in IDENTITY}
             | {'frame': frame, 'lag': lag, 'absrel': strict(error)}
             for record in records for frame, (error, lag) in enumerate(
                 zip(record.per_frame.absrel, record.per_frame.lag, strict=True)))
    return _csv([*IDENTITY, 'frame', 'lag', 'absrel'], lines)


def _csv(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _file_name(*parts: str) -> str:
    """Return a name that every file system takes, such as ``lag_frame_fixed-10.png``."""
    return '_'.join(re.sub(r'[^\w.]+', '-', part, flags=re.ASCII) for part in parts) + '.png'


def _unused(name: str, taken: Container[str]) -> str:
    """Return ``name``, numbered where two sequences differ only in what a file name cannot say."""
    stem = name.removesuffix('.png')
    candidates = itertools.chain([name], (f'{stem}_{index}.png' for index in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)


def _by_schedule(records: Sequence[Record], kind: str,
                 draw: Callable[[Sequence[Record], str, str], bytes | None]) -> list[_Picture]:
    found = []
    for alignment in distinct(records, 'alignment'):
        for schedule in distinct(records, 'schedule'):
            png = draw(records, schedule, alignment)
            if png is not None:
                found.append(_Picture(_file_name(kind, alignment, schedule),
                                      f'{schedule}, aligned per {alignment}', png))
    return found


def _strips(strips: Mapping[tuple[str, str], Map]) -> list[_Picture]:
    by_sequence: dict[str, dict[str, Map]] = {}
    for (sequence, row), strip in strips.items():
        by_sequence.setdefault(sequence, {})[row] = strip
    return [_Picture(_file_name('strip', sequence), sequence, plots.depth_strips(rows))
            for sequence, rows in by_sequence.items()]


def page(records: Sequence[Record], meta: Mapping[str, Any],
         pictures: Mapping[str, Sequence[_Picture]]) -> str:
    """Return report.html; ``pictures`` by section: lag, frames, strips, samples."""
    sections = [
        ('Results', _results(records)),
        ("AbsRel over the teacher's", _ratios(records)),
        ('Error against lag', _figures(
            pictures['lag'], 'How depth decays between refreshes: lag is the number of frames '
            'since the one that the memory shows. Rows that see every frame are level lines.')),
        ('Error frame by frame', _figures(
            pictures['frames'], 'Ticks along the bottom mark the frames at which a refreshed '
            'memory came into use.')),
        ('Depth over time', _figures(
            pictures['strips'], 'One image column, time running to the right. Steady depth is '
            'smooth from left to right; flicker is vertical bars, a late memory is a staircase. '
            'Near is red, far is blue, unknown is black.')),
        ('Contact sheets', _figures(
            pictures['samples'], 'The depths of one frame share one range of colours. Trust is '
            "the foundation model's remaining share of each pixel: 1 is all of it, 0 is the fast "
            'network alone.')),
        ('Glossary', _glossary(records)),
    ]
    ids = [re.sub('[^a-z]+', '-', title.lower()) for title, _ in sections]
    links = ''.join(f'<a href="#{name}">{escape(title)}</a>'
                    for name, (title, _) in zip(ids, sections, strict=True))
    body = '\n'.join(f'<section id="{name}">\n<h2>{escape(title)}</h2>\n{content}\n</section>'
                     for name, (title, content) in zip(ids, sections, strict=True))
    return _PAGE.format(style=_STYLE, measured=_measured(records, meta), links=links, body=body)


def _measured(records: Sequence[Record], meta: Mapping[str, Any]) -> str:
    """Return what was measured, on what, and how to do it again."""
    def listing(key: str) -> str:
        return ', '.join(escape(str(value)) for value in distinct(records, key)) or 'none'

    flat = _flatten(strict(meta))
    top = [key for key in _IN_HEADING if key in meta and not isinstance(meta[key], Mapping)]
    shown = {key: flat.pop(key) for key in top if key in flat}
    lines = [('sequences', listing('sequence')), ('rows', listing('row')),
             ('schedules', listing('schedule')),
             *((escape(key), f'<code>{escape(value)}</code>') for key, value in shown.items())]
    rest = _definitions((escape(key), escape(value)) for key, value in flat.items())
    return _definitions(lines) + (
        f'<details><summary>Versions, sizes and settings</summary>{rest}</details>'
        if flat else '')


def _flatten(meta: Mapping[str, Any], prefix: str = '') -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in meta.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f'{prefix}{key}.')
        elif isinstance(value, list):
            flat[prefix + key] = ', '.join(str(item) for item in value)
        else:
            flat[prefix + key] = 'unknown' if value is None else str(value)
    return flat


def _definitions(lines: Iterable[tuple[str, str]]) -> str:
    """Return a list of terms; both halves are HTML already."""
    return ('<dl>' + ''.join(f'<dt>{term}</dt><dd>{what}</dd>' for term, what in lines)
            + '</dl>')


def _results(records: Sequence[Record]) -> str:
    if not records:
        return '<p>No results.</p>'
    parts = ['<p>Bold is the best of a sequence and schedule. The two alignments answer '
             'different questions and are not to be compared with each other.</p>']
    for alignment, part in by_alignment(records).items():
        columns = filled_columns(part, COLUMN_OF)
        best = {column.key: best_texts(part, column) for column in columns}
        heading = ''.join(
            f'<th title="{escape(column.meaning)}">'
            f'{escape(column.heading)}{_ARROWS[column.better]}</th>' for column in columns)
        bodies = []
        for sequence in distinct(part, 'sequence'):
            lines = []
            schedule = None
            for record in part:
                if record.sequence != sequence:
                    continue
                cells = []
                for column in columns:
                    text = format_number(number(record, column.key), column.decimals)
                    cells.append(_cell(text, best[column.key].get(group_of(record)) == text))
                new = record.schedule != schedule
                schedule = record.schedule
                lines.append(_line(record.row, schedule, cells, new))
            bodies.append(f'<tbody><tr class="group"><th colspan="{len(columns) + 2}">'
                          f'<span>{escape(sequence)}</span></th></tr>{"".join(lines)}</tbody>')
        parts.append(_alignment_heading(alignment) + _table(heading, bodies))
    return '\n'.join(parts)


def _ratios(records: Sequence[Record]) -> str:
    parts = []
    for alignment, part in by_alignment(records).items():
        found = ratios(part)
        if not found:
            continue
        heading = ''.join(f'<th>{escape(name)}</th>' for name in (*found[0].by_sequence, 'mean'))
        lines = []
        schedule = None
        for ratio in found:
            cells = [_cell(format_number(value, RATIO_DECIMALS), False)
                     for value in ratio.by_sequence.values()]
            cells.append(_cell(format_number(ratio.mean, RATIO_DECIMALS), True))
            lines.append(_line(ratio.row, ratio.schedule, cells, ratio.schedule != schedule))
            schedule = ratio.schedule
        parts.append(_alignment_heading(alignment)
                     + _table(heading, [f'<tbody>{"".join(lines)}</tbody>']))
    if not parts:
        return '<p>No sequence has both a teacher with an error and another row.</p>'
    return ('<p>1 is as good as the foundation model on every frame. The last column is the mean '
            'of the ratios, where the row has all of them.</p>\n' + '\n'.join(parts))


def _alignment_heading(alignment: str) -> str:
    return (f'<h3>Aligned per {escape(alignment)}'
            f'<small>{escape(ALIGNMENTS.get(alignment, ""))}</small></h3>\n')


def _table(heading: str, bodies: Iterable[str]) -> str:
    return ('<div class="wide"><table><thead><tr><th>row</th><th>schedule</th>'
            f'{heading}</tr></thead>\n' + '\n'.join(bodies) + '</table></div>')


def _line(row: str, schedule: str, cells: Iterable[str], first_of_schedule: bool) -> str:
    kind = ' class="first"' if first_of_schedule else ''
    return (f'<tr{kind}><th>{escape(row)}</th><td class="name">{escape(schedule)}</td>'
            f'{"".join(cells)}</tr>')


def _cell(text: str, strong: bool) -> str:
    return f'<td><b>{text}</b></td>' if strong else f'<td>{text}</td>'


def _figures(pictures: Sequence[_Picture], what: str) -> str:
    if not pictures:
        return '<p>Not measured in this run.</p>'
    return f'<p>{what}</p>\n' + '\n'.join(
        f'<figure><figcaption>{escape(picture.caption)}</figcaption><div class="wide">'
        f'<img alt="{escape(picture.caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(picture.png).decode()}"></div></figure>' for picture in pictures)


def _glossary(records: Sequence[Record]) -> str:
    measured = ((f'{escape(column.heading)}{_ARROWS[column.better]} <code>{column.key}</code>',
                 escape(column.meaning)) for column in COLUMNS)
    rows = ((escape(row), escape(ROWS.get(row, 'Another model, on every frame.')))
            for row in (distinct(records, 'row') or ROWS))
    schedules = (
        ('every', 'Every frame is seen at once; there is no lag.'),
        ('fixed:N', 'The memory is refreshed every N frames, without delay: lag 0 to N - 1. '
                    'Where there are glances, every frame is glanced at.'),
        ('async:F', 'The camera runs at F Hz and every stage takes its time: each frame sees the '
                    'newest refresh, and the newest glance, that would have been complete.'))
    alignments = ((f'per {name}', f'{what.capitalize()}, by least squares in inverse depth.')
                  for name, what in ALIGNMENTS.items())
    return '\n'.join(f'<h3>{title}</h3>{_definitions(lines)}' for title, lines in (
        ('Columns', measured), ('Rows', rows), ('Schedules', schedules),
        ('Alignments', alignments)))


_STYLE = '''
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #5b6570; --page: #fbfbfa;
  --card: #ffffff; --line: #e1e4e8; --mark: #0b62a5; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8ea; --quiet: #9aa4ae;
  --page: #14171a; --card: #1d2125; --line: #343a40; --mark: #7cc0f5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--page);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 .5rem; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.25rem; }
h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
h3 small { margin-left: .6em; color: var(--quiet); font-weight: normal; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 1rem 0; }
a { color: var(--mark); text-decoration: none; }
a:hover { text-decoration: underline; }
p { max-width: 46rem; margin: .3rem 0 .8rem; color: var(--quiet); }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .3rem 1rem;
  margin: 0; }
dt { color: var(--quiet); }
dd { margin: 0; }
code { font-family: ui-monospace, monospace; font-size: .88em; }
summary { margin: .6rem 0; color: var(--quiet); cursor: pointer; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .86rem;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .28rem .55rem; text-align: right; white-space: nowrap; font-weight: normal; }
thead th { color: var(--quiet); border-bottom: 1px solid var(--line); }
th:first-child { position: sticky; left: 0; text-align: left; background: var(--card); }
thead th:nth-child(2), .name { text-align: left; color: var(--quiet); }
.group th { padding-top: .9rem; font-weight: 600; }
.group span { position: sticky; left: .55rem; }
.first > * { border-top: 1px solid var(--line); }
td b { color: var(--mark); }
figure { margin: 0 0 1.2rem; }
figcaption { margin-bottom: .3rem; font-size: .9rem; font-weight: 600; }
figure .wide { background: #ffffff; }
img { display: block; width: 100%; min-width: 40rem; height: auto; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .6rem; } }
'''

_PAGE = '''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Depth evaluation</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>Depth evaluation</h1>
<p>How good the depth is, how it decays between refreshes, and how steady it is over time.</p>
{measured}
</header>
<nav>{links}</nav>
<main>
{body}
</main>
</body>
</html>
'''
