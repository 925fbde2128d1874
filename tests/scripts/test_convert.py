"""scripts/convert.py as a user runs it: there, back, and what is wrong in one sentence."""

import json
import pathlib
import subprocess
import sys

import clip_case
import golden
import jax.numpy as jnp
import numpy as np
import object_store
import pytest
import recipe
from etils import epath
from safetensors.numpy import load_file, save_file

import tokmerge_jax
from tokmerge_jax import objects
from tokmerge_jax.checkpoints import load_checkpoint
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[2]
CASE = json.loads((ROOT / "tests/goldens/vidtldr-tiny.json").read_text())
SIZES = {
    "model.vision.width": 64,
    "model.vision.depth": 4,
    "model.vision.heads": 4,
    "model.vision.image_size": 64,
    "model.text.width": 64,
    "model.text.depth": 4,
    "model.text.heads": 4,
    "model.text.mlp_width": 128,
    "model.text.fusion_layer": 2,
    "model.text.vocab_size": 97,
    "model.text.max_positions": 40,
    "model.embed_dim": 32,
}


def convert(*arguments, config="configs/msrvtt_mc_b16.py", sizes=SIZES):
    overrides = [f"--config.{key}={value}" for key, value in sizes.items()]
    script = [sys.executable, "scripts/convert.py", f"--config={config}"]
    return subprocess.run(
        [*script, *overrides, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_there_and_back(tmp_path):
    weights = recipe.state_dict(CASE["shapes"], CASE["seed"], CASE["gain"])
    weights["clip_teacher.proj"] = np.zeros(1, np.float32)
    source, folder, back = (tmp_path / n for n in ("in.safetensors", "out", "back.safetensors"))
    save_file({name: np.asarray(w) for name, w in weights.items()}, source)

    run = convert(f"--source={source}", f"--target={folder}")
    assert run.returncode == 0, run.stderr
    assert "clip_teacher.proj" in run.stdout
    constants = json.loads((folder / "constants.json").read_text())
    assert constants["mean"] == [0.485, 0.456, 0.406]
    assert constants["source"] == "in.safetensors"

    run = convert("--reverse", f"--source={folder}", f"--target={back}")
    assert run.returncode == 0, run.stderr
    del weights["clip_teacher.proj"]
    again = load_file(back)
    assert {name: w.tobytes() for name, w in again.items()} == {
        name: w.tobytes() for name, w in weights.items() if not name.endswith("position_ids")
    }


@pytest.mark.slow
def test_there_and_back_on_an_object_store(tmp_path):
    weights = recipe.state_dict(CASE["shapes"], CASE["seed"], CASE["gain"])
    source, back = tmp_path / "in.safetensors", tmp_path / "back.safetensors"
    save_file({name: np.asarray(w) for name, w in weights.items()}, source)
    with object_store.running():
        folder, file = "s3://bucket/converted", "s3://bucket/back.safetensors"
        tokmerge_jax.convert("msrvtt_mc_b16", source, folder, {**SIZES})
        with pytest.raises(UserError, match="target=s3://bucket/converted already exists"):
            tokmerge_jax.convert("msrvtt_mc_b16", source, folder, {**SIZES})
        tokmerge_jax.convert("msrvtt_mc_b16", folder, file, {**SIZES}, reverse=True)
        back.write_bytes(objects.read(epath.Path(file)))
    for name, value in load_file(back).items():
        np.testing.assert_array_equal(value, weights[name])


@pytest.mark.slow
def test_bad_input_is_one_sentence(tmp_path):
    run = convert("--source=absent.pth", f"--target={tmp_path / 'out'}")
    assert run.returncode == 2
    assert run.stderr.strip().endswith(
        "checkpoint absent.pth does not exist; download it, or correct the path"
    )
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth", ".pt", ".bin"])
def test_a_folder_is_not_named_like_a_file(tmp_path, suffix):
    with pytest.raises(UserError, match=rf"leave out {suffix}, or add --reverse"):
        tokmerge_jax.convert("msrvtt_mc_b16", "absent.pth", tmp_path / f"z{suffix}")


@pytest.mark.slow
def test_merged_lora_is_a_clip_of_the_same_outputs(tmp_path):
    """TempMe's names and LoRA in; our folder out, for the same network without LoRA."""
    case = golden.load("tempme-tiny-off")
    source = tmp_path / "best.safetensors"
    save_file({name: np.asarray(x) for name, x in case.weights().items()}, source)
    sizes = {
        "model.sizes": "checkpoint",  # of --source
        "model.lora_rank": 4,
        "data.max_text_length": 20,
        "model.vision.frames": 4,
    }
    clip = {"config": "configs/clip_msrvtt_b32.py", "sizes": sizes}
    run = convert(f"--source={source}", f"--target={tmp_path / 'out'}", "--merge_lora", **clip)
    assert run.returncode == 0, run.stderr
    assert "--config.model.lora_rank=0" in run.stdout
    config = clip_case.config_of(case)
    config = config.override({"model": {"lora_rank": 0, "merger.name": "none"}})
    system = tokmerge_jax.build(config)
    params = load_checkpoint(tmp_path / "out", system)
    video = jnp.asarray(clip_case.videos(case))
    frames = system.network.apply({"params": params}, video, method="encode_video")
    clip_case.close(frames, case.arrays["frame_feat"], 2e-4)
    assert json.loads((tmp_path / "out" / "constants.json").read_text())["lora"] == "folded"
    plain = {**clip, "sizes": {**sizes, "model.lora_rank": 0}}
    run = convert(f"--source={source}", f"--target={tmp_path / 'no'}", "--merge_lora", **plain)
    assert run.returncode == 2
    assert "folding LoRA needs a configuration with LoRA" in run.stderr
