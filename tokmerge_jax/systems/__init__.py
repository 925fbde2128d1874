"""The systems: each binds a network to its checkpoints, texts, pixels, losses and tasks."""
