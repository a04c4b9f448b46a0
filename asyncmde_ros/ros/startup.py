"""rclpy, started; and names for it, judged: what cannot be is an error of one line."""

import re
import sys
from collections.abc import Sequence

import rclpy
from rclpy.exceptions import InvalidNamespaceException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from rclpy.validate_namespace import validate_namespace

from asyncmde_ros.errors import AsyncMDEError, one_line

LOG_FAILURE = 'logging'
"""In rcl's words for a log folder that is none."""


NAMESPACE_RULE = re.compile('([^:]+:)?__ns:=(?P<namespace>.*)', re.DOTALL)


def ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command line that are ROS's: from --ros-args to -- or the end."""
    words, of_ros = [], False
    for word in arguments:
        if word == '--ros-args' or (of_ros and word == '--'):
            of_ros = word == '--ros-args'
        elif of_ros:
            words.append(word)
    return words


def start_ros(args: list[str] | None = None, context: rclpy.Context | None = None) -> None:
    """Start rclpy without signal handlers of its own; AsyncMDEError if it cannot be.

    ``args`` are the words that rclpy looks for its own in, None for this process's.
    """
    for word in ros_arguments(sys.argv if args is None else args):
        # rcl has several lines for one that is none, and none of them helps.
        rule = NAMESPACE_RULE.fullmatch(word)
        if rule and rule['namespace'] != (right := absolute_namespace(rule['namespace'])):
            raise AsyncMDEError(f'{rule["namespace"]!r} is no namespace: write {right}')
    try:
        rclpy.init(args=args, context=context, signal_handler_options=SignalHandlerOptions.NO)
    except UnicodeEncodeError as error:
        raise AsyncMDEError(f'ROS takes arguments in UTF-8 only, and not {error.object!r}'
                            ) from error
    except Exception as error:
        advice = ('; set ROS_LOG_DIR to a folder that can be written to'
                  if LOG_FAILURE in str(error) else '')
        raise AsyncMDEError(one_line(error) + advice) from error


def absolute_namespace(text: str) -> str:
    """Return a namespace as ROS writes it, '/robot1' for 'robot1/'; AsyncMDEError for none."""
    namespace = '/' + text.strip('/')
    try:
        validate_namespace(namespace)
    except InvalidNamespaceException as error:
        raise AsyncMDEError(
            f'{text!r} is no namespace: each of its parts is letters, digits and underscores, '
            'and begins with no digit, as in /robot1/front') from error
    return namespace


def absolute_topic(text: str, namespace: str) -> str:
    """Return a topic's full name, '/robot1/image' for 'image'; AsyncMDEError if it is none."""
    try:
        topic = expand_topic_name(text, 'node', namespace)
        validate_full_topic_name(topic)
    except Exception as error:  # of several kinds, one of them for each of these calls
        raise AsyncMDEError(
            f'{text!r} is no topic: each of its parts is letters, digits and underscores, and '
            'begins with no digit, as in /camera/image_raw') from error
    return topic
