"""The ROS 2 node of event cameras; no other room of events imports ROS."""
