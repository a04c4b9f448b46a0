"""A node of a session's own process: a listener, a camera."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from asyncmde_ros.ros.signals import STOPS, stop_on_signal
from asyncmde_ros.ros.startup import start_ros

T = TypeVar('T', bound=Node)


@contextlib.contextmanager
def hosted(make: Callable[[], T]) -> Iterator[tuple[T, SingleThreadedExecutor, threading.Event]]:
    """Give the block a node, what spins it, and an event that Ctrl-C sets; undo all of it after.

    An exception raised inside the executor, as Python's own Ctrl-C does, would crash rclpy.
    """
    handlers = {number: signal.getsignal(number) for number in STOPS}
    stop = stop_on_signal()
    try:
        start_ros([])
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            yield node, executor, stop
        finally:
            executor.shutdown()
            node.destroy_node()
    finally:
        rclpy.try_shutdown()
        for number, handler in handlers.items():
            signal.signal(number, handler)
