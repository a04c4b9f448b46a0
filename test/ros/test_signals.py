"""Ctrl-C where the main thread hears it, and where it does not."""

import signal
import subprocess
import sys
import time

import pytest

AFTER_S = 0.5
TIMEOUT_S = 60.0
PROGRAM = f'''
import ctypes, os, signal, sys
from asyncmde_ros.ros.signals import end_if_stuck, stop_on_signal
stop = stop_on_signal()
end_if_stuck({AFTER_S})
print('ready', flush=True)
if sys.argv[1] == 'stuck':
    # A call into a library that never returns, whatever comes.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.siginterrupt(number, False)
    ctypes.CDLL(None).read(os.pipe()[0], ctypes.create_string_buffer(1), 1)
stop.wait()
'''


@pytest.mark.proves('main-thread-hangs')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


@pytest.mark.proves('hangup')
def test_a_process_under_nohup_outlives_its_terminal() -> None:
    process = subprocess.Popen(['nohup', sys.executable, '-c', PROGRAM, 'hears it'],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == 'ready\n'
        process.send_signal(signal.SIGHUP)
        time.sleep(2 * AFTER_S)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
