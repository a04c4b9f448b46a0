"""Start the depth node on a camera's topics."""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from asyncmde_ros.ros.configuration import BY_NAME
from asyncmde_ros.ros.environment import PROFILE_VARIABLES, profile_variable
from launch import LaunchContext, LaunchDescription

CONFIG = Path(get_package_share_directory('asyncmde_ros')) / 'config'
NODE = 'depth_node'

OVERRIDES = {'backend': 'backend', 'precision': 'precision', 'model': 'model.name',
             'image_transport': 'input.image_transport', 'rotation': 'input.rotation',
             'scale_source': 'scale.source'}
"""Arguments that, unless they are empty, override a parameter of the parameter file."""

SCALE_TOPICS = ('points', 'scan', 'range', 'odometry')
"""Sources of metres that have a topic, heard where scale.source names them."""


def generate_launch_description() -> LaunchDescription:
    profile = []
    if not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        # Default Fast DDS loses large images; a profile of the user's own is left alone.
        profile.append(SetEnvironmentVariable(profile_variable(), str(CONFIG / 'fastdds.xml')))
    return LaunchDescription([*_arguments(), *profile, OpaqueFunction(function=_nodes)])


def _arguments() -> list[DeclareLaunchArgument]:
    from_file = ' Empty leaves it to the parameter file.'

    def choices(argument: str) -> list[str]:
        return ['', *BY_NAME[OVERRIDES[argument]].choices]
    return [
        DeclareLaunchArgument('image_topic', default_value='/camera/image_raw',
                              description='Camera images (sensor_msgs/Image).'),
        DeclareLaunchArgument('camera_info_topic', default_value='/camera/camera_info',
                              description='Calibration of that camera (sensor_msgs/CameraInfo).'),
        DeclareLaunchArgument('imu_topic', default_value='imu',
                              description='Gyroscope (sensor_msgs/Imu), heard with the parameter '
                                          'memory.motion_compensation: imu.'),
        DeclareLaunchArgument('scale_source', default_value='',
                              description='What tells metres, such as scan or points,odometry.'
                                          + from_file),
        DeclareLaunchArgument('points_topic', default_value='scale/points',
                              description='Lidar, radar or stereo (sensor_msgs/PointCloud2), '
                                          'heard with scale_source:=points.'),
        DeclareLaunchArgument('scan_topic', default_value='scale/scan',
                              description='Laser scanner (sensor_msgs/LaserScan), heard with '
                                          'scale_source:=scan.'),
        DeclareLaunchArgument('range_topic', default_value='scale/range',
                              description='Range finder (sensor_msgs/Range), heard with '
                                          'scale_source:=range.'),
        DeclareLaunchArgument('odometry_topic', default_value='scale/odometry',
                              description="The robot's motion (nav_msgs/Odometry), heard with "
                                          'scale_source:=odometry.'),
        DeclareLaunchArgument('image_transport', default_value='',
                              choices=choices('image_transport'),
                              description='compressed listens to <image_topic>/compressed '
                                          '(sensor_msgs/CompressedImage).' + from_file),
        DeclareLaunchArgument('rotation', default_value='',
                              choices=choices('rotation'),
                              description='Degrees to turn images clockwise to be upright; auto '
                                          'takes the roll from tf.' + from_file),
        DeclareLaunchArgument('backend', default_value='', choices=choices('backend'),
                              description='What computes the networks.' + from_file),
        DeclareLaunchArgument('model', default_value='', choices=choices('model'),
                              description='Pair of foundation model and fast network; vitb needs '
                                          'weights of your own.' + from_file),
        DeclareLaunchArgument('precision', default_value='',
                              choices=choices('precision'),
                              description='auto is the fastest that keeps the warps exact.'
                                          + from_file),
        DeclareLaunchArgument('params_file', default_value=str(CONFIG / 'depth.yaml'),
                              description='YAML file with the parameters of the node.'),
        DeclareLaunchArgument('namespace', default_value='',
                              description='Namespace of the node and of its depth topics.'),
        DeclareLaunchArgument('log_level', default_value='info',
                              choices=['debug', 'info', 'warn', 'error', 'fatal'],
                              description='The least that the node logs.'),
        DeclareLaunchArgument('viewer', default_value='none', choices=['none', 'rviz'],
                              description='rviz also starts RViz, which has to be installed.'),
    ]


def _nodes(context: LaunchContext) -> list[Node]:
    """Return the node and the viewer, with what the command line overrides."""
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    if not Path(value('params_file')).is_file():
        raise RuntimeError(f'params_file: {value("params_file")} is not a file')
    overrides = {parameter: value(argument) for argument, parameter in OVERRIDES.items()
                 if value(argument)}
    namespace = value('namespace').strip('/')
    logger = '.'.join([*namespace.split('/'), NODE] if namespace else [NODE])
    place = {'namespace': namespace,
             'remappings': [('image', value('image_topic')),
                            ('camera_info', value('camera_info_topic')),
                            ('imu', value('imu_topic')),
                            *((f'scale/{source}', value(f'{source}_topic'))
                              for source in SCALE_TOPICS)]}
    node = Node(package='asyncmde_ros', executable=NODE, output='screen', emulate_tty=True,
                parameters=[value('params_file'), overrides],
                ros_arguments=['--log-level', f'{logger}:={value("log_level")}'], **place)
    if value('viewer') != 'rviz':
        return [node]
    # The viewer first: where it is not installed launch ends, and would leave the node behind.
    return [Node(package='rviz2', executable='rviz2',
                 arguments=['-d', str(CONFIG / 'depth.rviz')], **place), node]
