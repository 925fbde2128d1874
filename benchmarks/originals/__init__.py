"""The original systems inside PyTorch, each as one process that `stages.py` asks."""
