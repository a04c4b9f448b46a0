"""AsyncMDE for ROS 2: a foundation model's depth, at camera rate."""

__version__ = '0.1.0'
