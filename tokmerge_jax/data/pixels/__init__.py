"""From decoded frames to a network's pixels: resizing, cropping, augmenting, normalising."""
