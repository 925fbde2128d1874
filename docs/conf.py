"""Settings of the documentation site; `make docs` builds it in build/site."""

import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent
sys.path.insert(0, str(FOLDER))  # Sphinx runs this file as text

import generate  # noqa: E402
import mcp  # noqa: E402, F401 (autodoc would import it as for a type checker, which its models refuse)

from tokmerge_jax import __version__  # noqa: E402

generate.pages(FOLDER / "generated")

project = "tokmerge_jax"
author = "The tokmerge_jax authors"
project_copyright = f"2026, {author}"
release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["results"]
suppress_warnings = ["ref.python"]  # words of a shape, as in "B text", are no references
nb_execution_mode = "off"  # notebooks hold their outputs; their own test executes them
myst_heading_anchors = 3

default_role = "code"  # docstrings write `name` for code, as Markdown does
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"{project} {release}"
