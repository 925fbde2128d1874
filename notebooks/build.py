"""Makes the notebooks from their sources: python notebooks/build.py [--target FOLDER] [NAME ...].

A source is the Markdown file of the same name: its Python blocks become cells. The notebooks are
executed, so that they are published with their pictures, and get a badge that opens them in Colab;
README.md's badges are brought up to date. Needs the packages of `pip install -e . --group dev`.
"""

import argparse
import pathlib
import re
import tempfile

import jupytext
import nbclient
import nbformat

REPOSITORY = "OWNER/tokmerge_jax"
"""Where the project is on GitHub, for the badges: the only place to change; then run this again."""

FOLDER = pathlib.Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.md")))
_COLAB = "https://colab.research.google.com"
_TIMEOUT = 600  # seconds per cell


def badge(name: str) -> str:
    """Markdown of the badge that opens a notebook in Colab."""
    address = f"{_COLAB}/github/{REPOSITORY}/blob/main/notebooks/{name}.ipynb"
    return f"[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]({address})"


def made(name: str) -> nbformat.NotebookNode:
    """The notebook of a source, without outputs."""
    notebook = jupytext.read(FOLDER / f"{name}.md")
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(badge(name)))
    for number, cell in enumerate(notebook.cells):
        cell.id = str(number)
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    return notebook


def executed(name: str) -> nbformat.NotebookNode:
    """The notebook of a source with outputs but stderr; all cells run in an empty folder.

    Raises:
      nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    notebook = made(name)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(
            notebook,
            timeout=_TIMEOUT,
            resources=resources,
            record_timing=False,
            coalesce_streams=True,
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # stderr holds the progress of long work
            cell.outputs = [shown for shown in cell.outputs if shown.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Writes the notebooks that are named, by default all, and README.md's badges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all")
    parser.add_argument("--target", type=pathlib.Path, default=FOLDER, help="another folder")
    options = parser.parse_args()
    for name in options.names or NAMES:
        nbformat.write(executed(name), options.target / f"{name}.ipynb")
    if options.target == FOLDER:
        readme = FOLDER.parent / "README.md"
        address = re.escape(f"{_COLAB}/github/") + r"[\w.-]+/[\w.-]+/"
        text = re.sub(address, f"{_COLAB}/github/{REPOSITORY}/", readme.read_text("utf-8"))
        readme.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
