"""Turns texts into token ids: tokenizers and their vocabularies."""
