"""Programs started with closed streams, or with an encoding that lacks what is printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 60
REPORT = '''
import os, sys
from asyncmde_ros.streams import secure_streams
secure_streams()
first = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
assert first > 2, 'a file of ours has the descriptor of a standard stream'
for stream in (sys.stdout, sys.stderr):
    print('a word', file=stream, flush=True)
    assert not stream.isatty()
assert sys.stdin.read() == ''
os.system('echo a word of a child; echo another >&2')
os.write(first, b'ended well')
'''


def run_with_closed(closed: str, *command: str) -> 'subprocess.CompletedProcess[str]':
    """Run a program with descriptors closed, as init scripts and daemons do."""
    return subprocess.run(['sh', '-c', f'exec "$@" {closed}', 'sh', *command],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=TIMEOUT_S)


@pytest.mark.proves('closed-streams')
@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&-', '>&- 2>&-', '<&- >&- 2>&-', ''])
def test_a_closed_stream_is_the_null_device(closed: str, tmp_path: Path) -> None:
    file = tmp_path / 'file'
    done = run_with_closed(closed, sys.executable, '-c', REPORT, str(file))
    assert done.returncode == 0, done.stderr
    assert file.read_text() == 'ended well'


@pytest.mark.proves('closed-streams')
@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&-', '<&- >&- 2>&-'])
def test_a_command_ends_well_with_closed_streams(closed: str, tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'asyncmde_ros.cli', 'weights']
    done = run_with_closed(closed, *command, 'list')
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr
    wrong = run_with_closed(closed, *command, 'no such thing')
    assert wrong.returncode == 2 and 'Traceback' not in wrong.stderr, wrong.stderr


@pytest.mark.proves('odd-path')
@pytest.mark.parametrize('name', [b'caf\xc3\xa9', b'caf\xe9', '深度'.encode()])
@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'utf-8'])
def test_a_path_that_the_encoding_lacks_is_printed_as_an_escape(name: bytes, encoding: str,
                                                                tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b'/' + name
    done = subprocess.run(
        [sys.executable, '-m', 'asyncmde_ros.cli', 'weights', 'list'], capture_output=True,
        timeout=TIMEOUT_S, env=os.environb | {
            b'PYTHONIOENCODING': encoding.encode(), b'ASYNCMDE_MODELS': folder})
    assert done.returncode == 0 and b'Traceback' not in done.stderr, done.stderr
    printed = subprocess.run(
        [sys.executable, '-c', 'import sys; from asyncmde_ros.streams import secure_streams; '
         'secure_streams(); print(sys.argv[1]); print(sys.argv[1], file=sys.stderr)', folder],
        capture_output=True, timeout=TIMEOUT_S,
        env=os.environb | {b'PYTHONIOENCODING': encoding.encode()})
    assert printed.returncode == 0, printed.stderr
    assert os.fsencode(tmp_path) in printed.stdout and printed.stdout == printed.stderr
