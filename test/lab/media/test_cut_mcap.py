"""MCAP files that were cut, of every kind that recorders write."""

import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rosbags', reason='left out: needs rosbags')

import lz4.frame
from support.bags import IMAGE, PERIOD_NS, START_NS, TYPES, image

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.media.cut_mcap import MAGIC, MAX_CHUNK_BYTES
from asyncmde_ros.lab.media.sources import open_bag

LENGTH = 9
IN_A_CHUNK = 3
TOPIC = '/camera'
COMPRESS = {'': bytes, 'lz4': lz4.frame.compress, 'zstd': zstd.compress}
CUT_STEP = 61  # bytes between the places tried; a prime, so that all fields are met


def text(words: str) -> bytes:
    return struct.pack('<I', len(words)) + words.encode()


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack('<BQ', opcode, len(content)) + content


def message(index: int, channel: int = 1) -> bytes:
    _, kind, received_ns, content = image(index)
    return record(0x05, struct.pack('<HIQQ', channel, index, received_ns, received_ns)
                  + bytes(TYPES.serialize_cdr(content, kind)))


def named(encoding: str = 'cdr', kind: str = IMAGE) -> bytes:
    return (record(0x03, struct.pack('<H', 1) + text(kind) + text('ros2msg') + text('uint8 x'))
            + record(0x04, struct.pack('<HH', 1, 1) + text(TOPIC) + text(encoding)
                     + struct.pack('<I', 0)))


def chunk(records: bytes, compression: str = '', checksum: int | None = None,
          size: int | None = None) -> bytes:
    packed = COMPRESS[compression](records)
    checksum = zlib.crc32(records) if checksum is None else checksum
    return record(0x06, struct.pack('<QQQI', 0, 0, len(records) if size is None else size,
                                    checksum)
                  + text(compression) + struct.pack('<Q', len(packed)) + packed)


def index(count: int, channel: int = 1) -> bytes:
    return record(0x07, struct.pack('<HI', channel, 16 * count) + bytes(16 * count))


def mcap(compression: str = '', indexed: bool = True) -> bytes:
    """Return an MCAP of LENGTH images without its end."""
    content = MAGIC + record(0x01, text('ros2') + text('test'))
    for first in range(0, LENGTH, IN_A_CHUNK):
        records = b''.join(map(message, range(first, first + IN_A_CHUNK)))
        content += chunk(records if first else named() + records, compression)
        content += index(IN_A_CHUNK) if indexed else b''
    return content


def unchunked() -> bytes:
    return (MAGIC + record(0x01, text('ros2') + text('test')) + named()
            + b''.join(map(message, range(LENGTH))))


KINDS = {'plain': mcap(), 'lz4': mcap('lz4'), 'zstd': mcap('zstd'),
         'without index': mcap('zstd', indexed=False), 'unchunked': unchunked()}
ENDS = {'no end': b'', 'zeros, where the disk lost what was written': bytes(5000),
        'a footer that lost its half': record(0x0F, bytes(4)) + record(0x02, bytes(20))[:9],
        'half a record': message(LENGTH)[:40], 'half a head': b'\x05\x10',
        'a record that claims more than any disk holds': struct.pack('<BQ', 5, 2**64 - 1)}


def stamps(file: Path, content: bytes) -> list[int]:
    """Return which of the images come out of a file, whose length is as promised."""
    file.write_bytes(content)
    with open_bag(file, None) as source:
        frames = list(source)
        assert source.length == len(frames)
    return [(frame.stamp_ns - START_NS) // PERIOD_NS for frame in frames]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / 'cut.mcap'


@pytest.mark.proves('bag-cut')
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('end', ENDS)
def test_whatever_the_end_all_that_is_complete_is_read(file: Path, kind: str, end: str,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    assert stamps(file, KINDS[kind] + ENDS[end]) == list(range(LENGTH))
    said = [entry.getMessage() for entry in caplog.records]
    assert len(said) == 1 and str(file) in said[0] and 'killed' in said[0]


@pytest.mark.proves('bag-cut')
@pytest.mark.parametrize('kind', KINDS)
def test_cut_anywhere_it_gives_the_first_images_or_says_what_it_is(file: Path, kind: str) -> None:
    whole, most = KINDS[kind], 0
    for length in range(0, len(whole), CUT_STEP):
        try:
            seen = stamps(file, whole[:length])
        except MediaError as error:
            assert not most and str(file) in str(error)
            continue
        assert seen == list(range(len(seen))) and len(seen) >= most
        most = len(seen)
    # Of plain and lz4 chunks, complete messages are had from one that breaks off.
    assert most >= LENGTH - (IN_A_CHUNK if 'zstd' in kind or 'without' in kind else 1)


def test_a_folder_of_it_with_metadata_that_promise_more(tmp_path: Path) -> None:
    (tmp_path / 'metadata.yaml').write_text('rosbag2_bagfile_information: {version: 9}')
    (tmp_path / 'cut.mcap').write_bytes(mcap('lz4'))
    with open_bag(tmp_path, TOPIC) as source:
        assert len(list(source)) == source.length == LENGTH


def damaged() -> Iterator[tuple[str, bytes]]:
    bad = b''.join(map(message, range(3, 6)))
    yield 'checksum', chunk(bad, 'zstd', checksum=1)
    yield 'size', chunk(bad, 'lz4', size=5)
    yield 'bomb', chunk(bad, size=MAX_CHUNK_BYTES + 1)
    yield 'zstd', chunk(bad, 'zstd').replace(b'\x28\xb5\x2f\xfd', b'zstd')
    yield 'compression', chunk(bad, 'zstd').replace(text('zstd'), text('zst9'))


@pytest.mark.proves('bag-cut')
@pytest.mark.parametrize('bad', [bad for _, bad in damaged()], ids=[name for name, _ in damaged()])
@pytest.mark.parametrize('indexed', [index(3), b''], ids=['indexed', 'not indexed'])
def test_a_damaged_chunk_is_left_out_and_counted(file: Path, bad: bytes, indexed: bytes) -> None:
    content = MAGIC + record(0x01, text('ros2') + text('test'))
    content += chunk(named() + b''.join(map(message, range(3)))) + index(3)
    content += bad + indexed + chunk(b''.join(map(message, range(6, 9)))) + index(3)
    file.write_bytes(content)
    with open_bag(file, None) as source:
        frames = list(source)
        assert source.dropped == {'chunk': 1}
    assert [(frame.stamp_ns - START_NS) // PERIOD_NS for frame in frames] == [0, 1, 2, 6, 7, 8]


def test_what_breaks_off_is_counted(file: Path) -> None:
    file.write_bytes(mcap() + message(LENGTH)[:-1])
    with open_bag(file, None) as source:
        assert len(list(source)) == LENGTH
        assert source.dropped == {'chunk': 1}


@pytest.mark.proves('bag-cut')
@pytest.mark.parametrize('content', [
    MAGIC + named('ros1') + message(0), MAGIC + named(), MAGIC + message(0), MAGIC,
    MAGIC + record(0x03, b'\x01\x00\xff\xff\xff\xff') + record(0x04, b'\x01') + message(0)],
    ids=['ros1', 'no message', 'no channel', 'nothing', 'damaged names'])
def test_what_has_no_message_that_can_be_read_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(MediaError, match=str(file)):
        open_bag(file, None)


def test_one_that_rosbags_wrote_is_read_to_where_it_was_cut(tmp_path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    large = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=TYPES)
        for number in range(LENGTH):
            _, kind, received_ns, content = image(number, height=300, width=500, step=1500,
                                                  data=large.ravel())
            writer.write(connection, received_ns, TYPES.serialize_cdr(content, kind))
    file = tmp_path / 'bag' / 'bag.mcap'
    whole = file.read_bytes()
    assert stamps(file, whole) == list(range(LENGTH))
    for share, least in ((0.99, LENGTH - 1), (0.5, LENGTH // 2 - 1), (0.2, 1)):
        seen = stamps(file, whole[:int(share * len(whole))])
        assert seen == list(range(len(seen))) and least <= len(seen) < LENGTH
