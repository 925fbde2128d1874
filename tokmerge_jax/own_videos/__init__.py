"""Search, action recognition and captions for the user's own videos, without a data set."""
