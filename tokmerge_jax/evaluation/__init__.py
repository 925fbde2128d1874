"""Evaluating retrieval: scores, metrics, results; whatever is computed is kept."""

from tokmerge_jax.evaluation.retrieval import Model, Options, Scores, evaluate
from tokmerge_jax.evaluation.store import Store

__all__ = ["Model", "Options", "Scores", "Store", "evaluate"]
