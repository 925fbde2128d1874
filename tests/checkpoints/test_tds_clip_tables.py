"""TDS-CLIP's and Side4Video's checkpoints there and back, and CLIP's as a start for training."""

import functools
import math
import re

import golden
import hostile
import jax
import numpy as np
import pytest
import recipe
import tds_clip_case

from tokmerge_jax.checkpoints import checkpoint, rules, torch_file
from tokmerge_jax.checkpoints.tables import clip
from tokmerge_jax.checkpoints.tables import tds_clip as table
from tokmerge_jax.types import UserError

SIZES = {
    "vision.width": 64,
    "vision.depth": 2,
    "vision.heads": 1,
    "vision.patch_size": 8,
    "vision.image_size": 16,
    "side.width": 128,
    "side.differences": True,
    "classes": 5,
}


def sizes_of(differences=True):
    return {**SIZES, "side.differences": differences}


@functools.cache
def abstract(differences=True):
    sizes = sizes_of(differences)
    return tds_clip_case.abstract_params(tds_clip_case.module_of(sizes), sizes)


def tables(differences=True):
    return tds_clip_case.tables_of(sizes_of(differences))


def tensors(differences=True) -> dict[str, np.ndarray]:
    """Tensors of the network under the names of its own kind of checkpoint."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract(differences))
    names = rules.unload(tables(differences)[0], zeros)
    return {name: recipe.weight(name, x.shape, 7) for name, x in names.items()}


def loaded(weights, differences=True, **settings):
    rule_set = rules.choose(tables(differences), weights)
    return rules.load(rule_set, weights, abstract(differences), **settings)


def openai() -> dict[str, np.ndarray]:
    """A whole CLIP's tensors, those of the image transformer being the network's."""
    own = {n: x for n, x in tensors().items() if "visual" in n and "side" not in n}
    others = {
        "visual.ln_post.weight": (64,),
        "visual.ln_post.bias": (64,),
        "visual.proj": (64, 8),
        "transformer.resblocks.0.ln_1.weight": (8,),
        "token_embedding.weight": (40, 8),
        "positional_embedding": (8, 8),
        "ln_final.weight": (8,),
        "text_projection": (8, 8),
        "logit_scale": (),
    }
    return {**own, **{name: recipe.weight(name, shape, 7) for name, shape in others.items()}}


def equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("differences", [True, False], ids=["tds_clip", "side4video"])
def test_there_and_back(differences):
    source = tensors(differences)
    params = loaded(source, differences)
    assert params.keys() == {"vision", "side", "head", "batch_stats"}
    again = rules.unload(tables(differences)[0], params)
    assert again.keys() == source.keys()
    for name, x in source.items():
        np.testing.assert_array_equal(again[name], x, strict=True)


@pytest.mark.parametrize("name", ["tdsclip-vit-b16", "tdsclip-vit-l14", "tdsclip-side4video-b16"])
def test_published_names(name):
    """Every tensor of the published sizes has its place, statistics too."""
    case = golden.load(name)
    shapes = case.spec["shapes"]
    stats = {n.removeprefix("weights/") for n in case.arrays if n.startswith("weights/")}
    sizes = table.sizes({n: np.broadcast_to(0.0, shape) for n, shape in shapes.items()})
    sources = {rule.source for rule in tds_clip_case.tables_of(sizes)[0].rules}
    assert sources == shapes.keys() | stats
    assert len(shapes) + 3 * len(stats) // 2 == {
        "tdsclip-vit-b16": 675,
        "tdsclip-vit-l14": 1323,
    }.get(name, len(shapes) + 3 * len(stats) // 2)
    assert (sizes["vision.depth"], sizes["vision.width"], sizes["vision.heads"]) == tuple(
        case.config[key] for key in ("layers", "width", "heads")
    )
    assert sizes["vision.image_size"] == case.config["resolution"]
    assert (sizes["side.width"], sizes["classes"]) == (case.config["side_dim"], 174)
    assert sizes["side.differences"] == (case.config["num_diff"] == 5)


def test_values_go_where_they_belong():
    """Kernels by place, and running statistics beside the parameters."""
    source = tensors()
    params = loaded(source)
    kernel = params["side"]["stem"]["difference_embedding"]["kernel"]
    weight = source["visual.side_conv1_c5.weight"]  # output, difference and colour, time, y, x
    for time, y, x, colour in ((0, 0, 0, 0), (1, 3, 2, 7), (2, 7, 7, 11)):
        row = ((time * 8 + y) * 8 + x) * 12 + colour
        np.testing.assert_array_equal(kernel[row], weight[:, colour, time, y, x])
    block = "visual.transformer.side_transformer.1"
    ours = params["side"]["block_1"]
    np.testing.assert_array_equal(
        ours["convolution"]["taps"], source[f"{block}.conv.1.weight"][:, 0, :, 0, 0].T
    )
    np.testing.assert_array_equal(
        ours["gate"]["expand"]["kernel"], source[f"{block}.mse.conv2.weight"][:, :, 0, 0].T
    )
    stats = params["batch_stats"]["side"]["block_1"]["gate"]["reduce_norm"]
    np.testing.assert_array_equal(stats["mean"], source[f"{block}.mse.bn1.running_mean"])
    np.testing.assert_array_equal(stats["var"], source[f"{block}.mse.bn1.running_var"])


def test_what_training_scripts_add_to_the_names(tmp_path):
    """`module.` anywhere in a name, counters of batches, and the dict around it all."""
    source = tensors()
    counter = {"visual.side_post_bn.num_batches_tracked": np.array(7)}
    spelled = {n.replace("visual.", "visual.module."): x for n, x in {**source, **counter}.items()}
    equal(loaded(spelled), loaded(source))
    assert table.sizes(spelled) == SIZES | {"vision.heads": 1}
    head = b"}" + hostile.value("fc.bias") + hostile.tensor() + b"s"
    nested = hostile.state(epoch=b"K\x1d", model_state_dict=head, optimizer_state_dict=b"}")
    (tmp_path / "a.pth").write_bytes(hostile.archive(nested))
    assert list(torch_file.read(tmp_path / "a.pth")) == ["fc.bias"]


def test_sizes_are_reported_where_they_do_not_fit():
    with pytest.raises(UserError, match=r"(?s)differences=False, classes=5\).*difference_emb"):
        loaded(tensors(differences=False))
    other = {**tensors(), "fc.weight": np.zeros((9, 128), np.float32)}
    with pytest.raises(UserError, match=r"(?s)classes=9.*head/kernel is \[128, 5\]"):
        loaded(other)
    resized = {**openai(), "visual.proj": np.zeros((64, 9)), "visual.ln_pre.bias": np.zeros(3, "f")}
    with pytest.raises(
        UserError, match=r"\(2 faults(?s:.*)\n  nothing for side/, batch_stats/, head"
    ):
        loaded(resized)
    wrong = {"visual.transformer.side_transformer.0.bn_1.weight": np.ones(3, np.float32)}
    with pytest.raises(UserError, match=r"not a TDS-CLIP: it has no fc\.weight"):
        loaded(wrong)


def test_a_clip_starts_training():
    """Its image transformer as it is; all else drawn, the same each time; of no use untrained."""
    says = (
        r"^the weights are only a start .* hold nothing for side/, batch_stats/, head/; train from"
    )
    with pytest.raises(UserError, match=says):
        loaded(openai())
    own = rules.flatten({"vision": loaded(tensors())["vision"]})
    with pytest.raises(UserError, match=says):
        rules.load(rules.identity(abstract(), own, (), tables()), own, abstract())
    params = loaded(openai(), to_train=True)
    equal(params["vision"], loaded(tensors())["vision"])
    equal(loaded(openai(), to_train=True), params)


def test_hugging_faces_clip_starts_it_too():
    plain = rules.load(tables()[-1], openai(), abstract(), to_train=True)
    source = {
        rule.source: rule.operation.backward([rules.flatten(plain)[t] for t in rule.targets])
        for rule in clip.hugging_face_vision(2)
    }
    others = {
        "vision_model.post_layernorm.weight": np.ones(64, np.float32),
        "vision_model.embeddings.position_ids": np.arange(5)[None],
        "visual_projection.weight": np.ones((8, 64), np.float32),
        "text_model.final_layer_norm.weight": np.ones(8, np.float32),
        "logit_scale": np.float32(4.6),
    }
    equal(loaded({**source, **others}, to_train=True), plain)


def test_our_own_clip_starts_it_too():
    """From a CLIP under our names only the image transformer is read; the rest is reported."""
    flat = rules.flatten(loaded(openai(), to_train=True))
    vision = {name: x for name, x in flat.items() if name.startswith("vision/")}
    others = ("text/position_embedding", "vision_norm/scale", "vision_projection/kernel",
              "text_projection/kernel", "logit_scale")  # fmt: skip
    together = {**vision, **dict.fromkeys(others, np.ones((), np.float32))}
    start = rules.identity(abstract(), together, (), tables())
    equal(rules.load(start, together, abstract(), to_train=True), loaded(openai(), to_train=True))
    with pytest.raises(UserError, match="side/tap_9/norm/scale"):
        rules.load(start, {**together, "side/tap_9/norm/scale": np.ones(3, np.float32)}, abstract())


def test_other_names_are_not_passed_over():
    strange = {**openai(), "visual.side_lns.0.weight": np.ones(64, np.float32)}
    with pytest.raises(UserError, match=r"side_lns\.0\.weight"):
        loaded(strange, to_train=True)


def test_other_numbers_of_neighbours_start_as_well():
    """Two differences: they are drawn by what they read, and five frames' weights do not fit."""
    settings = (2, 64, 128, 8, 2)
    shape = (3 * 2 * 3 * 64, 128)
    params = abstract()
    params = {**params, "side": {**params["side"], "stem": dict(params["side"]["stem"])}}
    params["side"]["stem"]["difference_embedding"] = {
        "kernel": jax.ShapeDtypeStruct(shape, np.float32),
        "bias": jax.ShapeDtypeStruct((128,), np.float32),
    }
    *_, clips = table.rules(*settings)
    drawn = rules.load(clips, openai(), params, to_train=True)
    kernel = rules.flatten(drawn)["side/stem/difference_embedding/kernel"]
    assert 0.97 < np.abs(kernel).max() * math.sqrt(3 * 6 * 64) <= 1
    again = rules.unload(table.rules(*settings)[0], drawn)
    assert again["visual.side_conv1_c5.weight"].shape == (128, 6, 3, 8, 8)
    with pytest.raises(UserError, match="difference_embedding/kernel"):
        rules.load(table.rules(*settings)[0], tensors(), params)


def test_initial_values():
    """The distributions of the original's training, by layer."""
    flat = rules.flatten(loaded(openai(), to_train=True))
    block, uniform = "side/block_0", 1 / math.sqrt(3)  # a uniform's deviation
    deviations = {
        f"{block}/attention/query/kernel": 128**-0.5,
        f"{block}/attention/out/kernel": (24 * 128) ** -0.5,
        f"{block}/mlp/hidden/kernel": 256**-0.5,
        f"{block}/mlp/out/kernel": (24 * 128) ** -0.5,
        "side/position_embedding": 0.01,
        f"{block}/convolution/hidden/kernel": uniform * 128**-0.5,
        f"{block}/convolution/taps": uniform * 3**-0.5,
        f"{block}/gate/reduce/kernel": uniform * 128**-0.5,
        f"{block}/gate/expand/kernel": uniform * 8**-0.5,
        f"{block}/mlp/hidden/bias": uniform * 128**-0.5,
        f"{block}/mlp/out/bias": uniform * 512**-0.5,
        "side/tap_1/projection/kernel": uniform * 64**-0.5,
        "side/tap_1/projection/bias": uniform * 64**-0.5,
        "side/stem/patch_embedding/kernel": uniform * (9 * 64) ** -0.5,
        "side/stem/difference_embedding/bias": uniform * (36 * 64) ** -0.5,
        f"{block}/convolution/out/bias": uniform * 128**-0.5,
        "head/kernel": uniform * 128**-0.5,
    }
    for name, deviation in deviations.items():
        np.testing.assert_allclose(flat[name].std(), deviation, rtol=0.15, err_msg=name)
    normal = re.compile(r"attention|mlp/(hidden|out)/kernel|position")
    for name in deviations.keys() - set(filter(normal.search, deviations)):
        largest = np.abs(flat[name]).max() * uniform / deviations[name]
        assert 0.95 < largest <= 1, name
    for name, x in flat.items():
        if not name.startswith("vision/") and "norm/" in name:
            assert (x == name.endswith(("scale", "var"))).all()
    assert not flat[f"{block}/attention/query/bias"].any()
    assert not flat[f"{block}/attention/out/bias"].any()


def test_own_folder_and_names(tmp_path):
    """Statistics travel with the parameters, in a folder and by our own names."""
    params = loaded(tensors())
    checkpoint.save(tmp_path / "folder", params, {"system": "tds_clip"})

    def names(computed):
        return rules.identity(abstract(), computed, (), tables())

    equal(checkpoint.load(tmp_path / "folder", abstract(), names), params)
    part = {n: x for n, x in rules.flatten(params).items() if not n.endswith("norm/var")}
    with pytest.raises(UserError, match="batch_stats/side/norm/var is not filled"):
        rules.load(names(part), part, abstract())
