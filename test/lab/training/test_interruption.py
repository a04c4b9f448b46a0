"""Signals that ask training to end; test_training_trainer.py interrupts training itself."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from asyncmde_ros.lab.training.interruption import SIGNALS, ended_alike, stop_requested

PATIENCE_S = 20.0
"""For a process to start on a busy machine."""

WAITS = """
import sys, time
from asyncmde_ros.lab.training.interruption import stop_requested
with stop_requested() as stop:
    print('ready', flush=True)
    stop.wait()
    print('asked', flush=True)
    time.sleep(600)
"""


@pytest.fixture
def waiting() -> Iterator['subprocess.Popen[str]']:
    with subprocess.Popen([sys.executable, '-c', WAITS], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == 'ready\n'
        yield process
        process.kill()


@pytest.mark.proves('training-interrupted')
@pytest.mark.parametrize('number', SIGNALS)
def test_the_first_signal_asks_and_says_so_and_the_second_ends(
        waiting: 'subprocess.Popen[str]', number: signal.Signals) -> None:
    assert waiting.stdout is not None and waiting.stderr is not None
    waiting.send_signal(number)
    assert waiting.stdout.readline() == 'asked\n'
    assert waiting.poll() is None
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(PATIENCE_S) == -signal.SIGINT
    assert 'saving a checkpoint' in waiting.stderr.read()


@pytest.mark.parametrize('number', SIGNALS)
def test_each_signal_ends_a_block_as_ctrl_c_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ended_alike():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_what_is_ignored_stays_so() -> None:
    """As SIGHUP under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_alike(), stop_requested() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_than_the_main_one_catches_none() -> None:
    seen = []

    def work() -> None:
        with stop_requested() as stop:
            seen.append(stop.is_set())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
