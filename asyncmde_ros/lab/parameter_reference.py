"""docs/parameters.md and config/depth.yaml, written from the parameters' declarations.

In the source's folder: ``python -m asyncmde_ros.lab.parameter_reference > docs/parameters.md`` and
``python -m asyncmde_ros.lab.parameter_reference --yaml > config/depth.yaml``.
"""

import argparse
import itertools
import json
import textwrap
from collections.abc import Sequence

from asyncmde_ros.pipeline.declaration import Declaration, Settable
from asyncmde_ros.ros.configuration import PARAMETERS

COMMAND = 'python -m asyncmde_ros.lab.parameter_reference'

PAGE_HEAD = f"""\
# Parameters of `depth_node`

This page and [`config/depth.yaml`](../config/depth.yaml) are written by
`{COMMAND}` from the node's declarations;
`ros2 param describe` shows the same. The column *set* says when a parameter may be set with
`ros2 param set`:

- **{Settable.ALWAYS.value}**: it acts at the next frame.
- **{Settable.UNCONFIGURED.value}**: the node reads it when it is configured. In every other state
  `ros2 param set` is refused. On a running node call `ros2 lifecycle set /depth_node deactivate`
  and then `cleanup`, set the parameter, and call `configure` and `activate`.
- **{Settable.AT_START.value}**: it is read once, when the node starts.

At start every parameter can be set in a parameter file or with `-p NAME:=VALUE`. Numbers may be
written without a decimal point.

The history, depth and reliability of every topic but `/diagnostics` can be set as well, by ROS 2's
own parameters, such as `qos_overrides./depth/relative.publisher.depth`. For the images these are
history, depth and durability: their reliability is `input.reliability`.
"""

TABLE = '| name | default | values | set | description |\n|---|---|---|---|---|\n'

YAML_HEAD = f"""\
# Parameters of asyncmde_ros' depth_node with their defaults.  To change some, keep a copy of this
# file and give it to the node with --params-file, or to depth.launch.py as params_file.
# Written by {COMMAND} --yaml.
/**:
  ros__parameters:
"""

YAML_WIDTH = 99


def page() -> str:
    """Return docs/parameters.md, in Markdown, a table for each group of parameters."""
    parts = [PAGE_HEAD]
    for group, members in itertools.groupby(PARAMETERS, lambda member: member.group):
        parts.append(f'\n## {group or "general"}\n\n{TABLE}')
        parts += [_row(member) for member in members]
    return ''.join(parts)


def _row(declaration: Declaration) -> str:
    shown = 'empty' if declaration.default == '' else f'`{_plain(declaration).strip(chr(34))}`'
    return (f'| `{declaration.name}` | {shown} | {_values(declaration, "`")} | '
            f'{declaration.settable.value} | {declaration.description} |\n')


def parameter_file(head: str = YAML_HEAD, declared: Sequence[Declaration] = PARAMETERS) -> str:
    """Return a node's parameter file: every parameter with its default and what it does."""
    parts = [head]
    for group, members in itertools.groupby(declared, lambda member: member.group):
        indent = ' ' * 4
        if group:
            parts.append(f'{indent}{group}:\n')
            indent += ' ' * 2
        for member in members:
            parts += [*_comment(indent, member.description),
                      *_comment(indent, f'{_values(member)}; set {member.settable.value}'),
                      f'{indent}{member.name.rpartition(".")[2]}: {_plain(member)}\n']
    return ''.join(parts)


def _comment(indent: str, text: str) -> list[str]:
    return [f'{indent}# {line}\n' for line in textwrap.wrap(text, YAML_WIDTH - len(indent) - 2)]


def _plain(declaration: Declaration) -> str:
    """Return the default as YAML has it: texts that look like something else in quotes."""
    default = declaration.default
    if isinstance(default, str):
        return default if default.isidentifier() else json.dumps(default)
    return json.dumps(default)


def _values(declaration: Declaration, mark: str = '') -> str:
    """Return which values there are; ``mark`` stands around each that is written as it is."""
    if declaration.choices:
        return ', '.join(f'{mark}{choice}{mark}' for choice in declaration.choices)
    if declaration.low is not None and declaration.high is not None:
        return f'{declaration.low:g} to {declaration.high:g}'
    return {bool: f'{mark}true{mark}, {mark}false{mark}', str: 'text',
            tuple: 'four numbers'}[type(declaration.default)]


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--yaml', action='store_true', help='the file, not the page')
    print(parameter_file() if parser.parse_args().yaml else page(), end='')
