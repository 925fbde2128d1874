"""Every configuration builds, has the reference's tokens and cost, and a complete name table.

What holds of every configuration is asked of each file there is, so that a new one needs no line
here; what papers and originals say is asked of the configurations that it is about.
"""

import functools
import importlib
import re
from typing import Any

import clip_case
import golden
import pytest
from parameters import slow

import tokmerge_jax
from tokmerge_jax import registry
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import files
from tokmerge_jax.data.datasets import action_lists, specs
from tokmerge_jax.data.pixels.pretraining import PretrainingAugment
from tokmerge_jax.merging import schedule
from tokmerge_jax.systems.tempme import TempMeTower
from tokmerge_jax.systems.towers.umt import UMTTower
from tokmerge_jax.types import UserError

built = functools.cache(tokmerge_jax.build)
NAMES = files.names()
QUICK = {"anet_b16", "clip_msrvtt_b32", "demo", "msrvtt_b16", "msrvtt_qa_b16", "tdsclip_ssv2_b16",
         "tdsclip_tome_ssv2_b16", "tempme_msrvtt_b32", "testa_didemo_f32",
         "umt_k400_b16"}  # fmt: skip

UMT = {  # tokens after the last layer and GMAC, B/16 then L/16; 12 frames are 2352 tokens
    "msrvtt": ((1452, 177.8), (1402, 543.0)),
    "msvd": ((1452, 181.1), (1352, 528.2)),
    "anet": ((1852, 227.4), (1452, 562.7)),
    "didemo": ((1652, 212.6), (1452, 558.7)),
    "lsmdc": ((1652, 206.0), (1452, 583.3)),
    "ssv2_label": ((1652, 212.7), (1552, 610.5)),
    "ssv2_template": ((1652, 203.5), (1552, 615.3)),
    "msrvtt_qa": ((1552, 188.4), (1452, 569.4)),
    "msvd_qa": ((1552, 188.4), (1452, 569.4)),
    "anet_qa": ((2352, 303.1), (2352, 984.0)),
    "msrvtt_mc": ((2352, 303.1), (2352, 984.0)),
}
VIDTLDR = golden.load("vidtldr-schedules")
TEMPME = {  # by the frames: tokens after the last layer, GMAC with and without merging
    ("12", "b32"): (97, 34.7, 52.9),
    ("12", "b16"): (127, 121.3, 210.8),
    ("64", "b32"): (500, 186.2, 282.2),
    ("64", "b16"): (664, 652.2, 1124.1),
}
TEMPME_SCRIPT = {12: (161.6, 493), 64: (901.6, 2614)}  # B/16 with merging, and its tokens
TESTA = {"f32": (1041, 419.4, 785.9), "f96": (4801, 1379.9, 2379.9)}
TDSCLIP = {16: (180.6, 175.7), 14: (878.3, 869.3)}  # by the patches; the second one Side4Video's
VIDTLDR_COSTS = {
    f"{data}_{size}": (*row, plain)
    for data, rows in UMT.items()
    for size, row, plain in zip(("b16", "l16"), rows, (303.1, 984.0), strict=True)
}
TEMPME_COSTS = {
    f"tempme_{data}_{size}": TEMPME[frames, size]
    for data, frames in {"msrvtt": "12", "lsmdc": "12", "anet": "64", "didemo": "64"}.items()
    for size in ("b32", "b16")
}
TESTA_COSTS = {
    f"testa_{data}_{frames}": TESTA[frames]
    for data in ("queryd", "didemo", "anet", "condmov")
    for frames in TESTA
}
TDSCLIP_COSTS = {
    f"tdsclip_{data}_{size}": row
    for data in ("k400", "ssv1", "ssv2")
    for size, row in (("b16", (8 * 197, 180.6, 180.6)), ("l14", (8 * 257, 878.3, 878.3)))
}
UMT_ACTIONS = {  # GMAC of a view without merging and with the schedule
    f"umt_{data}_{size}": row
    for data in ("k400", "ssv2")
    for size, row in (("b16", (179.4, 107.9, (400, 130, 70))), ("l16", (595.6, 349.6, (400, 200))))
}
PUBLISHED = {
    **VIDTLDR_COSTS,
    **TEMPME_COSTS,
    **TESTA_COSTS,
    **TDSCLIP_COSTS,
    "testa_anet_qa_f32": TESTA["f32"],
    "testa_pretrain": (1569, 195.8, 195.8),
    "clip_msrvtt_b32": (12 * 50, 52.9, 52.9),
    "clip_msrvtt_b16": (12 * 197, 210.8, 210.8),
    "clip_msrvtt_l14": (12 * 257, 972.2, 972.2),
    "tdsclip_tome_ssv2_b16": (8 * 101, 143.7, 180.6),
}
"""Tokens after the last layer, GMAC, and GMAC where nothing merges."""

MERGES = {
    "msrvtt_b16": (600, 200, 100),
    "msrvtt_l16": (550, 400),
    "msvd_b16": (450, 250, 200),
    "msvd_l16": (600, 200, 100, 100),
    "anet_b16": (500,),
    "anet_l16": (600, 300),
    "didemo_b16": (250, 150, 150, 150),
    "didemo_l16": (800, 100),
    "lsmdc_b16": (400, 150, 150),
    "lsmdc_l16": (250, 250, 200, 200),
    "ssv2_label_b16": (200, 200, 200, 100),
    "ssv2_label_l16": (450, 250, 100),
    "ssv2_template_b16": (400, 300),
    "ssv2_template_l16": (350, 300, 100, 50),
    "msrvtt_qa_b16": (600, 200),
    "msrvtt_qa_l16": (400, 400, 100),
    "msvd_qa_b16": (600, 200),
    "msvd_qa_l16": (400, 400, 100),
}


@functools.cache
def load(name) -> Any:  # a class for each kind
    return files.load(name)


def quickly(names):
    """The names as parameters; all but the `QUICK` ones are slow, being like these."""
    return slow(names, lambda name: name not in QUICK)


def build(name):
    return built(load(name))


def gmac(system):
    return sum(layer.macs for layer in system.merging.cost) / 1e9


def text_of(name):
    module = importlib.import_module(f"tokmerge_jax.configs.{name}")
    return " ".join((module.__doc__ or "").split())


@pytest.mark.slow
@pytest.mark.parametrize("name", quickly(NAMES))
def test_it_builds_a_system_whose_every_parameter_has_a_name_elsewhere(name):
    system, config = build(name), load(name)
    assert isinstance(config, registry.config_class(config.system))
    assert system.name == config.system
    check_names(system)


@pytest.mark.parametrize("name", quickly(NAMES))
def test_its_layers_follow_the_schedule_and_cost_what_the_docstring_says(name):
    system = build(name)
    layers, merging = system.merging.cost, system.merging
    assert all(layer.macs > 0 and 0 < layer.tokens_out <= layer.tokens_in for layer in layers)
    assert max(merging.schedule.r, default=0) < merging.schedule.tokens
    if system.config.model.merger.name == "none":
        assert not any(merging.schedule.r)
        assert all(layer.tokens_in == layer.tokens_out for layer in layers)
    said = re.findall(r"([\d.]+) of [\d.]+ GMAC|Cost: ([\d.]+) GMAC", text_of(name))
    for numbers in said:
        assert gmac(system) == pytest.approx(float("".join(numbers)), abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_says_what_a_user_asks(name):
    config, text = load(name), text_of(name)
    assert config.data.dataset in specs.SPECS
    for part in ("Target", "Checkpoint", "Protocol", "Command"):
        assert f"{part}: " in text
    assert re.search(rf"Command: tokmerge \w+ --config {name}\b", text)
    if name in VIDTLDR_COSTS:
        assert "Target: UMT" in text
        assert "Checkpoint: OpenGVLab/unmasked_teacher, " in text
        assert re.search(r"\d+\.\d", text)


@pytest.mark.parametrize("name", quickly(PUBLISHED))
def test_published_tokens_and_cost(name):
    system, (tokens, merged, plain) = build(name), PUBLISHED[name]
    assert gmac(system) == pytest.approx(merged, abs=0.05)
    assert system.merging.cost[-1].tokens_out == tokens
    if merged < plain:
        assert f"{merged} of {plain} GMAC" in text_of(name)


@pytest.mark.parametrize("name", quickly(VIDTLDR_COSTS))
def test_vid_tldr_merges_in_the_first_layers(name):
    layers, depth = build(name).merging.cost[1:], load(name).model.vision.depth
    assert len(layers) == depth
    assert layers[0].tokens_in == 2352
    merged = [layer.tokens_in - layer.tokens_out for layer in layers]
    assert tuple(merged[:4]) == (*MERGES.get(name, ()), 0, 0, 0, 0)[:4]


@pytest.mark.parametrize("name", VIDTLDR.spec["expected"])
def test_schedules_of_vid_tldr_s_readme(name):
    """Tokens after the first six blocks and the last, and GMAC of the running original."""
    (size, data), row = name.split("/"), VIDTLDR.spec["expected"][name]
    off = data.startswith("off")
    config = importlib.import_module(
        f"tokmerge_jax.configs.msrvtt_{size}" if off else f"tokmerge_jax.configs.{data}_{size}"
    )
    config = config.get_config()
    if off:
        config = config.override({"model.merger.r": (), "model.vision.frames": row["frames"]})
    assert [*config.model.merger.r] == row["r"]
    merging = UMTTower(config).merging
    counts = schedule.token_counts(merging.schedule.r, merging.schedule.tokens)
    assert [*counts[1:7], counts[-1]] == row["tokens"]
    gmac = sum(layer.macs for layer in merging.cost) / 1e9
    assert gmac == pytest.approx(row["gmac"], abs=0.005)
    assert gmac < row["fvcore"] < 1.002 * gmac  # it counts norms too


def check_names(system):
    for table in system.weights.names:
        filled = [target for rule in table.rules for target in rule.targets]
        assert sorted([*filled, *table.fresh]) == sorted(rules.flatten(system.weights.shapes))


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("name", quickly(TEMPME_COSTS))
def test_tempme_trains_lora_or_all(name, tuning):
    system, frames = build(f"{name}:{tuning}"), load(name).model.vision.frames
    assert gmac(system) == gmac(build(name))
    tokens = build(name).merging.cost[-1].tokens_out
    assert f"{tokens} tokens" in text_of(name)
    names = rules.flatten(system.weights.shapes)
    assert system.training
    patterns = system.training.trainable
    trained = [n for n in names if not patterns or re.search("|".join(patterns), n)]
    if tuning == "full":
        assert len(trained) == len(names) == 302 + 24 * 4 + 3  # q, k and v apart; positions
    elif frames == 12:
        assert sum(names[n].size for n in trained) == 507648
    check_names(system)


@pytest.mark.parametrize("name", [name for name in TEMPME_COSTS if name.endswith("b16")])
def test_the_script_of_tempme(name):
    config = load(f"{name}:script")
    gmac, tokens = TEMPME_SCRIPT[config.model.vision.frames]
    layers = TempMeTower(config).merging.cost
    assert sum(layer.macs for layer in layers) / 1e9 == pytest.approx(gmac, abs=0.05)
    assert layers[-1].tokens_out == tokens
    assert f"({gmac} GMAC, {tokens} tokens)" in text_of(name)
    assert config.model.lora_rank == 8


@pytest.mark.parametrize(("size", "variant"), [("b32", "lora"), ("b16", "script")])
def test_the_full_size_goldens_of_tempme_are_the_script_s(size, variant):
    case = golden.load(f"tempme-msrvtt-vit-{size}")
    config = importlib.import_module(f"tokmerge_jax.configs.tempme_msrvtt_{size}").get_config(
        variant
    )
    assert config.model == clip_case.config_of(case).model
    if size == "b16":
        with pytest.raises(UserError, match=r":half is not a variant of .*; write :full or"):
            importlib.import_module("tokmerge_jax.configs.tempme_msrvtt_b16").get_config("half")


def test_testa_adds_cosines_where_it_retrieves():
    assert all(load(name).eval.plus_similarity for name in TESTA_COSTS)
    assert not hasattr(load("testa_anet_qa_f32").eval, "plus_similarity")


@pytest.mark.slow
def test_testa_pretrains_on_smaller_pictures():
    augment = build("testa_pretrain").pixels.augment
    assert augment == PretrainingAugment(224, 256)


@pytest.mark.parametrize("differences", [True, False])
@pytest.mark.parametrize("name", quickly(TDSCLIP_COSTS))
def test_tds_clip(name, differences):
    """One value makes Side4Video of it: what it reads, its parameters and its cost."""
    config = load(name).override({"model.side.differences": differences})
    system = built(config)
    cost = TDSCLIP[config.model.vision.patch_size][not differences]
    assert gmac(system) == pytest.approx(cost, abs=0.05)
    assert system.config.data.neighbours == (5 if differences else 1)
    assert config.model.classes == action_lists.CLASSES[config.data.dataset]
    check_names(system)


@pytest.mark.parametrize("name", quickly(UMT_ACTIONS))
def test_umt_recognises_actions(name):
    """Nothing merges, as published; a schedule of retrieval's shares merges in the first blocks."""
    config, r = load(name), UMT_ACTIONS[name][-1]
    plain, merged = built(config), built(config.override({"model.merger.r": r}))
    assert (gmac(plain), gmac(merged)) == pytest.approx(UMT_ACTIONS[name][:2], abs=0.05)
    assert f"{gmac(merged):.1f} GMAC" in text_of(name)
    assert f"r={','.join(map(str, r))}, for example" in text_of(name)
    assert plain.merging.schedule.tokens == plain.merging.cost[-1].tokens_out == 8 * 196
    assert merged.merging.cost[-1].tokens_out == 8 * 196 - sum(r)
    assert config.model.classes == action_lists.CLASSES[config.data.dataset]
    assert plain.pixels.transform.count == 3
    check_names(plain)


def test_tds_clip_merging():
    """Tokens at the end, and GMAC, by the tokens that merge in each block."""
    system = build("tdsclip_tome_ssv2_b16")
    for r, tokens, gmac in ((0, 197, 180.6), (4, 149, 162.1), (8, 101, 143.7), (12, 53, 125.5)):
        cost = system.merging.cost_of((r,) * 12)
        assert cost[-1].tokens_out == 8 * tokens
        assert sum(layer.macs for layer in cost) / 1e9 == pytest.approx(gmac, abs=0.05)
    assert system.merging.schedule.r == (8,) * 12


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"width": 10**9}, r"config\.model\.vision\.width=1000000000 .* at most 1048576"),
        ({"depth": 65}, r"config\.model\.vision\.depth=65 .* at most 64"),
        ({"frames": 4096, "image_size": 4096}, "position table of 4096 frames of 256 x 256 pat"),
        ({"grid": 4096}, "position table of 12 frames of 4096 x 4096 patches, 768 wide"),
        ({"grid": -1}, r"config\.model\.vision\.grid=-1 must be 0 or more"),
    ],
)
def test_sizes_that_no_network_has_are_refused_before_it_is_laid_out(sizes, says):
    config = importlib.import_module("tokmerge_jax.configs.msrvtt_b16").get_config()
    config = config.override({"model.vision": sizes})
    with pytest.raises(UserError, match=says):
        tokmerge_jax.build(config)
