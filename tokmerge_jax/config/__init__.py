"""Configurations: frozen dataclasses, a module for each family of systems.

A file of `tokmerge_jax.configs` builds one, `load` reads such a file, and `Config.override` makes
one with other values. Ranges and relations are checked once, by `Config.check`, when a system is
built.
"""

from tokmerge_jax.config.common import Config as Config
from tokmerge_jax.config.files import load as load
from tokmerge_jax.config.parts import Part as Part
from tokmerge_jax.config.parts import expect as expect
