"""Environment that must be right before rclpy is imported."""

import os
import sys

from asyncmde_ros.resources import share_directory

PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""Names that Fast DDS 2 (Jazzy) and 3 (Kilted) read; either one set by the user is left alone."""


def prepare() -> None:
    """Give Fast DDS room for images and let pip-installed ROS find itself.

    Only sets what the user has not: our transport profile, and ``AMENT_PREFIX_PATH``, which a
    sourced ROS installation always has and the rclpy wheels need.
    """
    if not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        profile = str(share_directory() / 'config' / 'fastdds.xml')
        os.environ.update(dict.fromkeys(PROFILE_VARIABLES, profile))
    os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
