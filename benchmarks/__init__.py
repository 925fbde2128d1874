"""Benchmarks: stages of the systems, comparison with the originals, kernels, decoding, training."""
