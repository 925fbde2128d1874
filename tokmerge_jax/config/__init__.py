"""Configurations: frozen dataclasses, one module per family of systems.

A file in `tokmerge_jax.configs` builds a configuration, `load` reads such a file, and
`Config.override` changes values. `Config.check` checks ranges and relations once, when a system is
built.
"""

from tokmerge_jax.config.common import Config as Config
from tokmerge_jax.config.files import load as load
from tokmerge_jax.config.parts import Part as Part
from tokmerge_jax.config.parts import expect as expect
