"""Evaluates retrieval, multiple choice, question answering and action recognition, resumably."""

from tokmerge_jax.evaluation.context import Context, Model
from tokmerge_jax.evaluation.retrieval import evaluate
from tokmerge_jax.evaluation.scores import Scores
from tokmerge_jax.evaluation.store import Store, model_facts

__all__ = ["Context", "Model", "Scores", "Store", "evaluate", "model_facts"]
