"""Entry point of nodes; light, so that Ctrl-C is handled before the heavy imports."""

import contextlib
import gc
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from asyncmde_ros.errors import one_line
from asyncmde_ros.ros.signals import end_if_stuck, stop_on_signal
from asyncmde_ros.streams import secure_streams

if TYPE_CHECKING:
    from asyncmde_ros.ros.pipeline_node import PipelineNode

SPIN_S = 0.1
"""Longest wait for work, and so for noticing a signal."""

HELP = """\
usage: depth_node [--ros-args [-r FROM:=TO] [-p NAME:=VALUE] [--params-file FILE] ...]

Subscribes to a camera's images and publishes their relative depth on depth/relative.  For example

  depth_node --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info
  depth_node --ros-args -r image:=/camera/image_raw -p input.image_transport:=compressed

While it runs, `ros2 param list /depth_node` lists its parameters, `ros2 param describe /depth_node
NAME` explains one of them, and the topic /diagnostics shows how the node is doing."""

PATIENCE_S = 8.0
"""A node that is asked to end does within a second; launch kills it after ten."""


class Program(NamedTuple):
    """A node's name, what ``--help`` says, and what imports its class."""

    name: str
    help: str
    node: 'Callable[[], Callable[[], PipelineNode]]'


def main() -> None:
    """Run the depth node."""
    def node() -> 'Callable[[], PipelineNode]':
        from asyncmde_ros.ros.node import DepthNode
        return DepthNode
    run(Program('depth_node', HELP, node))


def run(program: Program) -> None:
    """Run a node until a signal; exit status 0, or 1 where it could not start."""
    secure_streams()
    if {'-h', '--help'} & set(sys.argv[1:]):
        print(program.help)
        return
    stop = stop_on_signal()
    end_if_stuck(PATIENCE_S)
    from asyncmde_ros.ros.environment import prepare
    prepare()
    try:
        import rclpy
        from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

        from asyncmde_ros.ros.startup import start_ros
        node_class = program.node()
    except ImportError as error:
        advice = ('source a ROS 2 installation, or without one run pip install ".[ros]" in the '
                  "package's source folder"
                  if (error.name or '').startswith('rclpy') else f'install {error.name}')
        print(f'{program.name}: cannot start, {error}: {advice}', file=sys.stderr)
        sys.exit(1)
    if stop.is_set():
        return
    try:
        start_ros()
        node = node_class()
    except Exception as error:  # a parameter of the wrong type, say: one line, not a traceback
        print(f'{program.name}: {one_line(error)}', file=sys.stderr)
        rclpy.try_shutdown()
        sys.exit(1)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    status = 0
    try:
        starting = executor.create_task(node.autostart)
        while not stop.is_set():
            executor.spin_once(timeout_sec=SPIN_S)
            if starting.done() and not starting.result() and not stop.is_set():
                status = 1
                break
    except ExternalShutdownException:
        pass
    except Exception as error:
        node.get_logger().fatal(f'the node ends, because of an error that it did not foresee: '
                                f'{error!r}; please report it with this log')
        status = 1
    node.close()
    with contextlib.suppress(Exception):  # whoever asked for what is under way gets an answer
        while node.loading:
            executor.spin_once(timeout_sec=SPIN_S)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    # The end of all that uses the context is that of the middleware's shared memory, which
    # _exit() would leave behind.
    del executor, node, starting
    gc.collect()
    rclpy.get_default_context().destroy()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python would take itself and the runtime apart for a third of a second, and crash where a
    # thread is still inside the runtime.
    os._exit(status)


if __name__ == '__main__':
    main()
