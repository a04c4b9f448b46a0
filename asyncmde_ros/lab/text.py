"""Tables and JSON for people to read: aligned columns, and a line an item."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Row = Sequence[str]


def table(heading: Row, rows: Sequence[Row], left: int | None = None, rule: bool = False) -> str:
    """Lay out cells in columns two blanks apart; a line ends in no blank.

    The first ``left`` columns, without it all, are flush left, the others flush right.  ``rule``
    draws a line below the heading.
    """
    widths = _widths(heading, rows)
    lines = [heading, *([['-' * width for width in widths]] if rule else []), *rows]
    return '\n'.join('  '.join(
        cell.ljust(width) if left is None or index < left else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines)


def markdown_table(heading: Row, rows: Sequence[Row]) -> str:
    """Return a Markdown table whose source is aligned too; numbers and words to the left."""
    widths = _widths(heading, rows)

    def line(row: Row) -> str:
        return f'| {" | ".join(map(str.ljust, row, widths))} |'
    rule = '|'.join('-' * (width + 2) for width in widths)
    return '\n'.join([line(heading), f'|{rule}|', *map(line, rows)])


def json_by_line(value: Any, levels: int, indent: str = '') -> str:
    """Return JSON in which the items of the outer ``levels`` have a line each.

    What lies deeper stays on its item's line.  Raises ValueError for NaN and infinity, which
    JSON does not have.
    """
    if not levels or not value or not isinstance(value, Mapping | list):
        return json.dumps(value, allow_nan=False)
    inner = f'{indent} '
    if isinstance(value, Mapping):
        items = [f'{json.dumps(key)}: {json_by_line(item, levels - 1, inner)}'
                 for key, item in value.items()]
        begin, end = '{}'
    else:
        items = [json_by_line(item, levels - 1, inner) for item in value]
        begin, end = '[]'
    lines = ',\n'.join(inner + item for item in items)
    return f'{begin}\n{lines}\n{indent}{end}'


def _widths(heading: Row, rows: Sequence[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
