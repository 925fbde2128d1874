"""Weights and vocabularies of tokmerge_jax's demo; `tokmerge_jax.demo_files` finds them."""
