"""The links of docs/reliability.md, from the tests: ``python test/support/fault_links.py``.

A row of its tables begins with the name of a fault, as ``<a id="scene-cut"></a>``; a test that
injects the fault is marked ``@pytest.mark.proves('scene-cut')``.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / 'docs' / 'reliability.md'

_ROW = re.compile(r'^\| <a id="([\w-]+)"></a>(.*) \|[^|]*\|$')


def faults_of(test: ast.FunctionDef) -> Iterator[str]:
    """Yield the names of the faults that a test is marked with."""
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == 'pytest.mark.proves':
            for name in mark.args:
                assert isinstance(name, ast.Constant), f'{test.name}: a fault has a plain name'
                yield name.value


def proofs() -> dict[str, list[str]]:
    """Return the links to the tests of each fault, in the order of files and lines."""
    links: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob('test_*.py')):
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.FunctionDef):
                for fault in faults_of(node):
                    links[fault].append(
                        f'[{node.name}](../test/{path.relative_to(TESTS).as_posix()})')
    return links


def linked(page: str) -> str:
    """Return the page with the links of the present tests.

    ValueError for a row without a test, or a test of a fault that has no row.
    """
    left = proofs()
    lines = []
    for line in page.split('\n'):
        row = _ROW.match(line)
        if row is not None:
            fault, text = row.groups()
            if fault not in left:
                raise ValueError(f'no test is marked with proves({fault!r})')
            line = f'| <a id="{fault}"></a>{text} | {", ".join(left.pop(fault))} |'
        lines.append(line)
    if left:
        raise ValueError(f'{PAGE.name} has no row for {sorted(left)}')
    return '\n'.join(lines)


if __name__ == '__main__':
    PAGE.write_text(linked(PAGE.read_text(encoding='utf-8')), encoding='utf-8')
