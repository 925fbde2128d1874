"""Selects the frames of a video that a network reads."""
