"""The documentation's links lead somewhere, and the tests that it names are there."""

import re
from pathlib import Path

import pytest
from support.fault_links import PAGE, linked
from support.repository import ROOT

PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md')),
         *sorted((ROOT / 'models').glob('*.md'))]
LINK = re.compile(r'\]\(([^)\s]+)\)')


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives the headings of a page."""
    heads = re.findall(r'^#+ (.*)$', page.read_text(encoding='utf-8'), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', head.lower()).replace(' ', '-') for head in heads}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(page.read_text(encoding='utf-8')):
        if '://' in link:
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


def test_every_row_of_the_faults_names_the_tests_that_are_marked() -> None:
    page = PAGE.read_text(encoding='utf-8')
    faults, _, _ = page.partition('## Soak')
    rows = [line for line in faults.splitlines()
            if line.startswith('| ') and not line.startswith('| fault |')]
    assert len(rows) > 40
    form = re.compile(r'\| <a id=.*\[test_\w+\]\(\.\./test/[\w/]+\.py\) \|')
    assert all(form.fullmatch(row) for row in rows)
    assert page == linked(page), 'write the links again: python test/support/fault_links.py'


def test_a_fault_without_a_test_is_found_out_and_a_test_without_a_fault() -> None:
    page = PAGE.read_text(encoding='utf-8')
    with pytest.raises(ValueError, match="no test is marked with proves.'scene-cuts'"):
        linked(page.replace('id="scene-cut"', 'id="scene-cuts"'))
    with pytest.raises(ValueError, match=r"no row for \['scene-cut'\]"):
        linked('\n'.join(line for line in page.split('\n') if 'id="scene-cut"' not in line))


@pytest.mark.parametrize('name', ['architecture', 'glossary'])
def test_every_file_that_the_page_names_is_there(name: str) -> None:
    page = (ROOT / 'docs' / f'{name}.md').read_text(encoding='utf-8')
    files = re.findall(r'`([\w/]+\.(?:py|yaml))`', page)
    rooms = re.findall(r'`(lab/\w+)`', page)
    assert len(files) > 20
    homes = ROOT / 'asyncmde_ros', ROOT
    lost = [file for file in files + rooms if not any((home / file).exists() for home in homes)]
    assert not lost
