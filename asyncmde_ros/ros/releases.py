"""What rclpy of ROS 2 Humble lacks of that of later releases, and is needed here."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription

GIVES_MESSAGE_INFO = hasattr(Subscription, 'CallbackType')
"""Whether a subscription's callback may take, besides the message, when it came and its number."""


def after_parameters_are_set(node: Node, callback: Callable[[list[Parameter]], None]) -> None:
    """Call ``callback`` with parameters that were set, once ``node`` has their new values.

    In Humble there is only a callback that is asked before.  There what the parameter services
    call is wrapped: the new values then act before the answer is sent, as in later releases,
    which neither a timer nor the node's own parameter events would ensure.
    """
    if hasattr(node, 'add_post_set_parameters_callback'):
        node.add_post_set_parameters_callback(callback)
        return
    original = node.set_parameters_atomically

    @functools.wraps(original)
    def wrapped(parameters: list[Parameter]) -> SetParametersResult:
        result = original(parameters)
        if result.successful:
            callback(parameters)
        return result
    setattr(node, original.__name__, wrapped)


def with_message_info(callback: Callable[[Any, Mapping[str, Any]], None]) -> Callable[..., None]:
    """Return ``callback`` (message, info) as a subscription's; in Humble ``info`` is empty."""
    if GIVES_MESSAGE_INFO:
        return callback
    return lambda message: callback(message, {})
