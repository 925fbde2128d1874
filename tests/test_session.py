"""Whether a notebook's session has to be restarted after an installation."""

import importlib.metadata
import re
import sys
import types

import pytest

import tokmerge_jax
from tokmerge_jax.types import UserError


def imported(monkeypatch, name, version):
    module = types.ModuleType(name)
    module.__dict__["__version__"] = version
    monkeypatch.setitem(sys.modules, name, module)


def test_a_session_with_what_is_installed_goes_on():
    tokmerge_jax.check_session()


def test_a_package_that_was_replaced_asks_for_a_restart(monkeypatch):
    installed = importlib.metadata.version("numpy")
    imported(monkeypatch, "numpy", "1.26.4")
    said = f"has imported numpy 1.26.4, and {installed} is installed now; restart the session"
    with pytest.raises(UserError, match=re.escape(said)):
        tokmerge_jax.check_session()


def test_what_is_only_on_the_path_has_no_version_to_compare(monkeypatch):
    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", unknown)
    imported(monkeypatch, "flax", "0.1")
    tokmerge_jax.check_session()
