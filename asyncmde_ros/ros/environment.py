"""Environment that must be right before rclpy is imported."""

import contextlib
import os
import sys
from pathlib import Path

from asyncmde_ros.resources import share_directory

PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""Names that Fast DDS 2 (Jazzy) and 3 (Kilted) read; either one set by the user is left alone."""


def prepare() -> None:
    """Give Fast DDS room for images and let pip-installed ROS find itself.

    Only sets what the user has not: our transport profile, ``AMENT_PREFIX_PATH``, which a sourced
    ROS installation always has and the rclpy wheels need, and ``HOME``, which a service of the
    system need not have, and ROS wants for its logs.
    """
    if not os.environ.get('HOME'):
        os.environ.pop('HOME', None)
        with contextlib.suppress(RuntimeError):  # a user without a home; ROS_LOG_DIR may be set
            os.environ['HOME'] = str(Path.home())
    os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
    if not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        os.environ[profile_variable()] = str(share_directory() / 'config' / 'fastdds.xml')


def profile_variable() -> str:
    """Return the one of PROFILE_VARIABLES that the installed Fast DDS reads without a warning."""
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    # Kilted's package has another name than those before.
    renamed = any(Path(prefix, 'share', 'fastdds').is_dir() for prefix in prefixes)
    return PROFILE_VARIABLES[renamed]
