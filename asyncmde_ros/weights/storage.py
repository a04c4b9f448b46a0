"""Files that appear whole or not at all, in a folder that several processes share."""

import errno
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from asyncmde_ros.errors import WeightsError

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)


class CacheError(WeightsError):
    """The cache cannot be written; another source would not help."""


def cache_directory() -> Path:
    """Return ``$XDG_CACHE_HOME/asyncmde``, or ``~/.cache/asyncmde``; it need not exist."""
    configured = Path(os.environ.get('XDG_CACHE_HOME', ''))
    # The XDG specification says to ignore a relative path.
    base = configured if configured.is_absolute() else Path.home() / '.cache'
    return base / 'asyncmde'


def digest(stream: BinaryIO, algorithm: str = 'sha256') -> bytes:
    """Return the digest of everything from the stream's position on."""
    running = hashlib.new(algorithm)
    while chunk := stream.read(CHUNK):
        running.update(chunk)
    return running.digest()


def sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal; WeightsError where it cannot be read."""
    try:
        with path.open('rb') as stream:
            return digest(stream).hex()
    except OSError as error:
        raise WeightsError(f'cannot read {path}: {error.strerror}') from error


@contextmanager
def writing_to(directory: Path) -> Iterator[None]:
    """Turn an OSError of the block into a CacheError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise CacheError(f'no space left in {directory}: free some, or set XDG_CACHE_HOME to '
                             'a folder on another disk') from error
        raise CacheError(f'cannot write to {directory} ({error.strerror}): set XDG_CACHE_HOME to '
                         'a folder that you may write to') from error


def commit(stream: BinaryIO, path: Path) -> None:
    """Give a completely written file its name; the bytes are on the disk before the name is."""
    stream.flush()
    os.fsync(stream.fileno())
    os.replace(stream.name, path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``path`` or, on failure, leave what was there; the caller holds its lock."""
    temporary = path.with_name(f'{path.name}.tmp')
    with writing_to(path.parent):
        try:
            with temporary.open('wb') as stream:
                stream.write(content)
                commit(stream, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the right to create ``path`` and its helpers; wait for a process that has it.

    The lock file stays: deleting it would let two processes lock two different files.
    """
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f'{path.name}.lock').open('wb')
    with lock:
        with writing_to(path.parent):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info('another process is fetching %s; waiting for it', path.name)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
