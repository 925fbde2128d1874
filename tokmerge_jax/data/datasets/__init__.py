"""Annotation formats, and the TFDS builder that holds checked data sets."""
