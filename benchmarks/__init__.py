"""Whatever measures: stages of the systems, beside the originals, kernels, decoding, training."""
