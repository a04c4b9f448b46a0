"""The footage of a folder: kinds, licences, and a split that more footage does not change."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.training.config import DataConfig
from asyncmde_ros.lab.training.sources import find, is_validation, licence_table

DATA = DataConfig(rendered_clips=0)
NAMES = st.text(st.characters(codec='ascii', exclude_characters='/\0'), min_size=1, max_size=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ('videos/a.mp4', 'videos/b.MOV', 'photos/c.jpg', 'photos/deep/d.PNG',
                 'photos/notes.txt', 'e.webm'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / 'videos.csv').write_text('file,license,page\na.mp4,CC BY 4.0,x\nb.MOV,MIT,y\n')
    (tmp_path / 'photos.csv').write_text('license,file\nCC BY-NC 4.0,c.jpg\n')
    return tmp_path


def test_videos_and_photos_are_found_anywhere_with_their_licences(folder: Path) -> None:
    found = {source.path.name: (source.kind, source.licence) for source in find(folder, DATA)}
    assert found == {'a.mp4': ('video', 'CC BY 4.0'), 'b.MOV': ('video', 'MIT'),
                     'c.jpg': ('photo', 'CC BY-NC 4.0'), 'd.PNG': ('photo', 'unknown'),
                     'e.webm': ('video', 'unknown')}


@pytest.mark.parametrize(('licences', 'without', 'expected'), [
    (('CC BY',), (), 'ac'), (('CC BY',), ('NC',), 'a'), ((), ('NC',), 'abde'),
    (('MIT', 'unknown'), (), 'bde'), (('CC BY', 'MIT'), ('MIT',), 'ac')])
def test_licences_select(folder: Path, licences: tuple[str, ...], without: tuple[str, ...],
                         expected: str) -> None:
    config = replace(DATA, licences=licences, licences_without=without)
    assert ''.join(sorted(source.path.stem for source in find(folder, config))) == expected


def test_no_table_is_no_obstacle(folder: Path) -> None:
    for name in ('videos.csv', 'photos.csv'):
        (folder / name).unlink()
    sources = find(folder, DATA)
    assert licence_table(sources) == {'unknown': 5}
    with pytest.raises(MediaError, match='no video or photo$'):
        find(folder, replace(DATA, licences=('MIT',)))


def test_licences_are_counted_the_most_frequent_first(folder: Path) -> None:
    assert list(licence_table(find(folder, DATA)).items())[0] == ('unknown', 2)


@pytest.mark.parametrize('content', [
    b'name,license\na.mp4,MIT\n', b'file;license\na.mp4;MIT\n', b'file,license\na.mp4,\xff\n',
    pytest.param(b'file,license\na.mp4,"' + 150_000 * b'x' + b'"\n', id='field too long')])
def test_a_table_that_cannot_be_read_is_named(folder: Path, content: bytes) -> None:
    (folder / 'videos.csv').write_bytes(content)
    with pytest.raises(MediaError, match='videos.csv'):
        find(folder, DATA)


def test_a_row_without_a_licence_is_of_unknown_licence(folder: Path) -> None:
    (folder / 'videos.csv').write_text('file,license\na.mp4\nb.MOV,\n')
    found = {source.path.name: source.licence for source in find(folder, DATA)}
    assert found['a.mp4'] == found['b.MOV'] == 'unknown'


def test_a_table_with_a_byte_order_mark_is_read(folder: Path) -> None:
    (folder / 'videos.csv').write_text('file,license\na.mp4,MIT\n', encoding='utf-8-sig')
    assert {source.path.name: source.licence for source in find(folder, DATA)}['a.mp4'] == 'MIT'


def test_a_folder_named_like_a_video_is_none(folder: Path) -> None:
    (folder / 'old.mp4').mkdir()
    assert 'old.mp4' not in {source.path.name for source in find(folder, DATA)}


def test_nothing_to_train_on_is_an_error_unless_worlds_are_rendered(tmp_path: Path) -> None:
    for directory in (tmp_path / 'absent', Path(__file__)):
        with pytest.raises(MediaError, match='is not a folder'):
            find(directory, DATA)
    with pytest.raises(MediaError, match='holds no video or photo'):
        find(tmp_path, DATA)
    assert find(tmp_path, replace(DATA, rendered_clips=1)) == []


def test_licences_that_nothing_has_are_said_to_be_the_reason(folder: Path) -> None:
    with pytest.raises(MediaError, match='under the licences asked for'):
        find(folder, replace(DATA, licences=('public domain',)))


# The split


@given(name=NAMES, smaller=st.floats(0, 1), larger=st.floats(0, 1))
def test_a_larger_share_only_adds_to_validation(name: str, smaller: float, larger: float) -> None:
    smaller, larger = sorted((smaller, larger))
    assert is_validation(name, larger) or not is_validation(name, smaller)
    assert is_validation(name, 1) and not is_validation(name, 0)


def test_the_split_has_about_the_share_asked_for() -> None:
    sides = [is_validation(f'video_{index}.mp4', 0.2) for index in range(2000)]
    assert sum(sides) / len(sides) == pytest.approx(0.2, abs=0.03)


def test_more_footage_elsewhere_leaves_every_source_on_its_side(folder: Path) -> None:
    config = replace(DATA, validation_share=0.5)
    before = {source.path.name: source.validation for source in find(folder, config)}
    for index in range(20):
        (folder / f'new_{index}.jpg').touch()
    (folder / 'moved').mkdir()
    (folder / 'videos/a.mp4').rename(folder / 'moved/a.mp4')
    after = {source.path.name: source.validation for source in find(folder, config)}
    assert before.items() <= after.items()
    assert len(set(after.values())) == 2
