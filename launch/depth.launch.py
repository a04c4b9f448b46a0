"""Start the depth node on a camera's topics."""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from asyncmde_ros.ros.environment import PROFILE_VARIABLES
from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    config = Path(get_package_share_directory('asyncmde_ros')) / 'config'
    arguments = [
        DeclareLaunchArgument('image_topic', default_value='/camera/image_raw',
                              description='Camera images (sensor_msgs/Image).'),
        DeclareLaunchArgument('camera_info_topic', default_value='/camera/camera_info',
                              description='Calibration of that camera (sensor_msgs/CameraInfo).'),
        DeclareLaunchArgument('backend', default_value='',
                              description='What computes the networks: auto, openvino or torch; '
                                          'empty leaves it to the parameter file.'),
        DeclareLaunchArgument('params_file', default_value=str(config / 'depth.yaml'),
                              description='YAML file with the parameters of the node.'),
    ]
    profile = []
    if not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        # Default Fast DDS loses large images; a profile of the user's own is left alone.
        profile.append(SetEnvironmentVariable(PROFILE_VARIABLES[0], str(config / 'fastdds.xml')))
    return LaunchDescription([*arguments, *profile, OpaqueFunction(function=_node)])


def _node(context: LaunchContext) -> list[Node]:
    """Return the node; a backend on the command line overrides the parameter file's."""
    backend = LaunchConfiguration('backend').perform(context)
    return [Node(
        package='asyncmde_ros', executable='depth_node', output='screen', emulate_tty=True,
        parameters=[LaunchConfiguration('params_file'), {'backend': backend} if backend else {}],
        remappings=[('image', LaunchConfiguration('image_topic')),
                    ('camera_info', LaunchConfiguration('camera_info_topic'))])]
