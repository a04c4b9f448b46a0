"""Requests that go wrong are answered, and the node lives on.

rclpy passes what a callback raises on to whoever spins, and so to the end of the process: a
transition by an id that is none now, or a parameter of a type that is none, would be enough.
"""

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.node import Node

from asyncmde_ros.errors import in_words

THROTTLE_S = 5.0
"""A timer that fails says so no more often."""


def guard_services(node: Node) -> None:
    """Let every service that ``node`` has by now answer, whatever its callback raises."""
    for service in node.services:
        service.callback = _answering(node, service.callback, service.srv_name)


def guard_clock(node: Node) -> None:
    """Let a simulation's time that cannot be, a negative one, be ignored with a word."""
    source: Any = node._time_source  # rclpy has no public way to it
    take = source.clock_callback

    def wrapped(message: Any) -> None:
        try:
            take(message)
        except Exception as error:
            node.get_logger().warning(f'a time on /clock is ignored: {in_words(error)}',
                                      throttle_duration_sec=THROTTLE_S)
    source.clock_callback = wrapped
    if source._clock_sub is not None:  # already, where use_sim_time was given at start
        source._clock_sub.callback = wrapped


def guarded(node: Node, callback: Callable[[], None]) -> Callable[[], None]:
    """Return a timer's callback that logs what goes wrong instead."""
    said_s = -THROTTLE_S

    @functools.wraps(callback)
    def wrapped() -> None:
        nonlocal said_s
        try:
            callback()
        except Exception as error:
            if time.monotonic() - said_s >= THROTTLE_S:
                said_s = time.monotonic()
                node.get_logger().error(f'{callback.__name__.strip("_")}: {in_words(error)}')
    return wrapped


def _answering(node: Node, callback: Callable[[Any, Any], Any], name: str
               ) -> Callable[[Any, Any], Any]:
    async def wrapped(request: Any, response: Any) -> Any:
        try:
            answer = callback(request, response)
            return await answer if inspect.isawaitable(answer) else answer
        except Exception as error:
            node.get_logger().error(f'{name}: {in_words(error)}')
            return _refusal(request, response, in_words(error))
    return wrapped


def _refusal(request: Any, response: Any, reason: str) -> Any:
    """Return the response with what else its kind needs to be a refusal."""
    refused = SetParametersResult(successful=False, reason=reason)
    if isinstance(response, SetParameters.Response):
        missing = len(request.parameters) - len(response.results)
        response.results = [*response.results, *[refused] * missing]
    elif isinstance(response, SetParametersAtomically.Response):
        response.result = refused
    return response
