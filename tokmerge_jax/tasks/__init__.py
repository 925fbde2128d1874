"""Whole jobs: preparation of data, evaluation, training, schedule search, conversion of weights."""
