"""Files that are whole or not there, and the folder that they are kept in."""

import fcntl
import glob
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from asyncmde_ros.errors import AsyncMDEError

LOCK_POLL_S = 0.1


def printable(name: Path | str) -> str:
    """Return a file's name as text that can be written, bytes that are no UTF-8 in hexadecimal."""
    return os.fsencode(name).decode('utf-8', 'backslashreplace')


def cache_directory() -> Path:
    """Return ``$XDG_CACHE_HOME/asyncmde``, or ``~/.cache/asyncmde``; it need not exist."""
    configured = Path(os.environ.get('XDG_CACHE_HOME', ''))
    # The XDG specification says to ignore a relative path.
    try:
        base = configured if configured.is_absolute() else Path.home() / '.cache'
    except RuntimeError as error:
        raise AsyncMDEError(f'{error} Set XDG_CACHE_HOME to a folder that can be written') \
            from error
    return base / 'asyncmde'


def make_directory(path: Path) -> Path:
    """Make a folder to write to, where there is none; AsyncMDEError says why it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AsyncMDEError(f'cannot write to {path}: {error.strerror}') from error
    return path


def ensure_writable(path: Path) -> None:
    """Raise AsyncMDEError where no such file can be made, before hours go into its content.

    Makes the folder; what is there stays as it is.
    """
    make_directory(path.parent)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            raise IsADirectoryError(0, 'it is a folder')
    except OSError as error:
        raise AsyncMDEError(f'{path} cannot be written: {error.strerror}') from error


def commit(stream: BinaryIO, path: Path) -> None:
    """Give a completely written file its name; the bytes are on the disk before the name is."""
    stream.flush()
    os.fsync(stream.fileno())
    Path(stream.name).replace(path)


def temporary_beside(path: Path) -> Path:
    """Return a name to write under until the file is whole; nobody else has it."""
    # At random: processes in two containers that share a cache may have the same number.
    return path.with_name(f'.{path.name}.{secrets.token_hex(8)}.tmp')


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds all of it or what it held before; OSError."""
    temporary = temporary_beside(path)
    try:
        with temporary.open('xb') as stream:
            stream.write(content)
            commit(stream, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Delete what killed writers of ``path`` left; the caller holds its lock.  OSError."""
    for remains in path.parent.glob(f'.{glob.escape(path.name)}.*.tmp'):
        remains.unlink(missing_ok=True)


@contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Have a folder of results to oneself; AsyncMDEError where another process does.

    It is free again when that process ends, however it ends.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AsyncMDEError(f'another run is writing to {directory}: name another --out') \
                from None
        except OSError:  # NFS has no such locks on folders
            pass
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file ``path``; OSError if it cannot be written.

    ``waiting`` is called again and again while another process has it, and may raise to give up.
    The file stays: deleting it would let two processes lock two different files.
    """
    with path.open('wb') as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(LOCK_POLL_S)
        yield
