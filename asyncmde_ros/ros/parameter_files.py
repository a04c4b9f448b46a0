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


def objection(path: Path, node: str) -> str | None:
    """Say why a file sets nothing of ``node``, a full name; None where it does.

    What is no YAML of the form that ROS wants it has refused already.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, yaml.YAMLError):
        tree = None
    names = list(_nodes(tree))
    if not names:
        return (f'{path} holds no parameters, so it has no effect: write them under {node} or '
                f'/**, and below that under {PARAMETERS}')
    if any(_matches(name, node) for name in names):
        return None
    return (f'{path} has parameters for {", ".join(names)} only, so it has no effect: this node '
            f'is {node}. Write that name, or /**, into the file')


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
