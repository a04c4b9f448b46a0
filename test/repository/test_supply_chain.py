"""What docs/SECURITY.md promises of code that runs and of files that are fetched."""

import argparse
import ast
import base64
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement
from support.repository import ROOT, imports

from asyncmde_ros.cli import weights as command
from asyncmde_ros.lab.media import example
from asyncmde_ros.weights import lookup, npm, registry
from asyncmde_ros.weights.registry import FoundationWeights, HuggingFace, Npm, Pinned

CODE = [*(ROOT / 'asyncmde_ros').rglob('*.py'), *(ROOT / 'launch').glob('*.py'),
        ROOT / 'setup.py']
UNPICKLERS = {'pickle', '_pickle', 'dill', 'cloudpickle', 'joblib', 'marshal', 'shelve'}
NETWORK = {'urllib.request', 'http.client', 'socket', 'requests', 'httpx', 'aiohttp', 'ftplib',
           'huggingface_hub', 'urllib3', 'xmlrpc.client', 'smtplib'}
RUNS_TEXT = {'eval', 'exec', '__import__'}
FORBIDDEN = {'os.system', 'os.popen', 'subprocess.getoutput', 'subprocess.getstatusoutput',
             'tempfile.mktemp', 'yaml.load', 'yaml.full_load', 'yaml.unsafe_load',
             'shutil.unpack_archive', 'torch.hub.load', 'ssl._create_unverified_context'}
UNPACKS = {'extractall', 'extract'}
DOWNLOADER = 'asyncmde_ros/weights/huggingface.py'
INSTALLERS = {'asyncmde_ros/weights/npm.py', 'asyncmde_ros/lab/media/example.py'}
"""Where pip and npm are run; both compare what came with a digest of ours."""
PROGRAMS = {'pip', 'npm', 'curl', 'wget'}
SHA256 = re.compile(r'[0-9a-f]{64}')
COMMIT = re.compile(r'[0-9a-f]{40}')
SHA512_BYTES = 64
FREE = {'Apache-2.0', 'MIT', 'BSD-3-Clause'}
CHANGING = {'av', 'torch', 'rosbags', 'rerun-sdk', 'mypy', 'ruff', 'tensorrt-rtx',
            *(f'ros-{release}-{name}' for release in ('jazzy', 'kilted')
              for name in ('rclpy', 'sensor-msgs', 'diagnostic-msgs'))}
"""Packages whose next version broke us before, or may by their own rules."""


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` of a chain of names, ``?`` for what stands before it otherwise."""
    if isinstance(node, ast.Attribute):
        return f'{dotted(node.value)}.{node.attr}'
    return node.id if isinstance(node, ast.Name) else '?'


def objections(source: str) -> list[str]:
    """Return every use of something that can run what it reads, or write where it likes."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ''
            imported = [module, *(f'{module}.{alias.name}' for alias in node.names)]
        else:
            imported = []
        found += [name for name in imported if name.split('.')[0] in UNPICKLERS
                  or name in FORBIDDEN]
        if isinstance(node, ast.Call):
            name, last = dotted(node.func), dotted(node.func).split('.')[-1]
            arguments = {keyword.arg: keyword.value for keyword in node.keywords}

            def given(key: str, arguments: dict[str | None, ast.expr] = arguments) -> Any:
                return ast.literal_eval(arguments[key]) if key in arguments else None
            if (name in RUNS_TEXT or name in FORBIDDEN or last in UNPACKS
                    or 'shell' in arguments or None in arguments and name == 'torch.load'
                    or name == 'torch.load' and given('weights_only') is not True
                    or last == 'load' and 'allow_pickle' in arguments
                    and given('allow_pickle') is not False):
                found.append(f'{name}, line {node.lineno}')
    return found


@pytest.mark.parametrize('path', CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_what_it_reads(path: Path) -> None:
    assert not objections(path.read_text(encoding='utf-8'))


@pytest.mark.parametrize('source', [
    'import pickle', 'from pickle import loads', 'import joblib as j', 'eval("1")', 'exec(text)',
    'import os\nos.system("ls")', 'from os import system', 'subprocess.run(c, shell=True)',
    'torch.load(path)', 'torch.load(path, weights_only=False)', 'torch.load(path, **options)',
    'np.load(path, allow_pickle=True)', 'yaml.load(text)', 'archive.extractall(folder)',
    'tarfile.open(path).extractall()', 'shutil.unpack_archive(path)', 'tempfile.mktemp()'])
def test_the_search_finds_it(source: str) -> None:
    assert objections(source)


def test_one_module_speaks_to_the_network_and_it_compares_digests() -> None:
    speakers = {str(path.relative_to(ROOT)) for path in CODE if imports(path) & NETWORK}
    assert speakers == {DOWNLOADER}


def test_no_node_fetches() -> None:
    """Commands do, with the example video where they take one, and training."""
    users = set()
    for path in (ROOT / 'asyncmde_ros').rglob('*.py'):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        if any(isinstance(node, ast.Call) and dotted(node.func) in (
                'weights.fetch', 'fetch', 'example_video') for node in ast.walk(tree)):
            users.add(path.parent.name)
    assert users == {'cli', 'training', 'media'}


def test_pip_and_npm_are_run_where_the_result_is_compared() -> None:
    users = set()
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.List | ast.Tuple) and any(
                    isinstance(item, ast.Constant) and item.value in PROGRAMS
                    for item in node.elts):
                users.add(str(path.relative_to(ROOT)))
    assert users == INSTALLERS


def is_pinned(file: Pinned) -> bool:
    return bool(SHA256.fullmatch(file.sha256)) and file.size > 0


def test_whatever_can_be_fetched_has_a_digest_a_size_and_a_free_licence() -> None:
    sources = 0
    for entry in registry.weights().values():
        assert entry.licence and entry.size
        if not isinstance(entry, FoundationWeights) or entry.sources:
            assert entry.sha256 is not None and SHA256.fullmatch(entry.sha256), entry.name
            assert entry.licence in FREE, entry.name
        if not isinstance(entry, FoundationWeights):
            continue
        assert entry.checkpoint is None or is_pinned(entry.checkpoint)
        for source in entry.sources:
            sources += 1
            if isinstance(source, HuggingFace):
                assert COMMIT.fullmatch(source.revision), 'a branch may change'
                assert is_pinned(source.file)
            else:
                assert isinstance(source, Npm)
                algorithm, _, text = source.integrity.partition('-')
                assert algorithm == 'sha512' and len(base64.b64decode(text)) == SHA512_BYTES
                assert is_pinned(source.graph) and is_pinned(source.blob) and source.size > 0
    assert sources >= 2
    assert SHA256.fullmatch(example.SHA256)
    for wheel in (example.PACKAGE, npm.NPM_WHEEL):
        assert '==' in wheel.requirement
        assert wheel.sha256 and all(map(SHA256.fullmatch, wheel.sha256))


def test_what_is_shipped_is_what_the_registry_says() -> None:
    for entry in registry.weights().values():
        if not isinstance(entry, FoundationWeights):
            assert lookup.verify(entry, ROOT / 'models' / entry.file) == entry.sha256


def test_list_shows_every_licence(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(['weights', 'list'])
    assert args.run(args) == 0
    shown = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    for entry in registry.weights().values():
        assert shown[entry.name] == entry.licence


@pytest.fixture(scope='module')
def requirements() -> list[Requirement]:
    """Everything that setup.py asks for."""
    said: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, 'setup', lambda **fields: said.update(fields))
        runpy.run_path(str(ROOT / 'setup.py'))
    return [Requirement(text) for text in (
        *said['install_requires'], *(each for extra in said['extras_require'].values()
                                     for each in extra))]


def test_dependencies_are_bounded_below_and_where_needed_above(requirements: list[Requirement]
                                                               ) -> None:
    assert {each.name for each in requirements} >= CHANGING
    for each in requirements:
        operators = {specifier.operator for specifier in each.specifier}
        assert operators & {'>=', '==', '~='}, f'{each} has no oldest version'
        assert each.url is None, f'{each} is no release'
        if each.name in CHANGING:
            assert operators & {'<', '==', '~='}, f'{each} has no newest version'


def test_openvino_does_not_report_its_use() -> None:
    program = ('import sys, asyncmde_ros.engine.openvino; '
               'print(sys.modules["openvino_telemetry"])')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == 'None'
