"""The cache of weights, which several processes share: digests, locks, clear errors."""

import errno
import hashlib
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from asyncmde_ros import files
from asyncmde_ros.errors import WeightsError

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)


class CacheError(WeightsError):
    """The cache cannot be written; another source would not help."""


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


def write_atomically(path: Path, content: bytes) -> None:
    """As :func:`asyncmde_ros.files.write_atomically`, with CacheError."""
    with writing_to(path.parent):
        files.write_atomically(path, content)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the right to create ``path`` and its helpers; wait for a process that has it."""
    told = False

    def waiting() -> None:
        nonlocal told
        if not told:
            logger.info('another process is fetching %s; waiting for it', path.name)
        told = True

    with ExitStack() as held:
        with writing_to(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(files.locked(path.with_name(f'{path.name}.lock'), waiting))
            files.sweep(path)
        yield
