"""Start a depth node for each of several cameras, in a namespace of its name."""

import re
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription

DEPTH = str(Path(__file__).with_name('depth.launch.py'))
OF_EACH = ('namespace', 'image_topic', 'camera_info_topic')
"""Arguments of depth.launch.py that this file sets; the others are passed on."""

NAMESPACE = re.compile(r'[a-z_]\w*(/[a-z_]\w*)*', re.ASCII | re.IGNORECASE)


def generate_launch_description() -> LaunchDescription:
    passed_on = [entity for entity
                 in get_launch_description_from_python_launch_file(DEPTH).entities
                 if isinstance(entity, DeclareLaunchArgument) and entity.name not in OF_EACH]
    return LaunchDescription([
        DeclareLaunchArgument('cameras',
                              description='Names, separated by commas: front,rear.'),
        DeclareLaunchArgument('image_topics', default_value='/{camera}/image_raw',
                              description="Image topics, with {camera} for a camera's name."),
        DeclareLaunchArgument('camera_info_topics', default_value='/{camera}/camera_info',
                              description="CameraInfo topics, with {camera} for a camera's name."),
        *passed_on,
        OpaqueFunction(function=_cameras)])


def _cameras(context: LaunchContext) -> list[GroupAction]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    names = [part.strip().lstrip('/') for part in value('cameras').split(',') if part.strip()]
    if not names:
        raise RuntimeError('name at least one camera: cameras:=front,rear')
    for name in names:
        if not NAMESPACE.fullmatch(name):
            raise RuntimeError(f'{name!r} cannot be a namespace, as a camera\'s name is: letters, '
                               'digits and underscores, no digit first')
    if len(set(names)) < len(names):
        raise RuntimeError(f'a camera is named twice: {value("cameras")}')
    # A group each: what is set for one camera must not reach the next.
    return [GroupAction([IncludeLaunchDescription(DEPTH, launch_arguments=[
        ('namespace', name),
        ('image_topic', value('image_topics').replace('{camera}', name)),
        ('camera_info_topic', value('camera_info_topics').replace('{camera}', name)),
    ])]) for name in names]
