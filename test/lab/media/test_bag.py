"""Bags of both storages, whole or damaged, with and without their metadata."""

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.media.frames import VideoFrame
from asyncmde_ros.lab.media.sources import open_bag

pytest.importorskip('rosbags', reason='left out: needs rosbags')

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from support.bags import (
    IMAGE,
    PERIOD_NS,
    START_NS,
    TRANSPORT_NS,
    TYPES,
    Record,
    compressed,
    header,
    image,
    picture,
    text,
)

from asyncmde_ros.lab.media.bag import GIVE_UP_AFTER

STORAGES = {StoragePlugin.SQLITE3: '.db3', StoragePlugin.MCAP: '.mcap'}
LENGTH = 5
DAMAGE_STEP = 97  # bytes between the places tried; a prime, so that all fields are met

BLANK = {'height': 0, 'width': 0, 'encoding': '', 'step': 0, 'data': np.zeros(0, np.uint8)}
"""What drivers and simulators publish at their start, or after a fault."""


@pytest.fixture(params=STORAGES, ids=lambda plugin: plugin.name.lower())
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a bag of the given records."""
    def write(*records: Record, mode: CompressionMode = CompressionMode.NONE) -> Path:
        path = tmp_path / 'bag'
        writer = Writer(path, version=9, storage_plugin=request.param)
        writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            connections = {(topic, kind): writer.add_connection(topic, kind, typestore=TYPES)
                           for topic, kind in dict.fromkeys(record[:2] for record in records)}
            for topic, kind, received_ns, message in records:
                raw = TYPES.serialize_cdr(message, kind)
                writer.write(connections[topic, kind], received_ns, raw)
        return path
    return write


def storage_file(bag: Path) -> Path:
    return next(file for file in bag.iterdir() if file.suffix in STORAGES.values())


def without_metadata(bag: Path) -> Path:
    (bag / 'metadata.yaml').unlink()
    return bag


def check_frames(path: Path, topic: str | None = None) -> None:
    """Assert that the bag at ``path`` gives the LENGTH pictures."""
    with open_bag(path, topic) as source:
        assert source.length == LENGTH
        assert source.rate_hz == pytest.approx(1e9 / PERIOD_NS)
        frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [START_NS + index * PERIOD_NS
                                                   for index in range(LENGTH)]
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(index))


@pytest.mark.parametrize('make', [image, compressed])
def test_the_only_image_topic_is_found(record: Callable[..., Path],
                                       make: Callable[[int], Record]) -> None:
    bag = record(text(0), *map(make, range(LENGTH)))
    check_frames(bag)
    check_frames(storage_file(bag))
    check_frames(without_metadata(bag))


def test_messages_compressed_one_by_one(record: Callable[..., Path]) -> None:
    bag = record(*map(image, range(LENGTH)), mode=CompressionMode.MESSAGE)
    check_frames(bag)
    check_frames(without_metadata(bag))


def test_reading_leaves_the_folder_as_it_was(record: Callable[..., Path]) -> None:
    bag = record(*map(image, range(LENGTH)))
    before = {file: file.stat().st_mtime_ns for file in bag.iterdir()}
    check_frames(bag)
    check_frames(storage_file(bag))
    assert {file: file.stat().st_mtime_ns for file in bag.iterdir()} == before


def test_a_topic_is_chosen_by_name(record: Callable[..., Path]) -> None:
    bag = record(*map(image, range(LENGTH)), compressed(0), text(0))
    with pytest.raises(MediaError, match=r'name one: /camera .*, /camera/compressed '):
        open_bag(bag, None)
    check_frames(bag, '/camera')
    for other in ('/words', '/nothing'):
        with pytest.raises(MediaError, match=f'no images on {other}; .*/camera/compressed'):
            open_bag(bag, other)


def test_a_bag_without_images_is_named(record: Callable[..., Path]) -> None:
    with pytest.raises(MediaError, match='no images'):
        open_bag(record(text(0)), None)


def test_the_recorders_time_serves_where_headers_have_none(record: Callable[..., Path]) -> None:
    bag = record(*(image(index, stamped=False) for index in range(LENGTH)))
    with open_bag(bag, None) as source:
        assert source.rate_hz == pytest.approx(1e9 / PERIOD_NS)
        assert next(iter(source)).stamp_ns == START_NS + TRANSPORT_NS


def test_a_single_frame_has_no_rate(record: Callable[..., Path]) -> None:
    with open_bag(record(image(0)), None) as source:
        assert (source.rate_hz, source.length) == (None, 1)


@pytest.mark.proves('source-damaged')
def test_damaged_images_are_dropped_and_counted(record: Callable[..., Path],
                                                caplog: pytest.LogCaptureFixture) -> None:
    bag = record(image(0), image(1, step=1), image(2, data=np.zeros(9, np.uint8)),
                 image(3, step=2), image(4))
    with open_bag(bag, None) as source:
        stamps = [frame.stamp_ns for frame in source]
        assert source.dropped == {'step': 2, 'data': 1}
    assert stamps == [START_NS, START_NS + 4 * PERIOD_NS]
    said = [entry.getMessage() for entry in caplog.records]
    assert len(said) == 3, 'one warning a reason, and the sum'
    assert said[-1].endswith('3 of 5 images could not be decoded and were left out')


def numbers(frames: list[VideoFrame]) -> list[int]:
    return [(frame.stamp_ns - START_NS) // PERIOD_NS for frame in frames]


@pytest.mark.proves('bag-messages')
@pytest.mark.parametrize(('blank', 'length'), [
    ({6}, 24), (set(range(50)), 60), ({0, 1, 22, 23}, 24), (set(range(0, 24, 2)), 24)],
    ids=['one', 'many at the start', 'at both ends', 'every second'])
@pytest.mark.parametrize('stamped', [True, False])
def test_blank_images_are_dropped_and_counted(record: Callable[..., Path], blank: set[int],
                                              length: int, stamped: bool) -> None:
    bag = record(*(image(index, stamped=stamped, **BLANK) if index in blank else
                   image(index) for index in range(length)))
    with open_bag(bag, None) as source:
        missing = 2 if blank == set(range(0, 24, 2)) else 1
        assert source.rate_hz == pytest.approx(1e9 / PERIOD_NS / missing)
        assert numbers(list(source)) == [i for i in range(length) if i not in blank]
        assert source.dropped == {'encoding': len(blank)}


@pytest.mark.proves('bag-messages')
def test_an_image_of_another_size_or_encoding_does_not_end_it(record: Callable[..., Path]) -> None:
    small = np.zeros(8 * 8, np.uint8)
    bag = record(image(0, encoding='32FC1'), image(1),
                 image(2, height=8, width=8, encoding='mono8', step=8, data=small),
                 image(3, encoding='64FC1'), image(4))
    with open_bag(bag, None) as source:
        frames = list(source)
        assert source.dropped == {'encoding': 2}
    assert [frame.image.shape for frame in frames] == [(16, 24, 3), (8, 8, 3), (16, 24, 3)]


@pytest.mark.proves('bag-messages')
def test_a_message_that_is_none_is_dropped_and_counted(tmp_path: Path) -> None:
    with Writer(tmp_path / 'bag', version=9) as writer:
        connection = writer.add_connection('/camera', IMAGE, typestore=TYPES)
        for index in range(30):
            _, kind, received_ns, message = image(index)
            raw = bytes(TYPES.serialize_cdr(message, kind))
            writer.write(connection, received_ns, raw[:index] if index < 25 else raw)
    with open_bag(tmp_path / 'bag', None) as source:
        assert source.rate_hz == pytest.approx(1e9 / PERIOD_NS)
        assert numbers(list(source)) == [25, 26, 27, 28, 29]
        assert source.dropped == {'data': 25}


@pytest.mark.proves('bag-messages')
def test_a_topic_of_another_encoding_is_given_up_early(record: Callable[..., Path]) -> None:
    """Nobody waits for 20 GB of depth images to be read."""
    bag = record(*(image(index, encoding='32FC1') for index in range(GIVE_UP_AFTER + 10)))
    with open_bag(bag, None) as source:
        with pytest.raises(MediaError, match='encoding .*32FC1'):
            list(source)
        assert source.dropped == {'encoding': GIVE_UP_AFTER}


def restamped(index: int, stamp_ns: int, received_ns: int) -> Record:
    topic, kind, _, message = image(index)
    message.header = header(stamp_ns)
    return topic, kind, received_ns, message


@pytest.mark.proves('recording-stamps')
@pytest.mark.parametrize(('stamp', 'word'), [
    (lambda index: 0, 'are zero'), (lambda index: START_NS, 'do not advance'),
    (lambda index: START_NS + index * PERIOD_NS // 10**9 * 10**9, 'do not advance'),
    (lambda index: START_NS + index * PERIOD_NS // 1000, 'too slowly'),
    (lambda index: START_NS + index * PERIOD_NS // 10**6, 'too slowly'),
    (lambda index: START_NS + index * PERIOD_NS * 1000, 'too fast')],
    ids=['zero', 'constant', 'whole seconds', 'microseconds', 'milliseconds', 'a thousandfold'])
def test_where_stamps_make_no_sense_the_times_of_recording_serve(
        record: Callable[..., Path], stamp: Callable[[int], int], word: str,
        caplog: pytest.LogCaptureFixture) -> None:
    received = [START_NS + index * PERIOD_NS + TRANSPORT_NS for index in range(40)]
    bag = record(*(restamped(index, stamp(index), at) for index, at in enumerate(received)))
    with open_bag(bag, None) as source:
        assert source.rate_hz == pytest.approx(1e9 / PERIOD_NS)
        assert [frame.stamp_ns for frame in source] == received
    assert [word in entry.getMessage() for entry in caplog.records] == [True], 'one line'


@pytest.mark.proves('recording-stamps')
@pytest.mark.parametrize('begin_ns', [0, START_NS], ids=['simulation', 'camera'])
def test_a_missing_stamp_is_reckoned_from_the_time_of_recording(
        record: Callable[..., Path], begin_ns: int) -> None:
    expected = [begin_ns + index * PERIOD_NS for index in range(30)]
    bag = record(*(restamped(index, 0 if index % 7 == 0 else stamp_ns,
                             START_NS + index * PERIOD_NS + TRANSPORT_NS)
                   for index, stamp_ns in enumerate(expected)))
    with open_bag(bag, None) as source:
        assert source.rate_hz == pytest.approx(1e9 / PERIOD_NS)
        assert [frame.stamp_ns for frame in source] == expected


@pytest.mark.proves('recording-stamps')
@pytest.mark.parametrize('received', [
    lambda index: START_NS + index * PERIOD_NS * 50, lambda index: START_NS + index * 20_000,
    lambda index: START_NS + index // 5 * 5 * PERIOD_NS + index % 5, lambda index: START_NS],
    ids=['a slow replay', 'written in one go', 'in bursts', 'at one time'])
def test_where_stamps_make_sense_they_serve_however_it_was_recorded(
        record: Callable[..., Path], received: Callable[[int], int],
        caplog: pytest.LogCaptureFixture) -> None:
    bag = record(*(restamped(index, START_NS + index * PERIOD_NS, received(index))
                   for index in range(40)))
    with open_bag(bag, None) as source:
        assert numbers(list(source)) == list(range(40))
    assert not caplog.records


@pytest.mark.parametrize('name', ['run#3', '100%25', 'which?', os.fsdecode(b'caf\xe9'), 'a b&c'])
def test_a_bag_may_have_any_name(record: Callable[..., Path], tmp_path: Path, name: str) -> None:
    bag = record(*map(image, range(LENGTH))).rename(tmp_path / name)
    check_frames(bag)
    file = storage_file(bag)
    check_frames(file.rename(tmp_path / f'{name}{file.suffix}'))


@pytest.mark.proves('bag-files')
@pytest.mark.parametrize('words', [
    '', 'rosbag2_bagfile_information:', '}{', '\x00\x00', 'a: [1, 2', '- 1', 'words',
    'rosbag2_bagfile_information: {version: 5, storage_identifier: sqlite3, '
    'relative_file_paths: [], duration: {nanoseconds: 0}, message_count: 0, '
    'starting_time: {nanoseconds_since_epoch: 0}, topics_with_message_count: []}',
    'rosbag2_bagfile_information: {version: 5, relative_file_paths: [gone.db3]}'])
def test_useless_metadata_beside_a_good_file_do_no_harm(
        record: Callable[..., Path], words: str, caplog: pytest.LogCaptureFixture) -> None:
    bag = record(*map(image, range(LENGTH)))
    (bag / 'metadata.yaml').write_text(words)
    check_frames(bag)
    assert len(caplog.records) == 1 and str(bag / 'metadata.yaml') in caplog.text


@pytest.mark.proves('bag-files')
def test_metadata_of_another_bag_are_not_gone_by(
        record: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bag = record(*(image(index, '/other') for index in range(3)))
    words = (bag / 'metadata.yaml').read_text()
    shutil.rmtree(bag)
    bag = record(*map(image, range(LENGTH)))
    (bag / 'metadata.yaml').write_text(words)
    check_frames(bag, '/camera')
    assert 'it tells of other topics' in caplog.text


@pytest.mark.proves('bag-files')
@pytest.mark.parametrize('mode', [CompressionMode.NONE, CompressionMode.FILE])
def test_files_that_the_metadata_do_not_tell_of_are_read(
        record: Callable[..., Path], tmp_path: Path, mode: CompressionMode,
        caplog: pytest.LogCaptureFixture) -> None:
    later = record(*map(image, range(3, LENGTH)))
    file = storage_file(later).rename(tmp_path / f'bag_1{storage_file(later).suffix}')
    shutil.rmtree(later)
    bag = record(*map(image, range(3)), mode=mode)
    file.rename(bag / file.name)
    check_frames(bag)
    assert f'it does not tell of {file.name}' in caplog.text


@pytest.mark.proves('bag-files')
def test_the_files_of_one_bag_without_metadata_are_read_in_their_order(
        record: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / 'splits'
    folder.mkdir()
    for number, first in enumerate(range(0, 36, 3)):  # 10 comes after 9
        bag = record(*map(image, range(first, first + 3)))
        file = storage_file(bag)
        file.rename(folder / f'run_{number}{file.suffix}')
        shutil.rmtree(bag)
    (folder / f'run_12{file.suffix}').touch()  # as a recorder leaves it that is killed just then
    with open_bag(folder, None) as source:
        assert source.length == 36
        assert numbers(list(source)) == list(range(36))
    assert f'run_12{file.suffix} is left out' in caplog.text


@pytest.mark.proves('bag-files')
def test_files_of_several_bags_are_told_apart_and_the_advice_helps(
        record: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / 'several'
    folder.mkdir()
    for name in ('one', 'other'):
        bag = record(*map(image, range(LENGTH)))
        file = storage_file(bag)
        file.rename(folder / f'{name}_0{file.suffix}')
        shutil.rmtree(bag)
    with pytest.raises(MediaError, match=f'name one of .*one_0{file.suffix}'):
        open_bag(folder, None)
    check_frames(folder / f'one_0{file.suffix}')


@pytest.mark.proves('bag-files')
def test_compressed_files_are_read_without_their_metadata(
        record: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bag = record(*map(image, range(LENGTH)), mode=CompressionMode.FILE)
    scratch = tmp_path / 'scratch'
    scratch.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(scratch))
    check_frames(bag)
    (bag / 'metadata.yaml').unlink()
    file = next(bag.glob('*.zstd'))
    for path in (bag, file):
        check_frames(path)
    assert not list(scratch.iterdir())
    packed = file.read_bytes()
    file.write_bytes(packed[:-20])
    try:  # a database that breaks off cannot be read, an MCAP can
        with open_bag(bag, None) as source:
            assert numbers(list(source)) == list(range(source.length or 0))
    except MediaError as error:
        assert str(bag) in str(error)
    # Beside what it was being made from it does not count.
    shutil.copy(storage_file(record_of(bag, tmp_path)), file.with_suffix(''))
    check_frames(bag)


def record_of(bag: Path, folder: Path) -> Path:
    """Write the LENGTH pictures once more, with the storage of ``bag``."""
    plugin = StoragePlugin.MCAP if list(bag.glob('*.mcap*')) else StoragePlugin.SQLITE3
    with Writer(folder / 'again', version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection('/camera', IMAGE, typestore=TYPES)
        for index in range(LENGTH):
            _, kind, received_ns, message = image(index)
            writer.write(connection, received_ns, TYPES.serialize_cdr(message, kind))
    return folder / 'again'


@pytest.mark.proves('bag-files')
def test_no_room_to_unpack_is_said(record: Callable[..., Path],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    bag = without_metadata(record(*map(image, range(LENGTH)), mode=CompressionMode.FILE))

    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(shutil, 'copyfileobj', full)
    with pytest.raises(MediaError, match='No space left on device; TMPDIR'):
        open_bag(bag, None)


@pytest.mark.proves('bag-files')
@pytest.mark.parametrize('journal', ['-wal', '-journal'])
@pytest.mark.parametrize('metadata', [True, False])
def test_what_a_killed_recorder_left_in_its_journal_counts(journal: str, metadata: bool,
                                                           tmp_path: Path) -> None:
    """Of a write-ahead log all that was committed; of a rollback journal what was before."""
    plain = record_of(tmp_path, tmp_path)
    file = storage_file(plain)
    left = tmp_path / 'left'
    with sqlite3.connect(file) as database:
        if journal == '-wal':
            database.execute('PRAGMA journal_mode=WAL')
            rows = database.execute('SELECT * FROM messages WHERE id > 2').fetchall()
            database.execute('DELETE FROM messages WHERE id > 2')
            database.commit()
            database.execute('PRAGMA wal_checkpoint(TRUNCATE)')
            database.executemany('INSERT INTO messages VALUES(?, ?, ?, ?)', rows)
            database.commit()
        else:
            database.execute('PRAGMA cache_size=1')  # so that it spills into the file
            database.execute('UPDATE messages SET data = zeroblob(5000)')
        shutil.copytree(plain, left)  # as if the process had been killed now
        database.rollback()
    database.close()
    assert (left / (file.name + journal)).stat().st_size
    if not metadata:
        without_metadata(left)
    before = {path: path.read_bytes() for path in left.iterdir()}
    check_frames(left)
    check_frames(left / file.name)
    assert {path: path.read_bytes() for path in left.iterdir()} == before


def test_the_range_of_16_bits_is_that_of_the_whole_bag(record: Callable[..., Path],
                                                       rng: np.random.Generator) -> None:
    first = rng.integers(20000, 21000, (16, 24), np.uint16)
    thermal = [image(index, encoding='16UC1', step=48, data=deep.view(np.uint8).ravel())
               for index, deep in enumerate((first, first + 600, first))]
    with open_bag(record(*thermal), None) as source:
        cold, hot, again = (frame.image.mean() for frame in source)
    assert hot > cold + 60 and abs(again - cold) < 20


@pytest.mark.parametrize('records, reason', [
    ([image(0, encoding='16SC1')], "encoding '16SC1'"),
    ([image(0, encoding='32FC1')], 'looks like a depth image'),
    ([image(0, '/camera/depth/image_raw', encoding='16UC1')], 'colour or infrared topic'),
    ([compressed(0, data=b'broken'), compressed(1, data=b'')], 'none of its images'),
], ids=['encoding', 'depth', 'depth_topic', 'broken'])
def test_a_topic_without_a_decodable_image_is_an_error(
        record: Callable[..., Path], records: list[Record], reason: str) -> None:
    with open_bag(record(*records), None) as source, pytest.raises(MediaError, match=reason):
        list(source)


@pytest.mark.parametrize('name', ['missing', 'empty', 'file.bag', 'empty.mcap', 'empty.db3',
                                  'words.mcap', 'words.db3'])
def test_what_is_no_bag_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == 'empty':
        path.mkdir()
    elif name != 'missing':
        path.write_bytes(b'words' * 200 if 'words' in name else b'')
    with pytest.raises(MediaError, match=name):
        open_bag(path, None)


@pytest.mark.proves('source-damaged')
def test_any_damage_gives_frames_or_a_media_error(record: Callable[..., Path],
                                                  caplog: pytest.LogCaptureFixture) -> None:
    file = storage_file(record(*map(image, range(LENGTH)), text(0)))
    whole = file.read_bytes()
    for position in range(0, len(whole), DAMAGE_STEP):
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        for damaged in (bytes(flipped), whole[:position]):
            file.write_bytes(damaged)
            try:
                with open_bag(file, None) as source:
                    for frame in source:
                        assert frame.image.shape[2] == 3
            except MediaError as error:
                assert str(file) in str(error)


def test_a_missing_rosbags_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ('bag', 'bag_files'):
        monkeypatch.delitem(sys.modules, f'asyncmde_ros.lab.media.{module}', raising=False)
    monkeypatch.setitem(sys.modules, 'rosbags.rosbag2', None)
    with pytest.raises(MediaError, match='pip install "rosbags'):
        open_bag(tmp_path, None)


def test_a_real_bag_with_compressed_messages_and_no_metadata(shared: Path) -> None:
    with open_bag(shared / 'data' / 'bags' / 'real_amber_soccer_goal_12', None) as source:
        assert source.rate_hz == pytest.approx(30, abs=0.1)
        frames = list(source)
    assert [frame.image.shape for frame in frames] == [(480, 640, 3)] * 2
    assert frames[0].image.mean(axis=(0, 1)).argmax() == 1  # a lawn


def test_a_real_bag_of_2019(shared: Path) -> None:
    bag = shared / 'data' / 'bags' / 'real_rosbag2js_sample' / 'sample.db3'
    for topic in ('/image', '/image/compressed'):
        with open_bag(bag, topic) as source:
            assert [frame.image.shape for frame in source] == [(480, 640, 3)]
