"""Checks that a release is complete: `python check_release.py TAG OWNER/REPOSITORY`."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[1]


def faults(root: pathlib.Path, tag: str, repository: str) -> list[str]:
    """What keeps the tree in `root` from being released as `tag` of a repository; [] if nothing.

    The tag is the version, which the changelog and the citation know, and the notebooks' badges
    open this repository.
    """
    (version,) = _found(root / "tokmerge_jax" / "__init__.py", r'__version__ = "(.+)"')
    (cited,) = _found(root / "CITATION.cff", r"version: (.+)")
    (opened,) = _found(root / "notebooks" / "build.py", r'REPOSITORY = "(.+)"')
    checks = {
        f"the tag {tag} is not v{version}, the version in tokmerge_jax/__init__.py": (
            tag == f"v{version}"
        ),
        f"CITATION.cff names version {cited}, not {version}": cited == version,
        f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`": bool(
            _found(root / "CHANGELOG.md", rf"## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)")
        ),
        f"notebooks/build.py names the repository {opened}, not {repository}; set REPOSITORY there"
        " and run that program": opened == repository,
        f"README.md has badges of another repository than {repository}; run notebooks/build.py": (
            {*re.findall(r"/github/([^/\s]+/[^/\s]+)/blob", _text(root / "README.md"))}
            == {repository}
        ),
    }
    return [fault for fault, holds in checks.items() if not holds]


def _text(path: pathlib.Path) -> str:
    return path.read_text("utf-8")


def _found(path: pathlib.Path, pattern: str) -> list[str]:
    """The group of a pattern in each line of a file that matches it wholly."""
    return re.findall(rf"^{pattern}$", _text(path), re.MULTILINE)


if __name__ == "__main__":
    sys.exit("\n".join(faults(ROOT, *sys.argv[1:])) or 0)
