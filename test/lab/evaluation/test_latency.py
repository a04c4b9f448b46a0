"""What each stage takes: stated by a file, or measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation.latency import Moved, Sizes, SpatialMemory, Stated, read
from asyncmde_ros.lab.evaluation.schedule import parse
from asyncmde_ros.resources import share_directory

SIZES = Sizes((252, 336), ((252, 336), (336, 448)), (168, 224))
SHIPPED = sorted((share_directory() / 'config' / 'latencies').glob('*.json'))
GOOD: dict[str, Any] = {
    'from': 'a sundial', 'cores': 2, 'refresh_ms': {'252': 100, '336': 200},
    'glance_ms': {'168': 50}, 'fast_ms': 10, 'alone_ms': {'252': 60},
    'spatial_memory': {'slow_ms': {'252': 110}, 'fast_ms': {'252': 20}}}


def written(folder: Path, content: Any) -> Path:
    path = folder / 'ms.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(place: str, value: Any) -> dict[str, Any]:
    """Return the good file but for one value; without it where the value is ``...``."""
    content = json.loads(json.dumps(GOOD))
    *path, last = place.split('.')
    inside = content
    for name in path:
        inside = inside[name]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return content


def test_a_file_states_every_stage(tmp_path: Path) -> None:
    stated = Stated(read(written(tmp_path, GOOD)), SIZES)
    assert stated.moved == Moved({(252, 336): 100, (336, 448): 200}, 50, 10, 2)
    assert stated.spatial_memory == SpatialMemory(110, 20)
    assert stated.alone_ms == 60
    assert stated.known() == {
        'refresh_ms': {'252x336': 100, '336x448': 200}, 'glance_ms': 50, 'fast_ms': 10,
        'cores': 2, 'spatial_memory': {'slow_ms': 110, 'fast_ms': 20}, 'alone_ms': 60}


def test_a_longer_image_takes_longer_in_proportion(tmp_path: Path) -> None:
    wide = Sizes((252, 504), ((252, 504), (336, 672)), (168, 336))
    stated = Stated(read(written(tmp_path, GOOD)), wide)
    assert stated.moved.refresh_ms == {(252, 504): 150, (336, 672): 300}
    assert (stated.moved.glance_ms, stated.alone_ms) == (75, 90)


def test_what_the_fast_path_takes_is_taken_from_the_background() -> None:
    alone = Moved({(252, 336): 100, (336, 448): 200}, 50, 10, cores=2)
    # 10 ms of every 40 on one of the cores, which the others wait for.
    shared = alone.background(25)
    assert shared.refresh_ms == pytest.approx({(252, 336): 100 / 0.75, (336, 448): 200 / 0.75})
    assert shared.glance_ms == pytest.approx(50 / 0.75) and shared.in_turn
    stated = alone.background(25, 120)
    assert (stated.refresh_ms, stated.glance_ms) == ({(252, 336): 120, (336, 448): 240}, 60)
    free = Moved(alone.refresh_ms, 50, 10).background(25)
    assert (free.refresh_ms, free.glance_ms) == (alone.refresh_ms, 50)
    with pytest.raises(AsyncMDEError, match='lower rate'):
        Moved(alone.refresh_ms, 50, 10, cores=1).background(100)


@pytest.mark.parametrize(('content', 'words'), [
    ('{', 'no JSON'), ('[' * 100_000, 'no JSON'), ([], 'an object with'),
    (changed('fast_ms', ...), 'fast_ms is missing'), (changed('colour', 1), 'colour is unknown'),
    (changed('from', 3), 'from must be'), (changed('cores', 0), 'cores must be'),
    (changed('cores', True), 'cores must be'), (changed('cores', 1.5), 'cores must be'),
    (changed('fast_ms', 0), 'fast_ms must be'), (changed('fast_ms', '8'), 'fast_ms must be'),
    (changed('fast_ms', True), 'fast_ms must be'),
    (json.dumps(GOOD).replace('60', 'NaN'), 'alone_ms.252 must be'),
    (json.dumps(GOOD).replace('60', '1e999'), 'alone_ms.252 must be'),
    (changed('refresh_ms', 146), 'refresh_ms must be'),
    (changed('refresh_ms.large', 146), 'refresh_ms must be'),
    (changed('refresh_ms.252', -1), 'refresh_ms.252 must be'),
    (changed('spatial_memory', 3), 'spatial_memory must be'),
    (changed('spatial_memory.fast_ms', ...), 'spatial_memory.fast_ms is missing'),
    (changed('spatial_memory.slow_ms', {'x': 1}), 'spatial_memory.slow_ms must be')])
def test_a_file_that_is_wrong_is_one_clear_line(content: Any, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(AsyncMDEError) as caught:
        read(path)
    assert words in str(caught.value) and str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(AsyncMDEError, match='No such file'):
        read(tmp_path / 'none.json')
    with pytest.raises(AsyncMDEError, match='directory'):
        read(tmp_path)
    (tmp_path / 'raw.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(AsyncMDEError, match='no JSON'):
        read(tmp_path / 'raw.json')


@pytest.mark.parametrize(('place', 'value', 'words'), [
    ('refresh_ms.336', ..., 'refresh_ms says nothing of a short side of 336; it has 252'),
    ('glance_ms', {}, 'glance_ms says nothing of a short side of 168; it has none'),
    ('alone_ms', {'28': 1}, 'alone_ms says nothing of a short side of 252'),
    ('spatial_memory.fast_ms', {}, 'spatial_memory.fast_ms says nothing'),
    ('fast_ms', 70, 'at 30 Hz')])
def test_what_a_file_lacks_is_known_at_once(place: str, value: Any, words: str, tmp_path: Path
                                            ) -> None:
    with pytest.raises(AsyncMDEError, match=words):
        Stated(read(written(tmp_path, changed(place, value))), SIZES,
               [parse('fixed:4'), parse('async:30')])


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize('glance', [168, 196])
def test_the_shipped_files_state_all_of_the_default(path: Path, glance: int) -> None:
    statement = read(path)
    stated = Stated(statement, SIZES._replace(glance=(glance, glance * 4 // 3)),
                    [parse('async:30'), parse('async:60')])
    small, large = stated.moved.refresh_ms.values()
    assert stated.moved.glance_ms < small < large
    assert stated.alone_ms < large, 'alone it is the small one, without int8'
    text = json.loads(path.read_text())['from']
    assert 'core' in text and 'median' in text.lower(), 'what was measured, on what'


def test_two_files_are_shipped() -> None:
    assert [path.name for path in SHIPPED] == ['two_cores.json', 'two_cores_amx.json']
