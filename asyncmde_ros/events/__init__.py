"""Depth from an event camera."""
