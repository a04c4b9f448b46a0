"""The README's figures are those of the committed results, and its commands are there."""

import json
import re

import pytest
from support.repository import ROOT

from asyncmde_ros.lab.bench.summary import markdown

MOST_LINES = 150


def block(name: str, page: str = 'README.md') -> str:
    text = (ROOT / page).read_text(encoding='utf-8')
    match = re.search(rf'<!-- {name} -->\n(.*?)<!-- end -->', text, re.DOTALL)
    assert match is not None, f'{page} has no block {name!r}'
    return match[1]


def test_the_readme_is_read_at_one_sitting() -> None:
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) <= MOST_LINES


@pytest.mark.parametrize('name', ['demo command', 'test command'])
def test_each_set_up_is_one_command(name: str) -> None:
    lines = [line for line in block(name).splitlines() if line and not line.startswith('```')]
    assert len(lines) == 1 and lines[0].startswith('python3 -m venv')


def test_the_performance_tables_are_the_committed_benchmark() -> None:
    bench = json.loads((ROOT / 'docs/results/bench.json').read_text(encoding='utf-8'))
    generated = markdown(bench).splitlines()
    rows = [line for line in block('bench').splitlines() if line]
    assert any('stamp to publish' in row for row in rows)
    for row in rows:
        assert row in generated
    assert markdown(bench) in (ROOT / 'docs/performance.md').read_text(encoding='utf-8')


@pytest.mark.parametrize(('page', 'least'), [('README.md', 3), ('docs/evaluation.md', 17)])
def test_the_accuracy_tables_are_the_committed_evaluation(page: str, least: int) -> None:
    records = json.loads((ROOT / 'docs/results/accuracy/results.json').read_text())
    absrel = {(r['sequence'], r['schedule'], r['row']): r['absrel'] for r in records
              if r['alignment'] == 'frame'}
    head, _, *rows = (line.strip('| ').split('|') for line in block('eval', page).splitlines()
                      if line.startswith('|'))
    sequences = [name.strip() for name in head[2:5]]
    assert len(rows) >= least
    for row in rows:
        schedule, name, *cells = (cell.strip(' `') for cell in row)
        ratios = [absrel[sequence, schedule, name] / absrel[sequence, 'every', 'teacher']
                  for sequence in sequences]
        assert [float(cell) for cell in cells] == pytest.approx(
            [*ratios, sum(ratios) / len(ratios)], abs=0.0006)
