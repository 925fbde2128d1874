"""Flax modules, and functions, that several networks share."""
