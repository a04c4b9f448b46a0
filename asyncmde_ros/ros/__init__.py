"""The ROS 2 layer: the only part that imports rclpy."""
