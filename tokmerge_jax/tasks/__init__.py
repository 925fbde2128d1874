"""Whole jobs: evaluating, training and searching a schedule on prepared data sets."""
