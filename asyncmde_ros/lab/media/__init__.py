"""Messages, videos, cameras and bags to RGB frames, and depth to pictures; never imports ROS."""
