"""A long run of the depth node under faults, and what must hold in it; without ROS."""
