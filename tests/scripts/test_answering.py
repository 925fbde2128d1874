"""TESTA's question answering as a user runs it: trained, then asked in both ways."""

import json
import pathlib
import subprocess
import sys

import clips
import pytest

from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Clip, Question

ROOT = pathlib.Path(__file__).parents[2]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "is", "it", "red", "?", "yes", "no")
ANSWERS = ("yes", "no no no")
SMALL = """
from tokmerge_jax.configs import testa_anet_qa_f32

def get_config():
    return testa_anet_qa_f32.get_config().override(dict(
        dtype="float32",
        mesh=dict(data=2),
        model=dict(
            vision=dict(width=16, depth=1, heads=2, image_size=32, patch_size=16, frames=4),
            text=dict(
                width=16, depth=1, heads=2, mlp_width=16, vocab_size=13, max_positions=40),
            merger=dict(frames=1, r=1)),
        data=dict(
            folder={folder!r}, vocabulary={vocabulary!r}, workers=0, max_answer_length=4),
        eval=dict(batch_size=2),
        train=dict(batch_size=2, epochs=1, remat=False)))
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A configuration of a tiny network and three clips with two questions each."""
    folder = tmp_path_factory.mktemp("questions")
    names = [f"{i}.mp4" for i in range(3)]
    for i, name in enumerate(names):
        clips.write(folder / name, clips.draw(8, 32, 32, seed=i))
    records = [
        Question((Clip(name, name),), f"{name}_{i}", "is it red?", (ANSWERS[i],))
        for name in names
        for i in range(2)
    ]
    video_text.write(str(folder), "anet_qa", dict.fromkeys(("train", "val", "test"), records))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    text = SMALL.format(folder=str(folder), vocabulary=str(folder / "vocab.txt"))
    (folder / "small_qa.py").write_text(text)
    return folder


def script(name, folder, *arguments):
    command = [sys.executable, f"scripts/{name}.py", f"--config={folder / 'small_qa.py'}"]
    ran = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not ran.returncode, ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.slow
def test_trained_and_asked_in_both_ways(prepared, tmp_path):
    printed = script("train", prepared, f"--config.output={tmp_path / 'trained'}")
    assert "Trained 3 steps of 2 clips" in printed
    assert "on 'val'" in printed
    weights = f"--config.checkpoint={tmp_path / 'trained' / 'training' / 'parameters'}"
    results = {}
    for way, length in (("rank", 6), ("generate", 5)):
        output = tmp_path / way
        options = (f"--config.output={output}", f"--config.eval.answering={way}")
        limit = f"config.data.max_text_length={length}"
        printed = script("eval", prepared, weights, *options, f"--{limit}")
        assert (f"6 of 6 questions are cut to {limit} pieces" in printed) == (length == 5)
        assert ("generated answers" in printed) == (way == "generate")
        cut = "1 of 2 answers are cut to config.data.max_answer_length=4 pieces"
        assert (cut in printed) == (way == "rank")
        results[way] = json.loads((output / "results.json").read_text())
        assert results[way]["protocol"]["answering"] == way
        assert len(results[way]["predictions"]) == 6
        assert results[way]["scores"]["all"]["count"] == 6
    assert set(results["rank"]["predictions"].values()) <= set(ANSWERS)
    assert results["rank"]["protocol"]["candidates"] == 2
    words = " ".join(results["generate"]["predictions"].values())
    assert not any(special in words for special in ("[DEC]", "[ENC]", "[SEP]", "[PAD]"))
