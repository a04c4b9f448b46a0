#!/usr/bin/env bash
# Run a command with ROS 2 and this workspace sourced.
set -e
source /opt/ros/jazzy/setup.bash
source /ros2_ws/install/setup.bash
exec "$@"
