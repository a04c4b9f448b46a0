"""What GitHub, pre-commit and citation tools read says what the package says."""

import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.repository import ROOT

from asyncmde_ros.engine.choice import AUTO_BACKEND, BACKENDS

FORMS = sorted((ROOT / '.github' / 'ISSUE_TEMPLATE').glob('[!c]*.yml'))
TOP = {'asyncmde_ros', 'launch', 'config', 'models', 'test', 'package.xml', 'setup.py',
       'setup.cfg', 'README.md', 'LICENSE', 'pyproject.toml', 'docs', '.ci', '.github',
       '.pre-commit-config.yaml', '.gitignore'}
FIELDS = {'markdown': 'value', 'textarea': 'label', 'dropdown': 'label'}
"""Kinds of fields in a form, and what each must have."""


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding='utf-8'))


def test_the_top_level_has_what_tools_look_for_there() -> None:
    assert all((ROOT / name).exists() for name in TOP)
    assert 'Apache License' in (ROOT / 'LICENSE').read_text(encoding='utf-8')[:200]


@pytest.mark.parametrize('path', FORMS, ids=lambda path: path.name)
def test_the_issue_forms_are_of_the_form_that_github_takes(path: Path) -> None:
    form = load(path)
    assert form['name'] and form['description']
    ids = [field['id'] for field in form['body'] if field['type'] != 'markdown']
    assert len(set(ids)) == len(ids) > 2
    for field in form['body']:
        assert field['attributes'][FIELDS[field['type']]], field
    assert any(field.get('validations', {}).get('required') for field in form['body'])


def test_a_report_of_a_bug_asks_for_what_is_needed_and_names_every_backend() -> None:
    assert [path.name for path in FORMS] == ['bug.yml', 'feature.yml']
    fields = {field.get('id'): field for field in load(FORMS[0])['body']}
    assert {'versions', 'backend', 'parameters', 'diagnostics', 'log'} <= set(fields)
    assert set(BACKENDS) - {AUTO_BACKEND} <= set(fields['backend']['attributes']['options'])


def test_the_commit_hooks_run_what_ci_runs_and_nothing_of_others() -> None:
    (repository,) = load(ROOT / '.pre-commit-config.yaml')['repos']
    assert repository['repo'] == 'local'
    commands = {hook['id']: shlex.split(hook['entry']) for hook in repository['hooks']}
    assert {name: words[:3] for name, words in commands.items()} == {
        'ruff': ['python', '-m', 'ruff'], 'mypy': ['python', '-m', 'mypy'],
        'repository': ['python', '-m', 'pytest']}
    assert all(hook['language'] == 'system' for hook in repository['hooks'])
    assert (ROOT / commands['ruff'][-1]).is_file()
    assert (ROOT / 'test/repository') == ROOT / commands['repository'][4]
    for word in commands['repository']:
        file, separator, name = word.partition('::')
        assert not separator or f'def {name}(' in (ROOT / file).read_text(encoding='utf-8')


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = load(ROOT / 'docs' / 'CITATION.cff')
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert citation['cff-version'] == '1.2.0' and citation['message']
    for key, tag in (('title', 'name'), ('version', 'version'), ('license', 'license')):
        assert citation[key] == manifest.findtext(tag), key
    maintainer = manifest.findtext('maintainer')
    assert citation['authors'] == [{'name': maintainer}]
    (paper,) = citation['references']
    assert re.match('AsyncMDE: ', paper['title']) and len(paper['authors']) == 6
