"""Which frames of a video a network sees."""
