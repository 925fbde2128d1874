"""From texts to token ids: tokenizers and their vocabularies."""
