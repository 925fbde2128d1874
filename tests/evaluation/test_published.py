"""Published numbers beside an evaluation's own: differences, and how the protocols differ."""

import io
import re

import pytest
import rich.console

from tokmerge_jax import config as configurations
from tokmerge_jax.config import files
from tokmerge_jax.config.published import UNMERGED, Publication, Published, Source, recalls
from tokmerge_jax.evaluation import published
from tokmerge_jax.types import UserError

ZOO = Source("a zoo [1], table 2", "A")
LATER = Source("a later paper", "C")
RESULTS = {
    "scores": {
        "text_to_video": {"R@1": 50.5, "R@5": 76.0, "R@10": 84.0},
        "video_to_text": {"R@1": 49.5, "R@5": 77.5, "R@10": 85.0},
    },
    "harmonic_mean": {"R@1": 50.0},
    "protocol": {"left_out": []},
}
CONFIG = configurations.load("msrvtt_b16").resolved()
NUMBERS = (
    *recalls(ZOO, (51.0,), (49.0, 77.0), UNMERGED),
    Published("both", "harmonic mean of R@1", 50.8, LATER),
    Published("text_to_video", "R@1/5/10 sum", 210.0, LATER),
    Published("all", "accuracy", 44.9, ZOO),
)
PUBLICATION = Publication(CONFIG, NUMBERS)
MERGES = "model.merger.name=vid_tldr, there none"


def compare(changes=None, left_out=()):
    results = {**RESULTS, "protocol": {"left_out": list(left_out)}}
    return published.compare(results, CONFIG.override(changes or {}), PUBLICATION)


def test_differences_of_what_was_measured():
    rows = [(row["number"], row["here"], round(row["difference"], 6)) for row in compare()]
    assert rows == [
        ("T2V R@1", 50.5, -0.5),
        ("V2T R@1", 49.5, 0.5),
        ("V2T R@5", 77.5, 0.5),
        ("harmonic mean of R@1", 50.0, -0.8),
        ("T2V R@1/5/10 sum", 210.5, 0.5),
    ]
    assert [row["grade"] for row in compare()] == ["A", "A", "A", "C", "C"]


@pytest.mark.parametrize(
    ("changes", "unmerged", "merged"),
    [
        ({}, [MERGES], []),
        ({"model.merger.name": "none"}, [], ["model.merger.name=none, there vid_tldr"]),
        (
            {"model.merger.r": (16,)},
            [MERGES, "model.merger.r=(16,), there (600, 200, 100)"],
            ["model.merger.r=(16,), there (600, 200, 100)"],
        ),
        ({"eval.rerank": False}, [MERGES, "eval.rerank=False, there True"],
         ["eval.rerank=False, there True"]),
        ({"eval.batch_size": 7, "data.workers": 0, "dtype": "float32", "output": "x"},
         [MERGES], []),
    ],
)  # fmt: skip
def test_how_the_protocols_differ(changes, unmerged, merged):
    rows = compare(changes)
    assert rows[0]["protocol"] == unmerged
    assert rows[3]["protocol"] == merged


def test_broken_videos_are_a_difference():
    assert all("2 broken videos left out" in row["protocol"] for row in compare({}, ["a", "b"]))


def test_the_table():
    text = io.StringIO()
    rich.console.Console(file=text, width=160).print(published.table(compare()))
    assert re.search(
        rf"T2V R@1 .* 50\.5 .* 51\.0 .* -0\.5 .*{MERGES}.*a zoo \[1\], table 2, A", text.getvalue()
    )
    assert re.search(
        r"harmonic mean of R@1 .* 50\.0 .* 50\.8 .* -0\.8 .*same protocol.*, C", text.getvalue()
    )


OWN = """
from tokmerge_jax.config import umt
from tokmerge_jax.config.published import UMT_ZOO, Published

PUBLISHED = ({number},)

def get_config(size="b16"):
    return umt.Retrieval(seed=7 if size == "seven" else 1)
"""


def test_a_user_s_own_numbers_are_of_the_file_without_its_variant(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN.format(number='Published("all", "accuracy", 40.0, UMT_ZOO)'))
    config, publication = files.read(f"{file}:seven")
    assert publication is not None
    assert (config.seed, publication.config.seed) == (7, 1)
    assert [number.value for number in publication.numbers] == [40.0]


def test_something_else_in_place_of_numbers_is_refused(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN.format(number="51.0"))
    with pytest.raises(UserError, match=r"own\.py: its PUBLISHED must be a tuple of .*Published"):
        files.load(str(file))


@pytest.mark.parametrize("name", files.names())
def test_numbers_stand_in_the_docstring_too(name):
    module_text = files.split(name)[0].read_text()
    docstring = module_text.split('"""')[1]
    publication = files.read(name)[1]
    if publication is None:
        assert name.startswith(("demo", "testa_pretrain")) or re.search(
            r"Target: .*none", docstring
        )
        return
    numbers = set(re.findall(r"\d+(?:\.\d+)?", docstring))
    assert {f"{number.value:g}" for number in publication.numbers} <= {
        f"{float(x):g}" for x in numbers
    }
