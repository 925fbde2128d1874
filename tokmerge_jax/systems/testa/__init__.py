"""TESTA on BLIP: retrieval, question answering, and pretraining with captions."""
