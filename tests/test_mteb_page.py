"""docs/mveb.md: its blocks run through MTEB, and give what the page shows and `evaluate` finds.

The modules of a test's process stay as they are: MTEB and PyTorch run in one of their own.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip(
    "mteb", reason="MTEB is not installed (extra mteb); .ci/run has a stage with it"
)

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "mveb.md").read_text("utf-8")
MERGERS = ("none", "vid_tldr", "tome")

OURS = """
import tokmerge_jax
for merger in ("none", "vid_tldr", "tome"):
    changes = {"model.merger.name": merger, "data.workers": 0, "data.dataset": "custom",
               "eval.rerank": False, "eval.batch_size": 32}
    tokmerge_jax.evaluate("demo", changes, data="data/packaged", output=f"ours/{merger}")
"""

REACH = """
import json, mteb
named = ("MVEB(text, video, v1)", "MVEB(video, v1)", "MVEB(v1)")
kinds = [[task.metadata.modalities for task in mteb.get_benchmark(name).tasks] for name in named]
print(json.dumps(kinds))
"""


def block(name):
    (code,) = re.findall(rf"<!-- {name} -->\n```python\n(.*?)```", PAGE, re.S)
    return code


def call(command, folder):
    """Runs a command in a folder, as a user without a network does; what it prints."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "MTEB_CACHE": str(folder)}
    env = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"} | offline
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(folder, code):
    """Runs a program in a folder; what it prints."""
    (folder / "program.py").write_text(code)
    return call([sys.executable, "program.py"], folder)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder of a run of the page's blocks, and of ours on the same data; what they printed."""
    folder = tmp_path_factory.mktemp("page")
    printed = run(folder, "".join(map(block, ("package", "task", "run"))))
    (prepare,) = re.findall(r"^tokmerge (prepare .*)", PAGE, re.M)
    call([sys.executable, "-m", "tokmerge_jax", *prepare.split()], folder)
    run(folder, OURS)
    return folder, printed


def rows(text):
    """The rows of a table of mergers, by name: GMAC, R@1, nDCG@10."""
    cells = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", text, re.M)
    return {name: [float(value) for value in values] for name, *values in cells}


def stored(folder, merger):
    """The results that MTEB stored for a merger: its scores, and the model's description."""
    (place,) = folder.glob(f"results/results/tokmerge_jax__demo/*/experiments/*merging_{merger}__*")
    result, meta = (
        json.loads((place / f"{name}.json").read_text())
        for name in ("DrawnT2VRetrieval", "model_meta")
    )
    return result["scores"]["test"][0], meta


def test_the_run_gives_the_table_of_the_page(ran):
    ours, shown = rows(ran[1]), rows(PAGE)
    assert [*ours] == [*shown] == [*MERGERS]
    for name, values in shown.items():
        assert ours[name][0] == values[0]
        # On another CPU, rounding may move one clip of 200.
        assert ours[name][1:] == pytest.approx(values[1:], abs=0.5)


@pytest.mark.parametrize("merger", MERGERS)
def test_mteb_finds_what_our_evaluation_finds(ran, merger):
    scores, meta = stored(ran[0], merger)
    ours = json.loads((ran[0] / "ours" / merger / "results.json").read_text())
    assert ours["protocol"]["videos"] == ours["protocol"]["texts"] == 200
    for k in (1, 5, 10):
        recall = ours["scores"]["text_to_video"][f"R@{k}"]
        assert 100 * scores[f"recall_at_{k}"] == pytest.approx(recall, abs=1e-6)
    assert meta["experiment_kwargs"]["gmac"] == round(ours["gmac"], 3)
    assert ours["checkpoint"]["digest"] == meta["revision"]


def test_the_table_is_that_of_one_network(ran):
    assert len({stored(ran[0], merger)[1]["revision"] for merger in MERGERS}) == 1


def test_the_benchmarks_ask_for_what_the_page_says(tmp_path):
    both, videos, everything = (
        [set(each) for each in kind] for kind in json.loads(run(tmp_path, REACH))
    )
    assert (len(both), len(videos), len(everything)) == (19, 9, 23)
    assert all(each <= {"text", "video"} for each in both)
    assert all(each == {"video"} for each in videos)
    assert sum("audio" in each for each in everything) > len(everything) / 2


def test_pytorch_and_mteb_are_not_imported_before_they_are_needed(tmp_path):
    code = (
        "import sys, tokmerge_jax.mteb; tokmerge_jax.load('demo').encode_text(['a cross'])\n"
        "print([name for name in ('datasets', 'mteb', 'torch') if name in sys.modules])"
    )
    assert run(tmp_path, code).strip() == "[]"
