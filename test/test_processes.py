"""Processes that import nothing of the working directory, and end with whoever started them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncmde_ros import processes

TIMEOUT_S = 60.0
FORCE_AFTER_S = 0.5

REPORT = """
import json, sys
import asyncmde_ros, queue, numpy, own
print(json.dumps([sys.argv[1:], __name__, asyncmde_ros.__file__, queue.__file__, numpy.__file__]))
"""
CHILD = """
import os, signal, sys, time
from asyncmde_ros import processes
if sys.argv[1] == 'deaf':
    signal.signal(signal.SIGINT, signal.SIG_IGN)
processes.FORCE_AFTER_S = float(sys.argv[2])
try:
    os.write(1, b'%d\\n' % os.getpid())  # whole, as print's may not be
    time.sleep(600)
except KeyboardInterrupt:
    os.write(1, b'asked to end\\n')
"""
PARENT = """
import sys, time
from asyncmde_ros import processes
processes.start('child', *sys.argv[1:])
processes.start('child', 'hears', '60')  # has nothing of the first one's pipe
time.sleep(600)
"""


def environment(*folders: Path) -> dict[str, str]:
    root = Path(processes.__file__).parent.parent
    return os.environ | {'PYTHONPATH': os.pathsep.join(map(str, (*folders, root)))}


@pytest.mark.proves('working-directory')
@pytest.mark.parametrize('safe_path', ['', '1'])
def test_what_lies_in_the_working_directory_is_not_imported(tmp_path: Path,
                                                            safe_path: str) -> None:
    modules, here = tmp_path / 'modules', tmp_path / 'here'
    for folder in (modules, here / 'numpy', here / 'asyncmde_ros'):
        folder.mkdir(parents=True)
        (folder / '__init__.py').write_text('raise ImportError("of the working directory")')
    for name in ('queue', 'types', 'signal', 'runpy', 'threading', 'own'):
        (here / f'{name}.py').write_text('raise ImportError("of the working directory")')
    (modules / 'own.py').write_text('')
    (modules / 'report.py').write_text(REPORT)
    done = subprocess.run(processes.command('report', '--word', 'a b'), cwd=here, text=True,
                          env=environment(modules) | {'PYTHONSAFEPATH': safe_path},
                          capture_output=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert '[["--word", "a b"], "__main__", ' in done.stdout
    assert str(here) not in done.stdout


@pytest.mark.proves('working-directory')
def test_the_package_is_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / 'asyncmde_ros').mkdir()
    (tmp_path / 'asyncmde_ros' / '__init__.py').write_text('raise ImportError("another")')
    (tmp_path / 'report.py').write_text('import asyncmde_ros; print(asyncmde_ros.__file__)')
    done = subprocess.run(processes.command('report'), text=True, capture_output=True,
                          env=os.environ | {'PYTHONPATH': str(tmp_path)}, timeout=TIMEOUT_S)
    assert done.stdout.strip() == processes.asyncmde_ros.__file__, done.stderr


def test_no_module_is_run_in_another_way() -> None:
    package = Path(processes.__file__).parent
    users = {path.name for folder in (package, package.parent / 'launch')
             for path in folder.rglob('*.py') if "'-m'" in path.read_text(encoding='utf-8')}
    assert users == {'example.py', 'npm.py'}, 'these run pip, from a new folder'


@contextlib.contextmanager
def family(folder: Path, *words: str) -> Iterator[tuple['subprocess.Popen[str]', list[int]]]:
    """Start a process that starts two; give it and the two's numbers."""
    (folder / 'child.py').write_text(CHILD)
    parent = subprocess.Popen([sys.executable, '-c', PARENT, *words], env=environment(folder),
                              stdout=subprocess.PIPE, text=True)
    children: list[int] = []
    try:
        assert parent.stdout is not None
        children += [int(parent.stdout.readline()) for _ in range(2)]
        yield parent, children
    finally:
        for number in (parent.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        parent.wait()


@pytest.mark.proves('parent-killed')
def test_what_was_started_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    with family(tmp_path, 'hears', '60') as (parent, _):
        parent.kill()
        assert parent.stdout is not None
        # The end of the file comes once all who could write to it have ended.
        assert parent.stdout.read() == 2 * 'asked to end\n'


@pytest.mark.proves('parent-killed')
def test_one_that_does_not_listen_is_ended_by_force(tmp_path: Path) -> None:
    with family(tmp_path, 'deaf', str(FORCE_AFTER_S)) as (parent, _):
        killed = time.monotonic()
        parent.kill()
        assert parent.stdout is not None
        assert parent.stdout.read() == 'asked to end\n'
        assert time.monotonic() - killed >= FORCE_AFTER_S


def test_letting_go_ends_it_and_its_status_is_known(tmp_path: Path) -> None:
    (tmp_path / 'child.py').write_text(CHILD)
    child = processes.start('child', 'hears', '60', stdout=subprocess.PIPE,
                            env=environment(tmp_path))
    with child:
        assert child.stdin is not None and child.stdout is not None
        assert int(child.stdout.readline()) == child.pid
        child.stdin.close()
        assert child.stdout.read() == b'asked to end\n'
    assert child.returncode == 0


@pytest.mark.proves('ctrl-c-importing')
def test_a_process_that_is_interrupted_before_it_listens_ends_without_a_word(
        tmp_path: Path) -> None:
    (tmp_path / 'slow.py').write_text('import os, time; os.write(1, b"x"); time.sleep(600)')
    process = subprocess.Popen(processes.command('slow'), env=environment(tmp_path),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.read(1) == b'x'
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, said) == (0, b'')
