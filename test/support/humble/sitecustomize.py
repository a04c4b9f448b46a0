"""Gives the rclpy of Jazzy the edges of Humble's, as far as this package meets them.

Python imports this by itself where the folder is in PYTHONPATH.  Besides what is taken away here,
Humble lacks nothing of rclpy that the package uses (compared by the sources of both).
"""

from typing import Any

from rclpy.executors import Executor, await_or_execute
from rclpy.node import Node
from rclpy.subscription import Subscription


def _take(executor: Executor, subscription: Any) -> Any:
    """Return what hands over the message alone."""
    with subscription.handle:
        taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    if taken is None:
        return None

    async def execute() -> None:
        await await_or_execute(subscription.callback, taken[0])
    return execute


for name in ('pre', 'post'):
    delattr(Node, f'add_{name}_set_parameters_callback')
    delattr(Node, f'remove_{name}_set_parameters_callback')
# A property, whose setter looks at how many arguments a callback takes.
del Subscription.callback
del Subscription.CallbackType
Executor._take_subscription = _take  # type: ignore[method-assign]
