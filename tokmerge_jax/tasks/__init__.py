"""Whole jobs: preparation, evaluation, training, schedule search, conversion, pictures."""
