"""Runs of several processes: nodes, cameras, listeners."""
