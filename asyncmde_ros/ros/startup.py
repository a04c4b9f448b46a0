"""The start of rclpy, and checks of the names that it is given; each error is one line."""

import os
import re
import sys
from collections.abc import Sequence

import rclpy
from rclpy.exceptions import InvalidNamespaceException, InvalidNodeNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from rclpy.validate_namespace import validate_namespace
from rclpy.validate_node_name import validate_node_name

from asyncmde_ros.errors import AsyncMDEError, one_line

DOMAINS = 232
"""The last that has ports for the middleware (docs.ros.org, The ROS_DOMAIN_ID)."""

NAME_RULE = re.compile('([^:]+:)?__(?P<of>ns|node|name):=(?P<text>.*)', re.DOTALL)

UNKNOWN_ARGUMENTS = 'UnknownROSArgsError'

INNARDS = re.compile(r'(\. Error: (Expected lexeme type|error not set).*)?(, at /\S+:\d+)+$')
"""What rcl adds for those who work on it: places in its source, states of its parser."""


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
    words = ros_arguments(sys.argv if args is None else args)
    _check_names(words)
    _check_domain()
    try:
        rclpy.init(args=args, context=context, signal_handler_options=SignalHandlerOptions.NO)
    except UnicodeEncodeError as error:
        raise AsyncMDEError(f'ROS takes arguments in UTF-8 only: {error.object!r} is not; '
                             'write it in UTF-8') from error
    except Exception as error:
        raise AsyncMDEError(_told(error)) from error


def _check_names(words: Sequence[str]) -> None:
    """Raise AsyncMDEError for a name that is none: rcl has several lines for it, of no help."""
    for word in words:
        rule = NAME_RULE.fullmatch(word)
        if rule is None:
            continue
        text = rule['text']
        if rule['of'] != 'ns':
            _check_node_name(text)
        elif text != (right := absolute_namespace(text)):
            raise AsyncMDEError(f'{text!r} is not a valid namespace: write {right}')


def _check_node_name(text: str) -> None:
    try:
        validate_node_name(text)
    except InvalidNodeNameException as error:
        raise AsyncMDEError(f'{text!r} is not a valid node name: use letters, digits and '
                            'underscores, and do not begin with a digit, as in depth_front'
                            ) from error


def _check_domain() -> None:
    """Raise AsyncMDEError for a domain that is none: the middleware would end the process."""
    text = os.environ.get('ROS_DOMAIN_ID', '').strip()
    if text and not (text.isascii() and text.isdecimal() and int(text) <= DOMAINS):
        raise AsyncMDEError(f'ROS_DOMAIN_ID={text} is not a valid domain: set it to a whole '
                            f'number from 0 to {DOMAINS}')


def _told(error: Exception) -> str:
    """Return what rcl says of a start that failed, and what to do where that is known."""
    text = INNARDS.sub('', one_line(error))
    if type(error).__name__ == UNKNOWN_ARGUMENTS:
        return f'ROS does not know these words after --ros-args: {text}; leave them out'
    if 'logging' in text and 'configuration' not in text:
        return f'{text}; set ROS_LOG_DIR to a folder that can be written to'
    return text


def absolute_namespace(text: str) -> str:
    """Return a namespace as ROS writes it, '/robot1' for 'robot1/'; AsyncMDEError for none."""
    namespace = '/' + text.strip('/')
    try:
        validate_namespace(namespace)
    except InvalidNamespaceException as error:
        raise AsyncMDEError(
            f'{text!r} is not a valid namespace: between the slashes use letters, digits and '
            'underscores, and do not begin with a digit, as in /robot1/front') from error
    return namespace


def absolute_topic(text: str, namespace: str) -> str:
    """Return a topic's full name, '/robot1/image' for 'image'; AsyncMDEError if it is none."""
    try:
        topic = expand_topic_name(text, 'node', namespace)
        validate_full_topic_name(topic)
    except Exception as error:  # of several kinds, one of them for each of these calls
        raise AsyncMDEError(
            f'{text!r} is not a valid topic: between the slashes use letters, digits and '
            'underscores, and do not begin with a digit, as in /camera/image_raw') from error
    return topic
