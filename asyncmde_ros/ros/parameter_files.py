"""Whose parameters a file holds; ROS passes over those of other nodes without a word."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from asyncmde_ros.ros.startup import ros_arguments

PARAMETERS = 'ros__parameters'
WILDCARDS = {'*': '/[^/]+', '**': '(/[^/]+)*'}


def files_of(arguments: Sequence[str]) -> list[Path]:
    """Return the files that a command line names with ``--params-file`` to ROS."""
    words = ros_arguments(arguments)
    return [Path(following) for word, following in zip(words, words[1:], strict=False)
            if word == '--params-file']


def strangers(path: Path, node: str) -> list[str]:
    """Return the nodes that a file's parameters are for, if ``node``, a full name, is none.

    Empty where it is one, and for a file that names no node.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, yaml.YAMLError):  # which rcl has told already
        return []
    names = list(_nodes(tree))
    return [] if any(_matches(name, node) for name in names) else names


def _nodes(tree: Any, above: str = '') -> Iterator[str]:
    """Give the full name of each node in a file; namespaces may be keys or parts of keys."""
    if not isinstance(tree, dict):
        return
    if PARAMETERS in tree:
        yield above
        return
    for key, value in tree.items():
        yield from _nodes(value, f'{above}/{str(key).strip("/")}')


def _matches(pattern: str, node: str) -> bool:
    parts = (WILDCARDS.get(part) or '/' + re.escape(part) for part in pattern.split('/')[1:])
    return re.fullmatch(''.join(parts), node) is not None
