"""Depth from an event camera, a second sensor; nothing that runs for images imports it."""
