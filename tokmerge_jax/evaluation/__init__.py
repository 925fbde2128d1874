"""Retrieval, multiple choice, questions, actions: scores and results; what is computed is kept."""

from tokmerge_jax.evaluation.retrieval import Model, Scores, evaluate
from tokmerge_jax.evaluation.store import Store, model_facts

__all__ = ["Model", "Scores", "Store", "evaluate", "model_facts"]
