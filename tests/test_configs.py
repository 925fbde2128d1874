"""Every configuration builds, has the reference's tokens and cost, and a complete name table."""

import importlib
import pathlib
import re

import clip_case
import golden
import pytest
from parameters import slow

import tokmerge_jax
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.data.datasets.specs import SPECS
from tokmerge_jax.data.pixels.pretraining import PretrainingAugment
from tokmerge_jax.merging import schedule
from tokmerge_jax.systems import clip_vision, umt_vision
from tokmerge_jax.types import UserError

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))

# Tokens after the last layer and GMAC, B/16 then L/16; 12 frames are 2352 tokens.
COSTS = {
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
TEMPME_COSTS = {  # without and with merging, and tokens at the end
    ("12", "b32"): (52.9, 34.7, 97),
    ("12", "b16"): (210.8, 121.3, 127),
    ("64", "b32"): (282.2, 186.2, 500),
    ("64", "b16"): (1124.1, 652.2, 664),
}
TEMPME_SCRIPT = {"12": (161.6, 493), "64": (901.6, 2614)}  # B/16 with merging, and its tokens
TESTA_COSTS = {"f32": (785.9, 419.4, 1041), "f96": (2379.9, 1379.9, 4801)}
TDSCLIP_COSTS = {"b16": (180.6, 175.7), "l14": (878.3, 869.3)}  # the second one's of Side4Video
TESTA_QA = ["testa_anet_qa_f32"]
TESTA = [n for n in NAMES if re.match(r"testa_.*_f\d+$", n) and n not in TESTA_QA]
TEMPME = [name for name in NAMES if name.startswith("tempme_")]
CLIP = [name for name in NAMES if name.startswith("clip_")]
TDSCLIP = [name for name in NAMES if re.match(r"tdsclip_\w+_(b16|l14)$", name)]
TDSCLIP_TOME = "tdsclip_tome_ssv2_b16"
PUBLISHED = [
    name
    for name in NAMES
    if name.endswith(("_b16", "_l16")) and name not in TEMPME + CLIP + TDSCLIP
]
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


def some(names, *kept):
    """The names as parameters; all but those that begin as `kept` are slow, being like these."""
    return slow(names, lambda name: not name.startswith(kept))


def build(name):
    return tokmerge_jax.build(importlib.import_module(f"tokmerge_jax.configs.{name}").get_config())


def test_every_published_number_has_its_configuration():
    assert {name.rsplit("_", 1)[0] for name in PUBLISHED} == COSTS.keys()
    assert len(PUBLISHED) == 2 * len(COSTS)
    assert set(TEMPME) == {
        f"tempme_{data}_{size}"
        for data in ("msrvtt", "anet", "didemo", "lsmdc")
        for size in ("b32", "b16")
    }
    assert set(CLIP) == {f"clip_msrvtt_{size}" for size in ("b32", "b16", "l14")}
    assert set(TESTA) == {
        f"testa_{data}_{frames}"
        for data in ("queryd", "didemo", "anet", "condmov")
        for frames in ("f32", "f96")
    }
    assert set(TDSCLIP) == {
        *(f"tdsclip_{d}_{size}" for d in ("k400", "ssv1", "ssv2") for size in ("b16", "l14")),
        TDSCLIP_TOME,
    }
    others = set(NAMES) - {*PUBLISHED, *TEMPME, *CLIP, *TESTA, *TESTA_QA, *TDSCLIP}
    demos = {"demo", "demo_qa", "demo_clip", "demo_tempme", "demo_testa", "demo_tdsclip"}
    assert others == {*demos, "testa_pretrain"}


@pytest.mark.parametrize("name", some(PUBLISHED, "msrvtt_b16", "msrvtt_qa_b16", "anet_b16"))
def test_tokens_cost_and_names(name):
    system = build(name)
    data, size = name.rsplit("_", 1)
    tokens, gmac = COSTS[data][size == "l16"]
    layers = system.merging.cost[1:]
    assert len(layers) == {"b16": 12, "l16": 24}[size]
    merged = [layer.tokens_in - layer.tokens_out for layer in layers]
    assert tuple(merged[:4]) == (*MERGES.get(name, ()), 0, 0, 0, 0)[:4]
    assert (layers[0].tokens_in, layers[-1].tokens_out) == (2352, tokens)
    assert sum(layer.macs for layer in system.merging.cost) / 1e9 == pytest.approx(gmac, abs=0.05)
    check_names(system)


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
    merging = umt_vision.merging_of(config)
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
@pytest.mark.parametrize("name", some(TEMPME, "tempme_msrvtt"))
def test_tempme(name, tuning):
    config = importlib.import_module(f"tokmerge_jax.configs.{name}").get_config(tuning)
    system = tokmerge_jax.build(config)
    frames, size = str(config.model.vision.frames), name.rsplit("_", 1)[1]
    plain, merged, tokens = TEMPME_COSTS[frames, size]
    assert sum(layer.macs for layer in system.merging.cost) / 1e9 == pytest.approx(merged, abs=0.05)
    assert system.merging.cost[-1].tokens_out == tokens
    assert f"{merged} of {plain} GMAC, {tokens} tokens" in (
        importlib.import_module(f"tokmerge_jax.configs.{name}").__doc__ or ""
    )
    names = rules.flatten(system.weights.shapes)
    assert system.training
    patterns = system.training.trainable
    trained = [n for n in names if not patterns or re.search("|".join(patterns), n)]
    if tuning == "full":
        assert len(trained) == len(names) == 302 + 24 * 4 + 3  # q, k and v apart; positions
    elif frames == "12":
        assert sum(names[n].size for n in trained) == 507648
    check_names(system)


@pytest.mark.parametrize("name", [name for name in TEMPME if name.endswith("b16")])
def test_the_script_of_tempme(name):
    module = importlib.import_module(f"tokmerge_jax.configs.{name}")
    config, text = module.get_config("script"), " ".join((module.__doc__ or "").split())
    gmac, tokens = TEMPME_SCRIPT[str(config.model.vision.frames)]
    layers = clip_vision.merging_of(config).cost
    assert sum(layer.macs for layer in layers) / 1e9 == pytest.approx(gmac, abs=0.05)
    assert layers[-1].tokens_out == tokens
    assert f"({gmac} GMAC, {tokens} tokens)" in text
    assert config.model.lora_rank == 8


@pytest.mark.parametrize(("size", "variant"), [("b32", "lora"), ("b16", "script")])
def test_the_full_size_goldens_of_tempme_are_the_script_s(size, variant):
    case = golden.load(f"tempme-msrvtt-vit-{size}")
    config = importlib.import_module(f"tokmerge_jax.configs.tempme_msrvtt_{size}").get_config(
        variant
    )
    assert config.model == clip_case.config_of(case).model
    if size == "b16":
        with pytest.raises(UserError, match=":half is no variant of it; write :full or :script"):
            importlib.import_module("tokmerge_jax.configs.tempme_msrvtt_b16").get_config("half")


@pytest.mark.parametrize("name", some([*TESTA, *TESTA_QA], "testa_didemo_f32"))
def test_testa(name):
    system = build(name)
    plain, merged, tokens = TESTA_COSTS[name.rsplit("_", 1)[1]]
    assert sum(layer.macs for layer in system.merging.cost) / 1e9 == pytest.approx(merged, abs=0.05)
    assert system.merging.cost[-1].tokens_out == tokens
    text = importlib.import_module(f"tokmerge_jax.configs.{name}").__doc__ or ""
    assert f"{merged} of {plain} GMAC" in text
    assert "Checkpoint: " in text
    assert getattr(system.config.eval, "plus_similarity", False) == (name in TESTA)
    check_names(system)


@pytest.mark.slow
def test_testa_pretrain():
    system = build("testa_pretrain")
    assert sum(layer.macs for layer in system.merging.cost) / 1e9 == pytest.approx(195.8, abs=0.05)
    assert system.merging.cost[-1].tokens_out == 1569
    assert system.pixels.augment == PretrainingAugment(224, 256)
    check_names(system)


@pytest.mark.parametrize(("name", "gmac"), list(zip(CLIP, (210.8, 52.9, 972.2), strict=True)))
def test_clip(name, gmac):
    system = build(name)
    assert sum(layer.macs for layer in system.merging.cost) / 1e9 == pytest.approx(gmac, abs=0.05)
    assert not system.merging.schedule.r or set(system.merging.schedule.r) == {0}
    check_names(system)


@pytest.mark.parametrize("differences", [True, False])
@pytest.mark.parametrize("name", some(sorted({*TDSCLIP} - {TDSCLIP_TOME}), "tdsclip_ssv2_b16"))
def test_tds_clip(name, differences):
    """One value makes Side4Video of it: what it reads, its parameters and its cost."""
    module = importlib.import_module(f"tokmerge_jax.configs.{name}")
    config = module.get_config().override({"model.side.differences": differences})
    system, (_, data, size) = tokmerge_jax.build(config), name.split("_")
    costs = TDSCLIP_COSTS[size]
    gmac = sum(layer.macs for layer in system.merging.cost) / 1e9
    assert gmac == pytest.approx(costs[not differences], abs=0.05)
    assert f"Cost: {costs[0]} GMAC" in (module.__doc__ or "")
    assert system.config.data.neighbours == (5 if differences else 1)
    assert config.model.classes == (400 if data == "k400" else 174)
    check_names(system)


def test_tds_clip_merging():
    """Tokens at the end, and GMAC, by the tokens that merge in each block."""
    module = importlib.import_module(f"tokmerge_jax.configs.{TDSCLIP_TOME}")
    system = tokmerge_jax.build(module.get_config())
    for r, tokens, gmac in ((0, 197, 180.6), (4, 149, 162.1), (8, 101, 143.7), (12, 53, 125.5)):
        cost = system.merging.cost_of((r,) * 12)
        assert cost[-1].tokens_out == 8 * tokens
        assert sum(layer.macs for layer in cost) / 1e9 == pytest.approx(gmac, abs=0.05)
    assert system.merging.schedule.r == (8,) * 12
    check_names(system)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_says_what_a_user_asks(name):
    module = importlib.import_module(f"tokmerge_jax.configs.{name}")
    config, text = module.get_config(), " ".join((module.__doc__ or "").split())
    assert config.data.dataset in SPECS
    if name in PUBLISHED:
        for part in ("Target: UMT", "Checkpoint: OpenGVLab/unmasked_teacher, ", "Protocol: "):
            assert part in text
        assert re.search(r"\d+\.\d", text)
    if name in (*TEMPME, *CLIP, *TDSCLIP):
        assert all(f"{part}: " in text for part in ("Target", "Protocol", "Command"))
    if not name.startswith("demo"):
        assert f"--config configs/{name}.py" in text


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"width": 10**9}, r"config\.model\.vision\.width=1000000000 .* at most 1048576"),
        ({"depth": 65}, r"config\.model\.vision\.depth=65 .* at most 64"),
        ({"frames": 4096, "image_size": 4096}, "the position table of 4096 frames of 4096 pixels"),
    ],
)
def test_sizes_that_no_network_has_are_refused_before_it_is_laid_out(sizes, says):
    config = importlib.import_module("tokmerge_jax.configs.msrvtt_b16").get_config()
    config = config.override({"model.vision": sizes})
    with pytest.raises(UserError, match=says):
        tokmerge_jax.build(config)
