"""The configurations that this package is delivered with, a file each."""
