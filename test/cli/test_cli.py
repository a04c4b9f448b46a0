"""The command ``asyncmde`` as a whole: what goes wrong is one line and a status."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.repository import ROOT

from asyncmde_ros.cli.main import EXIT_BROKEN_PIPE, build_parser, main

TIMEOUT_S = 60


@pytest.mark.proves('reader-gone')
def test_whoever_reads_no_more_is_left_in_peace() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([sys.executable, '-m', 'asyncmde_ros.cli', 'weights', 'list'],
                              stdout=writing, stderr=subprocess.PIPE, text=True,
                              timeout=TIMEOUT_S)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (EXIT_BROKEN_PIPE, '')


@pytest.mark.proves('reader-gone')
def test_without_a_home_only_what_needs_one_fails(monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    def homeless() -> Path:
        raise RuntimeError('Could not determine home directory.')
    monkeypatch.setattr(Path, 'home', homeless)
    for name in ('XDG_CACHE_HOME', 'ASYNCMDE_MODELS'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(['train', '--help'])
    assert ended.value.code == 0
    assert main(['weights', 'list']) == 1
    assert 'Set XDG_CACHE_HOME' in capsys.readouterr().err


@pytest.mark.proves('bad-arguments')
@pytest.mark.parametrize('words', [
    ['bench', '--quick', '--out', 'FILE'], ['demo', '--video', 'FILE', '--out', 'FILE'],
    ['eval', 'FILE', '--out', 'out'], ['eval', 'FILE', '--frames', '0', '--out', 'out'],
    ['eval', 'FILE', '--short-side', '1000000', '--out', 'out'],
    ['eval', 'FILE', '--schedule', 'async:30,async:30:50', '--out', 'out'],
    ['view', '--video', 'FILE', '--save', 'FILE'], ['view', '--bag', 'FILE', '--save', 'FILE'],
    ['view', '--camera=-1'],
    ['train', '--data', 'x' * 5000, '--out', 'out']])
def test_what_cannot_be_is_a_line_and_no_traceback(
        words: list[str], tmp_path: Path, foundation_path: Path) -> None:
    file = tmp_path / 'file'
    file.write_bytes(b'nothing of use')
    done = subprocess.run(
        [sys.executable, '-m', 'asyncmde_ros.cli',
         *(str(file) if word == 'FILE' else word for word in words)],
        capture_output=True, text=True, timeout=TIMEOUT_S, cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': str(ROOT)})
    assert done.returncode in (1, 2) and 'Traceback' not in done.stderr
    assert done.stderr.strip()
    assert file.read_bytes() == b'nothing of use'


@pytest.mark.proves('no-budget')
@pytest.mark.parametrize('words', [
    'demo --seconds', 'view --seconds', 'bench --out o --seconds', 'bench --out o --rate',
    'soak --report r --minutes', 'train --data d --out o --minutes',
    'train --data d --out o --steps', 'eval s --out o --frames'])
@pytest.mark.parametrize('number', ['-3', 'nan', 'inf', 'two', ''])
def test_a_span_that_is_none_is_refused_at_once(words: str, number: str,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    command, option = words.rsplit(maxsplit=1)
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*command.split(), f'{option}={number}'])
    assert ended.value.code == 2
    assert f'argument {option}' in capsys.readouterr().err


@pytest.mark.proves('no-budget')
@pytest.mark.parametrize('words', ['demo --seconds', 'view --seconds',
                                   'soak --report r --minutes', 'eval s --out o --frames'])
def test_a_span_of_nothing_is_refused_where_it_means_nothing(words: str) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args([*words.split(), '0'])


def test_a_budget_of_nothing_prepares_only() -> None:
    args = build_parser().parse_args(['train', '--data', 'd', '--out', 'o', '--minutes', '0'])
    assert args.minutes == 0


@pytest.mark.proves('odd-name')
@pytest.mark.parametrize('words', [
    'view --video caf.mp4 --save out.rrd', 'demo --video caf.mp4', 'eval caf.mp4 --out out'])
def test_a_name_that_is_no_utf8_can_be_said(words: str, tmp_path: Path,
                                            foundation_path: Path) -> None:
    name = b'caf\xe9.mp4'
    (tmp_path / os.fsdecode(name)).write_bytes(b'no video')
    done = subprocess.run(
        [sys.executable, '-m', 'asyncmde_ros.cli',
         *(name if word == 'caf.mp4' else word.encode() for word in words.split())],
        capture_output=True, text=True, timeout=TIMEOUT_S, cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': str(ROOT)})
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert re.search(r'caf\S+\.mp4 cannot be read', done.stderr)
