"""Processes that a session starts and ends."""

import contextlib
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from asyncmde_ros import processes
from asyncmde_ros.errors import AsyncMDEError

EXIT_TIMEOUT_S = 5.0
"""Longest wait for a clean end; a node needs one second."""

LOG_TAIL = 2000


def private_namespace(session: str) -> str:
    """Return a namespace that nothing else uses, whatever runs on this domain.

    At random: in two containers that share a network, processes may have the same number.
    """
    return f'/asyncmde_{session}_{secrets.token_hex(4)}'


def end(process: 'subprocess.Popen[bytes]') -> None:
    """End a process as Ctrl-C does, or by force where that takes too long."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(EXIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


class Child:
    """A process whose output is kept for the case that it fails."""

    def __init__(self, name: str, process: 'subprocess.Popen[bytes]', log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def running(self) -> bool:
        """Tell whether it still runs; AsyncMDEError if it ended badly."""
        if self._process.poll() not in (None, 0):
            self.check()
        return self._process.poll() is None

    def check(self) -> None:
        """Raise AsyncMDEError if it has ended."""
        status = self._process.poll()
        if status is not None:
            raise AsyncMDEError(f'{self._name} ended with status {status}:\n{self.tail()}')

    def end(self) -> tuple[int, float]:
        """End it as Ctrl-C does; return its exit status and how long that took [s]."""
        started = time.monotonic()
        end(self._process)
        return self._process.returncode, time.monotonic() - started

    def text(self) -> str:
        return self._log.read_text(encoding='utf-8', errors='replace')

    def tail(self) -> str:
        return self.text()[-LOG_TAIL:]


@contextlib.contextmanager
def module(log: Path, name: str, *arguments: str) -> Iterator[Child]:
    """Run a module as a process that ends with the block."""
    with log.open('wb') as output:
        process = processes.start(name, *arguments, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield Child(log.stem, process, log)
        finally:
            end(process)
