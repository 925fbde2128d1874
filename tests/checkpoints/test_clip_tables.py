"""CLIP's checkpoints of every kind become the same parameters; TempMe's come back bit for bit."""

import functools
import pathlib

import clip_case
import golden
import jax
import numpy as np
import pytest
import recipe
from safetensors.numpy import save_file

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules, torch_file
from tokmerge_jax.checkpoints.tables import clip
from tokmerge_jax.config import clip as base
from tokmerge_jax.training import export
from tokmerge_jax.types import UserError

TEMPME = {"lora_rank": 3, "merger": "tempme"}
FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "convert"


def config_of(lora_rank=0, merger="none"):
    model = base.Model(
        vision=base.Vision(width=16, depth=2, heads=1, patch_size=8, image_size=16, frames=4),
        text=base.Text(width=16, depth=1, heads=1, vocab_size=40, max_positions=8),
        embed_dim=8,
        lora_rank=lora_rank,
        merger=base.Merger(name=merger),
        join=base.Join(layers=(0, 1), clips=(2, 2)),
    )
    return base.Retrieval(dtype="float32", model=model, data=base.Data(max_text_length=8))


@functools.cache
def system_of(**settings):
    return tokmerge_jax.build(config_of(**settings))


@functools.cache
def tensors(**settings) -> dict[str, np.ndarray]:
    """Tensors of that network under the names of its own kind of checkpoint."""
    system = system_of(**settings)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), system.weights.shapes)
    names = rules.unload(system.weights.names[0], zeros)
    return {name: recipe.weight(name, x.shape, 7) for name, x in names.items()}


def loaded(names, **settings):
    """The parameters of that network from tensors of any spelling."""
    return golden.parameters(system_of(**settings), names)


def openai() -> dict[str, np.ndarray]:
    return {name.removeprefix("clip."): x for name, x in tensors().items()}


def hugging_face() -> dict[str, np.ndarray]:
    """The same tensors as Hugging Face spells them, by hand."""
    ours, renamed = openai(), {}
    plain = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.ln_pre.": "vision_model.pre_layrnorm.",
        "visual.ln_post.": "vision_model.post_layernorm.",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "ln_final.": "text_model.final_layer_norm.",
        "logit_scale": "logit_scale",
    }
    layers = {
        ".ln_1.": ".layer_norm1.",
        ".ln_2.": ".layer_norm2.",
        ".attn.out_proj.": ".self_attn.out_proj.",
        ".mlp.c_fc.": ".mlp.fc1.",
        ".mlp.c_proj.": ".mlp.fc2.",
    }
    for name, x in ours.items():
        tower = "vision_model" if name.startswith("visual.") else "text_model"
        rest = name.removeprefix("visual.").replace(
            "transformer.resblocks.", f"{tower}.encoder.layers."
        )
        if name == "visual.proj":
            renamed["visual_projection.weight"] = x.T
        elif name == "text_projection":
            renamed["text_projection.weight"] = x.T
        elif "in_proj" in name:
            kind = name.rsplit("_", 1)[1]
            base = rest.split(".attn.")[0]
            for part, third in zip("qkv", np.split(x, 3), strict=True):
                renamed[f"{base}.self_attn.{part}_proj.{kind}"] = third
        elif ".resblocks." in name:
            old = next(o for o in layers if o in rest)
            renamed[rest.replace(old, layers[old])] = x
        else:
            old = max((o for o in plain if name.startswith(o)), key=len)
            renamed[name.replace(old, plain[old])] = x
    positions = np.arange(8)[None]
    return {**renamed, "text_model.embeddings.position_ids": positions}


def equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(
    "spelling",
    [
        openai,
        hugging_face,
        lambda: {f"clip.{name}": x for name, x in openai().items()},
        lambda: {  # open_clip's models with a text tower apart
            name if name.startswith(("visual.", "logit_scale")) else f"text.{name}": x
            for name, x in openai().items()
        },
        lambda: {**openai(), "input_resolution": np.int64(16), "context_length": np.int64(8),
                 "vocab_size": np.int64(40)},
        lambda: {**openai(), "attn_mask": np.zeros((8, 8), np.float32)},
    ],
    ids=["openai", "hugging face", "tempme", "open_clip", "openai's archive", "mask"],
)  # fmt: skip
def test_spellings(spelling):
    expected = loaded(tensors())
    equal(loaded(spelling()), expected)


def test_openais_archive_without_torch():
    """A TorchScript file like OpenAI's: matrices in half precision, three counters beside them."""
    archive = torch_file.read(FIXTURES / "clip_jit.pt")
    expected = openai()
    counters = {"input_resolution": 16, "context_length": 8, "vocab_size": 40}
    assert archive.keys() == expected.keys() | counters.keys()
    assert {name: archive[name].item() for name in counters} == counters
    half = {name for name, x in archive.items() if x.dtype == np.float16}
    assert "visual.conv1.weight" in half
    assert "text_projection" in half
    assert "visual.transformer.resblocks.1.attn.in_proj_bias" in half
    assert not half & {"visual.ln_pre.weight", "positional_embedding", "logit_scale"}
    for name, x in expected.items():
        np.testing.assert_array_equal(archive[name], x.astype(archive[name].dtype), strict=True)
    params = checkpoints.load_checkpoint(FIXTURES / "clip_jit.pt", system_of())
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 3}, {"lora_rank": 3, "merger": "tempme"}])
def test_there_and_back(settings):
    source = tensors(**settings)
    params = loaded(source, **settings)
    again = rules.unload(system_of(**settings).weights.names[0], params)
    assert again.keys() == source.keys()
    for name, x in source.items():
        np.testing.assert_array_equal(again[name], x, strict=True)
    if settings.get("merger"):
        rows = params["vision"]["join_0_positions"], params["vision"]["join_1_positions"]
        assert [len(x) for x in rows] == [4, 2]


def test_a_clip_starts_tempme_without_changing_anything():
    """LoRA and positions that a CLIP checkpoint lacks are drawn so that they do nothing."""
    params = loaded(openai(), **TEMPME)
    added = {n: x for n, x in rules.flatten(params).items() if "/lora/" in n or "_positions" in n}
    assert len(added) == 3 * 4 + 2
    for name, x in added.items():
        if name.endswith("/down/kernel"):
            assert 0.8 / 4 < np.abs(x).max() <= 1 / 4  # uniform within 1 / sqrt(16)
        else:
            assert not x.any()
    downs = [x for name, x in added.items() if name.endswith("/down/kernel")]
    assert not np.array_equal(downs[0], downs[1])
    equal(loaded(openai(), **TEMPME), params)


def test_merging_switched_off_leaves_positions_out():
    """A TempMe checkpoint serves the same network without joins."""
    params = loaded(tensors(**TEMPME), lora_rank=3)
    assert not [name for name in rules.flatten(params) if "_positions" in name]


def test_sizes_are_reported_where_they_do_not_fit():
    for names in (openai(), hugging_face(), tensors(lora_rank=3)):
        assert clip.sizes(names) == {
            "vision.width": 16,
            "vision.depth": 2,
            "vision.heads": 0,  # of 64 channels each, which no network so small has
            "vision.patch_size": 8,
            "vision.image_size": 16,
            "text.width": 16,
            "text.depth": 1,
            "text.heads": 0,
            "text.vocab_size": 40,
            "text.max_positions": 8,
            "embed_dim": 8,
        }
    system = tokmerge_jax.build(config_of().override({"model.vision.depth": 3}))
    with pytest.raises(UserError, match=r"vision\.width=16, vision\.depth=2, vision\.heads"):
        checkpoints.from_torch(system, openai())
    resnet = {name: x for name, x in openai().items() if name != "visual.proj"}
    resnet = {n: x for n, x in resnet.items() if not n.startswith("visual.conv1")}
    with pytest.raises(
        UserError, match=r"not a CLIP with a vision transformer: it has no clip\.visual"
    ):
        checkpoints.from_torch(system, resnet)


def test_lora_without_a_place_says_what_to_do():
    with pytest.raises(UserError, match=r"lora_rank=3, or fold it by tokmerge convert --merge"):
        loaded(tensors(lora_rank=3))


def test_our_own_clip_starts_tempme_too(tmp_path):
    """A folder and a file under our names, as a .pt does."""
    system, params, expected = system_of(**TEMPME), loaded(openai()), loaded(openai(), **TEMPME)
    checkpoints.save_checkpoint(tmp_path / "folder", params, system_of())
    export.write(tmp_path / "file.safetensors", params)
    for name in ("folder", "file.safetensors"):
        equal(checkpoints.load_checkpoint(tmp_path / name, system), expected)
    part = {n: x for n, x in rules.flatten(expected).items() if not n.endswith("value/kernel")}
    with pytest.raises(UserError, match="lora/value/kernel is not filled"):
        loaded(part, **TEMPME)


def test_sizes_of_the_checkpoint(tmp_path):
    """A CLIP of any size works where the configuration asks for the file's sizes."""
    config = clip_case.config_of(golden.load("clip-tiny"))
    weights = golden.load("clip-tiny").weights()
    save_file({n: np.asarray(x) for n, x in weights.items()}, tmp_path / "clip.safetensors")
    expected = tokmerge_jax.build(config).weights.shapes
    other = base.Retrieval(
        checkpoint=str(tmp_path / "clip.safetensors"),
        model=base.Model(sizes="checkpoint", vision=base.L14, text=base.L14_TEXT, embed_dim=768),
        data=base.Data(max_text_length=20),
    )
    system = tokmerge_jax.build(other)
    assert rules.flatten(system.weights.shapes) == rules.flatten(expected)
    assert (system.config.model.vision.heads, system.config.model.vision.image_size) == (2, 64)
    checkpoints.load_checkpoint(other.checkpoint, system)
    strange = {n: np.float32(0) if n.endswith("conv1.weight") else x for n, x in weights.items()}
    other = other.override({"checkpoint": str(tmp_path / "other.safetensors")})
    for tensors in ({"weight": np.ones(2, np.float32)}, strange):
        save_file({n: np.asarray(x) for n, x in tensors.items()}, other.checkpoint)
        with pytest.raises(UserError, match="is no CLIP in PyTorch's names"):
            tokmerge_jax.build(other)
