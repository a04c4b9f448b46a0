"""Ctrl-C as a flag: the node ends between two pieces of work instead of inside one."""

import signal
import threading


def stop_on_signal() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set.

    rclpy's own handlers are not used: a launched node gets SIGINT twice, from the terminal and
    from launch, and the second would raise inside the clean-up of the first.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
