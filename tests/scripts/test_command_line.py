"""Mistakes on the command line: one sentence that names them, exit code 2, no stack trace."""

import pathlib
import subprocess
import sys

import pytest
import script

ROOT = pathlib.Path(__file__).parents[2]

CONFIG = "--config=configs/msrvtt_b16.py"
TESTA = "--config=configs/testa_queryd_f32.py"
JOINT = ("--config.model.vision.attention=joint", "--config.model.merger.frames=0")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], ("--config is missing", "tokmerge configs")),
        (["--config=configs/no_such.py"], ("configs/no_such.py", "cannot be loaded")),
        (["--config=configs/tempme_msrvtt_b32.py:half"], (":half is not a variant", ":full")),
        (
            [CONFIG, "--config.modle.merger.nam=none"],
            ("no key 'modle.merger.nam'", "did you mean model.merger.name?"),
        ),
        pytest.param(
            [CONFIG, "--config.no_such=1"],
            ("no key 'no_such'", "tokmerge_jax/config"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [CONFIG, "--config.model.merger.r[0]=1"],
            ("no key 'model.merger.r[0]'", "did you mean model.merger.r?"),
            marks=pytest.mark.slow,
        ),
        pytest.param([CONFIG, "--config.seed=many"], ("seed", "many"), marks=pytest.mark.slow),
        pytest.param([CONFIG, "--config.eval.rerank=7.5"], ("rerank",), marks=pytest.mark.slow),
        ([CONFIG, "--no_such=1"], ("no_such",)),
        ([CONFIG, "--batch_size=3"], ("'batch_size'", "--config.eval.batch_size=VALUE")),
        ([CONFIG, "--distributed=auto"], ("--distributed: this script runs in one process",)),
        ([CONFIG, "stray"], ("'stray'", "--help")),
        (["--config=README.md"], ("README.md", "is not a configuration", "tokmerge configs")),
        ([CONFIG, "--output=x"], ("--output", "--config.output")),
        pytest.param(
            ["--curve=a", "--clips=2"], ("--curve takes no --clips",), marks=pytest.mark.slow
        ),
        pytest.param(
            ["--curve=s3://bucket"],
            ("s3://bucket is not the address of a folder",),
            marks=pytest.mark.slow,
        ),
        ([CONFIG, "--config.checkpoint="], ("config.checkpoint",)),
        pytest.param(
            [CONFIG, "--config.checkpoint=x", "--config.system=none_such"],
            ("'none_such'",),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [CONFIG, "--config.checkpoint=x", "--config.dtype=int4"],
            ("int4", "float32"),
            marks=pytest.mark.slow,
        ),
        ([CONFIG, "--config.checkpoint=x", "--config.model.merger.name=none"], ("merger",)),
        pytest.param(
            [TESTA, "--config.checkpoint=x", *JOINT],
            ("attention=divided", "set it"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mistake_is_one_sentence(arguments, says):
    done = script.run("visualize", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    for part in says:
        assert part in line


SHOW = """
from tokmerge_jax import command_line
command_line.run(lambda config: print(*(repr(eval(key, vars(config))) for key in {keys!r})))
"""


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("msrvtt_b16", {"model.merger.r": "600,200,100"}, "(600, 200, 100)"),
        ("configs/msrvtt_b16.py", {"model.merger.r": "16"}, "16"),
        ("msrvtt_b16", {"model.merger.r": "[0.3]", "data.trim_seconds": "1.5"}, "(0.3,) 1.5"),
        ("msrvtt_b16", {"train.warmup_epochs": "2", "eval.rerank": "False"}, "2.0 False"),
        ("tempme_msrvtt_b32:full", {"model.join.layers": "2,3,4", "model.lora_rank": "0"},
         "(2, 3, 4) 0"),
        ("testa_didemo_f32", {"model.vision.image_size": "96", "data.decode_size": "-1"}, "96 96"),
        ("demo_tdsclip:average", {"data.scale": "(96, 128)", "data.neighbours": "-1"},
         "(96, 128) 1"),
    ],
)  # fmt: skip
def test_values_of_the_command_line_are_of_their_keys_types(name, values, shown):
    options = [f"--config.{key}={value}" for key, value in values.items()]
    done = subprocess.run(
        [sys.executable, "-c", SHOW.format(keys=[*values]), f"--config={name}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == shown, done.stderr
