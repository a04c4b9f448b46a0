"""Ctrl-C, or another end from outside, as a request: training stops where nothing is lost."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

TOLD = b'\ninterrupted: saving a checkpoint; once more ends at once, without one\n'


@contextlib.contextmanager
def ended_alike() -> Iterator[None]:
    """Let each of SIGNALS raise KeyboardInterrupt in the block, as SIGINT does by itself."""
    with _handled(signal.default_int_handler):
        yield


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Give the block an event that the first of SIGNALS sets; the second ends the process.

    A signal that is ignored stays so, as SIGHUP under nohup.  Outside the main thread, which
    alone hears of signals, none is caught.
    """
    stop = threading.Event()

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        for each in SIGNALS:
            if signal.getsignal(each) is request:
                signal.signal(each, signal.SIG_DFL)
        with contextlib.suppress(OSError):  # of a terminal that was closed; print may be at work
            os.write(2, TOLD)
    with _handled(request):
        yield stop


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: known for number in SIGNALS
                  if (known := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)
