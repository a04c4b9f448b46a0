"""The files of an evaluation: records as JSON and CSV, pictures, and one page that shows it all.

The page needs nothing else: its pictures are in it, and it forbids a browser to load more.
"""

import base64
import dataclasses
import itertools
import json
import math
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.files import write_atomically
from asyncmde_ros.lab.charts import require_matplotlib
from asyncmde_ros.lab.evaluation import glossary, plots
from asyncmde_ros.lab.evaluation.glossary import COLUMN_OF, Better
from asyncmde_ros.lab.evaluation.plots import Map, SheetFrame
from asyncmde_ros.lab.evaluation.record import Record, distinct
from asyncmde_ros.lab.evaluation.table import (
    IDENTITY,
    RATIO_DECIMALS,
    Table,
    format_number,
    tables,
)
from asyncmde_ros.lab.text import json_by_line

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


def require_libraries() -> None:
    """Raise an AsyncMDEError that says what to install where a library of reports is missing."""
    require_matplotlib()
    try:
        import jinja2  # noqa: F401
        import pandas  # noqa: F401
    except ImportError as error:
        raise AsyncMDEError(f'the tables of an evaluation need {error.name}: pip install '
                            '".[eval]" in its source') from error


def write(out: Path, records: Sequence[Record], meta: Mapping[str, Any],
          samples: Mapping[str, Sequence[SheetFrame]],
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
    labelled = [dataclasses.replace(record, row=record.label) for record in records]
    pictures = {
        'lag': _by_schedule(labelled, 'lag', plots.lag_curves),
        'frames': _by_schedule(labelled, 'frames', plots.frame_errors),
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
    return json_by_line([strict(record.to_json()) for record in records], 2) + '\n'


def _results_csv(records: Sequence[Record]) -> str:
    """Return a line for each record; what else a record holds in single values comes last."""
    extra = [field.name for field in dataclasses.fields(Record)
             if field.name not in (*IDENTITY, *COLUMN_OF, 'per_lag', 'per_frame')]
    return _csv([*IDENTITY, *COLUMN_OF, *extra], (strict(record.to_json()) for record in records))


def _per_frame_csv(records: Sequence[Record]) -> str:
    """Return a line for each frame of each record."""
    lines = ({key: getattr(record, key) for key in IDENTITY}
             | {'frame': frame, 'lag': lag, 'absrel': strict(error), 'scale': record.scale}
             for record in records for frame, (error, lag) in enumerate(
                 zip(record.per_frame.absrel, record.per_frame.lag, strict=True)))
    return _csv([*IDENTITY, 'frame', 'lag', 'absrel', 'scale'], lines)


def _csv(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    import pandas as pd
    # Of objects: lags stay whole numbers beside frames that have none.
    return pd.DataFrame(lines, columns=columns, dtype=object).to_csv(
        index=False, lineterminator='\n')


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
    from jinja2 import Environment, PackageLoader, StrictUndefined
    environment = Environment(loader=PackageLoader(__package__, ''), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    details = _flatten(strict(meta))
    measured = {key: details.pop(key) for key in _IN_HEADING if key in details}
    return environment.get_template(f'{PAGE}.j2').render(
        sequences=distinct(records, 'sequence'), rows=distinct(records, 'row'),
        schedules=distinct(records, 'schedule'), measured=measured, details=details,
        tables=[_page_table(table) for table in tables(records)], pictures=pictures,
        glossary=glossary, arrow=lambda column: _ARROWS[column.better],
        base64=lambda png: base64.b64encode(png).decode(),
        slug=lambda title: re.sub('[^a-z]+', '-', title.lower()))


def _page_table(table: Table) -> dict[str, Any]:
    """Return what the template needs of a table: cells are a text and whether it is strong."""
    columns = table.filled(list(COLUMN_OF))
    cells = zip(*(zip(table.texts(column), table.best(column), strict=True)
                  for column in columns), strict=True)
    sequences: dict[str, list[tuple[Any, ...]]] = {}
    for sequence, row, schedule, line in zip(*(table.scores[name] for name in IDENTITY[:3]),
                                             cells, strict=True):
        sequences.setdefault(sequence, []).append((row, schedule, line))
    ratios = table.ratios()
    ratio_lines = [
        (row, schedule, [(format_number(value, RATIO_DECIMALS), place == len(line) - 1)
                         for place, value in enumerate(line)])
        for (schedule, row), line in zip(ratios.index, ratios.to_numpy(), strict=True)]
    return {'alignment': table.alignment, 'columns': columns, 'sequences': sequences,
            'ratio_heading': list(ratios.columns), 'ratios': ratio_lines}


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
