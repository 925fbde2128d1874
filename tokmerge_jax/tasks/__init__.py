"""Whole jobs: evaluating, training, searching a schedule, converting weights."""
