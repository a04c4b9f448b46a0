"""Pixels: every encoding that cameras and files have, to RGB and back."""
