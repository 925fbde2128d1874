"""Flax modules that several networks share."""
