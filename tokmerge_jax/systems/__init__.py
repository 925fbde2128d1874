"""A place per system: a network bound to its weights' names, text, pixels, losses and tasks."""
