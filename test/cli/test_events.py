"""``asyncmde events``: what it refuses, before it fetches or loads anything."""

from pathlib import Path

import pytest
from support import events as encode

from asyncmde_ros.cli.main import main


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(['events', *words]) == 1
    return capsys.readouterr().err


def test_what_belongs_to_a_file_is_refused_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    for option in (('--topic', '/events'), ('--sensor', '640x480')):
        assert '--topic and --sensor go with --file' in said(capsys, 'demo', *option)


def test_a_recording_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path
                                              ) -> None:
    (tmp_path / 'a.txt').write_text('1 2 3')
    error = said(capsys, 'demo', '--file', str(tmp_path / 'a.txt'))
    assert 'is no recording of events: expected' in error
    path = encode.raw_file(tmp_path / 'a.raw', b'', 'evt 3.0')
    assert '--sensor 1280x720' in said(capsys, 'demo', '--file', str(path))


@pytest.mark.parametrize('text', ['640', '640x', 'x480', '0x480', '640x-1', '640x480x3'])
def test_a_sensor_that_is_no_size_is_refused(capsys: pytest.CaptureFixture[str], text: str
                                             ) -> None:
    with pytest.raises(SystemExit):
        main(['events', 'demo', '--file', 'a.raw', '--sensor', text])
    assert 'is no size: write columns x rows' in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for words, taught in (((), 'events are added up'), (('demo',), 'asyncmde events demo --file'),
                          (('eval',), 'asyncmde events eval kitchen/')):
        with pytest.raises(SystemExit):
            main(['events', *words, '--help'])
        assert taught in capsys.readouterr().out
