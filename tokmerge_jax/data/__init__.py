"""Videos and texts: annotations, decoding, frame sampling, transforms, tokenising, the loader."""
