"""Video files and folders of frames: exact decoding, clips, checking."""
