"""The cache of weights: whole files, one writer at a time."""

import errno
import itertools
import threading
import time
from pathlib import Path

import pytest
from support.folders import names

from asyncmde_ros.weights.storage import CacheError, exclusive, write_atomically

SWITCH_S = 0.001
"""Lets another thread run, so that two in the same place would meet."""


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, 'Input/output error')
    path = tmp_path / 'file'
    write_atomically(path, b'old')
    monkeypatch.setattr('os.fsync', fail)
    with pytest.raises(CacheError, match='Input/output error'):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert names(tmp_path) == ['file']


@pytest.mark.proves('replaced-while-read')
def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    versions = [bytes([fill]) * 100_000 for fill in range(2)]
    write_atomically(path, versions[0])
    stop = threading.Event()

    def write() -> None:
        for version in itertools.cycle(versions):
            write_atomically(path, version)
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(path.read_bytes() in versions for _ in range(200))
    finally:
        stop.set()
        writer.join()


def test_only_one_holds_the_lock(tmp_path: Path) -> None:
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with exclusive(tmp_path / 'file'):
                inside += 1
                most = max(most, inside)
                time.sleep(SWITCH_S)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
