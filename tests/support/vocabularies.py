"""Tests that need the vocabularies of the original systems, which are not ours to ship."""

import os

import pytest

from tokmerge_jax.data.text import vocabulary

real = pytest.mark.skipif(
    vocabulary.FOLDER_VARIABLE not in os.environ,
    reason=f"{vocabulary.FOLDER_VARIABLE} names no folder of real vocabularies",
)
