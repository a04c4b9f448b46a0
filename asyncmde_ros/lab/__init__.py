"""What develops and shows the system, and never runs on a robot."""
