"""Training: losses, optimisers, the compiled step, and a loop that can resume."""
