"""Whole jobs: evaluation, training, schedule search, conversion of weights."""
