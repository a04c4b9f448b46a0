"""Ctrl-C where the main thread hears it, and where it does not."""

import signal
import subprocess
import sys
import time

import pytest

AFTER_S = 0.5
TIMEOUT_S = 60.0
PROGRAM = f'''
import sys, threading
from asyncmde_ros.ros.signals import end_if_stuck, stop_on_signal
stop = stop_on_signal()
end_if_stuck({AFTER_S})
print('ready', flush=True)
if sys.argv[1] == 'stuck':
    # As a call into a library that never returns: a signal is noticed, and nothing comes of it.
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
stop.wait()
'''


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(('how', 'status'), [('stuck', 1), ('hears it', 0)])
def test_a_process_that_does_not_end_by_itself_is_ended(
        how: str, status: int, number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, '-c', PROGRAM, how], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == 'ready\n'
        started = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status
    assert ('ending by force' in said) is (how == 'stuck')
    assert how != 'stuck' or time.monotonic() - started >= AFTER_S
