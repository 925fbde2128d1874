"""Functions are called by name where their arguments are many."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = [
    *(ROOT / "tokmerge_jax").rglob("*.py"),
    *(ROOT / "scripts").glob("*.py"),
    *(ROOT / "benchmarks").glob("*.py"),
]
MOST = 6


def by_place(function):
    """Names of the parameters that may be given without their names.

    A Pallas kernel has none that count: Pallas calls it, with its references by place.
    """
    if getattr(function, "name", "").endswith("_kernel"):
        return []
    names = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def functions(text):
    kinds = ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]


@pytest.mark.parametrize(("text", "count"), [
    ("def f(self, a, b=1, /, c=2, *rest, d, **more): ...", 3),
    ("def f(): ...", 0),
    ("async def f(cls, a): ...", 1),
    ("lambda a, b, *, c: 0", 2),
    ("def _sum_kernel(a, b): ...", 0),
])  # fmt: skip
def test_parameters_are_counted_that_have_a_place(text, count):
    (function,) = functions(text)
    assert len(by_place(function)) == count


def test_no_function_takes_more_than_six_arguments_by_place():
    many = [
        f"{file.relative_to(ROOT)}:{function.lineno}"
        for file in FILES
        for function in functions(file.read_text("utf-8"))
        if len(by_place(function)) > MOST
    ]
    assert FILES
    assert many == []
