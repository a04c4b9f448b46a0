"""config/events.yaml, written from the parameters' declarations.

In the source's folder: ``python -m asyncmde_ros.events.node.reference > config/events.yaml``.
"""

from asyncmde_ros.events.node.settings import PARAMETERS
from asyncmde_ros.lab.parameter_reference import parameter_file

COMMAND = 'python -m asyncmde_ros.events.node.reference'

HEAD = f"""\
# Parameters of asyncmde_ros' event_depth_node with their defaults.  To change some, keep a copy of
# this file and give it to the node with --params-file, or to events.launch.py as params_file.
# Written by {COMMAND}.
/**:
  ros__parameters:
"""


def written() -> str:
    """Return config/events.yaml."""
    return parameter_file(HEAD, PARAMETERS)


if __name__ == '__main__':
    print(written(), end='')
