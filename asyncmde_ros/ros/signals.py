"""Ctrl-C as a flag: the node ends between two pieces of work instead of inside one."""

import os
import signal
import sys
import threading
import time

STOPS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
"""Ctrl-C, a service manager's word, and a terminal or a connection that is gone."""


def stop_on_signal() -> threading.Event:
    """Return an event that SIGINT, SIGTERM and SIGHUP set; nohup's word against SIGHUP holds.

    rclpy's own handlers are not used: a launched node gets SIGINT twice, from the terminal and
    from launch, and the second would raise inside the clean-up of the first.
    """
    stop = threading.Event()
    for number in STOPS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    return stop


def end_if_stuck(after_s: float) -> None:
    """Let the first signal from now on end the process, with status 1, if nothing else does.

    Python runs a signal's handler in the main thread, and not before a call of that into a
    library returns, which on a device that died is never.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def watch() -> None:
        os.read(reading, 1)
        time.sleep(after_s)
        print(f'{sys.argv[0]}: still busy {after_s:g} s after the signal: ending by force',
              file=sys.stderr, flush=True)
        os._exit(1)
    threading.Thread(target=watch, name='end_if_stuck', daemon=True).start()
