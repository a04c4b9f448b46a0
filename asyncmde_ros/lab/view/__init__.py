"""Depth, trust and timing in a Rerun viewer or file; never imports ROS."""
