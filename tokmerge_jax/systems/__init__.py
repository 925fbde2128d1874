"""One file per system: a network bound to its weights' names, text, pixels and functions."""
