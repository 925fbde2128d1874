"""InternVideo2-CLIP's released files become its parameters, and these all tensors again."""

import functools

import golden
import internvideo2_case
import jax
import numpy as np
import pytest
import recipe
from safetensors.numpy import save_file

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules, torch_file
from tokmerge_jax.checkpoints.tables import internvideo2 as tables
from tokmerge_jax.types import UserError

FILES = golden.load("internvideo2-checkpoint").spec
OF_TIMM = {"fc_norm.weight": [48], "head.weight": [10, 48], "head.bias": [10]}  # of Kinetics-710


@functools.cache
def drawn(part):
    """The tensors of a released file ("vision", "text" or "head"), the first in half precision."""
    shapes = FILES["inputs"]["files"][part]
    tensors = recipe.state_dict(shapes, ["vision", "text", "head"].index(part))
    half = np.float32 if part == "text" else np.float16
    return {name: np.asarray(x).astype(half) for name, x in tensors.items()}


@functools.cache
def system():
    text = {"width": 16, "layers": 1, "heads": 1, "vocab_size": 8, "context_length": 4}
    spec = dict(FILES["config"], text=text, embed_dim=32, gelu="tanh")
    spec["vision"] = spec["vision"] | {"heads": 3, "patch_size": 14, "pool_heads": 4,
                                       "clip_embed_dim": 40}  # fmt: skip
    return tokmerge_jax.build(internvideo2_case.config_of(golden.Golden("", {"config": spec}, {})))


def theirs():
    """What the original's loader makes of the three files."""
    prefix = {"vision": "vision_encoder.", "text": "", "head": ""}
    return {
        name: drawn(part)[name.removeprefix(prefix[part])] for name, part in FILES["source"].items()
    }


def write(folder, **changes):
    """Writes the three files; returns their names, joined by commas."""
    for part in ("vision", "text", "head"):
        save_file(changes.get(part, drawn(part)), folder / f"{part}.safetensors")
    return ",".join(str(folder / f"{part}.safetensors") for part in ("vision", "text", "head"))


def identical(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, x in theirs.items():
        np.testing.assert_array_equal(ours[name], x.astype(ours[name].dtype), strict=True)


def test_three_files_are_the_one_that_they_make(tmp_path):
    """Each parameter comes from the file that the original takes; all comes back as it was."""
    params = checkpoints.load_checkpoint(write(tmp_path), system())
    one = checkpoints.from_torch(system(), theirs())
    jax.tree.map(np.testing.assert_array_equal, params, one)
    (table,) = system().weights.names
    kinds = rules.dtypes(table, torch_file.read(write(tmp_path)))
    identical(checkpoints.to_torch(system(), params, kinds), theirs())
    assert {rule.source for rule in table.rules} == FILES["shapes"].keys()
    for name in FILES["dropped"]:
        assert table.ignores(table.rename(name))


def test_nests_and_the_file_of_kinetics(tmp_path):
    """Names that deepspeed prefixes; a classifier instead of decoders."""
    vision = {f"module.{n}": x for n, x in drawn("vision").items() if "decoder" not in n}
    vision |= {f"module.{name}": np.zeros(shape, np.float16) for name, shape in OF_TIMM.items()}
    head = {f"module.{name}": x for name, x in drawn("head").items()}
    params = checkpoints.load_checkpoint(write(tmp_path, vision=vision, head=head), system())
    identical(checkpoints.to_torch(system(), params), theirs())


def test_convert_takes_the_files(tmp_path):
    config = system().config
    tokmerge_jax.convert(config, write(tmp_path), tmp_path / "ours")
    tokmerge_jax.convert(config, tmp_path / "ours", tmp_path / "one.safetensors", reverse=True)
    identical(torch_file.read(tmp_path / "one.safetensors"), theirs())


@pytest.mark.parametrize("size", ["s14", "b14", "l14"])
def test_names_and_sizes_of_the_released_networks(size):
    shapes = golden.load(f"internvideo2-{size}").spec["shapes"]
    nothing = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    depth = {"s14": 12, "b14": 12, "l14": 24}[size]
    assert {rule.source for rule in tables.rules(depth, 12).rules} == shapes.keys()
    width = {"s14": 384, "b14": 768, "l14": 1024}[size]
    said = f"vision.width={width}, vision.depth={depth}, vision.heads={width // 64}"
    assert tables.describe(nothing) == said


@pytest.mark.parametrize(
    ("without", "says"),
    [
        ("head", r"without the head; name all files, joined by commas"),
        ("text", r"without the text transformer; name all files"),
        ("vision", r"without the video transformer; name all files"),
    ],
)
def test_a_file_that_is_missing(without, says, tmp_path):
    files = [file for file in write(tmp_path).split(",") if without not in file.split("/")[-1]]
    with pytest.raises(UserError, match=says):
        checkpoints.load_checkpoint(",".join(files), system())


def test_other_refusals(tmp_path):
    files = write(tmp_path)
    with pytest.raises(UserError, match=r"head\.safetensors holds .* a file before it"):
        torch_file.read(f"{files},{tmp_path / 'head.safetensors'}")
    with pytest.raises(UserError, match=r"none\.pt does not exist"):
        torch_file.read(f"{files},{tmp_path / 'none.pt'}")
    with pytest.raises(UserError, match=r"more \[3\] has no place"):
        checkpoints.from_torch(system(), theirs() | {"more": np.zeros(3, np.float32)})
