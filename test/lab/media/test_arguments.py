"""The words that name a source: parsed, passed on to another process, opened."""

import argparse
from pathlib import Path

import pytest

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.media import arguments
from asyncmde_ros.lab.media.arguments import (
    add_source_arguments,
    open_source,
    refuse_input,
    resolve_default_source,
    source_arguments,
)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_source_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize('words', [
    [], ['--video', 'a.mp4'], ['--camera', '0'], ['--bag', 'drive', '--topic', '/front/image'],
    ['--video=-a.mp4']])
def test_words_say_the_same_again(words: list[str]) -> None:
    args = parse(*words)
    assert parse(*source_arguments(args)) == args


@pytest.mark.parametrize('number', ['-1', '3000000000', 'front', '1.5', ''])
def test_what_is_no_camera_is_no_number(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(f'--camera={number}')
    assert '0 is the first' in capsys.readouterr().err


def test_there_is_one_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse('--video', 'a.mp4', '--camera', '0')
    assert 'not allowed with' in capsys.readouterr().err


def test_without_a_source_it_is_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, 'example_video', lambda: Path('bikes.mp4'))
    args = parse()
    resolve_default_source(args)
    assert args.video == Path('bikes.mp4')
    monkeypatch.setattr(arguments, 'example_video', lambda: pytest.fail('was fetched'))
    for words in (['--video', 'a.mp4'], ['--camera', '0'], ['--bag', 'drive']):
        resolve_default_source(parse(*words))


def test_a_topic_without_a_bag_is_refused() -> None:
    with pytest.raises(MediaError, match='--topic goes with --bag'):
        resolve_default_source(parse('--camera', '0', '--topic', '/image'))


@pytest.mark.parametrize(('words', 'opened'), [
    (['--video', 'a.mp4'], ('open_video', Path('a.mp4'))), (['--camera', '0'], ('open_camera', 0)),
    (['--bag', 'drive'], ('open_bag', Path('drive'), None)),
    (['--bag', 'drive', '--topic', '/b'], ('open_bag', Path('drive'), '/b'))])
def test_each_source_is_opened_by_its_own(monkeypatch: pytest.MonkeyPatch, words: list[str],
                                          opened: tuple[object, ...]) -> None:
    for name in ('open_video', 'open_camera', 'open_bag'):
        monkeypatch.setattr(arguments, name, lambda *given, name=name: (name, *given))
    assert open_source(parse(*words)) == opened


def test_no_source_says_what_to_name() -> None:
    with pytest.raises(MediaError, match='name a source: --video FILE'):
        open_source(parse())


@pytest.mark.proves('output-is-source')
@pytest.mark.parametrize(('source', 'output'), [
    ('--video=walk.mp4', 'walk.mp4'), ('--video=walk.mp4', 'link.mp4'),
    ('--video=walk.mp4', 'drive/../walk.mp4'), ('--bag=drive', 'drive'),
    ('--bag=drive', 'drive/drive.mcap'), ('--bag=drive', 'drive/new.rrd'),
    ('--bag=drive/drive.mcap', 'drive/drive.mcap'),
    ('--bag=drive/drive.mcap', 'drive/metadata.yaml'), ('--bag=drive', 'link.mcap')])
def test_a_source_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      source: str, output: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path('drive').mkdir()
    for name in ('walk.mp4', 'other.mp4', 'drive/drive.mcap', 'drive/metadata.yaml'):
        Path(name).touch()
    Path('link.mp4').symlink_to('walk.mp4')
    Path('link.mcap').hardlink_to('drive/drive.mcap')
    args = parse(source)
    with pytest.raises(MediaError, match=f'{output} is'):
        refuse_input(args, Path(output))
    for harmless in ('new.rrd', 'other.mp4', 'nowhere/new.rrd'):
        refuse_input(args, Path(harmless))
    refuse_input(parse('--camera=0'), Path(output))
