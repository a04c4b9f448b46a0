"""An MCAP whose end is missing, as of a recorder that was killed: read in the order of the file.

The format is https://mcap.dev/spec.  A whole file ends with an index, by which rosbags reads it;
here each record says where the next one begins.
"""

import contextlib
import enum
import logging
import struct
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from asyncmde_ros.errors import in_words

LOG = logging.getLogger(__name__)

MAGIC = b'\x89MCAP0\r\n'
MAX_CHUNK_BYTES = 2**30
"""More than the largest message that is read; recorders begin a new chunk after a megabyte."""

_RECORD = struct.Struct('<BQ')  # opcode, length of the content
_CHUNK = struct.Struct('<QQQII')  # first and last time, size, CRC or 0, length of a name
_LENGTH = struct.Struct('<Q')
_MESSAGE = struct.Struct('<HIQQ')  # channel, sequence, time of recording, time of publishing
_MESSAGE_INDEX = struct.Struct('<HI')  # channel, bytes of entries
_INDEX_ENTRY_BYTES = 16
_CDR = 'cdr'


class _Opcode(enum.IntEnum):
    SCHEMA = 0x03
    CHANNEL = 0x04
    MESSAGE = 0x05
    CHUNK = 0x06
    MESSAGE_INDEX = 0x07


_ENDS = frozenset({0x00, 0x02, 0x0F})  # zeros where a disk lost what was written, footer, data end


class CutMcap:
    """The complete messages of an MCAP, also those of a last chunk that breaks off.

    ``counts`` has the number of messages by (topic, type) and ``spare_bytes`` what follows the
    last record that is complete; ``damaged`` is the number of chunks that were left out so far, in
    part or wholly.  Raises ValueError for another kind of file, and OSError.
    """

    def __init__(self, path: Path) -> None:
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str]] = {}
        self._holds: dict[int, set[int]] = {}  # where a chunk begins, and the channels in it
        self._path = path
        self._damaged: set[int] = set()
        self._size = self.spare_bytes = path.stat().st_size
        self._stream = path.open('rb')
        try:
            if self._stream.read(len(MAGIC)) != MAGIC:
                raise ValueError('no MCAP')
            counted = self._index()
        except BaseException:
            self.close()
            raise
        self.counts: Counter[tuple[str, str]] = Counter()
        for channel, count in counted.items():
            if channel in self._channels:
                self.counts[self._channels[channel]] += count

    @property
    def damaged(self) -> int:
        return len(self._damaged) + (self.spare_bytes > 0)

    def close(self) -> None:
        self._stream.close()

    def messages(self, topic: str) -> Iterator[tuple[str, int, bytes]]:
        """Yield (type, time of recording in ns, serialised message), in the order of the file."""
        wanted = {channel for channel, (name, _) in self._channels.items() if name == topic}
        for opcode, begin, length in self._top():
            found: Iterator[tuple[int, int, bytes]] = iter(())
            if opcode == _Opcode.CHUNK and wanted & self._holds[begin]:
                found = self._inside(self._unpacked(begin, length), wanted)
            elif opcode == _Opcode.MESSAGE:
                found = iter([_message(self._stream, length, wanted)])
            for channel, received_ns, raw in found:
                if channel in wanted:
                    yield self._channels[channel][1], received_ns, raw

    def _top(self) -> Iterator[tuple[int, int, int]]:
        return _records(self._stream, len(MAGIC), self._size)

    def _index(self) -> Counter[int]:
        """Learn the channels and count each one's messages, reading as little as that takes."""
        counted: Counter[int] = Counter()
        indexed: Counter[int] = Counter()
        chunk: tuple[int, int] | None = None
        for opcode, begin, length in self._top():
            end = begin + length
            self.spare_bytes = self._size - (end if end <= self._size else begin - _RECORD.size)
            if opcode == _Opcode.CHUNK:
                counted += self._settle(chunk, indexed)
                chunk, indexed = (begin, length), Counter()
            elif opcode == _Opcode.MESSAGE_INDEX:
                channel, size = _MESSAGE_INDEX.unpack(self._stream.read(_MESSAGE_INDEX.size))
                indexed[channel] += size // _INDEX_ENTRY_BYTES
            elif opcode == _Opcode.MESSAGE:
                counted[_message(self._stream, length, ())[0]] += 1
            else:
                self._learn(self._stream, opcode, length)
        return counted + self._settle(chunk, indexed)

    def _settle(self, chunk: tuple[int, int] | None, indexed: Counter[int]) -> Counter[int]:
        """Return how many messages of each channel a chunk has; ``indexed`` by what follows it."""
        if chunk is None:
            return Counter()
        if not indexed or not indexed.keys() <= self._channels.keys():
            indexed = Counter(channel for channel, _, _ in self._inside(self._unpacked(*chunk),
                                                                        ()))
        self._holds[chunk[0]] = set(indexed)
        return indexed

    def _inside(self, chunk: bytes, wanted: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (channel, time of recording, message, which is empty if not ``wanted``)."""
        stream = BytesIO(chunk)
        for opcode, _, length in _records(stream, 0, len(chunk)):
            if opcode == _Opcode.MESSAGE:
                yield _message(stream, length, wanted)
            else:
                self._learn(stream, opcode, length)

    def _learn(self, stream: BinaryIO, opcode: int, length: int) -> None:
        """Note what a schema or a channel is called; any other record is passed over."""
        if opcode not in (_Opcode.SCHEMA, _Opcode.CHANNEL):
            return
        content = stream.read(length)
        with contextlib.suppress(struct.error, ValueError):  # damaged: its messages are unknown
            (number,) = struct.unpack_from('<H', content)
            if opcode == _Opcode.SCHEMA:
                self._schemas[number] = _text(content, 2)[0]
            else:
                (schema,) = struct.unpack_from('<H', content, 2)
                topic, end = _text(content, 4)
                if _text(content, end)[0] == _CDR:
                    self._channels[number] = topic, self._schemas.get(schema, '')

    def _unpacked(self, begin: int, length: int) -> bytes:
        """Return a chunk's records, as many as are there; none, and counted, if it is damaged."""
        try:
            return _unpack(self._stream, begin, length)
        except Exception as error:  # zstd and lz4 raise errors of their own
            if not self._damaged:
                LOG.warning('%s: a damaged chunk is left out: %s', self._path, in_words(error))
            self._damaged.add(begin)
            return b''


def _records(stream: BinaryIO, position: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (opcode, where the content begins, its length); the stream is at the content then.

    Ends at the first record that is not complete; of a chunk what there is may serve.
    """
    while position + _RECORD.size <= size:
        stream.seek(position)
        opcode, length = _RECORD.unpack(stream.read(_RECORD.size))
        position += _RECORD.size
        if opcode in _ENDS or (opcode == _Opcode.MESSAGE and length < _MESSAGE.size):
            return
        if position + length > size and opcode != _Opcode.CHUNK:
            return
        yield opcode, position, length
        position += length


def _message(stream: BinaryIO, length: int, wanted: Collection[int]) -> tuple[int, int, bytes]:
    channel, _, received_ns, _ = _MESSAGE.unpack(stream.read(_MESSAGE.size))
    return channel, received_ns, (stream.read(length - _MESSAGE.size) if channel in wanted
                                  else b'')


def _unpack(stream: BinaryIO, begin: int, length: int) -> bytes:
    stream.seek(begin)
    _, _, size, checksum, name_length = _CHUNK.unpack(stream.read(_CHUNK.size))
    if size > MAX_CHUNK_BYTES or name_length > length:
        raise ValueError('no recorder writes such a chunk')
    compression = stream.read(name_length).decode()
    (stored,) = _LENGTH.unpack(stream.read(_LENGTH.size))
    data = stream.read(min(stored, begin + length - stream.tell()))
    if compression == 'zstd':
        records = zstd.ZstdDecompressor().decompress(data, size)
    elif compression == 'lz4':
        records = bytes(LZ4FrameDecompressor().decompress(data, size))
    elif compression:
        raise ValueError(f'compression {compression!r}')
    else:
        records = data
    if len(data) == stored and (len(records) != size or checksum not in (0, crc32(records))):
        raise ValueError('other content than was written')
    return records


def _text(content: bytes, position: int) -> tuple[str, int]:
    """Return a string, which follows its length, and where it ends."""
    (length,) = struct.unpack_from('<I', content, position)
    end = position + 4 + length
    if end > len(content):
        raise ValueError('a string that breaks off')
    return content[position + 4:end].decode(), end
