"""docs/parameters.md from the declarations: ``python -m asyncmde_ros.lab.parameter_reference``."""

import itertools

from asyncmde_ros.ros.parameters import SPECIFICATIONS, Specification

HEAD = """\
# Parameters of `depth_node`

Written by `python -m asyncmde_ros.lab.parameter_reference` from the node's declarations;
`ros2 param describe` tells the same. *Live* ones act at once on `ros2 param set`; the others are
read when the node is configured: set them in a parameter file
([`config/depth.yaml`](../config/depth.yaml)) or with `-p NAME:=VALUE`. Numbers may be written
without a point.

History, depth and reliability of every topic but `/diagnostics` can be overridden, too, by ROS
2's own parameters, such as `qos_overrides./depth/relative.publisher.depth`; of the images history,
depth and durability, since their reliability is `input.reliability`.
"""

TABLE = '| name | default | values | live | |\n|---|---|---|---|---|\n'


def reference() -> str:
    """Return the page, in Markdown, a table for each group of parameters."""
    parts = [HEAD]
    for group, items in itertools.groupby(SPECIFICATIONS, _group):
        parts.append(f'\n## {group}\n\n{TABLE}')
        parts += [_row(item) for item in items]
    return ''.join(parts)


def _group(specification: Specification) -> str:
    return specification.name.rpartition('.')[0] or 'general'


def _row(item: Specification) -> str:
    default = list(item.default) if isinstance(item.default, tuple) else item.default
    shown = f'`{str(default).lower() if isinstance(default, bool) else default}`'
    return (f'| `{item.name}` | {shown if default != "" else "empty"} | {_values(item)} | '
            f'{"yes" if item.live else ""} | {item.description} |\n')


def _values(item: Specification) -> str:
    if item.choices:
        return ', '.join(f'`{choice}`' for choice in item.choices)
    if item.low is not None and item.high is not None:
        return f'{item.low:g} to {item.high:g}'
    return {bool: '`true`, `false`', str: 'text', tuple: 'four numbers'}[type(item.default)]


if __name__ == '__main__':
    print(reference(), end='')
