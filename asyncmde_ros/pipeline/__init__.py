"""The asynchronous runtime, without ROS: ``DepthPipeline(...).process(frame)``."""
