"""Turns decoded frames into network inputs: resizing, cropping, augmentation, normalisation."""
