"""Entry point of ``event_depth_node``; light, as that of the depth node."""

from typing import TYPE_CHECKING

from asyncmde_ros.ros.main import Program, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncmde_ros.ros.pipeline_node import PipelineNode

HELP = """\
usage: event_depth_node [--ros-args [-r FROM:=TO] [-p NAME:=VALUE] [--params-file FILE] ...]

Subscribes to an event camera's events and publishes relative depth, for each window of time: on
query/depth where it is asked for, and as maps on depth/relative.  For example

  event_depth_node --ros-args -r events:=/event_camera/events -p query.grid:=24x18
  event_depth_node --ros-args -r events:=/bridge/events -p events.sensor:=346x260

While it runs, `ros2 param list /event_depth_node` lists its parameters, `ros2 param describe
/event_depth_node NAME` explains one of them, and the topic /diagnostics shows how the node is
doing."""


def main() -> None:
    """Run the event node."""
    def node() -> 'Callable[[], PipelineNode]':
        from asyncmde_ros.events.node.node import EventDepthNode
        return EventDepthNode
    run(Program('event_depth_node', HELP, node))


if __name__ == '__main__':
    main()
