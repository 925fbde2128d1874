"""PE-Core's checkpoints of every kind become the same parameters, and come back bit for bit."""

import functools
import pathlib

import golden
import hostile
import jax
import numpy as np
import pe_core_case
import pytest
from clip_case import close
from safetensors.numpy import save_file

import tokmerge_jax
from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules, torch_file
from tokmerge_jax.checkpoints.tables import pe_core as tables
from tokmerge_jax.config import clip, pe_core
from tokmerge_jax.models.pe_core import PECore
from tokmerge_jax.types import UserError

FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures" / "convert" / "pe_core_timm.npz"
TIMM = {
    "transformer.resblocks.": "blocks.",
    ".ln_1.": ".norm1.",
    ".ln_2.": ".norm2.",
    ".attn.in_proj_": ".attn.qkv.",
    ".attn.out_proj.": ".attn.proj.",
    ".c_fc.": ".fc1.",
    ".c_proj.": ".fc2.",
    "ln_pre.": "norm_pre.",
    "ln_post.": "norm.",
    "conv1.weight": "patch_embed.proj.weight",
}


@functools.cache
def case_of(name="pecore-tiny"):
    return golden.load(name)


@functools.cache
def system_of(name="pecore-tiny"):
    return tokmerge_jax.build(pe_core_case.config_of(case_of(name)))


def loaded(weights, name="pecore-tiny"):
    return golden.parameters(system_of(name), weights)


def open_clip(weights):
    """The same tensors as open_clip spells them, with timm's names of the image transformer."""
    renamed = {}
    for name, x in weights.items():
        if name.startswith("visual."):
            tensors = timm(name.removeprefix("visual."), x)
            renamed |= {f"visual.trunk.{theirs}": tensor for theirs, tensor in tensors}
        else:
            renamed[name if name == "logit_scale" else f"text.{name}"] = x
    return renamed


def timm(name, x):
    """(timm's name, tensor) of each tensor that one of Meta's becomes."""
    if name == "class_embedding":
        return [("cls_token", x[None, None])]
    if name == "positional_embedding":
        return [("pos_embed", x[None])]
    if name == "proj":
        return [("head.weight", x.T), ("head.bias", np.zeros(x.shape[1], np.float32))]
    if name == "attn_pool.probe":
        return [("attn_pool.latent", x)]
    if name.startswith("attn_pool.attn.in_proj_"):
        kind, third = name.rsplit("_", 1)[1], len(x) // 3
        return [(f"attn_pool.q.{kind}", x[:third]), (f"attn_pool.kv.{kind}", x[third:])]
    if name.startswith("attn_pool."):
        name = name.replace("attn.out_proj", "proj").replace("layernorm", "norm")
    for theirs, ours in TIMM.items():
        name = name.replace(theirs, ours)
    return [(name, x)]


def equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def identical(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, x in theirs.items():
        np.testing.assert_array_equal(ours[name], x, strict=True)


@pytest.mark.parametrize("name", ["pecore-tiny", "pecore-tiny-nocls"])
def test_both_layouts_are_the_same_parameters_and_come_back(name):
    meta = case_of(name).weights()
    params = loaded(meta, name)
    _, trunk, _ = system_of(name).weights.names
    identical(checkpoints.to_torch(system_of(name), params), meta)
    equal(loaded(open_clip(meta), name), params)
    identical(rules.unload(trunk, params), open_clip(meta))
    mask = {"text.attn_mask": np.zeros((16, 16), np.float32)}
    equal(loaded(open_clip(meta) | mask, name), params)


def test_metas_nests_and_prefixes(tmp_path):
    meta = case_of().weights()
    inner = {name.replace("attn_pool.", "attn_pool.module."): x for name, x in meta.items()}
    equal(loaded(inner), loaded(meta))
    probe = b"}" + hostile.value("visual.attn_pool.probe") + hostile.tensor() + b"s"
    for nest in ("state_dict", "weights"):
        (tmp_path / "file.pt").write_bytes(hostile.archive(hostile.state(**{nest: probe})))
        assert [*torch_file.read(tmp_path / "file.pt")] == ["visual.attn_pool.probe"]


def test_timms_own_file_and_its_features():
    """Names, shapes and layout as timm writes them; its features from our network."""
    arrays = dict(np.load(FIXTURE))
    image, features = (arrays.pop(name) for name in ("image", "features"))
    model = pe_core.Model(
        vision=pe_core.Vision(
            width=16, depth=2, heads=1, patch_size=8, image_size=32, frames=1, mlp_width=64, grid=4
        ),
        text=clip.Text(width=16, depth=1, heads=1, vocab_size=10, max_positions=4),
        embed_dim=8,
    )
    data = pe_core.Data(max_text_length=4)
    system = tokmerge_jax.build(pe_core.Retrieval(dtype="float32", model=model, data=data))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), system.weights.shapes)
    texts = rules.unload(system.weights.names[1], zeros)
    assert {n.removeprefix("visual.trunk.") for n in texts if "trunk" in n} == arrays.keys()
    weights = texts | {f"visual.trunk.{name}": x for name, x in arrays.items()}
    params = golden.parameters(system, weights)
    video = np.moveaxis(image, 1, -1)[:, None]
    ours = jax.jit(functools.partial(system.network.apply, method=PECore.encode_video))(
        {"params": params}, video
    )
    close(ours[:, 0], features, 2e-5)


@pytest.mark.parametrize("size", pe_core.SIZES)
def test_names_and_sizes_of_the_released_networks(size):
    """Every tensor of the released file has a rule, and the file tells the sizes."""
    shapes = case_of(f"pecore-{size}").spec["shapes"]
    nothing = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    model = pe_core.SIZES[size]
    vision, text = model.vision, model.text
    table = tables.rules(
        vision.depth, text.depth, embed_dim=model.embed_dim, class_token=vision.class_token
    )[0]
    assert {rule.source for rule in table.rules} == shapes.keys()
    for names in (nothing, open_clip(nothing)):
        sizes = tables.sizes(names)
        assert model.override(sizes) == model
        assert len(sizes) == 14


def test_the_checkpoints_sizes(tmp_path):
    config = pe_core_case.config_of(case_of())
    config = config.override({"checkpoint": str(tmp_path / "own.safetensors")})
    weights = {n: np.ascontiguousarray(x) for n, x in open_clip(case_of().weights()).items()}
    save_file(weights, config.checkpoint)
    other = pe_core.Retrieval(
        checkpoint=config.checkpoint,
        model=pe_core.Model(sizes="checkpoint", vision=pe_core.Vision(frames=1)),
        data=config.data,
    )
    system = tokmerge_jax.build(other)
    assert system.config.model == config.model
    equal(checkpoints.load_checkpoint(config.checkpoint, system), loaded(case_of().weights()))


def broken():
    """Weights that are no PE-Core for retrieval, and what is said about them."""
    meta = case_of().weights()
    timm_names = {n.removeprefix("visual.trunk."): x for n, x in open_clip(meta).items()}
    lang = {name: x for name, x in meta.items() if "attn_pool" not in name}
    bias = open_clip(meta)
    bias["visual.trunk.head.bias"] = bias["visual.trunk.head.bias"] + 1
    yield lang, "perhaps a PE-Lang or PE-Spatial: it has no attention pooling"
    vision = {n: x for n, x in timm_names.items() if not n.startswith(("text.", "logit"))}
    for prefix in ("", "timm_model."):
        yield {prefix + n: x for n, x in vision.items()}, "an image transformer alone, as in timm"
    yield bias, r"visual\.trunk\.head\.bias \[96\] cannot become zeros"
    yield {**meta, "more": np.zeros(3, np.float32)}, r"more \[3\] has no place"
    fewer = {name: x for name, x in meta.items() if name != "visual.attn_pool.layernorm.bias"}
    yield fewer, r"pool/norm/bias is not filled: no visual\.attn_pool\.layernorm\.bias"


@pytest.mark.parametrize("i", range(6))
def test_refusals(i):
    weights, says = [*broken()][i]
    with pytest.raises(UserError, match=says):
        loaded(weights)
