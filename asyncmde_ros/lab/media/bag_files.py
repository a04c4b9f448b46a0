"""The messages of a ROS 2 bag, whatever is left of its files.

rosbags reads what is as it should be.  Here is what it refuses: a folder without its metadata or
with damaged ones, an MCAP without its end, a database with a journal, compressed files.
"""

import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from asyncmde_ros.errors import MediaError, in_words
from asyncmde_ros.lab.media.cut_mcap import CutMcap, zstd

METADATA = 'metadata.yaml'
STORAGE_SUFFIXES = ('.mcap', '.db3')
COMPRESSED = '.zstd'
JOURNALS = ('-wal', '-journal')
URI_MARKS = frozenset('?#%')
MAX_REASON = 200
"""Characters; YAML's errors quote the file."""
_SPLIT = re.compile(r'_(\d+)$')  # a recorder numbers the files of one bag


class _Part(Protocol):
    """A file, or a folder with its metadata."""

    counts: Counter[tuple[str, str]]

    @property
    def damaged(self) -> int: ...

    def messages(self, topic: str) -> Iterator[tuple[str, int, bytes]]: ...

    def close(self) -> None: ...


class BagFiles:
    """A bag that is open; :meth:`close` it.

    ``counts`` has the number of messages by (topic, type).  ``notes`` say in a line each what is
    not as it should be.  Raises MediaError where nothing can be read, and whatever rosbags,
    sqlite or zstd raise on a damaged file.
    """

    def __init__(self, path: Path) -> None:
        self.notes: list[str] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self._parts: list[_Part] = []
        self._stack = ExitStack()
        try:
            if path.is_dir():
                self._open_folder(path)
            else:
                self._open_file(path)
        except BaseException:
            self.close()
            raise
        for part in self._parts:
            self.counts += part.counts

    @property
    def damaged(self) -> int:
        """How many chunks of messages were left out so far, in part or wholly."""
        return sum(part.damaged for part in self._parts)

    def close(self) -> None:
        self._stack.close()

    def messages(self, topic: str) -> Iterator[tuple[str, int, bytes]]:
        """Yield (type, time of recording in ns, serialised message)."""
        for part in self._parts:
            yield from part.messages(topic)

    def _open_folder(self, folder: Path) -> None:
        refused: Exception | None = None
        if (folder / METADATA).exists():
            try:
                self._add(_as_described(self._nameable(folder)))
                return
            except Exception as error:
                refused = error
        files = _files(folder, refused)
        if refused is not None or len(files) > 1:
            reason = 'is missing' if refused is None else f'cannot be used ({_line(refused)})'
            self.notes.append(f'{folder / METADATA} {reason}: read in the order of their names '
                              f'are {", ".join(file.name for file in files)}')
        for file in files:
            try:
                self._open_file(file)
            except Exception as error:  # a recorder that is killed leaves its last file like that
                if file == files[-1] and not self._parts:
                    raise
                self.notes.append(f'{file} is left out: {_line(error)}')

    def _open_file(self, file: Path) -> None:
        if not file.is_file():
            raise MediaError(f'{file} is not a file')
        if not _is_storage(file):
            raise MediaError(f'{file} is no ROS 2 bag: expected its folder or a '
                             f'{" or ".join(STORAGE_SUFFIXES)} file')
        stored = file
        if file.suffix == COMPRESSED:
            stored = self._unpacked(file)
        elif file.suffix == '.db3' and _has_journal(file):
            stored = self._with_its_journal(file)
        stored = self._nameable(stored)
        try:
            self._add(_Whole(stored))
        except Exception as error:
            if stored.suffix != '.mcap':
                raise
            cut = _cut(stored)
            if cut is None:
                raise
            self.notes.append(f'{file} has no proper end, as if its recorder had been killed '
                              f'({_line(error)}): what is complete is read; it breaks off '
                              f'{cut.spare_bytes} bytes before its end')
            self._add(cut)

    def _add(self, part: _Part) -> None:
        self._stack.callback(part.close)
        self._parts.append(part)

    def _unpacked(self, file: Path) -> Path:
        target = self._temporary() / file.stem
        with _room(file, target), file.open('rb') as packed, target.open('wb') as unpacked:
            try:
                with zstd.open(packed, 'rb') as stream:
                    shutil.copyfileobj(stream, unpacked)
            except (EOFError, zstd.ZstdError) as error:
                self.notes.append(f'{file} breaks off: {in_words(error)}')
        return target

    def _with_its_journal(self, file: Path) -> Path:
        """Return a copy in which sqlite has settled what its last writer left undone."""
        target = self._temporary() / file.name
        with _room(file, target):
            for suffix in ('', *JOURNALS):
                source = file.with_name(file.name + suffix)
                if source.exists():
                    shutil.copyfile(source, target.with_name(target.name + suffix))
        with closing(sqlite3.connect(target)) as database:
            database.execute('PRAGMA journal_mode=DELETE')
        return target

    def _nameable(self, path: Path) -> Path:
        """Return a path that rosbags can name to sqlite, as part of a URI."""
        name = str(path.absolute())
        if name.isascii() and not URI_MARKS & set(name):
            return path
        link = self._temporary() / f'bag{path.suffix if path.is_file() else ""}'
        link.symlink_to(path.absolute())
        return link

    def _temporary(self) -> Path:
        return Path(self._stack.enter_context(TemporaryDirectory(prefix='asyncmde_bag_')))


class _Whole:
    """What rosbags reads."""

    damaged = 0

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)
        self._reader.open()
        self.counts: Counter[tuple[str, str]] = Counter()
        for connection in self._reader.connections:
            self.counts[connection.topic, connection.msgtype] += connection.msgcount
        self.counts = +self.counts  # without those that have none

    @property
    def files(self) -> set[str]:
        """Names of the files that a folder's metadata tell of, as they are unpacked."""
        storage = self._reader.storage
        return {Path(str(part.path)).name for part in storage.storages
                if isinstance(part, McapReader | Sqlite3Reader)
                } if isinstance(storage, DirectoryReader) else set()

    def agrees(self) -> bool:
        """Tell whether metadata tell of the topics that the files have.

        Those of another bag, or with other settings of quality, would have rosbags give nothing.
        """
        storage = self._reader.storage
        if not isinstance(storage, DirectoryReader):
            return True
        stored = [each for part in storage.storages for each in part.connections]
        described = [each for each in storage.connections if each.msgcount]
        return (_keys(described) <= _keys(stored)
                and _keys(each for each in stored if each.msgcount) <= _keys(described))

    def close(self) -> None:
        self._reader.close()

    def messages(self, topic: str) -> Iterator[tuple[str, int, bytes]]:
        connections = [each for each in self._reader.connections if each.topic == topic]
        if connections:  # none would stand for all
            for connection, received_ns, raw in self._reader.messages(connections):
                yield connection.msgtype, received_ns, raw


def _keys(connections: Iterable[Connection]) -> set[tuple[str, str, str]]:
    """Return what rosbags tells topics apart by."""
    return {(each.topic, each.msgtype, repr(each.ext)) for each in connections}


def _as_described(folder: Path) -> _Whole:
    """Open a folder by its metadata; MediaError, or rosbags' error, where they are not right."""
    if any(map(_has_journal, folder.glob('*.db3'))):
        raise MediaError('a database beside it was not closed')
    whole = _Whole(folder)
    if not whole.counts:
        whole.close()
        raise MediaError('it tells of no messages')
    if not whole.agrees():
        whole.close()
        raise MediaError('it tells of other topics than there are')
    untold = _untold(folder, whole.files)
    if untold:
        whole.close()
        raise MediaError(f'it does not tell of {", ".join(untold)}')
    return whole


def _untold(folder: Path, told: set[str]) -> list[str]:
    """Return a bag's files that its metadata do not tell of: a recorder was killed later."""
    bags = {_place(Path(name))[0] for name in told}
    return sorted(file.name for file in _found(folder) if _place(file)[0] in bags
                  and file.name.removesuffix(COMPRESSED) not in told)


def _cut(file: Path) -> CutMcap | None:
    """Open an MCAP that rosbags refuses; None if there is no complete message in it."""
    try:
        cut = CutMcap(file)
    except Exception:  # struct's, say, where the file is no MCAP at all
        return None
    if cut.counts:
        return cut
    cut.close()
    return None


def _found(folder: Path) -> set[Path]:
    found = {file for file in folder.iterdir() if _is_storage(file) and file.is_file()}
    # A recorder that was killed while it compressed a file leaves both.
    return found - {file.with_name(file.name + COMPRESSED) for file in found}


def _files(folder: Path, refused: Exception | None) -> list[Path]:
    """Return a bag's files in their order; MediaError if there is none, or not one bag's."""
    found = _found(folder)
    if not found:
        raise refused or MediaError(f'{folder} is no ROS 2 bag: it has neither {METADATA} nor a '
                                    f'{" or ".join(STORAGE_SUFFIXES)} file')
    files = sorted(found, key=_place)
    if len({_place(file)[0] for file in files}) > 1:
        raise MediaError(f'{folder} has no {METADATA} that tells what belongs together: name one '
                         f'of {", ".join(file.name for file in files)}')
    return files


def _place(file: Path) -> tuple[tuple[str, str], int]:
    """Return what names the bag that a file is of, and the file's number in it."""
    whole = file.with_suffix('') if file.suffix == COMPRESSED else file
    number = _SPLIT.search(whole.stem)
    return ((_SPLIT.sub('', whole.stem), whole.suffix),
            -1 if number is None else int(number.group(1)))


def _is_storage(file: Path) -> bool:
    return (file.with_suffix('') if file.suffix == COMPRESSED else file
            ).suffix in STORAGE_SUFFIXES


def _has_journal(file: Path) -> bool:
    """Tell whether a database was left before all was in it, which rosbags does not look for."""
    journals = (file.with_name(file.name + suffix) for suffix in JOURNALS)
    return any(journal.exists() and journal.stat().st_size for journal in journals)


@contextmanager
def _room(file: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MediaError(f'{file} cannot be unpacked into {target.parent}: {error.strerror}; '
                         'TMPDIR can name a folder with more room') from error


def _line(error: Exception) -> str:
    return ' '.join(in_words(error).split())[:MAX_REASON]
