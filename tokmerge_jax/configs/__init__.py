"""The configurations of this package, one per file."""
