"""Start the depth node, and play a video to it as a camera would."""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from asyncmde_ros import processes
from asyncmde_ros.lab.media.example import example_video
from asyncmde_ros.lab.runs.video_publisher import SEEN_TOPIC
from launch import Action, LaunchContext, LaunchDescription

DEPTH = str(Path(__file__).with_name('depth.launch.py'))


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([
        DeclareLaunchArgument('video', default_value='',
                              description='A video file; empty for a street video, which is '
                                          'fetched when it is first used.'),
        DeclareLaunchArgument('loop', default_value='true', choices=['true', 'false'],
                              description='Whether the video starts over at its end; the end of '
                                          'the demo otherwise.'),
        # First, since launch lets go of processes that it is starting while an error ends it.
        OpaqueFunction(function=_video),
        RegisterEventHandler(OnProcessExit(
            target_action=_is_the_node, on_exit=[Shutdown(reason='the depth node ended')])),
        # Before the publisher, so that the transport's profile is set for that, too.
        IncludeLaunchDescription(DEPTH),
        OpaqueFunction(function=_publisher)])


def _video(context: LaunchContext) -> list[SetLaunchConfiguration]:
    """Make ``video`` a file that there is."""
    video = LaunchConfiguration('video').perform(context)
    if video and not Path(video).is_file():
        raise RuntimeError(f'video: {video} is not a file')
    return [SetLaunchConfiguration('video', video or str(example_video()))]


def _is_the_node(action: Action) -> bool:
    return isinstance(action, Node) and action.node_executable == 'depth_node'


def _publisher(context: LaunchContext) -> list[ExecuteProcess]:
    """Return the video publisher, which waits for the node; its end is the end of the demo."""
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    # Held at the first picture until there is depth: engines may have to be built for its shape.
    memory = '/'.join(['', *filter(None, [value('namespace').strip('/')]), 'depth/memory'])
    return [ExecuteProcess(
        cmd=processes.command(
            'asyncmde_ros.lab.runs.video_publisher',
            '--video', value('video'), '--hold-first',
            *(['--loop'] if value('loop') == 'true' else []),
            '--ros-args', '-r', f'image:={value("image_topic")}', '-r', f'{SEEN_TOPIC}:={memory}'),
        name='video_publisher', output='screen', on_exit=Shutdown(reason='the video is over'))]
