"""Training: losses, the optimiser, the step and the loop that resumes."""
