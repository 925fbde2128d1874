"""Configuration files, ours and a user's own: read, or refused in one sentence."""

import pathlib
import re

import pytest

from tokmerge_jax import config
from tokmerge_jax.types import UserError

OWN = """
from tokmerge_jax.config import umt

def get_config(size="b16"):
    vision = umt.L16 if size == "l16" else umt.Vision()
    return umt.Retrieval(model=umt.RetrievalModel(vision=vision))
"""


def test_a_user_s_file_and_its_variants(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    assert config.load(str(file)).model.vision.depth == 12
    assert config.load(f"{file}:l16").model.vision.depth == 24


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("get_config = 1 +", "is not a configuration (invalid syntax"),
        ("import no_such_module", "is not a configuration (No module named 'no_such_module')"),
        ("1 / 0", "is not a configuration (division by zero)"),
        ("x = 1", "is not a configuration (module 'own' has no attribute 'get_config')"),
        (
            "from tokmerge_jax.config import umt\ndef get_config(): return umt.Merger(s=1)",
            "unexpected keyword argument 's'",
        ),
        (
            "from ml_collections import ConfigDict\ndef get_config(): return ConfigDict()",
            "its get_config returns a ConfigDict; build a configuration of tokmerge_jax.config",
        ),
    ],
)
def test_a_file_that_builds_none_is_refused(tmp_path, text, says):
    file = tmp_path / "own.py"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        config.load(str(file))
    assert re.match(f"the (file|configuration) {file}:? ", str(caught.value))
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere/no.py", "nowhere/no.py:full", "no_such_name", "."])
def test_a_file_that_is_not_there_is_named(name):
    with pytest.raises(UserError, match=f"the configuration {name} cannot be loaded: ") as caught:
        config.load(name)
    assert "see `tokmerge configs`" in str(caught.value)


def test_a_variant_that_a_file_does_not_have_is_refused(tmp_path):
    file = pathlib.Path(tmp_path, "own.py")
    file.write_text("def get_config(): ...")
    with pytest.raises(UserError, match=r"own.py has no variants; leave out :full"):
        config.load(f"{file}:full")
