"""Processes that a session starts and ends."""

import signal
import subprocess

EXIT_TIMEOUT_S = 5.0
"""Longest wait for a clean end; a node needs one second."""


def end(process: 'subprocess.Popen[bytes]') -> None:
    """End a process as Ctrl-C does, or by force where that takes too long."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(EXIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
