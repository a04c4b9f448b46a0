"""Start the event node on an event camera's topic."""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from asyncmde_ros.ros.environment import PROFILE_VARIABLES, profile_variable
from launch import LaunchContext, LaunchDescription

CONFIG = Path(get_package_share_directory('asyncmde_ros')) / 'config'
NODE = 'event_depth_node'

OVERRIDES = {'window': 'events.window', 'sensor': 'events.sensor', 'grid': 'query.grid'}
"""Arguments that, unless they are empty, override a parameter of the parameter file."""


def generate_launch_description() -> LaunchDescription:
    profile = []
    if not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        # Default Fast DDS loses large messages; a profile of the user's own is left alone.
        profile.append(SetEnvironmentVariable(profile_variable(), str(CONFIG / 'fastdds.xml')))
    return LaunchDescription([*_arguments(), *profile, OpaqueFunction(function=_nodes)])


def _arguments() -> list[DeclareLaunchArgument]:
    from_file = ' Empty leaves it to the parameter file.'
    return [
        DeclareLaunchArgument('events_topic', default_value='/event_camera/events',
                              description='Events (event_camera_msgs/EventPacket, '
                                          'dvs_msgs/EventArray or sensor_msgs/PointCloud2).'),
        DeclareLaunchArgument('camera_info_topic', default_value='/event_camera/camera_info',
                              description='Calibration of that camera (sensor_msgs/CameraInfo).'),
        DeclareLaunchArgument('window', default_value='',
                              description='How often there is depth [s].' + from_file),
        DeclareLaunchArgument('sensor', default_value='',
                              description='Columns x rows of the sensor, for clouds.'
                                          + from_file),
        DeclareLaunchArgument('grid', default_value='',
                              description='Columns x rows of points that have depth with every '
                                          'window.' + from_file),
        DeclareLaunchArgument('params_file', default_value=str(CONFIG / 'events.yaml'),
                              description='YAML file with the parameters of the node.'),
        DeclareLaunchArgument('namespace', default_value='',
                              description='Namespace of the node and of its topics.'),
        DeclareLaunchArgument('log_level', default_value='info',
                              choices=['debug', 'info', 'warn', 'error', 'fatal'],
                              description='The least that the node logs.'),
    ]


def _nodes(context: LaunchContext) -> list[Node]:
    """Return the node, with what the command line overrides."""
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    if not Path(value('params_file')).is_file():
        raise RuntimeError(f'params_file: {value("params_file")} is not a file')
    overrides = {parameter: float(value(argument)) if argument == 'window' else value(argument)
                 for argument, parameter in OVERRIDES.items() if value(argument)}
    namespace = value('namespace').strip('/')
    logger = '.'.join([*namespace.split('/'), NODE] if namespace else [NODE])
    return [Node(package='asyncmde_ros', executable=NODE, output='screen', emulate_tty=True,
                 namespace=namespace, parameters=[value('params_file'), overrides],
                 remappings=[('events', value('events_topic')),
                             ('camera_info', value('camera_info_topic'))],
                 ros_arguments=['--log-level', f'{logger}:={value("log_level")}'])]
